// SPDX-License-Identifier: MIT OR Apache-2.0

//! A report as JUnit XML, which the web pages of CI services show. Artefacts are attached by the
//! `[[ATTACHMENT|path]]` lines that Jenkins, GitLab and others look for.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use fs_harness::record::OutcomeKind;
use quick_junit::{NonSuccessKind, Property, TestCase, TestCaseStatus, TestSuite};

use super::{AS_A_WHOLE, Ending, Report, text};
use crate::{cell, workspace};

/// The whole report: one suite whose properties are what all cells share.
pub fn render(report: &Report) -> Result<String> {
    let names: BTreeSet<&String> =
        report.endings.iter().flat_map(|ending| ending.record.environment.keys()).collect();
    let (shared, own): (Vec<&str>, Vec<&str>) =
        names.into_iter().map(String::as_str).partition(|name| text::shared(&report.endings, name).is_some());
    let mut suite = TestSuite::new("cells");
    for name in shared {
        suite.add_property(Property::new(name, text::common(&report.endings, name)));
    }
    for ending in &report.endings {
        suite.add_test_case(test_case(report, ending, &own));
    }
    if !report.complaints.is_empty() {
        let mut status = TestCaseStatus::non_success(NonSuccessKind::Error);
        status.set_description(report.complaints.join("\n"));
        suite.add_test_case(TestCase::new(AS_A_WHOLE, status));
    }
    let mut junit = quick_junit::Report::new("pinbed");
    junit.add_test_suite(suite);
    junit.to_string().context("turn the report into JUnit XML")
}

fn test_case(report: &Report, ending: &Ending, own: &[&str]) -> TestCase {
    let record = &ending.record;
    let mut case = TestCase::new(ending.name(), status(report, ending));
    case.set_classname(record.cell.scenario.as_str());
    case.set_time(Duration::from_secs_f64(text::end(record).unwrap_or_default()));
    for name in own {
        if let Some(value) = record.environment.get(*name) {
            case.add_property(Property::new(*name, value.as_str()));
        }
    }
    case.set_system_out(attachments(&ending.folder));
    case
}

fn status(report: &Report, ending: &Ending) -> TestCaseStatus {
    if report.demand.is_met(&ending.record) {
        return TestCaseStatus::success();
    }
    let kind = match ending.record.outcome.kind {
        // Nothing can be said about the kernel.
        OutcomeKind::HarnessError | OutcomeKind::Died => NonSuccessKind::Error,
        _ => NonSuccessKind::Failure,
    };
    let mut status = TestCaseStatus::non_success(kind);
    status
        .set_type(text::shortcoming(&ending.record))
        .set_message(text::ending(&ending.record))
        .set_description(text::failure(ending));
    status
}

/// A line for each artefact that is there; paths below the checkout are relative to it, as GitLab asks.
pub fn attachments(folder: &Path) -> String {
    let mut lines = String::new();
    for name in cell::ARTEFACTS {
        let path = folder.join(name);
        if path.is_file() {
            let path = path.strip_prefix(workspace()).unwrap_or(&path);
            // Writing to a String never fails.
            let _ = writeln!(lines, "[[ATTACHMENT|{}]]", path.display());
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Demand;
    use crate::report::text::tests::ending;

    #[test]
    fn a_case_has_its_outcome_its_artefacts_and_what_is_its_own() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("record.json"), "{}").unwrap();
        let mut endings = [OutcomeKind::Passed, OutcomeKind::GuestHung, OutcomeKind::HarnessError]
            .map(|kind| ending(kind, None));
        for (load, ending) in ["0.5", "0.7", "0.9"].iter().zip(&mut endings) {
            ending.record.environment.insert("host load".to_owned(), (*load).to_owned());
            ending.folder = folder.path().to_owned();
        }
        endings[1].record.outcome.detail = "no sign of life <in> \u{1b}[1m60 s".to_owned();
        let xml = render(&Report {
            complaints: vec!["a cell ran twice".to_owned()],
            ..Report::new(endings.to_vec(), Demand::Pass)
        })
        .unwrap();
        let read = quick_junit::Report::deserialize_from_str(&xml).unwrap();
        let suite = &read.test_suites[0];
        assert_eq!((suite.tests, suite.failures, suite.errors), (4, 1, 2));
        assert!(suite.properties.iter().any(|property| property.name.as_str() == "kernel"));
        let case = &suite.test_cases[1];
        assert_eq!(
            case.properties.iter().filter(|property| property.name.as_str() == "host load").count(),
            1
        );
        assert!(xml.contains("message=\"guest hung: no sign of life"), "{xml}");
        assert!(xml.contains(&format!("[[ATTACHMENT|{}/record.json]]", folder.path().display())), "{xml}");
    }
}
