// SPDX-License-Identifier: MIT OR Apache-2.0

//! `cargo xtask run`: runs cells and shows how each ended.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;

use anyhow::Result;
use fs_harness::cell::Cell;
use fs_harness::protocol::TerminalSize;
use fs_harness::record::OutcomeKind;
use fs_harness::render::render;

use crate::bench::{self, Bench, Seeded};
use crate::cell::{self, Task};
use crate::host::tools::find_program;
use crate::qemu::keep::Keep;
use crate::report::{Demand, Ending, Report, text};
use crate::rounds::{Log, Rounds};
use crate::{artefacts, gdb, list, note, report, say, seed, shell, tty};

/// Which cells, on what.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// Substrings of cell names: a cell runs if its name contains one of them [default: all cells]
    #[arg(value_name = "FILTER")]
    filters: Vec<String>,
    /// Guests at the same time [default: one for each processor]
    #[arg(long, value_name = "N")]
    jobs: Option<NonZeroUsize>,
    /// Run every cell so often, and demand that each leaves the same text every time
    #[arg(long, value_name = "N", default_value = "1")]
    repeat: NonZeroUsize,
    /// Run one cell in N, chosen by the seed
    #[arg(long, value_name = "N", default_value = "1")]
    sample: NonZeroUsize,
    /// Keep a line of each run in FILE; with the same file a later command goes on where this one ended
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
    /// Run one guest at a time, and end with the first cell that does not pass: its guest stays for a shell or gdb
    #[arg(long, conflicts_with = "jobs")]
    keep: bool,
    #[command(flatten)]
    bench: Seeded,
}

