// SPDX-License-Identifier: MIT OR Apache-2.0

//! The guest's only program of ours: PID 1, and under other arguments the processes that it starts.

use std::io;
use std::path::Path;
use std::process::ExitCode;

use fs_harness::cell::Cell;
use fs_harness::guest::{agent, by_hand, daemon, scenario};
use workloads::catalogue;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["scenario", name] => run_scenario(name),
        ["by-hand", name, options @ ..] => by_hand(name, options),
        // Started before the guest is saved, it is told its cell when the guest is restored.
        ["scenario"] => match io::read_to_string(io::stdin()) {
            Ok(name) => run_scenario(&name),
            Err(error) => fail(&format!("the scenario could not read the name of its cell: {error}")),
        },
        [daemon::COMMAND, name, backing, mountpoint] => serve(name, backing, mountpoint),
        // The kernel passes unknown words of its command line on to PID 1.
        _ if std::process::id() == 1 => agent::run(),
        _ => fail("this program is the /init of a pinbed guest; run `cargo xtask run` on the host"),
    }
}

fn serve(name: &str, backing: &str, mountpoint: &str) -> ExitCode {
    match daemon::serve(name, Path::new(backing), Path::new(mountpoint)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error.to_string()),
    }
}

fn run_scenario(name: &str) -> ExitCode {
    let cell: Cell = match name.parse() {
        Ok(cell) => cell,
        Err(error) => return fail(&format!("{error}")),
    };
    match catalogue::find(&cell.scenario) {
        Some(found) => {
            let known = found.known(&cell);
            scenario::run(cell, known, found.run)
        }
        None => fail(&format!("the guest image has no scenario '{}'; rebuild it", cell.scenario)),
    }
}

/// What a person calls `scenario` in a shell of the guest.
fn by_hand(name: &str, options: &[&str]) -> ExitCode {
    let steps = match options {
        [] => false,
        ["--step"] => true,
        _ => {
            return fail(
                "usage: scenario [--step]: run this cell's scenario, or stop after each of its steps",
            );
        }
    };
    let ran = name.parse().map_err(|error| format!("{error}"));
    match ran.and_then(|cell| by_hand::run(&cell, steps).map_err(|error| format!("{error}"))) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(why) => fail(&why),
    }
}

fn fail(why: &str) -> ExitCode {
    eprintln!("{why}");
    ExitCode::from(2)
}
