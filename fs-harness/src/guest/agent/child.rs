// SPDX-License-Identifier: MIT OR Apache-2.0

//! The scenario's process: started to wait for its cell, and then followed. What it says is passed on, and
//! how it ended is judged.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::thread;

use nix::sys::signal::Signal;

use crate::cell::Cell;
use crate::guest::error::{Doing, Error, Result};
use crate::protocol::FromGuest;
use crate::record::{Outcome, OutcomeKind};

/// What a scenario may say in all, in bytes: ordinary ones say some tens of KiB.
const SAID_BYTES: u64 = 8 << 20;

/// How much of its standard error is kept, in bytes.
const LAST_WORDS_BYTES: usize = 4 << 10;

/// How many characters of a line that is no message are shown.
const SHOWN: usize = 200;

/// What a scenario has said until now.
#[derive(Default)]
struct Said {
    checks: usize,
    /// It came to its end; an exit code of 0 alone is no proof of that.
    finished: bool,
    /// What is wrong with a check, each.
    faults: Vec<String>,
    skipped: Option<String>,
    /// A line that is no message: a check may be hidden in it.
    noise: Option<String>,
}

/// A scenario's process that waits to be told its cell.
pub(super) struct Parked {
    process: Child,
    told: ChildStdin,
}

impl Parked {
    pub(super) fn start() -> Result<Self> {
        let mut process = Command::new("/proc/self/exe")
            .arg("scenario")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .doing("start the scenario's process")?;
        let told = process.stdin.take();
        let told =
            told.ok_or_else(|| Error::Unexpected("the scenario was started without pipes".to_owned()))?;
        Ok(Self { process, told })
    }

    /// Tells the process its cell and follows it to its end.
    pub(super) fn run(
        mut self,
        cell: &Cell,
        pass_on: impl FnMut(&FromGuest) -> Result<()>,
    ) -> Result<Outcome> {
        // A process that has died meanwhile does not read it, and is judged by how it ended.
        let _ = self.told.write_all(cell.to_string().as_bytes());
        drop(self.told);
        follow(self.process, pass_on)
    }
}

/// Follows the process to its end.
pub(in crate::guest) fn follow(
    mut scenario: Child,
    mut pass_on: impl FnMut(&FromGuest) -> Result<()>,
) -> Result<Outcome> {
    let (Some(stdout), Some(stderr)) = (scenario.stdout.take(), scenario.stderr.take()) else {
        return Err(Error::Unexpected("the scenario was started without pipes".to_owned()));
    };
    let last_words = thread::spawn(move || read_last(stderr));
    let mut said = Said::default();
    let mut stdout = BufReader::new(stdout.take(SAID_BYTES));
    loop {
        let mut line = Vec::new();
        if stdout.read_until(b'\n', &mut line).doing("read what the scenario says")? == 0 {
            break;
        }
        let line = String::from_utf8_lossy(&line);
        match serde_json::from_str::<FromGuest>(&line) {
            Ok(message) => {
                said.note(&message);
                pass_on(&message)?;
            }
            Err(_) => said.noise = Some(line.chars().take(SHOWN).collect()),
        }
    }
    if stdout.get_ref().limit() == 0 {
        scenario.kill().doing("kill a scenario that does not stop to talk")?;
        scenario.wait().doing("wait for the scenario")?;
        let detail = format!("the scenario said more than {} MiB", SAID_BYTES >> 20);
        return Ok(Outcome { kind: OutcomeKind::Failed, detail });
    }
    let status = scenario.wait().doing("wait for the scenario")?;
    // A child that a scenario has left stuck keeps this pipe open. Only of a failure are the last words needed.
    let last_words = if status.success() { String::new() } else { last_words.join().unwrap_or_default() };
    Ok(said.outcome(status, &last_words))
}

impl Said {
    fn note(&mut self, message: &FromGuest) {
        match message {
            FromGuest::Check(check) => {
                self.checks += 1;
                self.faults.extend(check.fault());
            }
            FromGuest::Skip(what) => self.skipped = Some(what.clone()),
            FromGuest::Finished => self.finished = true,
            _ => {}
        }
    }

