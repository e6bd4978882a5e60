// SPDX-License-Identifier: MIT OR Apache-2.0

//! One guest of a self-test.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime};

use fs_harness::record::{OutcomeKind, Record};
use libtest_mimic::Failed;
use workloads::catalogue;
use xtask::bench::Bench;
use xtask::cell::{self, Task};
use xtask::qemu::checkpoint;
use xtask::qemu::limits::Limits;

static BENCH: LazyLock<Result<Bench, String>> =
    LazyLock::new(|| Bench::load().map_err(|error| format!("{error:#}")));

/// A guest that is made to hang must not be waited for as long as one that may only be slow.
pub(crate) const SHORT: Duration = Duration::from_secs(5);

/// The bench of this run.
pub(crate) fn bench() -> Result<&'static Bench, Failed> {
    Ok(BENCH.as_ref()?)
}

/// The task of a scenario of the self-test; its artefacts go into a folder named after the case.
pub(crate) fn task(case: &str, scenario: &str) -> Result<Task, Failed> {
    let found = catalogue::find(scenario).ok_or_else(|| format!("there is no {scenario}"))?;
    let (cell, _) = catalogue::cells_of(found).next().ok_or_else(|| format!("{scenario} has no cell"))?;
    let bench = bench()?;
    let folder = xtask::artefacts().join("selftest").join(case);
    Ok(Task { folder, ..cell::task(bench, &cell) })
}

/// Runs it; an error of the harness itself fails the case.
pub(crate) fn run(bench: &Bench, task: &Task) -> Result<Record, Failed> {
    cell::run(bench, task).map_err(|error| format!("{error:#}").into())
}

/// Fails the case unless the record says this.
pub(crate) fn expect(record: &Record, kind: OutcomeKind, says: &str) -> Result<(), Failed> {
    let outcome = &record.outcome;
    if outcome.kind == kind && outcome.detail.contains(says) {
        return Ok(());
    }
    Err(format!("expected '{kind}' saying '{says}', but it {}: {}", outcome.kind, outcome.detail).into())
}

/// A bench like that of this run, with checkpoints of its own that no earlier run has made: those of the
/// cells stay whole.
pub(crate) fn own_checkpoints(task: &Task) -> Result<Bench, Failed> {
    let mut own = bench()?.clone();
    own.machine.image = task.folder.with_extension("cpio");
    let ordinary = &bench()?.machine.image;
    fs::create_dir_all(task.folder.parent().unwrap_or(&task.folder))
        .and_then(|()| fs::copy(ordinary, &own.machine.image).map(drop))
        .map_err(|error| format!("copy the image: {error}"))?;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    own.environment.insert("qemu".to_owned(), format!("of {} at {now:?}", task.folder.display()));
    Ok(own)
}

/// The state of the checkpoint from which the task's cell starts, made first if need be.
pub(crate) fn state(bench: &Bench, task: &Task) -> Result<PathBuf, Failed> {
    let qemu = bench.environment.get("qemu").map_or("", String::as_str);
    let made = checkpoint::ensure(&bench.machine, qemu, task.cell.setup, Limits::of(&bench.machine));
    let made = made.map_err(|error| format!("{error:#}"))?.map_err(|_| "no checkpoint could be made")?;
    Ok(made.files.state)
}

/// Waits until a process id stands in the file.
pub(crate) fn wait_for<T>(pid_file: &Path, running: &JoinHandle<T>) -> Result<i32, Failed> {
    let deadline = Instant::now() + Duration::from_secs(30);
    while Instant::now() < deadline && !running.is_finished() {
        if let Some(pid) = fs::read_to_string(pid_file).ok().and_then(|text| text.parse().ok()) {
            return Ok(pid);
        }
        thread::park_timeout(Duration::from_millis(10));
    }
    Err(format!("no process id appeared in {}", pid_file.display()).into())
}
