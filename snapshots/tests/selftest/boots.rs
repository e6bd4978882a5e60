// SPDX-License-Identifier: MIT OR Apache-2.0

//! Guests that never come up, and records of guests that are still under way.

use std::fs;
use std::thread;
use std::time::Duration;

use fs_harness::record::OutcomeKind;
use libtest_mimic::{Failed, Trial};
use xtask::bench::{Bench, Isolation};
use xtask::cell;

use crate::guest::{bench, expect, run, task, wait_for};

pub(crate) fn trials() -> [Trial; 3] {
    [
        Trial::test("selftest::a_kernel_that_panics_at_boot", panics_at_boot),
        Trial::test("selftest::an_agent_that_never_speaks", never_ready),
        Trial::test("selftest::a_record_starts_as_died", starts_as_died),
    ]
}

/// A kernel that panics before the agent speaks, for its initramfs is empty.
fn panics_at_boot() -> Result<(), Failed> {
    let task = task("a_kernel_that_panics_at_boot", "selftest_holds")?;
    let mut bench = Bench { isolation: Isolation::Boot, ..bench()?.clone() };
    bench.machine.image = std::env::temp_dir().join(format!("pinbed-empty-{}.cpio", std::process::id()));
    fs::write(&bench.machine.image, [0; 512]).map_err(|error| format!("write an empty image: {error}"))?;
    let record = run(&bench, &task);
    fs::remove_file(&bench.machine.image).map_err(|error| format!("remove the empty image: {error}"))?;
    expect(&record?, OutcomeKind::GuestPanicked, "the guest was booting")
}

/// A guest whose agent has not spoken when its time is over.
fn never_ready() -> Result<(), Failed> {
    let mut task = task("an_agent_that_never_speaks", "selftest_holds")?;
    task.limits.boot = Duration::from_millis(200);
    let bench = Bench { isolation: Isolation::Boot, ..bench()?.clone() };
    expect(&run(&bench, &task)?, OutcomeKind::BootFailed, "the agent was not ready")
}

/// While a cell runs, and if its harness is killed, the record on disk says that it died.
fn starts_as_died() -> Result<(), Failed> {
    let task = task("a_record_starts_as_died", "selftest_holds")?;
    let folder = task.folder.clone();
    let running = thread::spawn(move || run(bench()?, &task));
    wait_for(&folder.join(cell::PID), &running)?;
    let record = cell::load(&folder).map_err(|error| format!("{error:#}"))?.ok_or("there is no record")?;
    let ended = running.join().map_err(|_| "the thread of the guest panicked")??;
    expect(&record, OutcomeKind::Died, "never finished")?;
    expect(&ended, OutcomeKind::Passed, "")
}
