// SPDX-License-Identifier: MIT OR Apache-2.0

//! PID 1 of the guest: prepares it, runs the one cell that the host names, gives the verdict, ends the guest.

mod child;
mod ports;
mod prepare;

use std::process::{Command, ExitCode, Stdio};
use std::sync::mpsc::Receiver;
use std::time::Duration;

use nix::sys::reboot::{RebootMode, reboot};

use self::ports::Ports;
use super::error::{Doing, Error, Result};
use super::kmsg;
use super::site::Site;
use crate::cell::Cell;
use crate::protocol::{self, AgentFault, FromGuest, ToGuest};
use crate::record::{Outcome, OutcomeKind};

/// How every mark in the kernel's log begins.
const MARK: &str = "pinbed: end of cell";

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
    if let Err(error) = prepare::load_driver().and_then(|()| prepare::quiet()) {
        return ports.send(&verdict(OutcomeKind::HarnessError, error.to_string(), String::new()));
    }
    ports.send(&FromGuest::Ready { protocol: protocol::VERSION, kernel: prepare::kernel_release()? })?;
    let ToGuest::Run { cell, nonce, fault } = match std::env::var("PINBED_CELL") {
        // A person started this guest by hand: nobody answers on the port.
        Ok(name) => run_by_hand(&name)?,
        Err(_) => ports.receive()?,
    };
    let outcome = match run_cell(&mut ports, &cell) {
        Ok(outcome) => outcome,
        Err(error) => Outcome { kind: OutcomeKind::Failed, detail: error.to_string() },
    };
    let log_mark = mark_log(&marks, &cell, &nonce)?;
    let verdict = FromGuest::Verdict { outcome, log_mark };
    match fault {
        None => ports.send(&verdict),
        Some(AgentFault::NoVerdict) => Ok(()),
        Some(AgentFault::TwoVerdicts) => ports.send(&verdict).and_then(|()| ports.send(&verdict)),
        Some(AgentFault::Garbage) => ports.send_raw("this is not a message\n"),
    }
}

fn run_by_hand(name: &str) -> Result<ToGuest> {
    let cell = name.parse().map_err(|error| Error::Unexpected(format!("{error}")))?;
    Ok(ToGuest::Run { cell, nonce: "by hand".to_owned(), fault: None })
}

fn run_cell(ports: &mut Ports, cell: &Cell) -> Result<Outcome> {
    ports.send(&FromGuest::Doing(format!("making {}", cell.setup)))?;
    Site::make(cell.setup)?;
    ports.send(&FromGuest::Doing(format!("running {cell}")))?;
    let scenario = Command::new("/proc/self/exe")
        .args(["scenario", &cell.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .doing("start the scenario")?;
    child::follow(scenario, |message| ports.send(message))
}

/// Writes a line into the kernel's log that no other run writes, and waits until it is on its way
/// to the host: every line before it is too.
fn mark_log(marks: &Receiver<String>, cell: &Cell, nonce: &str) -> Result<String> {
    let mark = format!("{MARK} {cell} {nonce}");
    kmsg::write(&mark)?;
    loop {
        let seen = marks
            .recv_timeout(Duration::from_secs(10))
            .map_err(|_| Error::Unexpected("the kernel's log did not reach the host in 10 s".to_owned()))?;
        if seen.contains(&mark) {
            return Ok(mark);
        }
    }
}

fn verdict(kind: OutcomeKind, detail: String, log_mark: String) -> FromGuest {
    FromGuest::Verdict { outcome: Outcome { kind, detail }, log_mark }
}