/// Runs the cells that the arguments name.
pub fn main(arguments: &Arguments) -> Result<ExitCode> {
    // Before anything is built: a typing error must not cost ten minutes.
    let cells: Vec<Cell> = list::select(&arguments.filters)?.into_iter().map(|(cell, _)| cell).collect();
    let size = if arguments.keep {
        Some(tty::require("--keep", "leave it out, and `cargo xtask shell CELL` starts from the same state")?)
    } else {
        None
    };
    let log = arguments.log.as_deref().map(Log::open).transpose()?;
    let _alone = bench::occupy()?;
    report::forget()?;
    let bench = Bench::prepare(&arguments.bench.options())?;
    say!("{}", bench.header());
    let cells = sample(&cells, arguments.sample, bench.seed);
    let mut rounds = Rounds::new(&bench, log);
    if rounds.is_empty() {
        // What an earlier run left there would look like this one's.
        cell::forget(&artefacts().join("rounds"))?;
    }
    let keep = size.map(|size| keep(&bench, size)).transpose()?.map(Arc::new);
    let waiting = waiting(&bench, &cells, arguments.repeat.get(), &rounds, keep.as_ref());
    let all = waiting.len();
    if waiting.is_empty() {
        say!("the log has {} runs of each cell: nothing is left to run, or to report", arguments.repeat);
        return Ok(conclude_log(&rounds.verdict(&cells)));
    }
    let one_by_one = keep.is_some().then_some(NonZeroUsize::MIN);
    let jobs = arguments.jobs.or(one_by_one).unwrap_or_else(jobs);
    let (mut endings, mut fault) = run_all(&bench, waiting, &mut rounds, jobs);
    let left = all - endings.len();
    if let Some(fault) = fault.take_if(|_| endings.is_empty()) {
        return Err(fault);
    }
    let place = |ending: &Ending| cells.iter().position(|cell| *cell == ending.record.cell);
    endings.sort_by_key(|ending| (ending.round, place(ending)));
    let mut report = Report::new(endings, Demand::Pass);
    let verdict = rounds.verdict(&cells);
    if fault.is_some() {
        report.complaints.push(format!("{left} more runs of cells did not come to their end"));
    } else if arguments.repeat.get() > 1 || arguments.log.is_some() {
        match &verdict {
            Ok(fine) => say!("{fine}"),
            Err(faults) => report.complaints.clone_from(faults),
        }
    }
    report.show();
    if left > 0 && fault.is_none() {
        say!("{left} more runs of cells were not made, since --keep ends with the first that does not pass");
    }
    tidy_rounds(&report.endings, &rounds)?;
    say!(
        "artefacts of each cell: {}/<scenario>/<setup>__<acquisition>__<policy>/",
        artefacts().join("cells").display()
    );
    report.conclude()?;
    if let Some(fault) = fault {
        return Err(fault);
    }
    Ok(if verdict.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The end of a run that had nothing left to run: what the log says.
fn conclude_log(verdict: &Result<String, Vec<String>>) -> ExitCode {
    match verdict {
        Ok(fine) => {
            say!("{fine}");
            ExitCode::SUCCESS
        }
        Err(faults) => {
            for fault in faults {
                say!("{fault}");
            }
            ExitCode::FAILURE
        }
    }
}

/// What a guest that stays is prepared for.
fn keep(bench: &Bench, size: TerminalSize) -> Result<Keep> {
    let debugger = find_program("gdb").map(|_| gdb::command(bench, &[])).transpose()?;
    let (shell, luggage) = shell::pack(None, "kept", &[], size)?;
    Ok(Keep { debugger, shell, luggage })
}

/// One cell in so many, rounded up, in the order of the catalogue.
fn sample(cells: &[Cell], of: NonZeroUsize, seed: u64) -> Vec<Cell> {
    let mut chosen: Vec<&Cell> = cells.iter().collect();
    seed::order(&mut chosen, seed, ToString::to_string);
    chosen.truncate(cells.len().div_ceil(of.get()));
    cells.iter().filter(|cell| chosen.contains(cell)).cloned().collect()
}

/// A run of a cell that is to be made.
struct Waiting {
    task: Task,
    round: usize,
}

/// What is still to be run, round by round, each in the order that the seed makes of it. The first run of
/// a cell leaves its artefacts in the cell's folder, and the others apart.
fn waiting(
    bench: &Bench,
    cells: &[Cell],
    repeat: usize,
    rounds: &Rounds,
    keep: Option<&Arc<Keep>>,
) -> Vec<Waiting> {
    let place = |cell: &Cell, round: usize| match round {
        0 => cell::folder(cell),
        _ => artefacts().join("rounds").join(round.to_string()).join(cell.path()),
    };
    let run = |cell: &Cell, round: usize| {
        let task = Task { folder: place(cell, round), keep: keep.cloned(), ..cell::task(bench, cell) };
        Waiting { task, round }
    };
    let mut all = Vec::new();
    for round in 0..repeat {
        let mut of_round: Vec<Waiting> =
            cells.iter().filter(|cell| rounds.count(cell) <= round).map(|cell| run(cell, round)).collect();
        seed::order(&mut of_round, bench.seed, |waiting| format!("{round} {}", waiting.task.cell));
        all.append(&mut of_round);
    }
    all
}

/// Shows how a text differs from the one that its cell left first; only its artefacts, and those of cells
/// that did not pass, are kept of later rounds.
fn tidy_rounds(endings: &[Ending], rounds: &Rounds) -> Result<()> {
    for ending in endings.iter().filter(|ending| ending.round > 0) {
        if rounds.is_as_first(&ending.record) {
            if ending.record.outcome.kind == OutcomeKind::Passed {
                cell::forget(&ending.folder)?;
            }
        } else {
            say!("{} left another text than its first run, see {}", ending.name(), ending.folder.display());
            let same_cell = |other: &&Ending| other.record.cell == ending.record.cell;
            let first = endings.iter().filter(same_cell).find(|other| rounds.is_as_first(&other.record));
            if let Some(first) = first {
                say!("{}", text::difference(&render(&first.record), &render(&ending.record)));
            }
        }
    }
    Ok(())
}

/// Guests at the same time: each keeps one processor busy.
pub fn jobs() -> NonZeroUsize {
    thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
}

/// Runs cells side by side, and keeps each as it ends. What went wrong besides takes nothing of that away: the
/// user interrupted, or something could not be written.
fn run_all(
    bench: &Bench,
    waiting: Vec<Waiting>,
    rounds: &mut Rounds,
    jobs: NonZeroUsize,
) -> (Vec<Ending>, Option<anyhow::Error>) {
    let all = waiting.len();
    let waiting = Mutex::new(waiting.into_iter());
    let (done, results) = channel();
    thread::scope(|scope| {
        for _ in 0..jobs.get().min(all) {
            let (done, waiting) = (done.clone(), &waiting);
            scope.spawn(move || work(bench, waiting, &done));
        }
        drop(done);
        let mut endings: Vec<Ending> = Vec::new();
        for result in results {
            let kept = result.and_then(|ending| {
                note!("{}", text::line(&ending.record, endings.len() + 1, all));
                rounds.add(&ending.record).map(|()| ending)
            });
            match kept {
                Ok(ending) => endings.push(ending),
                Err(fault) => return (endings, Some(fault)),
            }
        }
        (endings, None)
    })
}

/// Takes one waiting cell after the other, until none waits, one could not be run, or one whose guest was to
/// be kept did not pass.
fn work(bench: &Bench, waiting: &Mutex<impl Iterator<Item = Waiting>>, done: &Sender<Result<Ending>>) {
    let next = || waiting.lock().ok()?.next();
    while let Some(Waiting { task, round }) = next() {
        let result = cell::run(bench, &task);
        let is_fine =
            result.as_ref().is_ok_and(|record| task.keep.is_none() || record.outcome.kind.is_fine());
        let ending = result.map(|record| Ending { record, folder: task.folder, round });
        if done.send(ending).is_err() || !is_fine {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_is_a_part_that_the_seed_chooses() {
        let all: Vec<Cell> = workloads::catalogue::cells().map(|(cell, _)| cell).collect();
        let sample = |of, seed| sample(&all, NonZeroUsize::new(of).unwrap(), seed);
        assert_eq!(sample(1, 7), all);
        assert_eq!(sample(10, 7).len(), all.len().div_ceil(10));
        assert_eq!(sample(10, 7), sample(10, 7));
        assert!((0..8).any(|seed| sample(10, seed) != sample(10, 7)));
    }
}
