// SPDX-License-Identifier: MIT OR Apache-2.0

//! What guest and host say to each other on the agent's virtio-serial port: one JSON message a line.
//!
//! The guest speaks first. The host answers [`FromGuest::Ready`] with [`ToGuest::Make`], and
//! [`FromGuest::Made`] either by saving the guest or with [`ToGuest::Run`]; a guest that was saved can
//! be told either. It sends what happens as it happens, then exactly one [`FromGuest::Verdict`], and
//! ends itself. Steps, checks, skips and the word that it finished come from the scenario's process, which says the same to PID 1.
//!
//! [`ToGuest::Start`] in the place of [`ToGuest::Run`] starts a program of the user's, whose input and
//! output go over a port of their own, see [`stream`](crate::stream). It may also follow a
//! [`ToGuest::Run`] that was told to stay.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::cell::{Cell, Setup};
use crate::record::{Check, Outcome, Step};

/// Version of these messages; the two sides must agree.
pub const VERSION: u32 = 8;

/// Name of the virtio-serial port that carries these messages.
pub const AGENT_PORT: &str = "pinbed.agent";

/// Name of the virtio-serial port that carries `/dev/kmsg` records, guest to host.
pub const KERNEL_LOG_PORT: &str = "pinbed.kmsg";

/// How every mark of the agent in the kernel's log begins.
pub const MARK: &str = "pinbed: mark:";

/// How the mark begins that stands behind all that was logged while a setup was made.
pub const MADE: &str = "pinbed: mark: made ";

/// How often each request was made, by its name and by how it was answered: "ok", or an errno.
pub type Answers = BTreeMap<String, BTreeMap<String, u64>>;

/// From the guest to the host.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FromGuest {
    /// The first message: the agent waits for a cell.
    Ready {
        /// [`VERSION`].
        protocol: u32,
        /// Release of the kernel, as `uname -r` prints it.
        kernel: String,
    },
    /// The setup is made; the agent waits for what to do next.
    Made(Setup),
    /// The cell begins: the agent proves that it was spoken to, and what it is.
    Begun {
        /// The run's own.
        nonce: String,
        /// What was made in this guest.
        setup: Setup,
        /// Release of the kernel.
        kernel: String,
    },
    /// What the guest does now; any message shows progress, this one says which.
    Doing(String),
    /// A step of the scenario.
    Step(Box<Step>),
    /// A check of the scenario.
    Check(Check),
    /// The kernel's log will have one more line that a rule picks and that contains this, as
    /// [`crate::kernel_log::normalise`] leaves it: the scenario provokes it.
    ExpectLog(String),
    /// Lines of the kernel's log that a rule picks and that contain this are no fault, however many come: the
    /// scenario has seen what they are about, and the kernel limits how many it writes.
    AllowLog(String),
    /// The answers to the requests that were made in great numbers.
    Answers(Answers),
    /// The kernel lacks what the scenario needs.
    Skip(String),
    /// The scenario came to its end: what it said is all that it had to say.
    Finished,
    /// The program that was started has ended.
    Exited {
        /// As a shell has it: 128 and the signal's number for one that was killed, 126 and 127 for one
        /// that could not be started.
        code: u8,
        /// Why it could not be started; empty otherwise.
        problem: String,
    },
    /// How the cell ended, by the agent.
    Verdict {
        /// Passed, failed or skipped; harness error where the agent itself failed.
        outcome: Outcome,
        /// The line that the agent wrote to the kernel's log just before: the log is complete when it has arrived.
        log_mark: String,
    },
}

/// From the host to the guest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToGuest {
    /// Make this setup, then wait.
    Make(Setup),
    /// Run this cell, then end or stay.
    Run {
        /// Which.
        cell: Cell,
        /// Tells this run from every other; stirred into the guest's entropy.
        nonce: String,
        /// The time, which a saved guest does not know.
        unix_seconds: u64,
        /// A fault to commit, for the self-test.
        fault: Option<AgentFault>,
        /// The guest does not end itself after the verdict, but waits for a program or for the host to end it.
        stay: bool,
    },
    /// Start this program when its files have come, then end.
    Start {
        /// What to start.
        program: Program,
        /// Tells this run from every other; stirred into the guest's entropy.
        nonce: String,
        /// The time, which a saved guest does not know.
        unix_seconds: u64,
    },
    /// The user pressed Ctrl-C: interrupt the program.
    Interrupt,
    /// The user's terminal has another size now.
    Resize(TerminalSize),
}

/// A program of the user's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    /// The program's path in the guest, and its arguments.
    pub words: Vec<String>,
    /// Its environment, without what only the guest knows.
    pub environment: Vec<(String, String)>,
    /// The folder that it starts in; where there is none, that of the setup's files.
    pub folder: Option<String>,
    /// The size of its terminal; its input and output are pipes where there is none.
    pub terminal: Option<TerminalSize>,
}

/// The size of a terminal, in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TerminalSize {
    /// Lines.
    pub rows: u16,
    /// Characters in a line.
    pub columns: u16,
}

/// Faults of the agent that the host must notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AgentFault {
    /// End the guest without a verdict.
    NoVerdict,
    /// Send two verdicts.
    TwoVerdicts,
    /// Send what is not a message.
    Garbage,
    /// Send half of the verdict, and end the guest.
    HalfAVerdict,
    /// Send half of the verdict, and nothing more.
    HalfAVerdictThenSilence,
    /// Send 100 MiB without a line feed.
    EndlessLine,
    /// Send 100 MiB of valid messages.
    EndlessMessages,
    /// Exit, which PID 1 must not.
    Exit,
}

/// Writes a message as a line.
pub fn line(message: &impl Serialize) -> String {
    // Serialising fails for maps with keys that are not strings only; no message has one.
    let mut text = serde_json::to_string(message).unwrap_or_else(|error| unreachable!("{error}"));
    text.push('\n');
    text
}
