// SPDX-License-Identifier: MIT OR Apache-2.0

//! Ways in which a scenario, an agent or a kernel ends a cell.

use std::time::Duration;

use fs_harness::protocol::AgentFault;
use fs_harness::record::OutcomeKind;
use libtest_mimic::{Failed, Trial};

use crate::guest::{SHORT, bench, expect, run, task};

/// One thing that the harness must notice.
struct Case {
    name: &'static str,
    scenario: &'static str,
    fault: Option<AgentFault>,
    outcome: OutcomeKind,
    /// What the detail must say.
    says: &'static str,
}

const fn case(
    name: &'static str,
    scenario: &'static str,
    fault: Option<AgentFault>,
    outcome: OutcomeKind,
    says: &'static str,
) -> Case {
    Case { name, scenario, fault, outcome, says }
}

const CASES: &[Case] = &[
    case("all_is_well", "selftest_holds", None, OutcomeKind::Passed, ""),
    case("a_violated_check", "selftest_violated", None, OutcomeKind::Failed, "the first: all is well"),
    case("no_check_at_all", "selftest_checks_nothing", None, OutcomeKind::Failed, "checked nothing"),
    case("a_leaked_pin", "selftest_leaks_a_pin", None, OutcomeKind::Failed, "every pin is released"),
    case("a_damaged_filesystem", "selftest_damages_ext4", None, OutcomeKind::Failed, "e2fsck finds"),
    case("a_scenario_that_prints", "selftest_prints", None, OutcomeKind::Failed, "is no message"),
    case("a_missing_requirement", "selftest_skips", None, OutcomeKind::Skipped, "lacks what no kernel has"),
    case("a_kernel_warning", "selftest_warns", None, OutcomeKind::Failed, "lkdtm"),
    case(
        "a_kernel_panic",
        "selftest_panics_kernel",
        None,
        OutcomeKind::GuestPanicked,
        "sysrq triggered crash",
    ),
    case("a_kernel_that_spins", "selftest_spins", None, OutcomeKind::GuestHung, "running selftest_spins"),
    case("a_scenario_that_crashes", "selftest_sigbus", None, OutcomeKind::Failed, "SIGBUS"),
    case("a_scenario_that_panics", "selftest_panics", None, OutcomeKind::Failed, "on purpose"),
    case(
        "no_verdict",
        "selftest_holds",
        Some(AgentFault::NoVerdict),
        OutcomeKind::HarnessError,
        "without a verdict",
    ),
    case(
        "two_verdicts",
        "selftest_holds",
        Some(AgentFault::TwoVerdicts),
        OutcomeKind::HarnessError,
        "2 verdicts",
    ),
    case(
        "garbage_on_the_port",
        "selftest_holds",
        Some(AgentFault::Garbage),
        OutcomeKind::HarnessError,
        "this is not a message",
    ),
    case(
        "half_a_message_and_the_end",
        "selftest_holds",
        Some(AgentFault::HalfAVerdict),
        OutcomeKind::HarnessError,
        "the guest ended in the middle of a message: '{\"verdict\":",
    ),
    case(
        "half_a_message_and_silence",
        "selftest_holds",
        Some(AgentFault::HalfAVerdictThenSilence),
        OutcomeKind::GuestHung,
        "running selftest_holds",
    ),
    case(
        "an_agent_that_exits",
        "selftest_holds",
        Some(AgentFault::Exit),
        OutcomeKind::GuestPanicked,
        "Attempted to kill init",
    ),
    case("a_scenario_that_exits_early", "selftest_exits", None, OutcomeKind::Failed, "before its end"),
    case(
        "a_scenario_that_ends_the_guest",
        "selftest_ends_guest",
        None,
        OutcomeKind::HarnessError,
        "without a verdict",
    ),
    case(
        "a_kernel_that_spins_deaf",
        "selftest_spins_deaf",
        None,
        OutcomeKind::GuestHung,
        "running selftest_spins_deaf",
    ),
];

pub(crate) fn trials() -> impl Iterator<Item = Trial> {
    let lockup = Trial::test("selftest::a_lockup_ends_the_waiting", lockup);
    let case = |case: &'static Case| Trial::test(format!("selftest::{}", case.name), move || check(case));
    let endless = Trial::test("selftest::a_scenario_that_never_ends", endless);
    CASES.iter().map(case).chain([lockup, endless])
}

fn check(case: &Case) -> Result<(), Failed> {
    let mut task = task(case.name, case.scenario)?;
    task.fault = case.fault;
    if case.outcome == OutcomeKind::GuestHung {
        task.limits.progress = SHORT;
    }
    expect(&run(bench()?, &task)?, case.outcome, case.says)
}

/// The kernel says itself that it is stuck: that is not waited for as long as silence.
fn lockup() -> Result<(), Failed> {
    let mut task = task("a_lockup_ends_the_waiting", "selftest_locks_up")?;
    task.limits.stuck = Duration::from_secs(2);
    let record = run(bench()?, &task)?;
    expect(&record, OutcomeKind::GuestHung, "soft lockup")?;
    let detail = &record.outcome.detail;
    if detail.contains(&format!("no sign of life for {} s", task.limits.progress.as_secs())) {
        return Err(format!("the lockup did not end the waiting: {detail}").into());
    }
    Ok(())
}

/// A scenario that says again and again what it does: each time is a sign of life, and none is an end.
fn endless() -> Result<(), Failed> {
    let mut task = task("a_scenario_that_never_ends", "selftest_never_ends")?;
    task.limits.whole = SHORT;
    let record = run(bench()?, &task)?;
    expect(
        &record,
        OutcomeKind::GuestHung,
        "though the guest still talked; it was at work on what never ends",
    )
}
