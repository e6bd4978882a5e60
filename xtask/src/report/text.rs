// SPDX-License-Identifier: MIT OR Apache-2.0

//! A report as people read it: a line, a table, a failure on one screen, a summary.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use comfy_table::{Table, presets};
use fs_harness::record::{Check, OutcomeKind, Record, SnapshotMatch, Verdict};
use fs_harness::render::render;
use similar::TextDiff;

use super::{Demand, Ending, Report};
use crate::workspace;

/// Lines of the kernel's log in a failure report.
const LOG_LINES: usize = 20;

/// How one cell ended, as it ends.
pub fn line(record: &Record, number: usize, of: usize) -> String {
    let detail = record.outcome.detail.as_str();
    let separator = if detail.is_empty() { "" } else { ": " };
    format!(
        "{number:>3}/{of} {:<14} {:>6} {}{separator}{detail}",
        record.outcome.kind,
        seconds(record),
        record.cell
    )
}

/// Every cell and its outcome. Of a cell that ran often, the first run and those that fell short.
pub fn table(report: &Report) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(["outcome", "cell", "checks", "time"]);
    let mut seen = BTreeSet::new();
    for ending in &report.endings {
        let record = &ending.record;
        let met = report.demand.is_met(record);
        if !seen.insert(&record.cell) && met {
            continue;
        }
        let outcome = if met { record.outcome.kind.to_string() } else { shortcoming(record) };
        let checks = checks(record);
        table.add_row([outcome, ending.name(), checks, seconds(record)]);
    }
    table.to_string()
}

/// How a cell ended that did not do what was demanded, which one whose own checks hold can fail to do.
pub fn shortcoming(record: &Record) -> String {
    match (record.outcome.kind, record.snapshot) {
        (OutcomeKind::Passed, Some(SnapshotMatch::Differs)) => "snapshot differs".to_owned(),
        (OutcomeKind::Passed, _) => "not compared".to_owned(),
        (kind, _) => kind.to_string(),
    }
}

/// The same with what there is to say of it.
pub fn ending(record: &Record) -> String {
    let detail = record.outcome.detail.as_str();
    let separator = if detail.is_empty() { "" } else { ": " };
    format!("{}{separator}{detail}", shortcoming(record))
}

/// How many checks hold, and how many are violated as is known.
fn checks(record: &Record) -> String {
    let violated = |check: &&Check| check.verdict == Verdict::Violated;
    let holding = record.checks.len() - record.checks.iter().filter(violated).count();
    let known = record.checks.iter().filter(violated).filter(|check| check.is_fine()).count();
    let suffix = if known > 0 { format!(", {known} known") } else { String::new() };
    format!("{holding} of {} hold{suffix}", record.checks.len())
}

/// The checks that are not as they should be.
pub fn faulty(record: &Record) -> impl Iterator<Item = &Check> {
    record.checks.iter().filter(|check| !check.is_fine())
}

/// What is wrong with a check that is not as it should be.
pub fn fault(check: &Check) -> String {
    match &check.known {
        Some(known) => format!("no longer violated: {} ({known})", check.text),
        None => format!("violated: {}", check.text),
    }
}

/// All that a person needs of a cell that fell short, on one screen.
pub fn failure(ending: &Ending) -> String {
    let Ending { record, folder, .. } = ending;
    let mut text = format!("\n{}\n  {}\n", ending.name(), self::ending(record));
    for check in faulty(record) {
        // Writing to a String never fails.
        let _ = writeln!(text, "  {}", fault(check));
        if let Some(detail) = &check.detail {
            let _ = writeln!(text, "            {detail}");
        }
    }
    if let Some(reviewed) = reviewed(record).filter(|_| !record.steps.is_empty()) {
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
    let _ = writeln!(text, "  again:     {}", again(record));
    if folder.is_dir() {
        let _ = writeln!(text, "  artefacts: {}", folder.display());
    }
    text
}

/// The command that runs a cell again, in the environment of one that `cargo xtask run` does not know.
pub const AGAIN: &str = "again";

/// The command that runs a cell as it was run.
fn again(record: &Record) -> String {
    if let Some(command) = record.environment.get(AGAIN) {
        return command.clone();
    }
    let options = record.environment.get("options").map_or("", String::as_str);
    format!("cargo xtask run {} {options}", record.cell).trim_end().to_owned()
}

/// How a text differs from what was expected, with three lines of context.
pub fn difference(expected: &str, found: &str) -> String {
    TextDiff::from_lines(expected, found).unified_diff().to_string()
}

/// The last words of a run: counts, and what to do next.
pub fn summary(report: &Report) -> String {
    let skipped = having(report, |record| record.outcome.kind == OutcomeKind::Skipped).len();
    let passed = having(report, |record| report.demand.is_met(record)).len();
    let failed = report.endings.len() - passed - skipped;
    let counts = format!("cells: {passed} passed, {failed} failed, {skipped} skipped");
    [vec![counts], next_steps(report)].concat().join("\n")
}

/// What a person does about each kind of shortcoming that there was.
fn next_steps(report: &Report) -> Vec<String> {
    let mut steps = Vec::new();
    if !having(report, |record| record.outcome.kind == OutcomeKind::Skipped).is_empty() {
        steps.push("a skipped cell fails the run: the default kernel has all that cells require".to_owned());
    }
    let passed_as = |snapshot| {
        let passed = |record: &Record| record.outcome.kind == OutcomeKind::Passed;
        having(report, |record| passed(record) && record.snapshot == snapshot).len()
    };
    let differing = passed_as(Some(SnapshotMatch::Differs));
    if differing > 0 {
        let snapshots = counted(differing, "snapshot differs", "snapshots differ");
        steps.push(format!(
            "next: {snapshots} from what was reviewed; `cargo xtask review` shows how, and accepts it if you do"
        ));
    }
    let uncompared = if report.demand == Demand::MatchSnapshot { passed_as(None) } else { 0 };
    if uncompared > 0 {
        let cells = counted(uncompared, "cell was", "cells were");
        steps.push(format!("next: {cells} never compared with a snapshot; run the tests again"));
    }
    let broken = |record: &Record| !record.outcome.kind.is_fine();
    if let Some(first) = having(report, broken).first() {
        let again = again(&first.record);
        steps.push(format!("next: see the screen of each failed cell above; `{again}` repeats the first"));
    }
    steps
}

fn counted(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

fn having(report: &Report, is_it: impl Fn(&Record) -> bool) -> Vec<&Ending> {
    report.endings.iter().filter(|ending| is_it(&ending.record)).collect()
}

/// What a name of the environment says in all cells, where it is the same in all.
pub fn shared<'a>(endings: &'a [Ending], name: &str) -> Option<&'a str> {
    let mut values = endings.iter().map(|ending| ending.record.environment.get(name));
    let first = values.next()??;
    values.all(|value| value == Some(first)).then_some(first)
}

