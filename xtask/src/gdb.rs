// SPDX-License-Identifier: MIT OR Apache-2.0

//! `cargo xtask gdb`: a debugger on the kernel of a guest that stands still where a cell starts.

use std::process::ExitCode;

use anyhow::{Context, Result, bail};

use crate::bench::{Bench, Isolation, Options};
use crate::host::tools::find_program;
use crate::qemu::checkpoint;
use crate::qemu::limits::{FOREVER, Limits};
use crate::qemu::script::Script;
use crate::qemu::{debugger, guest};
use crate::{artefacts, cell, exec, list, note, session};

/// Which cell, and what the debugger is told.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// The cell: its name, the first parts of it, or any part that no other has
    #[arg(value_name = "CELL")]
    cell: String,
    #[command(flatten)]
    bench: Options,
    /// Further arguments for gdb, such as -ex 'break ext4_file_write_iter'
    #[arg(last = true, value_name = "ARG")]
    told: Vec<String>,
}

/// Runs the debugger until the user leaves it, which ends the guest.
pub fn main(arguments: &Arguments) -> Result<ExitCode> {
    let cell = list::one(&arguments.cell)?;
    if find_program("gdb").is_none() {
        bail!("there is no gdb on this host; install it (on Debian the package gdb)");
    }
    let bench = exec::prepare(&arguments.bench)?;
    if bench.isolation == Isolation::Boot {
        bail!("the debugger starts from a checkpoint; leave --isolation boot out");
    }
    let limits = Limits::of(&bench.machine);
    let qemu = bench.environment.get("qemu").map_or("", String::as_str);
    let Ok(checkpoint) = checkpoint::ensure(&bench.machine, qemu, cell.setup, limits)? else {
        bail!("the guest does not come up; `cargo xtask run {cell}` tells why");
    };
    note!("{}", bench.header());
    note!("the guest stands still before {cell}: `continue` runs its scenario, leaving gdb ends the guest");
    let script = Script::debug(cell, checkpoint.files, command(&bench, &arguments.told)?);
    // Who thinks over a breakpoint is in no hurry.
    let limits = Limits { boot: FOREVER, progress: FOREVER, stuck: FOREVER, whole: FOREVER };
    let seen = guest::run(&bench.machine, script, limits, &session::folder()?.join(cell::PID))?;
    if let Some(fault) = &seen.fault {
        bail!("{fault}");
    }
    for (outcome, _) in &seen.verdicts {
        note!("the cell {}: {}", outcome.kind, outcome.detail);
    }
    Ok(ExitCode::SUCCESS)
}

/// gdb with the symbols of the kernel and, by the kernel's own scripts, of pinblk.
pub fn command(bench: &Bench, arguments: &[String]) -> Result<Vec<String>> {
    let kernel = &bench.machine.kernel;
    let build = kernel.parent().context("a kernel without a folder")?;
    let key = build.parent().and_then(|folder| folder.file_name()).context("a kernel outside the cache")?;
    let modules = artefacts().join("module").join(key);
    let words = [
        "gdb".to_owned(),
        "-q".to_owned(),
        "-iex".to_owned(),
        format!("add-auto-load-safe-path {}", build.display()),
        kernel.display().to_string(),
        "-ex".to_owned(),
        format!("target remote {}", debugger::SOCKET),
        "-ex".to_owned(),
        format!("lx-symbols {}", modules.display()),
        // gdb does not find all of pinblk's lines by their addresses before it has read them.
        "-ex".to_owned(),
        "maint expand-symtabs kmod-blk".to_owned(),
    ];
    Ok(words.into_iter().chain(arguments.iter().cloned()).collect())
}
