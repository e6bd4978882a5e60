// SPDX-License-Identifier: MIT OR Apache-2.0

//! Checkpoints that are not what they were when they were saved.

use std::fs;
use std::path::Path;

use fs_harness::cell::Setup;
use fs_harness::record::OutcomeKind;
use libtest_mimic::{Failed, Trial};
use xtask::cell;
use xtask::qemu::checkpoint;

use crate::guest::{SHORT, bench, expect, run, task};

pub(crate) fn trials() -> [Trial; 1] {
    [Trial::test("selftest::a_truncated_checkpoint", truncated_checkpoint)]
}

/// A checkpoint that QEMU cannot restore is a harness error, and gone afterwards.
fn truncated_checkpoint() -> Result<(), Failed> {
    let mut task = task("a_truncated_checkpoint", "selftest_holds")?;
    // Another command line has checkpoints of its own: those of the cells stay whole.
    let ordinary = bench()?;
    let mut bench = ordinary.clone();
    bench.machine.image = task.folder.with_extension("cpio");
    let copy = |from: &Path, to: &Path| {
        fs::create_dir_all(to.parent().unwrap_or(to)).and_then(|()| fs::copy(from, to))
    };
    copy(&ordinary.machine.image, &bench.machine.image)
        .map_err(|error| format!("copy the image: {error}"))?;
    let make = || checkpoint::ensure(&bench.machine, "truncated", Setup::None, cell::limits(&bench));
    let made = make().map_err(|error| format!("{error:#}"))?.map_err(|_| "no checkpoint could be made")?;
    let whole = fs::metadata(&made.state).map_err(|error| format!("look at the state: {error}"))?.len();
    let state = fs::File::options()
        .write(true)
        .open(&made.state)
        .map_err(|error| format!("open the state: {error}"))?;
    state.set_len(whole / 2).map_err(|error| format!("truncate the state: {error}"))?;
    bench.environment.insert("qemu".to_owned(), "truncated".to_owned());
    task.limits.boot = SHORT;
    expect(&run(&bench, &task)?, OutcomeKind::HarnessError, "checkpoint")?;
    expect(&run(&bench, &task)?, OutcomeKind::Passed, "")
}