    fn outcome(self, status: ExitStatus, last_words: &str) -> Outcome {
        let failed = |detail| Outcome { kind: OutcomeKind::Failed, detail };
        if let Some(number) = status.signal() {
            let signal =
                Signal::try_from(number).map_or_else(|_| number.to_string(), |signal| signal.to_string());
            return failed(format!("the scenario was killed by {signal}{}", after(last_words)));
        }
        if !status.success() {
            return failed(format!("the scenario stopped{}", after(last_words)));
        }
        if let Some(line) = self.noise {
            return failed(format!("the scenario printed what is no message: '{line}'"));
        }
        if let Some(first) = self.faults.first() {
            let (count, checks) = (self.faults.len(), self.checks);
            return failed(format!(
                "{count} of {checks} checks are not as they should be, the first: {first}"
            ));
        }
        if !self.finished {
            return failed("the scenario exited before its end".to_owned());
        }
        if let Some(what) = self.skipped {
            return Outcome {
                kind: OutcomeKind::Skipped,
                detail: format!("the kernel under test lacks {what}"),
            };
        }
        if self.checks == 0 {
            return failed("the scenario ended without a word".to_owned());
        }
        Outcome { kind: OutcomeKind::Passed, detail: String::new() }
    }
}

fn after(last_words: &str) -> String {
    let words = last_words.trim().replace('\n', "; ");
    if words.is_empty() { String::new() } else { format!(": {words}") }
}

/// Reads to the end and keeps the last of it: whoever writes must not be stopped by a full pipe.
fn read_last(mut from: impl Read) -> String {
    let mut last = Vec::new();
    let mut buffer = [0; 4096];
    // What could be read before an error is all that there is.
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        last.extend_from_slice(&buffer[..length]);
        last.drain(..last.len().saturating_sub(LAST_WORDS_BYTES));
    }
    String::from_utf8_lossy(&last).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Check, Known, Verdict};

    fn said(verdicts: &[Verdict]) -> Said {
        let mut said = Said { finished: true, ..Said::default() };
        for &verdict in verdicts {
            said.note(&check(verdict, None));
        }
        said
    }

    fn check(verdict: Verdict, known: Option<Known>) -> FromGuest {
        FromGuest::Check(Check { text: "water is wet".into(), verdict, detail: None, known })
    }

    fn ended(code: i32) -> ExitStatus {
        ExitStatus::from_raw(code << 8)
    }

    #[test]
    fn only_checks_that_hold_pass() {
        let outcome = said(&[Verdict::Holds, Verdict::Holds]).outcome(ended(0), "");
        assert_eq!(outcome.kind, OutcomeKind::Passed);
    }

    #[test]
    fn a_scenario_that_exits_early_fails_whatever_held_before() {
        let said = Said { finished: false, ..said(&[Verdict::Holds]) };
        let outcome = said.outcome(ended(0), "");
        assert_eq!(outcome.kind, OutcomeKind::Failed);
        assert_eq!(outcome.detail, "the scenario exited before its end");
    }

    #[test]
    fn silence_fails() {
        let outcome = said(&[]).outcome(ended(0), "");
        assert_eq!(outcome.kind, OutcomeKind::Failed);
        assert_eq!(outcome.detail, "the scenario ended without a word");
    }

    #[test]
    fn a_violated_check_fails_even_beside_a_skip() {
        let mut said = said(&[Verdict::Holds, Verdict::Violated]);
        said.note(&FromGuest::Skip("water".into()));
        let outcome = said.outcome(ended(0), "");
        assert_eq!(outcome.detail, "1 of 2 checks are not as they should be, the first: water is wet");
    }

    #[test]
    fn what_is_known_to_be_violated_must_be() {
        let known = || Some(Known::Finding("dry-water".into()));
        let ended_with = |verdict| {
            let mut said = said(&[Verdict::Holds]);
            said.note(&check(verdict, known()));
            said.outcome(ended(0), "")
        };
        assert_eq!(ended_with(Verdict::Violated).kind, OutcomeKind::Passed);
        assert_eq!(
            ended_with(Verdict::Holds).detail,
            "1 of 2 checks are not as they should be, the first: water is wet, which is no longer violated (finding dry-water)"
        );
    }

    #[test]
    fn a_crash_fails_whatever_held_before() {
        let outcome = said(&[Verdict::Holds]).outcome(ExitStatus::from_raw(7), "");
        assert_eq!(outcome.kind, OutcomeKind::Failed);
        assert_eq!(outcome.detail, "the scenario was killed by SIGBUS");
        let outcome = said(&[Verdict::Holds]).outcome(ended(101), "thread 'main' panicked\nat here\n");
        assert_eq!(outcome.detail, "the scenario stopped: thread 'main' panicked; at here");
    }
}
