// SPDX-License-Identifier: MIT OR Apache-2.0

use std::process::ExitStatus;
use std::time::Duration;

use fs_harness::kernel_log::LogRecord;
use fs_harness::record::{Check, Verdict};

use super::*;

fn record(seq: u64, text: &str) -> LogRecord {
    LogRecord { seq, level: 4, micros: 0, text: text.to_owned() }
}

/// A guest of which all is well.
fn well() -> Seen {
    let outcome = Outcome { kind: OutcomeKind::Passed, detail: String::new() };
    Seen {
        ready: Some("7.3.4".into()),
        begun: true,
        finished: true,
        doing: "running a cell".into(),
        verdicts: vec![(outcome, "the mark".into())],
        log: vec![record(0, "Linux version"), record(1, "all quiet"), record(2, "the mark")],
        exit: Some(ExitStatus::from_raw(0)),
        ..Seen::default()
    }
}

fn check(change: impl FnOnce(&mut Seen), kind: OutcomeKind, detail: &str) {
    let mut seen = well();
    change(&mut seen);
    assert_eq!(judge(&seen), Outcome { kind, detail: detail.to_owned() });
}

#[test]
fn all_is_well() {
    check(|_| {}, OutcomeKind::Passed, "");
}

#[test]
fn a_panic_is_never_a_pass_even_after_a_verdict() {
    check(
        |seen| seen.console = "[    3.1] Kernel panic - not syncing: sysrq triggered crash\n".into(),
        OutcomeKind::GuestPanicked,
        "Kernel panic - not syncing: sysrq triggered crash; the guest was running a cell",
    );
    check(
        |seen| seen.panicked = true,
        OutcomeKind::GuestPanicked,
        "the console does not say why; the guest was running a cell",
    );
}

#[test]
fn silence_is_a_hang() {
    check(
        |seen| {
            seen.verdicts.clear();
            seen.expired = Some(Duration::from_secs(30));
            seen.exit = Some(ExitStatus::from_raw(15));
            seen.stuck = Some("[   20.0] watchdog: BUG: soft lockup - CPU#0 stuck for 22s!".into());
        },
        OutcomeKind::GuestHung,
        "no sign of life for 30 s; the guest was running a cell; watchdog: BUG: soft lockup - CPU#0 stuck for 22s!",
    );
}

#[test]
fn a_guest_that_does_not_end_after_its_verdict_is_a_hang() {
    check(
        |seen| seen.expired = Some(Duration::from_secs(30)),
        OutcomeKind::GuestHung,
        "no sign of life for 30 s; the guest was running a cell",
    );
}

#[test]
fn a_guest_that_never_spoke_failed_to_boot() {
    let silent = |seen: &mut Seen| {
        seen.ready = None;
        seen.verdicts.clear();
        seen.console = "[    0.1] Linux version 7.3.4\n".into();
    };
    check(
        silent,
        OutcomeKind::BootFailed,
        "the guest ended before the agent was ready; last on the console: Linux version 7.3.4",
    );
    check(
        |seen| {
            silent(seen);
            seen.expired = Some(Duration::from_mins(1));
        },
        OutcomeKind::BootFailed,
        "the agent was not ready after 60 s; last on the console: Linux version 7.3.4",
    );
}

