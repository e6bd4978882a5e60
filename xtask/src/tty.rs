// SPDX-License-Identifier: MIT OR Apache-2.0

//! The user's terminal, for programs in a guest: its size, and a time in which it passes on every key.

use std::io::{IsTerminal, stderr, stdin, stdout};
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use fs_harness::protocol::TerminalSize;
use nix::sys::termios::{SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};
use terminal_size::{Height, Width, terminal_size};

/// The size of the terminal that output goes to; none where it goes elsewhere.
pub fn size() -> Option<TerminalSize> {
    terminal_size().map(|(Width(columns), Height(rows))| TerminalSize { rows, columns })
}

/// The size of the terminal that `what` needs, or an error that says what to do without one.
pub fn require(what: &str, instead: &str) -> Result<TerminalSize> {
    let all = stdin().is_terminal() && stdout().is_terminal() && stderr().is_terminal();
    if !all {
        bail!("{what} needs a terminal, and input or output is none here; {instead}");
    }
    // Terminals that nobody looks at may have no size.
    Ok(size().unwrap_or(TerminalSize { rows: 24, columns: 80 }))
}

/// Where the host describes its terminal, if it does.
pub fn description() -> Option<PathBuf> {
    let name = std::env::var("TERM").ok().filter(|name| !name.is_empty() && !name.contains('/'))?;
    let folders = ["/etc/terminfo", "/lib/terminfo", "/usr/share/terminfo"];
    let file = format!("{}/{name}", name.chars().next()?);
    folders.iter().map(|folder| PathBuf::from(folder).join(&file)).find(|path| path.is_file())
}

/// The terminal passes on every key until this is dropped, in whatever way.
pub struct Raw {
    before: Termios,
}

impl Raw {
    /// Begins the time.
    pub fn begin() -> Result<Self> {
        let before = tcgetattr(stdin()).context("ask for the terminal's settings")?;
        let mut raw = before.clone();
        cfmakeraw(&mut raw);
        tcsetattr(stdin(), SetArg::TCSADRAIN, &raw).context("set the terminal to pass on every key")?;
        Ok(Self { before })
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // A terminal that is gone needs no settings.
        let _ = tcsetattr(stdin(), SetArg::TCSADRAIN, &self.before);
    }
}
