// SPDX-License-Identifier: MIT OR Apache-2.0

//! `cargo xtask test`: everything that must hold before a change lands, or cells against their snapshots.

use std::collections::BTreeMap;
use std::env;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use fs_harness::cell::Cell;
use fs_harness::record::Record;
use workloads::catalogue;

use crate::bench::{self, Bench, Seeded};
use crate::host::command::Command;
use crate::host::setup;
use crate::kernel::Kernel;
use crate::report::{Demand, Ending, Report};
use crate::{cell, isolation, kunit, list, note, report, run, say, workspace};

mod citations;
mod source;

/// Names the cells that are to be compared to the process that does it, one a line; all where it is not set.
pub const CHOSEN: &str = "PINBED_CELLS";

/// Which cells, on what.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// Substrings of cell names: cells whose name contains one are compared with their snapshots, and nothing else is tested
    #[arg(value_name = "FILTER")]
    filters: Vec<String>,
    /// Compare all cells with their snapshots, and test nothing else
    #[arg(long, conflicts_with = "filters")]
    cells: bool,
    #[command(flatten)]
    bench: Seeded,
}

/// Compares cells with their snapshots, after all other tests where no cells were asked for.
pub fn main(arguments: &Arguments) -> Result<ExitCode> {
    // Before anything is built: a typing error must not cost ten minutes.
    let cells = chosen(&arguments.filters)?;
    let whole = arguments.filters.is_empty() && !arguments.cells;
    let options = arguments.bench.options();
    setup::ensure(options.flavour())?;
    let _alone = bench::occupy()?;
    report::forget()?;
    if whole && let Err(error) = source::check() {
        say!("{error:#}");
        return Ok(ExitCode::FAILURE);
    }
    let (bench, kernel) = Bench::prepare_with_kernel(&options)?;
    say!("{}", bench.header());
    if whole && !all_but_cells(&bench, &kernel)? {
        return Ok(ExitCode::FAILURE);
    }
    for cell in &cells {
        // A record of an earlier run must not stand for a cell that did not run.
        cell::forget(&cell::folder(cell))?;
    }
    let names: Vec<String> = cells.iter().map(Cell::to_string).collect();
    let tested = stage("cells", trials("cells").env(CHOSEN, names.join("\n")));
    let mut report = Report::new(endings(cells)?, Demand::MatchSnapshot);
    if let Err(error) = tested
        && report.is_fine()
    {
        report.complaints.push(format!("every record is fine, and yet {error}"));
    }
    let compared = if whole { isolation::check(&bench, &report.endings) } else { Ok(Vec::new()) };
    match &compared {
        Ok(differences) => report.complaints.extend_from_slice(differences),
        Err(_) => report.complaints.push("checkpoints were not compared with boots".to_owned()),
    }
    report.show();
    report.conclude()?;
    compared?;
    Ok(if report.is_fine() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The cells to compare; those of the self-test are not among them.
fn chosen(filters: &[String]) -> Result<Vec<Cell>> {
    let chosen: Vec<Cell> = list::select(filters)?.into_iter().map(|(cell, _)| cell).collect();
    let compared: Vec<Cell> = catalogue::cells().map(|(cell, _)| cell).collect();
    if let Some(cell) = chosen.iter().find(|cell| !compared.contains(cell)) {
        bail!("{cell} is of the self-test and has no snapshot: `cargo xtask run {cell}` runs it");
    }
    Ok(chosen)
}

/// What must hold besides the cells; says what does not.
fn all_but_cells(bench: &Bench, kernel: &Kernel) -> Result<bool> {
    // What a blind bed says about cells means nothing.
    let fine = source::check_modules(kernel)
        .and_then(|()| stage("self-test of the harness", trials("selftest")))
        .and_then(|()| stage("commands at hand", trials("at_hand")))
        .and_then(|()| stage("pages released by the wrong call", trials("release")))
        .and_then(|()| stage("calls that are left out", trials("removed")));
    if let Err(error) = fine {
        say!("{error:#}");
        return Ok(false);
    }
    note!("== KUnit suites of the driver");
    let fine = kunit::run(bench, kernel)?;
    if !fine {
        say!("the stage 'KUnit suites of the driver' failed");
    }
    Ok(fine)
}

/// The tests of one target, under nextest where it is installed.
fn trials(target: &str) -> Command {
    if Command::new("cargo").args(["nextest", "--version"]).read().is_ok() {
        let profile = if env::var_os("CI").is_some() { "ci" } else { "default" };
        // Nothing is retried into green, whatever the environment says.
        let run = ["nextest", "run", "--retries", "0", "--profile", profile];
        return snapshots(&[&run[..], &["--package", "snapshots", "--test", target]].concat());
    }
    let threads = format!("--test-threads={}", run::jobs());
    snapshots(&["test", "--package", "snapshots", "--test", target, "--", &threads])
}

/// A command that runs cells: on the bench of this run, and deaf to what the environment tells insta.
fn snapshots(arguments: &[&str]) -> Command {
    let update = if env::var_os("CI").is_some() { "no" } else { "new" };
    cargo(arguments)
        .env(bench::VARIABLE, bench::file())
        // The self-test runs commands as a user does.
        .env("PINBED_XTASK", env::current_exe().unwrap_or_default())
        .env("INSTA_UPDATE", update)
        .env("INSTA_FORCE_PASS", "0")
}

fn cargo(arguments: &[&str]) -> Command {
    Command::new("cargo").args(arguments).current_dir(&workspace())
}

fn stage(name: &str, command: Command) -> Result<()> {
    note!("== {name}");
    command
        .each_line(|line| {
            note!("{line}");
            Ok(())
        })
        .with_context(|| format!("the stage '{name}' failed"))
}

/// What the cells left; one that left nothing was never run.
fn endings(cells: Vec<Cell>) -> Result<Vec<Ending>> {
    let mut endings = Vec::new();
    for cell in cells {
        let folder = cell::folder(&cell);
        let never_run = || Record::new(cell, BTreeMap::new());
        let record = cell::load(&folder)?.unwrap_or_else(never_run);
        endings.push(Ending { record, folder, round: 0 });
    }
    Ok(endings)
}
