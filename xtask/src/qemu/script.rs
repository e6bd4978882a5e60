// SPDX-License-Identifier: MIT OR Apache-2.0

//! What the harness says to a guest, and when: the host's half of the protocol.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use fs_harness::cell::{Cell, Setup};
use fs_harness::protocol::{AgentFault, FromGuest, Program, ToGuest};

use super::checkpoint::Files;
use super::debugger;
use super::keep::{self, Keep};
use super::machine::{Channels, Machine, Memory};
use super::seen::Seen;

/// What a guest is for.
pub struct Script {
    /// The saved state that it starts from; it boots where there is none.
    start: Option<Files>,
    goal: Goal,
    nonce: String,
    /// The command line of a debugger, for which the guest stands still in the beginning.
    debugger: Option<Vec<String>>,
    /// What the user is offered if the cell does not pass.
    keep: Option<Arc<Keep>>,
}

enum Goal {
    /// To run a cell. The setup is made first, unless the state that it starts from has it.
    Run { cell: Cell, fault: Option<AgentFault> },
    /// To run a program of the user's on a setup. Its files follow when the guest has proven which it is.
    Start { setup: Setup, program: Program, luggage: Vec<u8> },
    /// To make a setup, and save the guest in files.
    Save { setup: Setup, files: Files },
}

/// What the harness does next.
pub(super) enum Turn {
    Listen,
    Say(ToGuest),
    /// From this file.
    Restore(PathBuf),
    /// Into this file.
    Save(PathBuf),
    /// Pass on this archive of files, and then input and output.
    Relay {
        luggage: Vec<u8>,
        on_terminal: bool,
    },
}

impl Script {
    /// Runs a cell, in a guest that boots or in one that was saved when it had made the cell's setup.
    pub fn run(cell: Cell, fault: Option<AgentFault>, start: Option<Files>) -> Self {
        Self::new(Goal::Run { cell, fault }, start)
    }

    /// Has the guest stay if the cell does not pass, for as long as the user likes.
    #[must_use]
    pub fn keeping(self, keep: Option<Arc<Keep>>) -> Self {
        Self { keep, ..self }
    }

    /// Runs a cell when the debugger lets the guest go on, and ends the guest with the debugger.
    pub fn debug(cell: Cell, start: Files, debugger: Vec<String>) -> Self {
        Self { debugger: Some(debugger), ..Self::run(cell, None, Some(start)) }
    }

    /// Runs a program of the user's with its luggage, a cpio archive, on a setup.
    pub fn start(setup: Setup, program: Program, luggage: Vec<u8>, start: Option<Files>) -> Self {
        Self::new(Goal::Start { setup, program, luggage }, start)
    }

    /// Makes a setup and saves the guest, which boots or was saved when nothing was made yet.
    pub fn save(setup: Setup, files: Files, start: Option<Files>) -> Self {
        Self::new(Goal::Save { setup, files }, start)
    }

    fn new(goal: Goal, start: Option<Files>) -> Self {
        Self { start, goal, nonce: nonce(), debugger: None, keep: None }
    }

    /// The command line of the guest on that machine.
    pub(super) fn command_line(&self, machine: &Machine) -> Vec<String> {
        let line = match self.start {
            None => machine.command_line(Channels::Harness, ""),
            Some(_) => machine.restoring(Channels::Harness),
        };
        let memory = match (&self.goal, &self.start) {
            (Goal::Save { files, .. }, _) => Memory::Kept(&files.memory),
            (_, Some(start)) => Memory::Copied(&start.memory),
            (_, None) => Memory::Anonymous,
        };
        let mut options = memory.options();
        if self.debugger.is_some() {
            options.push("-S".to_owned());
        }
        if self.debugger.is_some() || self.keep.is_some() {
            options.extend(debugger::options());
        }
        if self.keep.is_some() {
            options.extend(keep::options());
        }
        [line, options].concat()
    }

    pub(super) fn keep(&self) -> Option<Arc<Keep>> {
        self.keep.clone()
    }

