// SPDX-License-Identifier: MIT OR Apache-2.0

//! `cargo xtask crash`: many states in which a power cut could leave a filesystem, under each policy.

use std::num::NonZeroU64;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail, ensure};
use comfy_table::{Table, presets};
use fs_harness::cell::Cell;
use fs_harness::crash::State;
use fs_harness::record::{OutcomeKind, Record, Verdict};
use fs_harness::render::render_check;
use workloads::catalogue;

use crate::bench::{Bench, Options};
use crate::cell::{self, Task};
use crate::report::Ending;
use crate::report::text;
use crate::rounds::{Log, Rounds};
use crate::{artefacts, exec, note, say};

/// The scenario in which states are visited.
const SCENARIO: &str = "crash_states";

/// What to visit.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// Only cells whose name contains one of these, as in ext4::pin::skip
    #[arg(value_name = "FILTER")]
    filters: Vec<String>,
    /// States of each filesystem under each policy
    #[arg(long, value_name = "N", default_value = "500")]
    states: NonZeroU64,
    /// States that each guest visits: the next one writes by another seed
    #[arg(long, value_name = "N", default_value = "250")]
    guest: NonZeroU64,
    /// Makes what is written, and which states are visited; each guest has the next one
    #[arg(long, value_name = "N", default_value = "1")]
    seed: u64,
    /// How often everything is done to the files
    #[arg(long, value_name = "N", default_value = "3", value_parser = clap::value_parser!(u64).range(1..=5))]
    rounds: u64,
    /// Visit only this state: the one that a broken promise named
    #[arg(long, value_name = "STATE", conflicts_with_all = ["states", "guest", "log"])]
    state: Option<State>,
    /// Keep a line of each guest in FILE; with the same file a later command goes on where this one ended
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
    #[command(flatten)]
    options: Options,
}

/// States of one filesystem under one policy.
#[derive(Default)]
struct Tally {
    whole: u64,
    known: u64,
    broken: u64,
    possible: u64,
}

