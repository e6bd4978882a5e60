// SPDX-License-Identifier: MIT OR Apache-2.0

//! A cell's scenario under the eyes of a person in a shell of the guest, maybe step by step.

use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::process::{ChildStdin, Command, Stdio};

use super::agent::child;
use super::bed::STOPS;
use super::error::{Doing, Error, Result};
use crate::cell::Cell;
use crate::protocol::FromGuest;
use crate::record::OutcomeKind;
use crate::render::{render_check, render_step};

/// Made by the first run: a scenario leaves its filesystem unmounted.
const RAN: &str = "/run/scenario-ran";

/// Runs the scenario and prints what it says as in a snapshot; tells whether it passed.
pub fn run(cell: &Cell, step_by_step: bool) -> Result<bool> {
    match File::create_new(RAN) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            return Err(Error::Unexpected(
                "the scenario has run in this guest and left its filesystem unmounted; leave by `exit` and start another shell"
                    .to_owned(),
            ));
        }
        made => drop(made.doing(format!("make {RAN}"))?),
    }
    let mut command = Command::new("/proc/self/exe");
    command.args(["scenario", &cell.to_string()]).stdout(Stdio::piped()).stderr(Stdio::piped());
    if step_by_step {
        command.stdin(Stdio::piped()).env(STOPS, "1");
    } else {
        command.stdin(Stdio::null());
    }
    let mut scenario = command.spawn().doing("start the scenario")?;
    let mut go_on = scenario.stdin.take();
    let outcome = child::follow(scenario, |message| show(message, cell, go_on.as_mut()))?;
    match outcome.kind {
        OutcomeKind::Passed => print(&format!("\n{cell} passed\n"))?,
        kind => print(&format!("\n{cell} {kind}: {}\n", outcome.detail))?,
    }
    Ok(outcome.kind == OutcomeKind::Passed)
}

fn show(message: &FromGuest, cell: &Cell, go_on: Option<&mut ChildStdin>) -> Result<()> {
    match message {
        FromGuest::Step(step) => {
            print(&render_step(step, cell.setup))?;
            go_on.map_or(Ok(()), stop)
        }
        FromGuest::Check(check) => print(&render_check(check)),
        _ => Ok(()),
    }
}

/// Lets the person look around for as long as they like.
fn stop(go_on: &mut ChildStdin) -> Result<()> {
    loop {
        print("[Enter: go on; sh: a shell in between] ")?;
        let mut line = String::new();
        let length = io::stdin().read_line(&mut line).doing("read what was typed")?;
        match line.trim() {
            "sh" => drop(Command::new("/bin/sh").status().doing("start a shell")?),
            "" => {
                if length == 0 {
                    print("\n")?;
                }
                return go_on.write_all(b"\n").doing("let the scenario go on");
            }
            other => {
                print(&format!("'{other}' is neither; commands are for the shell in between\n"))?;
            }
        }
    }
}

fn print(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).doing("print")
}
