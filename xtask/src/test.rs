// SPDX-License-Identifier: MIT OR Apache-2.0

//! `cargo xtask test`: everything that must hold before a change lands.

use std::collections::BTreeMap;
use std::env;
use std::process::ExitCode;

use anyhow::{Context, Result};
use fs_harness::record::Record;
use workloads::catalogue;

use crate::bench::{self, Bench, Seeded};
use crate::host::command::Command;
use crate::host::setup;
use crate::report::{Demand, Ending, Report};
use crate::{cell, isolation, kunit, note, report, run, say, workspace};

mod source;

/// On what to run the cells.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    bench: Seeded,
}

/// Checks the source, runs the tests of the host, then all cells against their snapshots.
pub fn main(arguments: &Arguments) -> Result<ExitCode> {
    let options = arguments.bench.options();
    setup::ensure(options.flavour())?;
    let _alone = bench::occupy()?;
    report::forget()?;
    if let Err(error) = source::check() {
        say!("{error:#}");
        return Ok(ExitCode::FAILURE);
    }
    let (bench, kernel) = Bench::prepare_with_kernel(&options)?;
    say!("{}", bench.header());
    // What a blind bed says about cells means nothing.
    let fine = source::check_modules(&kernel)
        .and_then(|()| stage("self-test of the harness", trials("selftest")))
        .and_then(|()| stage("commands at hand", trials("at_hand")))
        .and_then(|()| stage("pages released by the wrong call", trials("release")))
        .and_then(|()| stage("calls that are left out", trials("removed")));
    if let Err(error) = fine {
        say!("{error:#}");
        return Ok(ExitCode::FAILURE);
    }
    note!("== KUnit suites of the driver");
    if !kunit::run(&bench, &kernel)? {
        say!("the stage 'KUnit suites of the driver' failed");
        return Ok(ExitCode::FAILURE);
    }
    for (found, _) in catalogue::cells() {
        // A record of an earlier run must not stand for a cell that did not run.
        cell::forget(&cell::folder(&found))?;
    }
    let tested = stage("cells", trials("cells"));
    let mut report = Report::new(endings()?, Demand::MatchSnapshot);
    if let Err(error) = tested
        && report.is_fine()
    {
        report.complaints.push(format!("every record is fine, and yet {error}"));
    }
    report.complaints.extend(isolation::check(&bench, &report.endings)?);
    report.show();
    report.conclude()?;
    Ok(if report.is_fine() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
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

/// What every cell of the catalogue left; one that left nothing was never run.
fn endings() -> Result<Vec<Ending>> {
    let mut endings = Vec::new();
    for (found, _) in catalogue::cells() {
        let folder = cell::folder(&found);
        let never_run = || Record::new(found, BTreeMap::new());
        let record = cell::load(&folder)?.unwrap_or_else(never_run);
        endings.push(Ending { record, folder, round: 0 });
    }
    Ok(endings)
}