/// The same in a word.
pub fn common<'a>(endings: &'a [Ending], name: &str) -> &'a str {
    let known = endings.iter().any(|ending| ending.record.environment.contains_key(name));
    shared(endings, name).unwrap_or(if known { "varies" } else { "unknown" })
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

/// Seconds from the start of QEMU to the end of the cell.
pub fn end(record: &Record) -> Option<f64> {
    record.timings.last().map(|timing| timing.seconds)
}

fn seconds(record: &Record) -> String {
    end(record).map_or_else(|| "-".to_owned(), |seconds| format!("{seconds:.1} s"))
}

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;

    use fs_harness::record::Outcome;

    use super::*;

    /// The first cell of the catalogue, ended in a certain way.
    pub(crate) fn ending(kind: OutcomeKind, snapshot: Option<SnapshotMatch>) -> Ending {
        let (cell, _) = workloads::catalogue::cells().next().unwrap();
        let environment = [("options", "--isolation boot"), ("kernel", "7.3.4")];
        let environment: BTreeMap<String, String> =
            environment.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        let outcome = Outcome { kind, detail: String::new() };
        let record = Record { outcome, snapshot, ..Record::new(cell, environment) };
        Ending { record, folder: Path::new("/artefacts").to_owned(), round: 0 }
    }

    #[test]
    fn a_failure_shows_the_log_of_its_own_folder_and_how_to_repeat_it() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("kernel.log"), "of this round\n").unwrap();
        let mut ending = ending(OutcomeKind::Passed, Some(SnapshotMatch::Differs));
        ending.folder = folder.path().to_owned();
        let text = failure(&ending);
        assert!(text.contains("\n  snapshot differs\n"), "{text}");
        assert!(text.contains("\n    of this round\n"), "{text}");
        let again = format!("cargo xtask run {} --isolation boot\n", ending.record.cell);
        assert!(text.contains(&again), "{text}");
        assert!(text.ends_with(&format!("artefacts: {}\n", folder.path().display())), "{text}");
    }

    #[test]
    fn a_skip_is_counted_apart_and_explained() {
        let endings = vec![ending(OutcomeKind::Passed, None), ending(OutcomeKind::Skipped, None)];
        let text = summary(&Report::new(endings, Demand::Pass));
        assert!(text.starts_with("cells: 1 passed, 0 failed, 1 skipped\na skipped cell fails"), "{text}");
    }

    #[test]
    fn a_summary_says_what_to_do_next() {
        let of = |demand, kind, snapshot| {
            let summary = summary(&Report::new(vec![ending(kind, snapshot)], demand));
            summary.split_once('\n').map(|(_, next)| next.to_owned()).unwrap_or_default()
        };
        let (pass, compare) = (Demand::Pass, Demand::MatchSnapshot);
        assert_eq!(of(pass, OutcomeKind::Passed, None), "");
        assert_eq!(of(compare, OutcomeKind::Passed, Some(SnapshotMatch::Same)), "");
        assert!(of(compare, OutcomeKind::Passed, None).starts_with("next: 1 cell was never compared"));
        let differs = of(compare, OutcomeKind::Passed, Some(SnapshotMatch::Differs));
        assert!(
            differs.starts_with("next: 1 snapshot differs from") && differs.contains("`cargo xtask review`"),
            "{differs}"
        );
        let hung = of(pass, OutcomeKind::GuestHung, None);
        assert!(hung.contains("observe --isolation boot`") && hung.ends_with("repeats the first"), "{hung}");
    }

    #[test]
    fn what_all_cells_share_is_told_from_what_varies() {
        let mut endings = vec![ending(OutcomeKind::Passed, None), ending(OutcomeKind::Passed, None)];
        assert_eq!((shared(&endings, "kernel"), common(&endings, "kernel")), (Some("7.3.4"), "7.3.4"));
        assert_eq!((shared(&endings, "qemu"), common(&endings, "qemu")), (None, "unknown"));
        endings[1].record.environment.remove("kernel");
        assert_eq!((shared(&endings, "kernel"), common(&endings, "kernel")), (None, "varies"));
    }
}
