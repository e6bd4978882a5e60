// SPDX-License-Identifier: MIT OR Apache-2.0

//! Every cell of the catalogue as a test: it must pass, and look as its reviewed snapshot does.

use std::collections::BTreeSet;
use std::panic::{self, AssertUnwindSafe};
use std::path::PathBuf;
use std::sync::LazyLock;
use std::{env, fs};

use fs_harness::cell::Cell;
use fs_harness::record::{Outcome, OutcomeKind, Record, SnapshotMatch};
use fs_harness::render::render;
use libtest_mimic::{Arguments, Failed, Trial};
use workloads::catalogue;
use xtask::bench::Bench;
use xtask::report::{junit, text};
use xtask::{cell, test};

static BENCH: LazyLock<Result<Bench, String>> =
    LazyLock::new(|| Bench::load().map_err(|error| format!("{error:#}")));

fn main() {
    xtask::host::command::end_with_runner();
    let arguments = Arguments::from_args();
    // insta panics where a snapshot differs, after it has shown how: the trace of that helps nobody.
    panic::set_hook(Box::new(|_| {}));
    let chosen = env::var(test::CHOSEN).ok();
    let chosen: Option<BTreeSet<&str>> = chosen.as_ref().map(|names| names.lines().collect());
    let is_chosen =
        |cell: &Cell| chosen.as_ref().is_none_or(|names| names.contains(cell.to_string().as_str()));
    let cells = catalogue::cells().map(|(cell, _)| cell).filter(is_chosen);
    let trials = cells.map(|cell| Trial::test(cell.to_string(), move || check(&cell))).collect();
    libtest_mimic::run(&arguments, trials).exit();
}

fn check(cell: &Cell) -> Result<(), Failed> {
    if env::var("NEXTEST_ATTEMPT").is_ok_and(|attempt| attempt != "1") {
        return Err("a cell runs once, and what its first attempt left stands".into());
    }
    let bench = BENCH.as_ref()?;
    let task = cell::task(bench, cell);
    let mut record = cell::run(bench, &task).map_err(|error| format!("{error:#}"))?;
    let compared = compare(&record);
    record.snapshot = Some(if compared.is_ok() { SnapshotMatch::Same } else { SnapshotMatch::Differs });
    if let Err(fault) = against_the_schema(&record) {
        let detail = format!("the record is not as docs/record.schema.json says: {fault}");
        record.outcome = Outcome { kind: OutcomeKind::HarnessError, detail };
    }
    cell::save(&task.folder, &record).map_err(|error| format!("{error:#}"))?;
    if env::var_os("NEXTEST").is_some() {
        // For nextest's own JUnit report.
        print!("{}", junit::attachments(&task.folder));
    }
    if record.outcome.kind != OutcomeKind::Passed {
        return Err(format!("{}: {}", record.outcome.kind, record.outcome.detail).into());
    }
    compared.map_err(|()| "the snapshot differs; if it should, `cargo xtask review` accepts it".into())
}

/// Whether a record that a guest really left is what the documentation tells others to expect.
fn against_the_schema(record: &Record) -> Result<(), String> {
    let path = xtask::workspace().join("docs/record.schema.json");
    let text = fs::read(&path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    let schema = serde_json::from_slice(&text).map_err(|error| format!("{}: {error}", path.display()))?;
    let validator = jsonschema::validator_for(&schema).map_err(|error| error.to_string())?;
    let record = serde_json::to_value(record).map_err(|error| error.to_string())?;
    validator.validate(&record).map_err(|error| format!("{error} at {}", error.instance_path()))
}

/// Compares with the reviewed file. The comparison is our own: the environment can make insta pass
/// anything. insta prints the difference and keeps the new text for review.
fn compare(record: &Record) -> Result<(), ()> {
    let text = render(record);
    if text::reviewed(record).is_some_and(|reviewed| reviewed.trim_end() == text.trim_end()) {
        return Ok(());
    }
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(folder().join(&record.cell.scenario));
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    let path = record.cell.path();
    let name = path.rsplit('/').next().unwrap_or(&path);
    let show = || settings.bind(|| insta::assert_snapshot!(name, text));
    // It panics after it has shown the difference; what it says adds nothing.
    let _ = panic::catch_unwind(AssertUnwindSafe(show));
    Err(())
}

/// The folder of the snapshots, where the tests run and not where they were compiled.
fn folder() -> PathBuf {
    xtask::workspace().join("snapshots")
}