    pub(super) fn debugger(&self) -> Option<&[String]> {
        self.debugger.as_deref()
    }

    /// A program of the user's takes the time that it takes, and hears of interruptions.
    pub(super) fn is_for_the_user(&self) -> bool {
        matches!(self.goal, Goal::Start { .. })
    }

    /// What is done first.
    pub(super) fn opening(&self) -> Turn {
        self.start.as_ref().map_or(Turn::Listen, |start| Turn::Restore(start.state.clone()))
    }

    /// A guest that boots speaks first; one that was saved waits to be spoken to.
    pub(super) fn speak_to_restored(&self) -> Turn {
        match (&self.start, &self.goal) {
            (None, _) => Turn::Listen,
            (Some(_), Goal::Run { cell, fault }) => self.begin(cell, *fault),
            (Some(_), Goal::Start { program, .. }) => self.begin_program(program),
            (Some(_), Goal::Save { setup, .. }) => Turn::Say(ToGuest::Make(*setup)),
        }
    }

    /// What a message of the agent is answered with.
    pub(super) fn answer(&self, message: &FromGuest, seen: &mut Seen) -> Turn {
        match (message, &self.goal) {
            (FromGuest::Ready { .. }, _) if seen.mistaken.is_some() => Turn::Listen,
            (FromGuest::Ready { .. }, Goal::Run { cell, .. }) => Turn::Say(ToGuest::Make(cell.setup)),
            (FromGuest::Ready { .. }, Goal::Save { setup, .. } | Goal::Start { setup, .. }) => {
                Turn::Say(ToGuest::Make(*setup))
            }
            (FromGuest::Made(_), Goal::Run { cell, fault }) => self.begin(cell, *fault),
            (FromGuest::Made(_), Goal::Start { program, .. }) => self.begin_program(program),
            (FromGuest::Made(_), Goal::Save { files, .. }) => Turn::Save(files.state.clone()),
            (FromGuest::Begun { nonce, setup, kernel }, goal) => {
                // A restored guest proves that it is the one that it should be.
                seen.ready.get_or_insert_with(|| kernel.clone());
                seen.begun = true;
                if (nonce, setup) != (&self.nonce, &goal.setup()) {
                    let mistake = format!("a guest with {setup} answered that was asked something else");
                    seen.mistaken = Some(mistake);
                    return Turn::Listen;
                }
                match goal {
                    Goal::Start { program, luggage, .. } => {
                        let on_terminal = program.terminal.is_some();
                        Turn::Relay { luggage: luggage.clone(), on_terminal }
                    }
                    Goal::Run { .. } | Goal::Save { .. } => Turn::Listen,
                }
            }
            _ => Turn::Listen,
        }
    }

    fn begin(&self, cell: &Cell, fault: Option<AgentFault>) -> Turn {
        let (cell, nonce) = (cell.clone(), self.nonce.clone());
        let stay = self.keep.is_some();
        Turn::Say(ToGuest::Run { cell, nonce, unix_seconds: unix_seconds(), fault, stay })
    }

    fn begin_program(&self, program: &Program) -> Turn {
        Turn::Say(self.start_of(program.clone()))
    }

    /// Asks the agent to start a program.
    pub(super) fn start_of(&self, program: Program) -> ToGuest {
        ToGuest::Start { program, nonce: self.nonce.clone(), unix_seconds: unix_seconds() }
    }
}

impl Goal {
    fn setup(&self) -> Setup {
        match self {
            Self::Run { cell, .. } => cell.setup,
            Self::Start { setup, .. } | Self::Save { setup, .. } => *setup,
        }
    }
}

fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// Tells one run from every other; a restored guest stirs it into its entropy.
fn nonce() -> String {
    let random = std::fs::read("/proc/sys/kernel/random/uuid").unwrap_or_default();
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    format!("{}-{:x}-{:x}", String::from_utf8_lossy(&random).trim(), std::process::id(), now.as_nanos())
}
