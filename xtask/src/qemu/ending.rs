// SPDX-License-Identifier: MIT OR Apache-2.0

//! How a cell ended, judged from what was seen of its guest. Success needs all of it: one verdict, a
//! complete and clean kernel log, and a clean end. Everything else has a name of its own.

use std::os::unix::process::ExitStatusExt;

use fs_harness::kernel_log::{self, LogRecord};
use fs_harness::record::{Check, Outcome, OutcomeKind};
use nix::sys::signal::Signal;

use super::channels::Flood;
use super::seen::Seen;

/// What is said of a guest that ended by itself, before anything was known of how the cell ended.
pub(crate) const NO_VERDICT: &str = "the guest ended without a verdict";

pub(super) fn judge(seen: &Seen) -> Outcome {
    let (kind, detail) = by_its_end(seen).or_else(|| broken_log(seen)).unwrap_or_else(|| verdict(seen));
    Outcome { kind, detail }
}

/// The same of a guest that still lives. Whether its log is whole is not asked: of a restored guest, the
/// checkpoint has the beginning.
pub(super) fn judge_so_far(seen: &Seen) -> Outcome {
    let (kind, detail) = by_its_end(seen).unwrap_or_else(|| verdict(seen));
    Outcome { kind, detail }
}

fn by_its_end(seen: &Seen) -> Option<Ending> {
    panic(seen)
        .or_else(|| flood(seen))
        .or_else(|| wrong_talk(seen))
        .or_else(|| before_ready(seen))
        .or_else(|| hang(seen))
        .or_else(|| endless(seen))
        .or_else(|| wrong_verdicts(seen))
        .or_else(|| unclean_end(seen))
}

type Ending = (OutcomeKind, String);

fn panic(seen: &Seen) -> Option<Ending> {
    let line = seen.console.lines().find(|line| line.contains("Kernel panic - not syncing"));
    let what = match (line, seen.panicked) {
        (Some(line), _) => without_time(line).to_owned(),
        (None, true) => "the console does not say why".to_owned(),
        (None, false) => return None,
    };
    Some((OutcomeKind::GuestPanicked, format!("{what}; the guest was {}", whereabouts(seen))))
}

/// A guest that never stops to talk; the agent is a part of the harness, and the rest is under test.
fn flood(seen: &Seen) -> Option<Ending> {
    let flood = seen.flood?;
    let kind = if flood == Flood::Agent { OutcomeKind::HarnessError } else { OutcomeKind::Failed };
    Some((kind, format!("the guest said {flood}; it was {}", whereabouts(seen))))
}

fn before_ready(seen: &Seen) -> Option<Ending> {
    if seen.ready.is_some() || !seen.verdicts.is_empty() {
        return None;
    }
    if let Some(signal) = killed(seen) {
        return Some((
            OutcomeKind::HarnessError,
            format!("QEMU was killed by {signal} before the guest was ready"),
        ));
    }
    let complaint = seen.complaint.trim();
    if !complaint.is_empty() && !seen.exit.is_some_and(|status| status.success()) && seen.console.is_empty() {
        return Some((OutcomeKind::HarnessError, format!("QEMU did not start the guest: {complaint}")));
    }
    let last = seen.console.lines().last().map_or("the console is empty", without_time);
    let detail = match seen.expired {
        Some(limit) => {
            format!("the agent was not ready after {} s; last on the console: {last}", limit.as_secs())
        }
        None => format!("the guest ended before the agent was ready; last on the console: {last}"),
    };
    Some((OutcomeKind::BootFailed, detail))
}

fn hang(seen: &Seen) -> Option<Ending> {
    let limit = seen.expired?;
    let hint = seen.stuck.as_deref().map(|line| format!("; {}", without_time(line))).unwrap_or_default();
    let detail =
        format!("no sign of life for {} s; the guest was {}{hint}", limit.as_secs(), whereabouts(seen));
    Some((OutcomeKind::GuestHung, detail))
}

/// A guest that talks, and never comes to an end.
fn endless(seen: &Seen) -> Option<Ending> {
    let limit = seen.endless?;
    let detail = format!(
        "the cell had not ended {} s after it began, though the guest still talked; it was {}",
        limit.as_secs(),
        whereabouts(seen)
    );
    Some((OutcomeKind::GuestHung, detail))
}

/// What was said is not what a guest says.
fn wrong_talk(seen: &Seen) -> Option<Ending> {
    let garbage = || Some(format!("the agent sent what is no message: '{}'", shown(seen.garbage.first()?)));
    let fault = || Some(format!("{}{}", seen.fault.as_ref()?, complaint(seen)));
    let detail = seen.mistaken.clone().or_else(garbage).or_else(fault)?;
    Some((OutcomeKind::HarnessError, detail))
}

