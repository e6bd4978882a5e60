// SPDX-License-Identifier: MIT OR Apache-2.0

//! QEMU killed from outside, at one moment or another.

use std::thread;

use fs_harness::record::OutcomeKind;
use libtest_mimic::{Failed, Trial};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use xtask::cell;

use crate::guest::{bench, expect, run, task, wait_for};

pub(crate) fn trials() -> [Trial; 1] {
    [Trial::test("selftest::qemu_killed_from_outside", kill_qemu)]
}

/// A guest waits for ever, and its QEMU is killed meanwhile.
fn kill_qemu() -> Result<(), Failed> {
    let task = task("qemu_killed_from_outside", "selftest_waits")?;
    let pid_file = task.folder.join(cell::PID);
    let waiting = thread::spawn(move || run(bench()?, &task));
    let pid = wait_for(&pid_file, &waiting)?;
    kill(Pid::from_raw(pid), Signal::SIGKILL).map_err(|error| format!("kill QEMU: {error}"))?;
    let record = waiting.join().map_err(|_| "the thread of the guest panicked")??;
    expect(&record, OutcomeKind::HarnessError, "QEMU was killed by SIGKILL")
}
