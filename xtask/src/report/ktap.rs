// SPDX-License-Identifier: MIT OR Apache-2.0

//! A report as KTAP, the kernel's own test format (`Documentation/dev-tools/ktap.rst`). It has no times and
//! nothing of the host, so that equal runs give equal bytes, however they were spread over machines.

use std::fmt::Write as _;

use super::{AS_A_WHOLE, Ending, Report, text};

/// What of the environment a result depends on.
const ENVIRONMENT: &[&str] = &["kernel", "config", "module", "image"];

/// One line for each cell, with the reason in front of each that fell short.
pub fn render(report: &Report) -> String {
    let planned = report.endings.len() + usize::from(!report.complaints.is_empty());
    let mut ktap = format!("KTAP version 1\n1..{planned}\n");
    for name in ENVIRONMENT {
        // Writing to a String never fails.
        let _ = writeln!(ktap, "# {name}: {}", text::common(&report.endings, name));
    }
    for (number, ending) in (1..).zip(&report.endings) {
        let met = report.demand.is_met(&ending.record);
        if !met {
            for line in reasons(ending) {
                let _ = writeln!(ktap, "# {line}");
            }
        }
        let _ = writeln!(ktap, "{} {number} {}", if met { "ok" } else { "not ok" }, ending.name());
    }
    if !report.complaints.is_empty() {
        for complaint in &report.complaints {
            let _ = writeln!(ktap, "# {complaint}");
        }
        let _ = writeln!(ktap, "not ok {planned} {AS_A_WHOLE}");
    }
    ktap
}

/// Why a cell fell short. A skipped one too: the format's own word for it would make it look fine.
fn reasons(ending: &Ending) -> Vec<String> {
    let mut reasons: Vec<String> =
        text::ending(&ending.record).lines().map(|line| format!("{}: {line}", ending.name())).collect();
    reasons.extend(text::faulty(&ending.record).map(text::fault));
    reasons
}

#[cfg(test)]
mod tests {
    use fs_harness::record::{Check, OutcomeKind, SnapshotMatch, Verdict};

    use super::*;
    use crate::report::Demand;
    use crate::report::text::tests::ending;

    #[test]
    fn a_report_is_a_plan_and_a_line_for_each_cell() {
        let passed = ending(OutcomeKind::Passed, None);
        let mut failed = ending(OutcomeKind::Failed, None);
        failed.record.outcome.detail = "1 of 2 checks violated\nthe first: all is well".to_owned();
        failed.record.checks = vec![Check {
            text: "all is well".to_owned(),
            verdict: Verdict::Violated,
            detail: Some("it is not".to_owned()),
            known: None,
        }];
        failed.round = 3;
        let skipped = ending(OutcomeKind::Skipped, None);
        let cell = passed.record.cell.to_string();
        let report = Report::new(vec![passed, failed, skipped], Demand::Pass);
        assert_eq!(
            render(&report),
            format!(
                "KTAP version 1\n1..3\n# kernel: 7.3.4\n# config: unknown\n# module: unknown\n# image: unknown\n\
                 ok 1 {cell}\n\
                 # {cell} round 3: failed: 1 of 2 checks violated\n\
                 # {cell} round 3: the first: all is well\n\
                 # violated: all is well\n\
                 not ok 2 {cell} round 3\n\
                 # {cell}: skipped\n\
                 not ok 3 {cell}\n"
            )
        );
    }

    #[test]
    fn a_complaint_fails_what_has_no_other_fault() {
        let mut report = Report::new(vec![ending(OutcomeKind::Passed, None)], Demand::Pass);
        report.complaints.push("the shards differ in module".to_owned());
        let text = render(&report);
        assert!(text.starts_with("KTAP version 1\n1..2\n"), "{text}");
        assert!(text.ends_with("# the shards differ in module\nnot ok 2 the run as a whole\n"), "{text}");
        assert!(!report.is_fine());
    }

    #[test]
    fn a_snapshot_that_differs_fails_only_where_it_is_demanded() {
        let endings = vec![ending(OutcomeKind::Passed, Some(SnapshotMatch::Differs))];
        let render = |demand| render(&Report::new(endings.clone(), demand));
        assert!(render(Demand::Pass).contains("\nok 1 "));
        assert!(render(Demand::MatchSnapshot).contains("snapshot differs\nnot ok 1 "));
    }
}
