// SPDX-License-Identifier: MIT OR Apache-2.0

//! Guests that say more than anybody wants to hear: each is ended, named, and costs the host no more
//! memory than a bound.

use std::fs;

use fs_harness::protocol::AgentFault;
use fs_harness::record::OutcomeKind;
use libtest_mimic::{Failed, Trial};

use crate::guest::{bench, expect, run, task};

/// What the whole test process may have had in memory, in KiB: floods are of 100 MiB.
const MEMORY: u64 = 96 << 10;

struct Flood {
    name: &'static str,
    scenario: &'static str,
    fault: Option<AgentFault>,
    outcome: OutcomeKind,
    says: &'static str,
}

const FLOODS: &[Flood] = &[
    Flood {
        name: "an_agent_that_sends_an_endless_line",
        scenario: "selftest_holds",
        fault: Some(AgentFault::EndlessLine),
        outcome: OutcomeKind::HarnessError,
        says: "more than 16 MiB on the agent's port",
    },
    Flood {
        name: "an_agent_that_sends_endless_messages",
        scenario: "selftest_holds",
        fault: Some(AgentFault::EndlessMessages),
        outcome: OutcomeKind::HarnessError,
        says: "more than 16 MiB on the agent's port",
    },
    Flood {
        name: "a_scenario_that_prints_much",
        scenario: "selftest_prints_much",
        fault: None,
        outcome: OutcomeKind::Failed,
        says: "the scenario said more than 8 MiB",
    },
    Flood {
        name: "a_scenario_that_complains_much",
        scenario: "selftest_complains_much",
        fault: None,
        outcome: OutcomeKind::Failed,
        says: "that was all",
    },
    Flood {
        name: "a_scenario_that_checks_for_ever",
        scenario: "selftest_checks_for_ever",
        fault: None,
        outcome: OutcomeKind::Failed,
        says: "the scenario said more than 8 MiB",
    },
    Flood {
        name: "a_kernel_that_logs_much",
        scenario: "selftest_floods_log",
        fault: None,
        outcome: OutcomeKind::Failed,
        says: "more than 16 MiB in its kernel log",
    },
    Flood {
        name: "a_console_that_is_flooded",
        scenario: "selftest_floods_console",
        fault: None,
        outcome: OutcomeKind::Failed,
        says: "more than 1 MiB on its console",
    },
];

pub(crate) fn trials() -> impl Iterator<Item = Trial> {
    FLOODS.iter().map(|flood| Trial::test(format!("selftest::{}", flood.name), move || check(flood)))
}

fn check(flood: &Flood) -> Result<(), Failed> {
    let mut task = task(flood.name, flood.scenario)?;
    task.fault = flood.fault;
    let record = run(bench()?, &task)?;
    let peak = peak_memory()?;
    expect(&record, flood.outcome, flood.says)?;
    if peak > MEMORY {
        return Err(format!("the harness had {peak} KiB in memory, and may have {MEMORY}").into());
    }
    Ok(())
}

/// The most memory that this process ever had, in KiB.
fn peak_memory() -> Result<u64, Failed> {
    let status =
        fs::read_to_string("/proc/self/status").map_err(|error| format!("read the status: {error}"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("there is no VmHWM")?;
    let number = line.split_whitespace().next().unwrap_or_default();
    number.parse().map_err(|error| format!("VmHWM is '{number}': {error}").into())
}
