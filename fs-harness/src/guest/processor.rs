// SPDX-License-Identifier: MIT OR Apache-2.0

//! Where a scenario runs, and whom it goes before: what is a race otherwise has one end then.

use nix::errno::Errno;
use nix::libc;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

use super::error::{Doing, Result};

/// From now on the scenario runs on the first processor only, and so do the children that it forks.
pub fn stay_on_one_processor() -> Result<()> {
    let mut first = CpuSet::new();
    first.set(0).and_then(|()| sched_setaffinity(Pid::from_raw(0), &first)).doing("stay on one processor")
}

/// From now on the scenario runs before all who have no such priority, its children too.
pub fn run_first() -> Result<()> {
    schedule(libc::SCHED_FIFO, 1)
}

/// From now on it runs by turns with all others.
pub fn run_by_turns() -> Result<()> {
    schedule(libc::SCHED_OTHER, 0)
}

fn schedule(policy: i32, priority: i32) -> Result<()> {
    let parameters = libc::sched_param { sched_priority: priority };
    // SAFETY: the structure is there, and whole.
    let answer = unsafe { libc::sched_setscheduler(0, policy, &raw const parameters) };
    Errno::result(answer).doing("change the scenario's priority").map(drop)
}
