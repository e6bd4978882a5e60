// SPDX-License-Identifier: MIT OR Apache-2.0

//! `cargo xtask kunit`: the driver's KUnit suites, in a guest of their own.
//!
//! The guest's scenario (`workloads/src/kunit.rs`) loads the module of the suites, reads the KTAP that the
//! kernel logs, and makes a check of each case. Its verdict is like that of any cell.

use std::fs;
use std::num::NonZeroU32;
use std::process::ExitCode;

use anyhow::{Context, Result};
use fs_harness::kernel_log::LogRecord;
use fs_harness::protocol::{MADE, MARK};
use fs_harness::record::{OutcomeKind, Verdict};
use workloads::{catalogue, kunit};

use crate::bench::{self, Bench, Options};
use crate::kernel::Kernel;
use crate::qemu::guest;
use crate::qemu::limits::Limits;
use crate::qemu::machine::Machine;
use crate::qemu::script::Script;
use crate::qemu::seen::Seen;
use crate::{artefacts, cache, cell, image, module, say};

/// One writes while the other looks.
const PROCESSORS: NonZeroU32 = NonZeroU32::new(2).expect("two is not zero");

/// Ours are the only suites that may run; without this none do.
const PARAMETERS: &[&str] = &["kunit.enable=1", "kunit.filter_glob=pinblk_*"];

/// On what to run the suites.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    bench: Options,
}

/// Runs the suites and shows their KTAP.
pub fn main(arguments: &Arguments) -> Result<ExitCode> {
    let _alone = bench::occupy()?;
    let (bench, kernel) = Bench::prepare_with_kernel(&arguments.bench)?;
    say!("{}", bench.header());
    Ok(if run(&bench, &kernel)? { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Runs the suites in a guest of that bench, and shows their KTAP; false unless all of them passed.
pub fn run(bench: &Bench, kernel: &Kernel) -> Result<bool> {
    let suites = module::ensure_suites(kernel)?;
    let folder = artefacts().join("kunit");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let machine = Machine {
        image: folder.join("initramfs.cpio"),
        processors: PROCESSORS,
        parameters: PARAMETERS.iter().map(|&parameter| parameter.to_owned()).collect(),
        ..bench.machine.clone()
    };
    image::with_file(&bench.machine.image, kunit::MODULE, &suites.stripped, &machine.image)?;
    let scenario = catalogue::find(kunit::NAME).context("there is no scenario of the suites")?;
    let (cell, _) = catalogue::cells_of(scenario).next().context("the suites have no cell")?;
    let script = Script::run(cell, None, None);
    let seen = guest::run(&machine, script, Limits::of(&machine), &folder.join(cell::PID))?;
    let ktap: Vec<&str> = ktap(&seen.log).collect();
    cache::write_whole(&folder.join("suites.ktap"), (ktap.join("\n") + "\n").as_bytes())?;
    cache::write_whole(&folder.join("console.log"), seen.console.as_bytes())?;
    for line in ktap {
        say!("{line}");
    }
    let passed = conclude(&seen);
    if !passed {
        say!("artefacts: {}", folder.display());
    }
    Ok(passed)
}

/// Says how the suites ended.
fn conclude(seen: &Seen) -> bool {
    let outcome = seen.outcome();
    let violated: Vec<_> = seen.checks.iter().filter(|check| check.verdict != Verdict::Holds).collect();
    for check in &violated {
        say!("violated: {}: {}", check.text, check.detail.as_deref().unwrap_or_default());
    }
    let separator = if outcome.detail.is_empty() { "" } else { ": " };
    let (held, all) = (seen.checks.len() - violated.len(), seen.checks.len());
    say!("KUnit suites: {}{separator}{}; {held} of {all} checks hold", outcome.kind, outcome.detail);
    outcome.kind == OutcomeKind::Passed && violated.is_empty()
}

/// The lines of the kernel's log since the module of the suites was loaded: to the agent's mark, or to the
/// end of a guest that died before.
fn ktap(log: &[LogRecord]) -> impl Iterator<Item = &str> {
    // Before that the kernel has looked for suites that are built in, and told that none may run.
    let made = log.iter().position(|record| record.text.contains(MADE)).unwrap_or(log.len());
    let lines = log[made..].iter().map(|record| record.text.as_str());
    lines.skip_while(|line| !line.starts_with("KTAP version")).take_while(|line| !line.contains(MARK))
}
