// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo xtask`: every command of pinbed.

#![warn(clippy::print_stdout, clippy::print_stderr)]

use std::process::ExitCode;

use clap::Parser;
use xtask::CANNOT;

mod cli;

fn main() -> ExitCode {
    match cli::Cli::parse().run() {
        Ok(code) => xtask::terminal::heard(code),
        Err(err) => {
            xtask::note!("error: {err:#}");
            ExitCode::from(CANNOT)
        }
    }
}
