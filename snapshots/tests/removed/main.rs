// SPDX-License-Identifier: MIT OR Apache-2.0

//! No call that acquires or releases a page can be left out of the driver without a cell that fails, no check
//! of what userspace sends of those that are named here, and nothing of what keeps the policies from losing data:
//! a copy of the driver is built without each of them, and runs that cell in a guest of its own.
//!
//! A removal that was noticed is remembered in the cache for the same driver, scenarios and kernel: all of
//! them together take minutes.

use std::fs;
use std::path::PathBuf;
use std::sync::LazyLock;

use fs_harness::record::{OutcomeKind, Record, Verdict};
use libtest_mimic::{Arguments, Failed, Trial};
use workloads::catalogue;
use xtask::bench::{Bench, Isolation};
use xtask::cell::{self, Task};
use xtask::{cache, image};

use built::driver_without;
use calls::CALLS;
use checks::CHECKS;
use policies::POLICIES;

mod built;
mod calls;
mod checks;
#[path = "../driver_copy/mod.rs"]
mod driver_copy;
mod policies;

static BENCH: LazyLock<Result<Bench, String>> =
    LazyLock::new(|| Bench::load().map_err(|error| format!("{error:#}")));

/// Where the guest's image has the driver.
const DRIVER: &str = "/pinblk.ko";

/// A call or a check that is left out.
#[derive(Debug)]
struct Removal {
    name: &'static str,
    /// The file of the driver in which it stands.
    file: &'static str,
    /// The item in which it stands, by its beginning.
    item: &'static str,
    code: &'static str,
    /// What stands there instead.
    instead: &'static str,
    /// The cell that notices.
    cell: &'static str,
    /// The check that does, or a part of its words.
    noticed: &'static str,
}

fn main() {
    xtask::host::command::end_with_runner();
    let arguments = Arguments::from_args();
    let trial = |removal: &'static Removal| {
        Trial::test(format!("removed::{}", removal.name), move || check(removal).map_err(Failed::from))
    };
    libtest_mimic::run(&arguments, CALLS.iter().chain(CHECKS).chain(POLICIES).map(trial).collect()).exit();
}

/// Fails unless the cell notices in the words that are expected.
fn check(removal: &Removal) -> Result<(), String> {
    let bench = BENCH.as_ref().map_err(Clone::clone)?;
    let words = |error: anyhow::Error| format!("{error:#}");
    let remembered = remembered(bench, removal).map_err(words)?;
    if let Ok(noticed) = fs::read_to_string(&remembered) {
        println!("{}: seen before: {noticed}", removal.name);
        return Ok(());
    }
    let record = run_without(bench, removal)?;
    let noticed = noticed(&record)?;
    if !noticed.contains(removal.noticed) {
        return Err(format!("{} fails, but not by '{}': {noticed}", removal.cell, removal.noticed));
    }
    println!("{}: {noticed}", removal.name);
    cache::write_whole(&remembered, noticed.as_bytes()).map_err(words)
}

/// The checks that the cell found violated. All else is no notice.
fn noticed(record: &Record) -> Result<String, String> {
    let outcome = &record.outcome;
    let violated = record.checks.iter().filter(|check| check.verdict == Verdict::Violated);
    let violated: Vec<&str> = violated.map(|check| check.text.as_str()).collect();
    if outcome.kind != OutcomeKind::Failed || violated.is_empty() {
        return Err(format!("{} {}, by no check: {}", record.cell, outcome.kind, outcome.detail));
    }
    Ok(violated.join("; "))
}

/// The file that says how it was noticed, once it was. The image has the driver and the scenarios.
fn remembered(bench: &Bench, removal: &Removal) -> anyhow::Result<PathBuf> {
    let of = |name: &str| bench.environment.get(name).map_or("", String::as_str);
    let inputs = format!("{} {} {removal:?}", of("image"), bench.machine.kernel.display());
    let key = cache::short_hex(blake3::hash(inputs.as_bytes()));
    Ok(cache::folder("removed")?.join(key))
}

/// Runs the cell in a guest that boots with a driver without the code.
fn run_without(bench: &Bench, removal: &Removal) -> Result<Record, String> {
    let kernel = bench.machine.kernel.parent().ok_or("the kernel's file has no folder")?;
    let driver = driver_without(removal, kernel)?;
    let words = |error: anyhow::Error| format!("{error:#}");
    let mut bench = bench.clone();
    bench.isolation = Isolation::Boot;
    let folder = xtask::artefacts().join("removed").join(removal.name);
    let own = folder.join("initramfs.cpio");
    let driver = fs::read(&driver).map_err(|error| format!("read {}: {error}", driver.display()))?;
    image::with_file(&bench.machine.image, DRIVER, &driver, &own).map_err(words)?;
    bench.machine.image = own;
    let found = removal.cell.parse().map_err(|error| format!("{}: {error}", removal.cell))?;
    if !catalogue::cells().any(|(cell, _)| cell == found) {
        return Err(format!("there is no cell {}", removal.cell));
    }
    let task = Task { folder: folder.join("cell"), ..cell::task(&bench, &found) };
    let record = cell::run(&bench, &task).map_err(words)?;
    fs::remove_file(&bench.machine.image).map_err(|error| format!("remove the image: {error}"))?;
    Ok(record)
}
