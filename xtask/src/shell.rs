// SPDX-License-Identifier: MIT OR Apache-2.0

//! `cargo xtask shell`: a shell in a guest, where a cell would start.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;
use fs_harness::cell::{Cell, Setup};
use fs_harness::protocol::{Program, TerminalSize};

use crate::bench::Options;
use crate::host::tools::find_program;
use crate::luggage::Luggage;
use crate::{exec, list, note, session, tty};

/// Where the shell is to be.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// The cell at whose start the guest is: its name, the first parts of it, or any part that no other has
    #[arg(value_name = "CELL", required_unless_present = "fs")]
    cell: Option<String>,
    /// No cell, but what is mounted
    #[arg(long, value_name = "SETUP", value_parser = exec::setups(), conflicts_with = "cell")]
    fs: Option<Setup>,
    /// A file or folder that comes along to the same path, or a program by its name
    #[arg(long, value_name = "FILE")]
    with: Vec<PathBuf>,
    #[command(flatten)]
    bench: Options,
}

/// Opens the shell. Its own exit code says nothing of a cell, so it is not passed on.
pub fn main(arguments: &Arguments) -> Result<ExitCode> {
    let cell = arguments.cell.as_deref().map(list::one).transpose()?;
    let size = tty::require("a shell", "`cargo xtask exec -- sh -c '...'` runs commands without one")?;
    let setup = cell.as_ref().map(|cell| cell.setup).or(arguments.fs).unwrap_or(Setup::None);
    let prompt = cell.as_ref().map_or_else(|| setup.to_string(), Cell::to_string);
    let (program, luggage) = pack(cell.as_ref(), &prompt, &arguments.with, size)?;
    let bench = exec::prepare(&arguments.bench)?;
    note!("a guest of {setup}: `exit` leaves it, Ctrl-] ends it where nothing else does");
    if cell.is_some() {
        note!("`scenario` runs the cell's scenario, `scenario --step` stops after each step");
    }
    let seen = session::run(&bench, setup, program, luggage)?;
    let account = session::account(&seen, &bench, setup, false)?;
    note!("{}", account.text.trim_end());
    let guest_failed = seen.exited.is_none();
    Ok(if guest_failed { account.code.into() } else { ExitCode::SUCCESS })
}

/// The shell, and what comes along with it; with a cell, its scenario is there as a command.
pub fn pack(
    cell: Option<&Cell>,
    prompt: &str,
    with: &[PathBuf],
    size: TerminalSize,
) -> Result<(Program, Vec<u8>)> {
    let mut luggage = Luggage::new()?;
    // dash edits no lines.
    let (shell, options) = match find_program("bash") {
        Some(_) => ("bash", ["--norc", "--noprofile"].as_slice()),
        None => ("sh", [].as_slice()),
    };
    let path = luggage.add_program(shell)?.map_err(|refusal| anyhow::anyhow!(refusal.why))?;
    for file in with.iter().map(PathBuf::as_path).chain(tty::description().as_deref()) {
        luggage.add(file)?;
    }
    let mut environment = exec::environment(&[])?;
    environment.push(("SHELL".to_owned(), path.clone()));
    environment.push(("PS1".to_owned(), format!("{prompt} # ")));
    if let Some(cell) = cell {
        luggage.add_script(Path::new("/usr/bin/scenario"), &format!("exec /init by-hand {cell} \"$@\""));
    }
    let words = [path].into_iter().chain(options.iter().map(|&option| option.to_owned())).collect();
    // A scenario unmounts its filesystem in the end, so its shell must not stand in it.
    let folder = cell.map(|_| "/root".to_owned());
    Ok((Program { words, environment, folder, terminal: Some(size) }, luggage.pack()?))
}
