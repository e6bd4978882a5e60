// SPDX-License-Identifier: MIT OR Apache-2.0

//! QEMU: which accelerator, which machine, and one guest from its start to its end.

use anyhow::Result;

use crate::host::command::Command;

pub mod accelerator;
mod channels;
pub mod checkpoint;
pub mod debugger;
pub(crate) mod ending;
mod folder;
pub mod guest;
pub mod keep;
pub mod limits;
mod lines;
pub mod machine;
mod memory;
mod process;
mod relay;
pub mod script;
mod seal;
pub mod seen;

/// The emulator.
pub const PROGRAM: &str = "qemu-system-x86_64";

/// Its version, as it tells it.
pub fn version() -> Result<String> {
    let text = Command::new(PROGRAM).arg("--version").read()?;
    let version = text.lines().next().and_then(|line| line.split_once("version "));
    Ok(version.map_or("unknown", |(_, version)| version).to_owned())
}
