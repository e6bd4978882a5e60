// SPDX-License-Identifier: MIT OR Apache-2.0

//! The process in which a scenario runs, so that its crash is a failed cell and not a guest panic.

use std::io::{self, Write};
use std::process::ExitCode;

use super::bed::Bed;
use super::error::{Doing, Error, Result};
use crate::cell::Cell;
use crate::protocol::{self, FromGuest};
use crate::record::Known;

/// Runs one scenario to its end and says everything to the agent; its last word is that it got there.
///
/// The checks of which it is known that they do not hold are `known` by their words.
pub fn run(cell: Cell, known: Vec<(&'static str, Known)>, scenario: fn(&mut Bed) -> Result<()>) -> ExitCode {
    match on_a_bed(cell, known, scenario) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn on_a_bed(
    cell: Cell,
    known: Vec<(&'static str, Known)>,
    scenario: fn(&mut Bed) -> Result<()>,
) -> Result<()> {
    let ran = Bed::new(cell, known).and_then(|mut bed| {
        scenario(&mut bed)?;
        bed.finish()
    });
    match ran {
        Err(Error::Lacking(what)) => send(&FromGuest::Skip(what))?,
        result => result?,
    }
    send(&FromGuest::Finished)
}

/// Sends a message to PID 1, which reads this process's standard output.
pub(super) fn send(message: &FromGuest) -> Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(protocol::line(message).as_bytes()).and_then(|()| out.flush()).doing("report to the agent")
}
