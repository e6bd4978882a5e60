// SPDX-License-Identifier: MIT OR Apache-2.0

//! `cargo xtask fuzz`: hunts for faults of the driver on the kernel that finds the most of them.

use std::num::NonZeroU64;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use fs_harness::cell::{Acquisition, Cell, Policy, Setup};
use fs_harness::protocol::Answers;
use fs_harness::record::{OutcomeKind, Record};
use fs_harness::render::render_check;

use crate::bench::{Bench, Options};
use crate::cell::{self, Task};
use crate::qemu::limits::FOREVER;
use crate::report::Ending;
use crate::report::text;
use crate::rounds::{Log, Rounds};
use crate::{artefacts, exec, note, say};

/// Rounds of a guest have numbers of their own: far fewer than that fit into its requests.
const ROUNDS: u64 = 10_000;

/// The scenario in which each allocation fails once.
const FAILING: &str = "failing_allocations";

/// How much to ask.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// Requests in all; each guest makes up to 400000 more while one of them has never succeeded
    #[arg(long, value_name = "N", default_value = "100000")]
    requests: NonZeroU64,
    /// Requests to each guest: then pinblk is unloaded, and lost memory is looked for
    #[arg(long, value_name = "N", default_value = "200000")]
    guest: NonZeroU64,
    /// Makes all that is drawn
    #[arg(long, value_name = "N", default_value = "1")]
    seed: u64,
    /// Begin with this round: the one that a failure named
    #[arg(long, value_name = "N", default_value = "0")]
    round: u64,
    /// Have each allocation fail once, in the place of random requests
    #[arg(long, conflicts_with_all = ["requests", "guest", "round", "log"])]
    allocations: bool,
    /// Keep a line of each guest in FILE; with the same file a later command goes on where this one ended
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
}

/// Runs the guests one after the other, to the first that finds a fault.
pub fn main(arguments: &Arguments) -> Result<ExitCode> {
    let log = arguments.log.as_deref().map(Log::open).transpose()?;
    let bench = exec::prepare(&Options::of_hunt(arguments.seed))?;
    say!("{}", bench.header());
    let mut rounds = Rounds::new(&bench, log);
    if arguments.allocations {
        return fail_allocations(&bench, &mut rounds);
    }
    let mut answers = Answers::new();
    let lives = arguments.requests.get().div_ceil(arguments.guest.get());
    for life in 0..lives {
        let requests = arguments.guest.get().min(arguments.requests.get() - life * arguments.guest.get());
        let round = arguments.round + life * ROUNDS;
        let mut ending = live(&bench, &mut rounds, &name(arguments.seed, round, requests))?;
        let again = format!(
            "cargo xtask fuzz --seed {} --round {round} --requests {requests} --guest {requests}",
            arguments.seed
        );
        ending.record.environment.insert(text::AGAIN.to_owned(), again);
        note!("{}", text::line(&ending.record, usize::try_from(life)? + 1, usize::try_from(lives)?));
        add(&mut answers, &ending.record);
        if ending.record.outcome.kind != OutcomeKind::Passed {
            say!("{}", text::failure(&ending));
            return Ok(ExitCode::FAILURE);
        }
    }
    say!("{}", table(&answers));
    Ok(ExitCode::SUCCESS)
}

/// Runs the one guest in which each allocation fails once, and shows all that it checked.
fn fail_allocations(bench: &Bench, rounds: &mut Rounds) -> Result<ExitCode> {
    let mut ending = live(bench, rounds, FAILING)?;
    ending.record.environment.insert(text::AGAIN.to_owned(), "cargo xtask fuzz --allocations".to_owned());
    note!("{}", text::line(&ending.record, 1, 1));
    for check in &ending.record.checks {
        say!("{}", render_check(check).trim_end());
    }
    if ending.record.outcome.kind == OutcomeKind::Passed {
        return Ok(ExitCode::SUCCESS);
    }
    say!("{}", text::failure(&ending));
    Ok(ExitCode::FAILURE)
}

fn name(seed: u64, round: u64, requests: u64) -> String {
    format!("random_requests_{seed}_{round}_{requests}")
}

/// A guest's life, or what is left of it from an earlier run.
fn live(bench: &Bench, rounds: &mut Rounds, scenario: &str) -> Result<Ending> {
    let cell = Cell {
        scenario: scenario.to_owned(),
        setup: Setup::None,
        acquisition: Acquisition::Kernel,
        policy: Policy::Observe,
    };
    let folder = artefacts().join("fuzz").join(cell.path());
    if let Some(record) = rounds.kept(&cell, &folder)? {
        return Ok(Ending { record, folder, round: 0 });
    }
    let mut task = Task { folder: folder.clone(), ..cell::task(bench, &cell) };
    task.limits.whole = FOREVER;
    let record = cell::run(bench, &task)?;
    rounds.add(&record)?;
    Ok(Ending { record, folder, round: 0 })
}

fn add(answers: &mut Answers, record: &Record) {
    for (request, counts) in &record.answers {
        let all = answers.entry(request.clone()).or_default();
        for (answer, count) in counts {
            *all.entry(answer.clone()).or_default() += count;
        }
    }
}

/// How often each request was made, and how it was answered, the most frequent answer first.
fn table(answers: &Answers) -> String {
    let mut lines = Vec::new();
    let mut all = 0;
    for (request, counts) in answers {
        let made: u64 = counts.values().sum();
        all += made;
        let mut counts: Vec<_> = counts.iter().collect();
        counts.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        let counts: Vec<String> = counts.iter().map(|(answer, count)| format!("{answer} {count}")).collect();
        lines.push(format!("{request:16} {made:>8}: {}", counts.join(", ")));
    }
    lines.push(format!("{all} requests, no fault"));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_the_most_frequent_answer_first() {
        let counts = [("EINVAL", 2), ("ok", 10)].map(|(answer, count)| (answer.to_owned(), count));
        let answers = Answers::from([("HOLD".to_owned(), counts.into())]);
        assert_eq!(table(&answers), "HOLD                   12: ok 10, EINVAL 2\n12 requests, no fault");
    }

    #[test]
    fn the_guest_knows_the_scenario_by_its_name_with_numbers() {
        let found = workloads::catalogue::find(&name(1, 2, 3)).unwrap();
        assert_eq!(found.name, "random_requests");
        assert!(workloads::catalogue::find(FAILING).is_some());
    }
}
