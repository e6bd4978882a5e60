// SPDX-License-Identifier: MIT OR Apache-2.0

//! `cargo xtask test`: everything that must hold before a change lands.

use std::env;
use std::process::ExitCode;

use anyhow::{Context, Result};
use fs_harness::record::{OutcomeKind, Record, SnapshotMatch};
use workloads::catalogue;

use crate::bench::{self, Bench, Options};
use crate::host::command::Command;
use crate::host::setup;
use crate::{cell, isolation, note, report, run, say, workspace};

/// On what to run the cells.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    bench: Options,
    /// Chooses the cells that run again from the other start [default: by the guest's image]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
}

/// Checks the source, runs the tests of the host, then all cells against their snapshots.
pub fn main(arguments: &Arguments) -> Result<ExitCode> {
    setup::ensure(arguments.bench.flavour())?;
    let _alone = bench::occupy()?;
    if let Err(error) = check_the_source() {
        say!("{error:#}");
        return Ok(ExitCode::FAILURE);
    }
    let bench = Bench::prepare(&arguments.bench)?;
    say!("{}", bench.header());
    let cells_passed = run_cells();
    let records = records()?;
    say!("{}", report::table(&records, matches_its_snapshot));
    for record in records.iter().filter(|record| !matches_its_snapshot(record)) {
        say!("{}", report::failure(record, &cell::folder(&record.cell)));
    }
    if let Err(error) = &cells_passed {
        say!("{error:#}");
        say!("a snapshot that changed on purpose is accepted by `cargo xtask review`");
    }
    let isolated =
        isolation::check(&bench, &records, arguments.seed.unwrap_or_else(|| isolation::seed(&bench)))?;
    say!("{}", report::summary(&records, matches_its_snapshot));
    let fine = cells_passed.is_ok() && isolated && records.iter().all(matches_its_snapshot);
    Ok(if fine { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// All that needs no guest.
fn check_the_source() -> Result<()> {
    stage("format", cargo(&["fmt", "--all", "--check"]))?;
    let own = Command::new("make").arg("-C").arg(workspace().join("kmod-blk")).arg("rustfmtcheck");
    stage("format of the module", own)?;
    stage("clippy", cargo(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))?;
    stage("tests of the host", cargo(&["test"]))
}

/// The self-test of the harness first: what a blind bed says about cells means nothing.
fn run_cells() -> Result<()> {
    for (found, _) in catalogue::cells() {
        // A record of an earlier run must not stand for a cell that did not run.
        cell::forget(&cell::folder(&found))?;
    }
    stage("self-test of the harness", trials("selftest"))?;
    stage("cells", trials("cells"))
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

fn records() -> Result<Vec<Record>> {
    let mut records = Vec::new();
    for (found, _) in catalogue::cells() {
        let never_run = || Record::new(found.clone(), std::collections::BTreeMap::new());
        records.push(cell::load(&cell::folder(&found))?.unwrap_or_else(never_run));
    }
    Ok(records)
}

fn matches_its_snapshot(record: &Record) -> bool {
    record.outcome.kind == OutcomeKind::Passed && record.snapshot == Some(SnapshotMatch::Same)
}
