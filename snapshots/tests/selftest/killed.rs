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

use crate::guest::{bench, expect, own_checkpoints, run, state, task, wait_for};

pub(crate) fn trials() -> [Trial; 2] {
    [
        Trial::test("selftest::qemu_killed_from_outside", kill_qemu),
        Trial::test("selftest::qemu_killed_while_it_saves_or_restores", kill_with_helper),
    ]
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

/// A checkpoint whose QEMU is killed while it is saved is not there afterwards; one whose QEMU is killed
/// while it is restored is as good as before.
fn kill_with_helper() -> Result<(), Failed> {
    let task = task("qemu_killed_while_it_saves_or_restores", "selftest_holds")?;
    let bench = own_checkpoints(&task)?;
    let saving = run_and_kill(&bench, &task)?;
    expect(&saving, OutcomeKind::HarnessError, "QEMU was killed by SIGKILL")?;
    expect(&run(&bench, &task)?, OutcomeKind::Passed, "")?;
    let made = || fs::metadata(state(&bench, &task)?).and_then(|data| data.modified()).map_err(Failed::from);
    let before = made()?;
    let restoring = run_and_kill(&bench, &task)?;
    expect(&restoring, OutcomeKind::HarnessError, "QEMU was killed by SIGKILL")?;
    expect(&run(&bench, &task)?, OutcomeKind::Passed, "")?;
    if before != made()? {
        return Err("the checkpoint was thrown away for the death of a QEMU".into());
    }
    Ok(())
}

/// Runs the task, and kills its QEMU as soon as that has a child: the program that reads or writes a state.
fn run_and_kill(bench: &Bench, task: &Task) -> Result<Record, Failed> {
    let (own, of) = (bench.clone(), task.clone());
    let running = thread::spawn(move || run(&own, &of));
    let deadline = Instant::now() + Duration::from_mins(1);
    while !running.is_finished() && Instant::now() < deadline {
        if let Some(pid) = qemu_with_child(&bench.machine.image) {
            // That it has ended meanwhile shows in the record.
            let _ = kill(pid, Signal::SIGKILL);
            break;
        }
        thread::park_timeout(Duration::from_millis(1));
    }
    running.join().map_err(|_| "the thread of the guest panicked")?
}

/// The QEMU that runs this image, if it has a child.
fn qemu_with_child(image: &Path) -> Option<Pid> {
    let all = || fs::read_dir("/proc").into_iter().flatten().flatten().map(|entry| entry.path());
    let runs_image = |process: &PathBuf| {
        let line = fs::read(process.join("cmdline")).unwrap_or_default();
        line.split(|byte| *byte == 0).any(|word| word == image.as_os_str().as_encoded_bytes())
    };
    let parent = |process: PathBuf| {
        let stat = fs::read_to_string(process.join("stat")).ok()?;
        stat.rsplit(") ").next()?.split(' ').nth(1)?.parse::<i32>().ok()
    };
    let qemu: i32 = all().find(runs_image)?.file_name()?.to_str()?.parse().ok()?;
    all().filter_map(parent).any(|found| found == qemu).then(|| Pid::from_raw(qemu))
}
