// SPDX-License-Identifier: MIT OR Apache-2.0

//! Threads that do something beside the scenario: whether they are still at it, by what `/proc` says of them.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use std::{fs, io, thread};

use nix::unistd::Pid;

/// How long they may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// Waits until each worker of `io_uring` for this process sleeps, for want of work or in another request.
pub(super) fn wait_for_io_workers() -> io::Result<()> {
    let is_running = |stat: &str| stat.contains(" (iou-wrk-") && is_running(stat);
    wait_while_any("a worker of io_uring", "/proc/self/task", is_running)
}

/// Waits until each thread of a process sleeps.
pub(super) fn wait_for_process(pid: &str) -> io::Result<()> {
    wait_while_any(&format!("process {pid}"), &format!("/proc/{pid}/task"), is_running)
}

/// Waits until none of the kernel's workers writes back what is dirty.
pub(super) fn wait_for_flushers() -> io::Result<()> {
    // One that is at it is called `kworker/u9:2+flush-253:16`, and `-flush-` once it is done.
    wait_while_any("a worker that writes back", "/proc", |stat| stat.contains("+flush-"))
}

/// The kernel's workers that belong to no processor.
pub(super) fn unbound_workers() -> io::Result<Vec<Pid>> {
    // The line of one begins with `29 (kworker/u9:2`, and goes on with what it did last.
    let number = |stat: String| stat.split_once(" (kworker/u")?.0.parse().ok();
    Ok(folders("/proc")?.iter().filter_map(|folder| number(stat(folder))).map(Pid::from_raw).collect())
}

/// Whether a process of one thread sleeps in the kernel, and no signal would wake it.
pub(super) fn is_asleep(process: Pid) -> bool {
    stat(&Path::new("/proc").join(process.to_string())).contains(") D ")
}

/// Whether a thread of this process sleeps in the kernel's function of that name.
pub(super) fn is_any_asleep_in(function: &str) -> io::Result<bool> {
    for folder in folders("/proc/self/task")? {
        // A line of the stack is `[<0>] folio_wait_writeback+0x2d/0x90`.
        let is_there = stat(&folder).contains(") D ")
            && fs::read_to_string(folder.join("stack"))?.contains(&format!(" {function}+"));
        if is_there {
            return Ok(true);
        }
    }
    Ok(false)
}

fn wait_while_any(who: &str, folder: &str, is_at_work: impl Fn(&str) -> bool) -> io::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while folders(folder)?.iter().any(|folder| is_at_work(&stat(folder))) {
        if Instant::now() > deadline {
            return Err(io::Error::other(format!("{who} is still at work after 20 s")));
        }
        thread::yield_now();
    }
    Ok(())
}

fn folders(of: &str) -> io::Result<Vec<PathBuf>> {
    fs::read_dir(of)?.map(|entry| Ok(entry?.path())).collect()
}

/// What the kernel says of a thread in one line: `94 (iou-wrk-93) R 1 ...`. One that has ended has no line.
fn stat(folder: &Path) -> String {
    fs::read_to_string(folder.join("stat")).unwrap_or_default()
}

fn is_running(stat: &str) -> bool {
    stat.contains(") R ")
}
