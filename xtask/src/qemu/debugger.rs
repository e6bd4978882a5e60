// SPDX-License-Identifier: MIT OR Apache-2.0

//! A debugger on the user's terminal, beside a guest whose stub it speaks to.

use std::path::Path;

use anyhow::{Context, Result};
use nix::sys::signal::Signal;
use tokio::process::{Child, Command};

use crate::host::command::end_with_parent;

/// Where the debugger finds the guest's stub: in the guest's folder, which it runs in.
pub const SOCKET: &str = "gdb.sock";

/// What QEMU is told for it: the guest has a stub.
pub(super) fn options() -> Vec<String> {
    let stub = format!("unix:{SOCKET},server=on,wait=off");
    ["-gdb", &stub].map(str::to_owned).to_vec()
}

/// Starts the debugger. It does not outlive the harness.
pub(super) fn start(words: &[String], folder: &Path) -> Result<Child> {
    let (program, arguments) = words.split_first().context("an empty command line")?;
    let mut command = Command::new(program);
    command.args(arguments).current_dir(folder).kill_on_drop(true);
    // SAFETY: it makes system calls only, and does not allocate.
    unsafe { command.pre_exec(end_with_parent(Signal::SIGKILL)) };
    command.spawn().with_context(|| format!("start {program}"))
}

/// Waits until the user has left the debugger; for ever where there is none.
pub(super) async fn left(debugger: &mut Option<Child>) {
    match debugger {
        // An error would mean that it is nobody's child any more.
        Some(debugger) => drop(debugger.wait().await),
        None => std::future::pending().await,
    }
}
