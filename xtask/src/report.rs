// SPDX-License-Identifier: MIT OR Apache-2.0

//! Records, as people read them: a line, a table, a failure on one screen, a summary.

use std::fmt::Write as _;

use comfy_table::{Table, presets};
use fs_harness::record::{OutcomeKind, Record, Verdict};
use fs_harness::render::render;
use similar::TextDiff;

use crate::{cell, workspace};

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
        let outcome = if record.outcome.kind == OutcomeKind::Passed && !passed(record) {
            "snapshot differs".to_owned()
        } else {
            record.outcome.kind.to_string()
        };
        let checks = format!("{holding} of {} hold", record.checks.len());
        table.add_row([outcome, record.cell.to_string(), checks, seconds(record)]);
    }
    table.to_string()
}

/// All that a person needs of a cell that did not pass, on one screen.
pub fn failure(record: &Record) -> String {
    let mut text = format!("\n{}\n  {}: {}\n", record.cell, record.outcome.kind, record.outcome.detail);
    let folder = cell::folder(&record.cell);
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
    let _ = writeln!(text, "  again:     cargo xtask run {}", record.cell);
    let _ = writeln!(text, "  artefacts: {}", folder.display());
    text
}

/// How a text differs from what was expected, with three lines of context.
pub fn difference(expected: &str, found: &str) -> String {
    TextDiff::from_lines(expected, found).unified_diff().to_string()
}

/// The last line of a run.
pub fn summary(records: &[Record], passed: fn(&Record) -> bool) -> String {
    let skipped = records.iter().filter(|record| record.outcome.kind == OutcomeKind::Skipped).count();
    let passed = records.iter().filter(|record| passed(record)).count();
    let failed = records.len() - passed - skipped;
    format!("cells: {passed} passed, {failed} failed, {skipped} skipped")
}

/// The text of the cell's reviewed snapshot: what follows insta's own header.
fn reviewed(record: &Record) -> Option<String> {
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