#[test]
fn what_is_not_the_kernels_fault_is_a_harness_error() {
    let error = OutcomeKind::HarnessError;
    check(|seen| seen.verdicts.clear(), error, "the guest ended without a verdict");
    check(
        |seen| {
            seen.verdicts.clear();
            seen.cut = Some("{\"verdi".into());
        },
        error,
        "the guest ended in the middle of a message: '{\"verdi'",
    );
    check(
        |seen| seen.cut = Some("{\"verdi".into()),
        error,
        "half a message came after the verdict: '{\"verdi'",
    );
    check(|seen| seen.finished = false, error, "the agent passed a scenario that never came to its end");
    check(|seen| seen.verdicts.extend(well().verdicts), error, "the agent gave 2 verdicts");
    check(|seen| seen.begun = false, error, "a verdict came from a guest that never proved which it is");
    check(
        |seen| {
            let text = "water is wet".to_owned();
            seen.checks.push(Check { text, verdict: Verdict::Violated, detail: None, known: None });
        },
        error,
        "the agent passed a cell with a check that is not as it should be: water is wet",
    );
    check(|seen| seen.fault = Some("broken pipe".into()), error, "broken pipe");
    check(|seen| seen.garbage.push("hello".into()), error, "the agent sent what is no message: 'hello'");
    check(|seen| seen.mistaken = Some("another guest answered".into()), error, "another guest answered");
    check(
        |seen| {
            seen.verdicts.clear();
            seen.exit = Some(ExitStatus::from_raw(9));
        },
        error,
        "QEMU was killed by SIGKILL while the guest was running a cell",
    );
    check(
        |seen| {
            *seen = Seen { exit: Some(ExitStatus::from_raw(256)), ..Seen::default() };
            seen.complaint = "qemu: no such machine\n".into();
        },
        error,
        "QEMU did not start the guest: qemu: no such machine",
    );
}

#[test]
fn a_flood_is_named_and_only_the_agents_own_is_a_harness_error() {
    check(
        |seen| seen.flood = Some(Flood::Agent),
        OutcomeKind::HarnessError,
        "the guest said more than 16 MiB on the agent's port; it was running a cell",
    );
    check(
        |seen| seen.flood = Some(Flood::Log),
        OutcomeKind::Failed,
        "the guest said more than 16 MiB in its kernel log; it was running a cell",
    );
}

#[test]
fn a_log_with_holes_is_not_trusted() {
    let error = OutcomeKind::HarnessError;
    check(|seen| drop(seen.log.remove(1)), error, "the kernel's log has a gap after record 0");
    check(|seen| drop(seen.log.remove(0)), error, "the beginning of the kernel's log is missing");
    check(|seen| drop(seen.log.pop()), error, "the end of the kernel's log is missing");
}

#[test]
fn a_warning_in_the_log_fails_a_cell_that_passed() {
    check(
        |seen| seen.log[1] = record(1, "WARNING: mm/gup.c:80 at try_get_folio+0x1/0x2, CPU#0: init/71"),
        OutcomeKind::Failed,
        "a WARN fired: the kernel's log says 'WARNING: mm/gup.c at try_get_folio CPU#<n>: init/<pid>'",
    );
}

#[test]
fn lines_that_a_scenario_allows_are_no_fault_and_others_are() {
    let said = |text: &'static str| {
        move |seen: &mut Seen| {
            seen.allowed_log = vec!["(device pinblk2)".to_owned()];
            seen.log = (0..3).map(|seq| record(seq, text)).collect();
            seen.log.push(record(3, "the mark"));
        }
    };
    check(said("BTRFS warning (device pinblk2): csum failed"), OutcomeKind::Passed, "");
    check(
        said("BTRFS warning (device pinblk0): csum failed"),
        OutcomeKind::Failed,
        "the filesystem found damage or lost data: the kernel's log says 'BTRFS warning (device pinblk0): csum failed'",
    );
}

#[test]
fn a_line_that_the_scenario_provokes_is_expected_once() {
    let warning = "WARNING: mm/gup.c:80 at try_get_folio+0x41/0x60, CPU#1: init/74";
    let expected = || "WARNING: mm/gup.c at try_get_folio".to_owned();
    let said = |times: u64| {
        move |seen: &mut Seen| {
            seen.expected_log = vec![expected()];
            seen.log = (0..times).map(|seq| record(seq, warning)).collect();
            seen.log.push(record(times, "the mark"));
        }
    };
    check(said(1), OutcomeKind::Passed, "");
    check(
        said(0),
        OutcomeKind::Failed,
        "the kernel's log lacks what the scenario provokes: 'WARNING: mm/gup.c at try_get_folio'",
    );
    check(
        said(2),
        OutcomeKind::Failed,
        "a WARN fired: the kernel's log says 'WARNING: mm/gup.c at try_get_folio CPU#<n>: init/<pid>'",
    );
}
