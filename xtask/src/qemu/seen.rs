// SPDX-License-Identifier: MIT OR Apache-2.0

//! What was seen of a guest. It is judged in [`ending`](super::ending).

use std::io;
use std::process::ExitStatus;
use std::time::Duration;

use fs_harness::kernel_log::{self, LogRecord};
use fs_harness::protocol::Answers;
use fs_harness::record::{Check, Outcome, Resources, Step, Timing};
use tokio::process::Child;

use super::channels::Flood;
use super::process;

/// Everything seen of a guest.
#[derive(Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each was seen or not, whatever else was")]
pub struct Seen {
    /// Release of the kernel, once the agent spoke.
    pub ready: Option<String>,
    /// The guest is not the one that it should be, or speaks another version of the protocol.
    pub mistaken: Option<String>,
    /// The agent proved that it was spoken to.
    pub begun: bool,
    /// The harness could not go on with the guest.
    pub fault: Option<String>,
    /// What the guest did last.
    pub doing: String,
    /// Steps, in order.
    pub steps: Vec<Step>,
    /// Checks, in order.
    pub checks: Vec<Check>,
    /// Lines of the kernel's log that the scenario provokes, one each.
    pub expected_log: Vec<String>,
    /// Parts of lines of the kernel's log that are no fault.
    pub allowed_log: Vec<String>,
    /// How often requests were made, and how they were answered.
    pub answers: Answers,
    /// How a program of the user's ended: its exit code, and why it could not be started, if so.
    pub exited: Option<(u8, String)>,
    /// The user interrupted a program, or nobody hears what it writes any more.
    pub given_up: Option<GivenUp>,
    /// Verdicts with their marks: exactly one, if all is well.
    pub verdicts: Vec<(Outcome, String)>,
    /// Lines on the agent's port that are no messages.
    pub garbage: Vec<String>,
    /// What came last on the agent's port, where it was no whole line.
    pub cut: Option<String>,
    /// The scenario came to its end.
    pub finished: bool,
    /// The channel on which more came than is read.
    pub flood: Option<Flood>,
    /// The kernel's log.
    pub log: Vec<LogRecord>,
    /// The console.
    pub console: String,
    /// QMP told of a panic.
    pub panicked: bool,
    /// The guest's state was saved.
    pub saved: bool,
    /// What the kernel said last of something that is stuck, unless the agent spoke since.
    pub stuck: Option<String>,
    /// How long the guest had been silent when its deadline passed.
    pub expired: Option<Duration>,
    /// How long the cell had gone on when that was too long, though the guest still talked.
    pub endless: Option<Duration>,
    /// How QEMU ended.
    pub exit: Option<ExitStatus>,
    /// What QEMU wrote to its standard error.
    pub complaint: String,
    /// What QEMU took of the host.
    pub resources: Option<Resources>,
    /// Seconds from the start to named moments.
    pub timings: Vec<Timing>,
}

/// Why the user gave up a program.
#[derive(Debug)]
pub enum GivenUp {
    /// Ctrl-C.
    Interrupted,
    /// Its output cannot be passed on.
    Unheard(io::Error),
}

impl Seen {
    pub(super) fn note_stuck(&mut self, line: &str) {
        if kernel_log::tells_of_lockup(line) {
            self.stuck.get_or_insert_with(|| line.to_owned());
        }
    }

    /// QEMU's memory is looked at while it lives: nobody can ask for it afterwards.
    pub(super) fn weigh(&mut self, qemu: &Child) {
        let Some(now) = qemu.id().and_then(process::resources) else { return };
        let most = self.resources.get_or_insert(now);
        most.peak_resident_kib = most.peak_resident_kib.max(now.peak_resident_kib);
        most.anonymous_kib = most.anonymous_kib.max(now.anonymous_kib);
    }
}