/// Exactly one verdict counts, of a guest that was asked for it, and it must agree with the checks that
/// came before it.
fn wrong_verdicts(seen: &Seen) -> Option<Ending> {
    let fault = seen.checks.iter().find_map(Check::fault);
    let detail = match (seen.verdicts.as_slice(), killed(seen)) {
        ([(outcome, _)], _) if outcome.kind == OutcomeKind::Passed => match fault {
            _ if !seen.begun => "a verdict came from a guest that never proved which it is".to_owned(),
            _ if !seen.finished => "the agent passed a scenario that never came to its end".to_owned(),
            Some(fault) => {
                format!("the agent passed a cell with a check that is not as it should be: {fault}")
            }
            None => match &seen.cut {
                Some(cut) => format!("half a message came after the verdict: '{}'", shown(cut)),
                None => return None,
            },
        },
        ([_], _) => return None,
        (_, Some(signal)) => format!("QEMU was killed by {signal} while the guest was {}", whereabouts(seen)),
        ([], None) => match &seen.cut {
            Some(cut) => format!("the guest ended in the middle of a message: '{}'", shown(cut)),
            None => NO_VERDICT.to_owned(),
        },
        (several, None) => format!("the agent gave {} verdicts", several.len()),
    };
    Some((OutcomeKind::HarnessError, detail))
}

fn unclean_end(seen: &Seen) -> Option<Ending> {
    let status = seen.exit?;
    let complaint = seen.complaint.trim();
    (!status.success()).then(|| (OutcomeKind::HarnessError, format!("QEMU ended with {status}: {complaint}")))
}

/// A log with holes can hide a warning.
fn broken_log(seen: &Seen) -> Option<Ending> {
    let (verdict, mark) = seen.verdicts.first()?;
    if verdict.kind == OutcomeKind::HarnessError {
        return None;
    }
    let gap = seen.log.windows(2).find(|pair| pair[1].seq != pair[0].seq + 1);
    let detail = if let Some(pair) = gap {
        format!("the kernel's log has a gap after record {}", pair[0].seq)
    } else if seen.log.first().is_none_or(|record| record.seq != 0) {
        "the beginning of the kernel's log is missing".to_owned()
    } else if !seen.log.iter().any(|record| record.text.contains(mark.as_str())) {
        "the end of the kernel's log is missing".to_owned()
    } else {
        return None;
    };
    Some((OutcomeKind::HarnessError, detail))
}

fn verdict(seen: &Seen) -> Ending {
    let Some((outcome, _)) = seen.verdicts.first() else {
        return (OutcomeKind::HarnessError, NO_VERDICT.to_owned());
    };
    match (outcome.kind, log_fault(seen)) {
        (OutcomeKind::Passed | OutcomeKind::Skipped, Some(fault)) => (OutcomeKind::Failed, fault),
        (kind, _) => (kind, outcome.detail.clone()),
    }
}

impl Seen {
    /// How the cell ended.
    pub fn outcome(&self) -> Outcome {
        judge(self)
    }

    /// Whether the scenario said that such a line of the kernel's log is no fault.
    pub fn allows(&self, record: &LogRecord) -> bool {
        self.allowed_log.iter().any(|part| record.text.contains(part.as_str()))
    }
}

/// A line that fails a cell and that the scenario did not provoke, or one that it did and that is not there.
fn log_fault(seen: &Seen) -> Option<String> {
    let mut expected = seen.expected_log.clone();
    for record in seen.log.iter().filter(|record| !seen.allows(record)) {
        let Some(rule) = kernel_log::rule_for(record) else { continue };
        let line = kernel_log::normalise(&record.text);
        match expected.iter().position(|part| line.contains(part.as_str())) {
            Some(at) => {
                expected.remove(at);
            }
            None => return Some(format!("{}: the kernel's log says '{line}'", rule.reason)),
        }
    }
    let missing = expected.first()?;
    Some(format!("the kernel's log lacks what the scenario provokes: '{missing}'"))
}

fn killed(seen: &Seen) -> Option<String> {
    // A guest that hangs is killed by the harness itself.
    if seen.expired.is_some() || seen.endless.is_some() {
        return None;
    }
    let number = seen.exit?.signal()?;
    Some(Signal::try_from(number).map_or_else(|_| format!("signal {number}"), |signal| signal.to_string()))
}

fn whereabouts(seen: &Seen) -> &str {
    match (&seen.ready, seen.doing.is_empty()) {
        (None, _) => "booting",
        (Some(_), true) => "ready",
        (Some(_), false) => &seen.doing,
    }
}

/// What QEMU complained of, as the end of a sentence: why it could not do what it was asked.
fn complaint(seen: &Seen) -> String {
    let complaint = seen.complaint.trim().replace('\n', "; ");
    if complaint.is_empty() { complaint } else { format!(": {complaint}") }
}

/// As much of a line as fits into a sentence.
fn shown(line: &str) -> String {
    line.chars().take(200).collect()
}

/// A console line without its time stamp.
fn without_time(line: &str) -> &str {
    match line.strip_prefix('[').and_then(|rest| rest.split_once("] ")) {
        Some((_, text)) => text,
        None => line,
    }
}

#[cfg(test)]
mod tests;
