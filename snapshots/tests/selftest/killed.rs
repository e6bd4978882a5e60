// SPDX-License-Identifier: MIT OR Apache-2.0

//! QEMU killed from outside, at one moment or another.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use fs_harness::record::{OutcomeKind, Record};
use libtest_mimic::{Failed, Trial};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use xtask::bench::Bench;
use xtask::cell::{self, Task};

use crate::guest::{bench, expect, own_checkpoints, run, state, task};

const KILLED: &str = "QEMU was killed by SIGKILL";

pub(crate) fn trials() -> [Trial; 2] {
    [
        Trial::test("selftest::qemu_killed_from_outside", kill_qemu),
        Trial::test("selftest::qemu_killed_while_it_makes_or_restores", kill_around_a_checkpoint),
    ]
}

/// A guest waits for ever, and its QEMU is killed meanwhile.
fn kill_qemu() -> Result<(), Failed> {
    let task = task("qemu_killed_from_outside", "selftest_waits")?;
    let record = run_and_kill(bench()?, &task, || noted(&task))?;
    expect(&record, OutcomeKind::HarnessError, KILLED)
}

/// A checkpoint whose QEMU is killed while it is made is not there afterwards; one whose QEMU is killed
/// while it is restored is as good as before.
fn kill_around_a_checkpoint() -> Result<(), Failed> {
    let task = task("qemu_killed_while_it_makes_or_restores", "selftest_holds")?;
    let bench = own_checkpoints(&task)?;
    let making = run_and_kill(&bench, &task, || booting(&bench.machine.image))?;
    expect(&making, OutcomeKind::HarnessError, KILLED)?;
    expect(&run(&bench, &task)?, OutcomeKind::Passed, "")?;
    let made = || fs::metadata(state(&bench, &task)?).and_then(|data| data.modified()).map_err(Failed::from);
    let before = made()?;
    let restoring = run_and_kill(&bench, &task, || noted(&task))?;
    expect(&restoring, OutcomeKind::HarnessError, KILLED)?;
    expect(&run(&bench, &task)?, OutcomeKind::Passed, "")?;
    if before != made()? {
        return Err("the checkpoint was thrown away for the death of a QEMU".into());
    }
    Ok(())
}

/// Runs the task, and kills its QEMU as soon as it is found.
fn run_and_kill(bench: &Bench, task: &Task, find: impl Fn() -> Option<Pid>) -> Result<Record, Failed> {
    let (own, of) = (bench.clone(), task.clone());
    let running = thread::spawn(move || run(&own, &of));
    let deadline = Instant::now() + Duration::from_mins(1);
    while !running.is_finished() && Instant::now() < deadline {
        if let Some(pid) = find() {
            // That it has ended meanwhile shows in the record.
            let _ = kill(pid, Signal::SIGKILL);
            break;
        }
        thread::park_timeout(Duration::from_millis(1));
    }
    running.join().map_err(|_| "the thread of the guest panicked")?
}

/// The QEMU that the harness has noted for the cell.
fn noted(task: &Task) -> Option<Pid> {
    let text = fs::read_to_string(task.folder.join(cell::PID)).ok()?;
    text.parse().ok().map(Pid::from_raw)
}

/// The QEMU that boots this image; one that restores a guest does not name it.
fn booting(image: &Path) -> Option<Pid> {
    let mut all = fs::read_dir("/proc").into_iter().flatten().flatten().map(|entry| entry.path());
    let runs_image = |process: &PathBuf| {
        let line = fs::read(process.join("cmdline")).unwrap_or_default();
        line.split(|byte| *byte == 0).any(|word| word == image.as_os_str().as_encoded_bytes())
    };
    all.find(runs_image)?.file_name()?.to_str()?.parse().ok().map(Pid::from_raw)
}
