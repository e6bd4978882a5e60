// SPDX-License-Identifier: MIT OR Apache-2.0

//! Records, as people read them: a line, a table, a failure on one screen, a summary.

use std::fmt::Write as _;
use std::path::Path;

use comfy_table::{Table, presets};
use fs_harness::record::{OutcomeKind, Record, SnapshotMatch, Verdict};
use fs_harness::render::render;
use similar::TextDiff;

use crate::workspace;

/// Lines of the kernel's log in a failure report.
const LOG_LINES: usize = 20;

/// How one cell ended, as it ends.
pub fn line(record: &Record, number: usize, of: usize) -> String {
    let seconds = seconds(record);
    let detail = record.outcome.detail.as_str();
    let separator = if detail.is_empty() { "" } else { ": " };
    format!("{number:>3}/{of} {:<14} {seconds:>6} {}{separator}{detail}", record.outcome.kind, record.cell)
}

/// Every cell and its outcome.
pub fn table(records: &[Record], passed: fn(&Record) -> bool) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(["outcome", "cell", "checks", "time"]);
    for record in records {
        let holding = record.checks.iter().filter(|check| check.verdict == Verdict::Holds).count();
        let ending = if passed(record) { record.outcome.kind.to_string() } else { shortcoming(record) };
        let checks = format!("{holding} of {} hold", record.checks.len());
        table.add_row([ending, record.cell.to_string(), checks, seconds(record)]);
    }
    table.to_string()
}

/// How a cell ended that did not pass, which one whose own checks hold can fail to do.
fn shortcoming(record: &Record) -> String {
    match (record.outcome.kind, record.snapshot) {
        (OutcomeKind::Passed, Some(SnapshotMatch::Differs)) => "snapshot differs".to_owned(),
        (OutcomeKind::Passed, _) => "not compared".to_owned(),
        (kind, _) => kind.to_string(),
    }
}

/// All that a person needs of a cell that did not pass, on one screen. Its artefacts are in `folder`.
pub fn failure(record: &Record, folder: &Path) -> String {
    let detail = record.outcome.detail.as_str();
    let separator = if detail.is_empty() { "" } else { ": " };
    let mut text = format!("\n{}\n  {}{separator}{detail}\n", record.cell, shortcoming(record));
    for check in record.checks.iter().filter(|check| check.verdict == Verdict::Violated) {
        // Writing to a String never fails.
        let _ = writeln!(text, "  violated: {}", check.text);
        if let Some(detail) = &check.detail {
            let _ = writeln!(text, "            {detail}");
        }
    }
    if let Some(reviewed) = reviewed(record) {
        let _ = write!(text, "{}", indented(&difference(&reviewed, &render(record))));
    }
    if let Some(step) = record.steps.last() {
        let _ = writeln!(text, "  last step: {}", step.name);
    }
    for (name, what) in [("kernel.log", "kernel log"), ("console.log", "console")] {
        let log = std::fs::read_to_string(folder.join(name)).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        if !lines.is_empty() {
            let _ = writeln!(text, "  end of the {what}:");
        }
        for line in &lines[lines.len().saturating_sub(LOG_LINES)..] {
            let _ = writeln!(text, "    {line}");
        }
    }
    let options = record.environment.get("options").map_or("", String::as_str);
    let again = format!("cargo xtask run {} {options}", record.cell);
    let _ = writeln!(text, "  again:     {}", again.trim_end());
    let _ = writeln!(text, "  artefacts: {}", folder.display());
    text
}

/// How a text differs from what was expected, with three lines of context.
pub fn difference(expected: &str, found: &str) -> String {
    TextDiff::from_lines(expected, found).unified_diff().to_string()
}

/// The end of a run.
pub fn summary(records: &[Record], passed: fn(&Record) -> bool) -> String {
    let skipped = records.iter().filter(|record| record.outcome.kind == OutcomeKind::Skipped).count();
    let passed = records.iter().filter(|record| passed(record)).count();
    let failed = records.len() - passed - skipped;
    let counts = format!("cells: {passed} passed, {failed} failed, {skipped} skipped");
    if skipped == 0 {
        return counts;
    }
    format!("{counts}\na skipped cell fails the run: the kernels of pinbed have all that cells require")
}

/// The text of the cell's reviewed snapshot: what follows insta's own header.
pub fn reviewed(record: &Record) -> Option<String> {
    let file = workspace().join("snapshots").join(record.cell.path()).with_extension("snap");
    let text = std::fs::read_to_string(file).ok()?;
    text.splitn(3, "---\n").nth(2).map(str::to_owned)
}

fn indented(text: &str) -> String {
    text.lines().flat_map(|line| ["  ", line, "\n"]).collect()
}

fn seconds(record: &Record) -> String {
    record.timings.last().map_or_else(|| "-".to_owned(), |timing| format!("{:.1} s", timing.seconds))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use fs_harness::record::Outcome;

    use super::*;

    fn record(kind: OutcomeKind, snapshot: Option<SnapshotMatch>) -> Record {
        let (cell, _) = workloads::catalogue::cells().next().unwrap();
        let environment = BTreeMap::from([("options".to_owned(), "--isolation boot".to_owned())]);
        let outcome = Outcome { kind, detail: String::new() };
        Record { outcome, snapshot, ..Record::new(cell, environment) }
    }

    #[test]
    fn a_failure_shows_the_log_of_its_own_folder_and_how_to_repeat_it() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("kernel.log"), "of this round\n").unwrap();
        let record = record(OutcomeKind::Passed, Some(SnapshotMatch::Differs));
        let text = failure(&record, folder.path());
        assert!(text.contains("\n  snapshot differs\n"), "{text}");
        assert!(text.contains("\n    of this round\n"), "{text}");
        assert!(text.contains(&format!("cargo xtask run {} --isolation boot\n", record.cell)), "{text}");
        assert!(text.ends_with(&format!("artefacts: {}\n", folder.path().display())), "{text}");
    }

    #[test]
    fn a_skip_is_counted_apart_and_explained() {
        let passed = |record: &Record| record.outcome.kind == OutcomeKind::Passed;
        let records = [record(OutcomeKind::Passed, None), record(OutcomeKind::Skipped, None)];
        assert_eq!(summary(&records[..1], passed), "cells: 1 passed, 0 failed, 0 skipped");
        let text = summary(&records, passed);
        assert!(text.starts_with("cells: 1 passed, 0 failed, 1 skipped\na skipped cell fails"), "{text}");
    }
}
