// SPDX-License-Identifier: MIT OR Apache-2.0

//! Where a scenario runs, and whom it goes before: what is a race otherwise has one end then.

use nix::errno::Errno;
use nix::libc;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

use super::error::{Doing, Result};
use super::threads;

/// The scenario.
const ITSELF: Pid = Pid::from_raw(0);

/// Of whoever runs first, but for the scenario itself.
const FIRST: i32 = 1;

/// From now on the scenario runs on the first processor only, and so do the children that it forks.
pub fn stay_on_one_processor() -> Result<()> {
    let mut first = CpuSet::new();
    first.set(0).and_then(|()| sched_setaffinity(ITSELF, &first)).doing("stay on one processor")
}

/// From now on the scenario runs before all who have no such priority, its children too.
pub fn run_first() -> Result<()> {
    schedule(ITSELF, libc::SCHED_FIFO, FIRST + 1)
}

/// From now on it runs by turns with all others.
pub fn run_by_turns() -> Result<()> {
    schedule(ITSELF, libc::SCHED_OTHER, 0)
}

/// From now on the kernel's workers that belong to no processor run before all others but a scenario that runs first.
/// What one of them queues for another waits until it is done: a flusher goes on to what it is told next.
pub fn workers_run_first() -> Result<()> {
    schedule_workers(libc::SCHED_FIFO, FIRST)
}

/// From now on they run by turns with all others.
pub fn workers_run_by_turns() -> Result<()> {
    schedule_workers(libc::SCHED_OTHER, 0)
}

fn schedule_workers(policy: i32, priority: i32) -> Result<()> {
    let workers = threads::unbound_workers().doing("look for the kernel's workers")?;
    // One may have ended meanwhile.
    let has_ended = |done: &Result<()>| done.as_ref().is_err_and(|error| error.errno() == Some(Errno::ESRCH));
    let scheduled = workers.into_iter().map(|worker| schedule(worker, policy, priority));
    scheduled.filter(|done| !has_ended(done)).collect()
}

fn schedule(thread: Pid, policy: i32, priority: i32) -> Result<()> {
    let parameters = libc::sched_param { sched_priority: priority };
    // SAFETY: the structure is there, and whole.
    let answer = unsafe { libc::sched_setscheduler(thread.as_raw(), policy, &raw const parameters) };
    Errno::result(answer).doing("change a priority").map(drop)
}
