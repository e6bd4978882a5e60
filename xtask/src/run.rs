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

use crate::bench::{Bench, Options};
use crate::list;
use crate::report;
use crate::{artefacts, cell};

/// Which cells, on what.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// Substrings of cell names: a cell runs if its name contains one of them [default: all cells]
    #[arg(value_name = "FILTER")]
    filters: Vec<String>,
    /// Guests at the same time [default: one for each processor]
    #[arg(long, value_name = "N")]
    jobs: Option<NonZeroUsize>,
    #[command(flatten)]
    bench: Options,
}

/// Runs the cells that the arguments name.
pub fn main(arguments: &Arguments) -> Result<ExitCode> {
    // Before anything is built: a typing error must not cost ten minutes.
    let cells: Vec<Cell> = list::select(&arguments.filters)?.into_iter().map(|(cell, _)| cell).collect();
    let bench = Bench::prepare(&arguments.bench)?;
    println!("{}", bench.header());
    let records = run_all(&bench, &cells, arguments.jobs.unwrap_or_else(jobs))?;
    println!("{}", report::table(&records, passed));
    for record in records.iter().filter(|record| !passed(record)) {
        println!("{}", report::failure(record));
    }
    println!(
        "artefacts of each cell: {}/<scenario>/<setup>__<acquisition>__<policy>/",
        artefacts().join("cells").display()
    );
    println!("{}", report::summary(&records, passed));
    Ok(if records.iter().all(passed) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Guests at the same time: each keeps one processor busy.
pub fn jobs() -> NonZeroUsize {
    thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
}

fn passed(record: &Record) -> bool {
    record.outcome.kind == OutcomeKind::Passed
}

/// Runs cells side by side; the records come in the order of the cells.
fn run_all(bench: &Bench, cells: &[Cell], jobs: NonZeroUsize) -> Result<Vec<Record>> {
    let waiting = Mutex::new(cells.iter().enumerate());
    let (done, results) = channel();
    thread::scope(|scope| {
        for _ in 0..jobs.get().min(cells.len()) {
            let (done, waiting) = (done.clone(), &waiting);
            scope.spawn(move || work(bench, waiting, &done));
        }
        drop(done);
        let mut records: Vec<(usize, Record)> = Vec::new();
        for (index, result) in results {
            let record = result?;
            eprintln!("{}", report::line(&record, records.len() + 1, cells.len()));
            records.push((index, record));
        }
        records.sort_by_key(|(index, _)| *index);
        Ok(records.into_iter().map(|(_, record)| record).collect())
    })
}

/// Takes one waiting cell after the other, until none waits or one could not be run.
fn work<'a>(
    bench: &Bench,
    waiting: &Mutex<impl Iterator<Item = (usize, &'a Cell)>>,
    done: &Sender<(usize, Result<Record>)>,
) {
    let next = || waiting.lock().ok()?.next();
    while let Some((index, cell)) = next() {
        let result = cell::run(bench, &cell::task(bench, cell));
        let failed = result.is_err();
        if done.send((index, result)).is_err() || failed {
            return;
        }
    }
}
