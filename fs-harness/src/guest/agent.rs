// SPDX-License-Identifier: MIT OR Apache-2.0

//! PID 1 of the guest: prepares it, runs the one cell or program that the host names, gives the verdict,
//! ends the guest.

pub(super) mod child;
mod fault;
mod ports;
pub(super) mod prepare;
mod process;
mod session;
mod unpack;

use std::process::ExitCode;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use nix::sys::reboot::{RebootMode, reboot};

use self::child::Parked;
use self::ports::Ports;
use super::error::{Error, Result};
use super::kmsg;
use super::site::Site;
use crate::cell::{Cell, Setup};
use crate::protocol::{self, AgentFault, FromGuest, MADE, MARK, ToGuest};
use crate::record::{Outcome, OutcomeKind};

/// Lives as PID 1. Returns only where the guest cannot even be ended.
pub fn run() -> ExitCode {
    if let Err(error) = live() {
        // Nobody may be listening on the port: the console is the last resort.
        eprintln!("pinbed agent: {error}");
    }
    match reboot(RebootMode::RB_AUTOBOOT) {
        Ok(infallible) => match infallible {},
        Err(error) => {
            eprintln!("pinbed agent: end the guest: {error}");
            ExitCode::FAILURE
        }
    }
}

fn live() -> Result<()> {
    prepare::mount_all()?;
    let mut ports = Ports::open()?;
    let marks = ports.stream_kernel_log()?;
    let mut agent = Agent { ports, marks, made: Setup::None, scenario: None };
    match agent.serve() {
        Ok(()) => Ok(()),
        Err(error) => agent.give_verdict(OutcomeKind::HarnessError, error.to_string(), None),
    }
}

/// The agent at work.
struct Agent {
    ports: Ports,
    marks: Receiver<String>,
    /// What was made in this guest so far.
    made: Setup,
    /// The process of the scenario, once it waits for its cell.
    scenario: Option<Parked>,
}

impl Agent {
    fn serve(&mut self) -> Result<()> {
        prepare::load_driver()?;
        prepare::quiet()?;
        let kernel = prepare::kernel_release()?;
        // Started before the guest is saved, so that no cell has to wait for it.
        self.scenario = Some(Parked::start()?);
        if let Ok(name) = std::env::var("PINBED_CELL") {
            // A person started this guest by hand: nobody answers on the port.
            return self.run_by_hand(&name);
        }
        self.ports.send(&FromGuest::Ready { protocol: protocol::VERSION, kernel: kernel.clone() })?;
        loop {
            match self.ports.receive()? {
                ToGuest::Make(setup) => match self.make(setup) {
                    Ok(()) => {
                        // What was logged until now must not be asked of a guest that is restored later.
                        self.mark_log(&format!("{MADE}{setup}"))?;
                        self.ports.send(&FromGuest::Made(setup))?;
                    }
                    Err(error) => {
                        let lacks = matches!(error, Error::Lacking(_));
                        let kind = if lacks { OutcomeKind::Skipped } else { OutcomeKind::Failed };
                        return self.give_verdict(kind, error.to_string(), None);
                    }
                },
                ToGuest::Run { cell, nonce, unix_seconds, fault, stay } => {
                    prepare::wake_up(unix_seconds, &nonce)?;
                    let (setup, kernel) = (self.made, kernel.clone());
                    self.ports.send(&FromGuest::Begun { nonce, setup, kernel })?;
                    self.run(&cell, fault)?;
                    if !stay {
                        return Ok(());
                    }
                }
                ToGuest::Start { program, nonce, unix_seconds } => {
                    prepare::wake_up(unix_seconds, &nonce)?;
                    let (setup, kernel) = (self.made, kernel);
                    self.ports.send(&FromGuest::Begun { nonce, setup, kernel })?;
                    session::run(&mut self.ports, &program, &Site::of(setup))?;
                    return self.give_verdict(OutcomeKind::Passed, String::new(), None);
                }
                ToGuest::Interrupt | ToGuest::Resize(_) => {
                    return Err(Error::Unexpected(
                        "the host speaks of a program that was not started".to_owned(),
                    ));
                }
            }
        }
    }

    fn make(&mut self, setup: Setup) -> Result<()> {
        self.ports.send(&FromGuest::Doing(format!("making {setup}")))?;
        Site::make(setup)?;
        self.made = setup;
        Ok(())
    }

    fn run(&mut self, cell: &Cell, fault: Option<AgentFault>) -> Result<()> {
        self.ports.send(&FromGuest::Doing(format!("running {cell}")))?;
        let parked = self.scenario.take();
        let parked = parked.ok_or_else(|| Error::Unexpected("a guest runs one cell".to_owned()))?;
        let outcome = parked.run(cell, |message| self.ports.send(message))?;
        self.give_verdict(outcome.kind, outcome.detail, fault)
    }

    fn give_verdict(&mut self, kind: OutcomeKind, detail: String, fault: Option<AgentFault>) -> Result<()> {
        let log_mark = format!("{MARK} the end");
        self.mark_log(&log_mark)?;
        let verdict = FromGuest::Verdict { outcome: Outcome { kind, detail }, log_mark };
        match fault {
            None => self.ports.send(&verdict),
            Some(fault) => fault::commit(fault, &mut self.ports, &verdict),
        }
    }

    fn run_by_hand(&mut self, name: &str) -> Result<()> {
        let cell: Cell = name.parse().map_err(|error| Error::Unexpected(format!("{error}")))?;
        self.make(cell.setup)?;
        self.run(&cell, None)
    }

    /// Writes a line into the kernel's log, and waits until it is on its way to the host: every line
    /// before it is too.
    fn mark_log(&mut self, mark: &str) -> Result<()> {
        kmsg::write(mark)?;
        loop {
            let seen = self.marks.recv_timeout(Duration::from_secs(10)).map_err(|_| {
                Error::Unexpected("the kernel's log did not reach the host in 10 s".to_owned())
            })?;
            if seen.contains(mark) {
                return Ok(());
            }
        }
    }
}
