// SPDX-License-Identifier: MIT OR Apache-2.0

//! A program of the user's in a guest of its own, from a checkpoint to an account of what it did.

use std::fmt::Write as _;
use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;

use anyhow::{Context, Result};
use fs_harness::cell::Setup;
use fs_harness::kernel_log::{self, LogRecord};
use fs_harness::protocol::{MADE, MARK, Program};
use fs_harness::record::{OutcomeKind, Step};
use fs_harness::render::render_counts;

use crate::bench::{Bench, Isolation};
use crate::qemu::checkpoint;
use crate::qemu::ending::NO_VERDICT;
use crate::qemu::guest;
use crate::qemu::limits::{FOREVER, Limits};
use crate::qemu::script::Script;
use crate::qemu::seen::{GivenUp, Seen};
use crate::{artefacts, cache, cell};

/// Of how many sessions the logs are kept.
const KEPT: usize = 10;

/// What a shell says of a program that SIGINT or SIGPIPE ended.
const INTERRUPTED: u8 = 130;
const UNHEARD: u8 = 141;

/// Runs the program in a guest with the setup, while its input and output are passed on. Nothing limits its time.
pub fn run(bench: &Bench, setup: Setup, program: Program, luggage: Vec<u8>) -> Result<Seen> {
    let limits = Limits::of(&bench.machine);
    let qemu = bench.environment.get("qemu").map_or("", String::as_str);
    let checkpoint = match bench.isolation {
        Isolation::Boot => None,
        Isolation::Checkpoint => match checkpoint::ensure(&bench.machine, qemu, setup, limits)? {
            Ok(checkpoint) => Some(checkpoint),
            Err(seen) => return Ok(*seen),
        },
    };
    let start = checkpoint.as_ref().map(|checkpoint| checkpoint.files.clone());
    let limits = Limits { progress: FOREVER, whole: FOREVER, ..limits };
    let pid_file = folder()?.join(cell::PID);
    let script = Script::start(setup, program, luggage, start);
    let mut seen = guest::run(&bench.machine, script, limits, &pid_file)?;
    if let Some(checkpoint) = checkpoint {
        checkpoint.precede(&mut seen);
    }
    Ok(seen)
}

/// How a session ended, for the user.
pub struct Account {
    /// The exit code: the program's own, or 2 where the guest is at fault.
    pub code: u8,
    /// What there is to say, in lines.
    pub text: String,
}

/// Gives an account of a session, and keeps its logs.
pub fn account(seen: &Seen, bench: &Bench, setup: Setup, verbose: bool) -> Result<Account> {
    let folder = folder()?;
    let log: Vec<String> = seen.log.iter().map(|record| record.text.clone()).collect();
    cache::write_whole(&folder.join("kernel.log"), (log.join("\n") + "\n").as_bytes())?;
    cache::write_whole(&folder.join("console.log"), seen.console.as_bytes())?;
    let mut text = String::new();
    let code = ending(seen, &mut text);
    for step in &seen.steps {
        text.push_str(&render_counts(step, setup));
        text.push_str(&imbalance(step));
    }
    kernel_lines(seen, &mut text, verbose);
    // Writing to a String never fails.
    let _ = writeln!(text, "  bench     {}", bench.header());
    let _ = writeln!(text, "  logs      {}", folder.display());
    Ok(Account { code, text })
}

/// What became of the program, and the exit code.
fn ending(seen: &Seen, text: &mut String) -> u8 {
    let outcome = seen.outcome();
    let (code, words) = match (&seen.exited, &seen.given_up) {
        (Some((code, problem)), _) if !problem.is_empty() => (*code, format!("error: {problem}")),
        // A log line that fails a cell is shown below; the program's own end is what counts here.
        (Some((code, _)), _) if matches!(outcome.kind, OutcomeKind::Passed | OutcomeKind::Failed) => {
            (*code, format!("the program ended with exit code {code}"))
        }
        (_, Some(GivenUp::Unheard(error))) if error.kind() == ErrorKind::BrokenPipe => {
            (UNHEARD, "nobody reads the output any more, so the guest was ended".to_owned())
        }
        (_, Some(GivenUp::Unheard(error))) => {
            (crate::CANNOT, format!("error: cannot pass on what the program writes: {error}"))
        }
        (_, Some(GivenUp::Interrupted)) => (
            INTERRUPTED,
            "the program did not end when it was interrupted, so the guest was ended".to_owned(),
        ),
        (None, None) if outcome.detail == NO_VERDICT => {
            (crate::CANNOT, "error: the guest ended before the program did".to_owned())
        }
        _ => (crate::CANNOT, format!("error: {}: {}", outcome.kind, outcome.detail)),
    };
    let _ = writeln!(text, "{words}");
    code
}

/// A warning where pins do not balance or the witnesses do not agree.
fn imbalance(step: &Step) -> String {
    let (kernel, driver) = (step.pins.outstanding(), step.device_pins.outstanding());
    match (kernel, driver) {
        (0, 0) => String::new(),
        _ if kernel == driver => {
            format!("warning: {kernel} more pages are pinned than before the program, by pinblk\n")
        }
        _ => format!(
            "warning: {kernel} more pages are pinned than before the program, of which pinblk holds {driver}\n"
        ),
    }
}

/// The kernel's log lines since the setup was made that a rule picks, or all of them.
fn kernel_lines(seen: &Seen, text: &mut String, verbose: bool) {
    let is_mark = |record: &&LogRecord| record.text.contains(MARK);
    let start = seen.log.iter().rposition(|record| record.text.contains(MADE)).map_or(0, |made| made + 1);
    let mut left_out = 0;
    for record in seen.log[start..].iter().filter(|record| !is_mark(record)) {
        match kernel_log::rule_for(record) {
            Some(rule) => drop(writeln!(text, "  kernel    {} [{}: {}]", record.text, rule.id, rule.reason)),
            None if verbose => drop(writeln!(text, "  kernel    {}", record.text)),
            None => left_out += 1,
        }
    }
    if left_out > 0 {
        let _ = writeln!(text, "  kernel    {left_out} more lines, which no rule picks, are in kernel.log");
    }
}

/// The folder of this process's session; those of long ago make room for it.
pub fn folder() -> Result<PathBuf> {
    let all = artefacts().join("sessions");
    let folder = all.join(std::process::id().to_string());
    if !folder.exists() {
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        cache::keep_newest(&all, KEPT)?;
    }
    Ok(folder)
}
