// SPDX-License-Identifier: MIT OR Apache-2.0

//! `cargo xtask run`: runs cells and shows how each ended.

use std::num::NonZeroUsize;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::mpsc::{Sender, channel};
use std::thread;

use anyhow::Result;
use fs_harness::cell::Cell;
use fs_harness::record::{OutcomeKind, Record};
use fs_harness::render::render;

use crate::artefacts;
use crate::bench::{self, Bench, Options};
use crate::cell::{self, Task};
use crate::list;
use crate::report;
use crate::{note, say};

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
    #[command(flatten)]
    bench: Options,
}

/// Runs the cells that the arguments name.
pub fn main(arguments: &Arguments) -> Result<ExitCode> {
    // Before anything is built: a typing error must not cost ten minutes.
    let cells: Vec<Cell> = list::select(&arguments.filters)?.into_iter().map(|(cell, _)| cell).collect();
    let _alone = bench::occupy()?;
    let bench = Bench::prepare(&arguments.bench)?;
    say!("{}", bench.header());
    let rounds = arguments.repeat.get();
    if rounds > 1 {
        // What an earlier run left there would look like this one's.
        cell::forget(&artefacts().join("rounds"))?;
    }
    let tasks: Vec<Task> = (0..rounds).flat_map(|round| tasks(&bench, &cells, round)).collect();
    let records = run_all(&bench, &tasks, arguments.jobs.unwrap_or_else(jobs))?;
    let (first, others) = records.split_at(cells.len());
    say!("{}", report::table(first, passed));
    for (record, task) in records.iter().zip(&tasks).filter(|(record, _)| !passed(record)) {
        say!("{}", report::failure(record, &task.folder));
    }
    let same = compare_rounds(first, others)?;
    say!(
        "artefacts of each cell: {}/<scenario>/<setup>__<acquisition>__<policy>/",
        artefacts().join("cells").display()
    );
    say!("{}", report::summary(&records, passed));
    Ok(if same && records.iter().all(passed) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The cells of one round; those of later rounds leave their artefacts apart.
fn tasks(bench: &Bench, cells: &[Cell], round: usize) -> Vec<Task> {
    let apart = |cell: &Cell| artefacts().join("rounds").join(round.to_string()).join(cell.path());
    let task = |cell: &Cell| match round {
        0 => cell::task(bench, cell),
        _ => Task { folder: apart(cell), ..cell::task(bench, cell) },
    };
    cells.iter().map(task).collect()
}

/// Whether each cell left the same text in every round. Artefacts of a later round are kept where it
/// did not, or where the cell did not pass.
fn compare_rounds(first: &[Record], others: &[Record]) -> Result<bool> {
    let mut same = true;
    for (index, record) in others.iter().enumerate() {
        let (round, expected) = (index / first.len() + 1, &first[index % first.len()]);
        let folder = artefacts().join("rounds").join(round.to_string()).join(record.cell.path());
        let (expected, found) = (render(expected), render(record));
        if expected == found && passed(record) {
            cell::forget(&folder)?;
        } else if expected != found {
            same = false;
            say!("{} differs in round {round}, see {}", record.cell, folder.display());
            say!("{}", report::difference(&expected, &found));
        }
    }
    if same && !others.is_empty() {
        say!("{} cells left the same text {} times", first.len(), others.len() / first.len() + 1);
    }
    Ok(same)
}

/// Guests at the same time: each keeps one processor busy.
pub fn jobs() -> NonZeroUsize {
    thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
}

fn passed(record: &Record) -> bool {
    record.outcome.kind == OutcomeKind::Passed
}

/// Runs tasks side by side; the records come in the order of the tasks.
fn run_all(bench: &Bench, tasks: &[Task], jobs: NonZeroUsize) -> Result<Vec<Record>> {
    let waiting = Mutex::new(tasks.iter().enumerate());
    let (done, results) = channel();
    thread::scope(|scope| {
        for _ in 0..jobs.get().min(tasks.len()) {
            let (done, waiting) = (done.clone(), &waiting);
            scope.spawn(move || work(bench, waiting, &done));
        }
        drop(done);
        let mut records: Vec<(usize, Record)> = Vec::new();
        for (index, result) in results {
            let record = result?;
            note!("{}", report::line(&record, records.len() + 1, tasks.len()));
            records.push((index, record));
        }
        records.sort_by_key(|(index, _)| *index);
        Ok(records.into_iter().map(|(_, record)| record).collect())
    })
}

/// Takes one waiting task after the other, until none waits or one could not be run.
fn work<'a>(
    bench: &Bench,
    waiting: &Mutex<impl Iterator<Item = (usize, &'a Task)>>,
    done: &Sender<(usize, Result<Record>)>,
) {
    let next = || waiting.lock().ok()?.next();
    while let Some((index, task)) = next() {
        let result = cell::run(bench, task);
        let failed = result.is_err();
        if done.send((index, result)).is_err() || failed {
            return;
        }
    }
}
