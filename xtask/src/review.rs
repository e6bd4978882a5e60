// SPDX-License-Identifier: MIT OR Apache-2.0

//! `cargo xtask review`: how a person accepts snapshots that changed on purpose.

use std::process::{Command, ExitCode};

use anyhow::{Context, Result};

use crate::host::cargo_tool::INSTA;
use crate::workspace;

/// Shows each changed snapshot beside its reviewed one and asks what to do.
pub fn main() -> Result<ExitCode> {
    let program = INSTA.ensure()?.join(INSTA.program);
    let status = Command::new(&program)
        .args(["insta", "review", "--include-ignored", "--include-hidden", "--workspace-root"])
        .arg(workspace())
        .status()
        .with_context(|| format!("run {}", program.display()))?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