/// Runs the guests one after the other, all of them: a broken promise on one filesystem is no reason not to
/// look at the next. Fails at the end if any did not do as it should.
pub fn main(arguments: &Arguments) -> Result<ExitCode> {
    let cells = cells(&arguments.filters)?;
    ensure!(
        arguments.state.is_none() || cells.len() == 1,
        "a state is of one cell; name it, as in `cargo xtask crash ext4::pin::skip --state ...`"
    );
    let log = arguments.log.as_deref().map(Log::open).transpose()?;
    let bench = exec::prepare(&arguments.options.clone().with_seed(arguments.seed))?;
    say!("{}", bench.header());
    let mut rounds = Rounds::new(&bench, log);
    let lives = lives(arguments);
    let (mut number, mut shortcomings) = (0, 0);
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header([
        "cell",
        "whole",
        "known",
        "broken",
        "possible by whole bios",
        "as it should",
    ]);
    for cell in &cells {
        let mut tally = Tally::default();
        let mut fell_short = 0;
        for life in &lives {
            number += 1;
            let mut ending = live(&bench, &mut rounds, cell, life)?;
            let again = again(&ending.record.cell, &arguments.options);
            ending.record.environment.insert(text::AGAIN.to_owned(), again);
            note!("{}", text::line(&ending.record, number, cells.len() * lives.len()));
            tally.add(&ending.record);
            if arguments.state.is_some() && is_fine_for_one_state(&ending.record) {
                ending.record.checks.iter().for_each(|check| say!("{}", render_check(check).trim_end()));
                fell_short += usize::from(tally.broken > 0);
            } else if ending.record.outcome.kind != OutcomeKind::Passed {
                fell_short += 1;
                say!("{}", text::failure(&ending));
            }
        }
        let verdict = if fell_short == 0 { "yes".to_owned() } else { format!("not in {fell_short} guests") };
        let Tally { whole, known, broken, possible } = tally;
        let possible = if possible == u64::MAX { "more than 10^19".to_owned() } else { possible.to_string() };
        let [whole, known, broken] = [whole, known, broken].map(|count| count.to_string());
        table.add_row([cell.to_string(), whole, known, broken, possible, verdict]);
        shortcomings += fell_short;
    }
    say!("{}", table.trim_fmt());
    Ok(if shortcomings == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn cells(filters: &[String]) -> Result<Vec<Cell>> {
    let all =
        catalogue::scenarios().filter(|scenario| scenario.name == SCENARIO).flat_map(catalogue::cells_of);
    let is_wanted = |cell: &Cell| {
        let name = cell.to_string();
        filters.is_empty() || filters.iter().any(|filter| name.contains(filter.as_str()))
    };
    let cells: Vec<Cell> = all.map(|(cell, _)| cell).filter(is_wanted).collect();
    if cells.is_empty() {
        bail!("no cell of {SCENARIO} matches; `cargo xtask list {SCENARIO}` shows what there is");
    }
    Ok(cells)
}

/// The names by which the scenario is called in each guest: they tell it what to do.
fn lives(arguments: &Arguments) -> Vec<String> {
    let Arguments { seed, rounds, .. } = arguments;
    if let Some(state) = &arguments.state {
        return vec![format!("{SCENARIO}_{seed}_{rounds}_1_{state}")];
    }
    let (states, guest) = (arguments.states.get(), arguments.guest.get());
    (0..states.div_ceil(guest))
        .map(|life| {
            let count = guest.min(states - life * guest);
            format!("{SCENARIO}_{}_{rounds}_{count}", seed + life)
        })
        .collect()
}

/// A guest's life, or what is left of it from an earlier run.
fn live(bench: &Bench, rounds: &mut Rounds, cell: &Cell, called: &str) -> Result<Ending> {
    let cell = Cell { scenario: called.to_owned(), ..cell.clone() };
    let folder = artefacts().join("crash").join(cell.path());
    if let Some(record) = rounds.kept(&cell, &folder)? {
        return Ok(Ending { record, folder, round: 0 });
    }
    let record = cell::run(bench, &Task { folder: folder.clone(), ..cell::task(bench, &cell) })?;
    rounds.add(&record)?;
    Ok(Ending { record, folder, round: 0 })
}

/// Whether nothing is wrong with a guest but that what is known to show in some states does not in this one.
fn is_fine_for_one_state(record: &Record) -> bool {
    let mut faults = record.checks.iter().filter(|check| !check.is_fine()).peekable();
    match record.outcome.kind {
        OutcomeKind::Passed => true,
        // Where no check is at fault, the kernel's log is.
        OutcomeKind::Failed => faults.peek().is_some() && faults.all(|check| check.verdict == Verdict::Holds),
        _ => false,
    }
}

/// The command that runs a guest again on the same bench, by the numbers that its scenario was called with.
fn again(cell: &Cell, options: &Options) -> String {
    let numbers: Vec<&str> = cell.scenario[SCENARIO.len()..].split('_').skip(1).collect();
    let what = match numbers.as_slice() {
        [seed, rounds, states] => {
            format!("--seed {seed} --rounds {rounds} --states {states} --guest {states}")
        }
        [seed, rounds, _, state] => format!("--seed {seed} --rounds {rounds} --state {state}"),
        _ => unreachable!("a guest is called with three numbers, and maybe a state"),
    };
    let options = options.typed();
    let separator = if options.is_empty() { "" } else { " " };
    format!(
        "cargo xtask crash {}::{}::{} {what}{separator}{options}",
        cell.setup, cell.acquisition, cell.policy
    )
}

impl Tally {
    fn add(&mut self, record: &Record) {
        let Some(states) = record.answers.get("states") else { return };
        let of = |name| states.get(name).copied().unwrap_or_default();
        self.whole += of("whole");
        self.known += of("known");
        self.broken += of("broken");
        self.possible = self.possible.saturating_add(of("possible"));
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use fs_harness::record::{Check, Known};

    use super::*;
    use crate::report::text::tests::ending;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        arguments: Arguments,
    }

    fn lives_of(line: &str) -> Vec<String> {
        lives(&Line::try_parse_from(line.split(' ')).unwrap().arguments)
    }

    #[test]
    fn the_guest_knows_the_scenario_by_its_name_with_numbers() {
        for name in lives_of("crash --states 600").into_iter().chain(lives_of("crash --state 4of9+1-3")) {
            assert_eq!(catalogue::find(&name).unwrap().name, SCENARIO, "{name}");
        }
    }

    #[test]
    fn states_are_spread_over_guests_with_seeds_of_their_own() {
        let expected = ["crash_states_7_3_250", "crash_states_8_3_250", "crash_states_9_3_100"];
        assert_eq!(lives_of("crash --states 600 --seed 7"), expected);
        assert_eq!(lives_of("crash --state 4of9+1-3 --rounds 1"), ["crash_states_1_1_1_4of9+1-3"]);
    }

    #[test]
    fn a_guest_is_run_again_by_what_it_was_called_with() {
        let cell = |name: &str| Cell {
            scenario: name.to_owned(),
            ..cells(&["xfs::pin::skip".to_owned()]).unwrap().remove(0)
        };
        let again = |name: &str, typed: &str| again(&cell(name), &Options::parse(typed).unwrap());
        assert_eq!(
            again("crash_states_7_3_250", ""),
            "cargo xtask crash xfs::pin::skip --seed 7 --rounds 3 --states 250 --guest 250"
        );
        assert_eq!(
            again("crash_states_1_1_1_4of9+1-3", "--smp 2"),
            "cargo xtask crash xfs::pin::skip --seed 1 --rounds 1 --state 4of9+1-3 --smp 2"
        );
    }

    #[test]
    fn one_state_need_not_show_what_is_known_but_nothing_else_may_be_wrong() {
        let with = |kind, checks: &[(Verdict, bool)]| {
            let mut record = ending(kind, None).record;
            record.checks = checks
                .iter()
                .map(|&(verdict, known)| Check {
                    text: "what was promised is there in each of them".to_owned(),
                    verdict,
                    detail: None,
                    known: known.then(|| Known::Control("the policy drop loses data".to_owned())),
                })
                .collect();
            is_fine_for_one_state(&record)
        };
        let (not_shown, violated) = ((Verdict::Holds, true), (Verdict::Violated, false));
        assert!(with(OutcomeKind::Passed, &[(Verdict::Violated, true)]));
        assert!(with(OutcomeKind::Failed, &[not_shown, (Verdict::Holds, false)]));
        assert!(!with(OutcomeKind::Failed, &[not_shown, violated]));
        assert!(!with(OutcomeKind::Failed, &[(Verdict::Holds, false)]), "a warning in the kernel's log");
        assert!(!with(OutcomeKind::GuestPanicked, &[not_shown]));
    }

    #[test]
    fn a_filter_that_matches_nothing_is_said() {
        assert_eq!(cells(&["xfs::pin::skip".to_owned()]).unwrap().len(), 1);
        assert!(cells(&["zfs".to_owned()]).unwrap_err().to_string().contains("no cell"));
    }
}
