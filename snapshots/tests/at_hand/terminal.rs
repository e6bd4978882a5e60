// SPDX-License-Identifier: MIT OR Apache-2.0

//! A command on a terminal of its own, and the person in front of it.

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use libtest_mimic::Failed;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::pty::{Winsize, openpty};
use nix::unistd::{read, setsid};

use crate::{demand, xtask_command};

/// How long a terminal may be silent. A busy machine needs seconds to restore a guest.
const SILENCE: Duration = Duration::from_mins(1);

nix::ioctl_write_int_bad!(
    /// Makes this terminal the controlling one of the process.
    take_terminal,
    libc::TIOCSCTTY
);

/// xtask on a terminal of its own.
pub(crate) struct Terminal {
    master: OwnedFd,
    child: Child,
    /// What was printed and not yet waited for.
    text: String,
}

impl Terminal {
    pub(crate) fn open(arguments: &[&str]) -> Result<Self, Failed> {
        Self::run(xtask_command(arguments)?)
    }

    /// Runs the command on the terminal.
    pub(crate) fn run(mut command: Command) -> Result<Self, Failed> {
        let size = Winsize { ws_row: 33, ws_col: 77, ws_xpixel: 0, ws_ypixel: 0 };
        let pair = openpty(Some(&size), None).map_err(|error| format!("open a terminal: {error}"))?;
        // A copy in the command itself would keep its terminal from ever being gone.
        fcntl(&pair.master, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))
            .map_err(|error| format!("open a terminal: {error}"))?;
        let slave = || pair.slave.try_clone().map_err(|error| format!("open a terminal: {error}"));
        command.stdin(slave()?).stdout(slave()?).stderr(slave()?).env("TERM", "dumb");
        let lead = || {
            setsid()?;
            // SAFETY: the request takes a number, and standard input is the terminal by now.
            unsafe { take_terminal(libc::STDIN_FILENO, 0) }?;
            Ok(())
        };
        // SAFETY: between fork and exec only async-signal-safe functions may run; setsid and ioctl are,
        // and errors are made from numbers without allocating.
        unsafe { command.pre_exec(lead) };
        let child = command.spawn().map_err(|error| format!("start xtask: {error}"))?;
        Ok(Self { master: pair.master, child, text: String::new() })
    }

    pub(crate) fn type_in(&mut self, keys: &str) -> Result<(), Failed> {
        let master = self.master.try_clone().map_err(|error| format!("duplicate a terminal: {error}"))?;
        File::from(master)
            .write_all(keys.as_bytes())
            .map_err(|error| format!("type {keys:?}: {error}").into())
    }

    pub(crate) fn wait_for(&mut self, what: &str) -> Result<(), Failed> {
        loop {
            if let Some(at) = self.text.find(what) {
                self.text.drain(..at + what.len());
                return Ok(());
            }
            if !self.hear()? {
                return Err(format!("{what:?} did not come; what did: {}", self.text).into());
            }
        }
    }

    /// Takes in what is printed next; false where it is nothing any more.
    fn hear(&mut self) -> Result<bool, Failed> {
        let silence = PollTimeout::try_from(SILENCE).map_err(|error| format!("{error}"))?;
        let mut ready = [PollFd::new(self.master.as_fd(), PollFlags::POLLIN)];
        if poll(&mut ready, silence).map_err(|error| format!("wait for the terminal: {error}"))? == 0 {
            return Ok(false);
        }
        let mut buffer = [0; 4096];
        match read(&self.master, &mut buffer) {
            Ok(0) | Err(Errno::EIO) => Ok(false),
            Ok(length) => {
                self.text.push_str(&String::from_utf8_lossy(&buffer[..length]));
                Ok(true)
            }
            Err(error) => Err(format!("read from the terminal: {error}").into()),
        }
    }

    /// The command must end by itself, with success.
    pub(crate) fn end(self) -> Result<(), Failed> {
        self.end_with(0)
    }

    /// The command must end by itself, with that exit code.
    pub(crate) fn end_with(mut self, code: i32) -> Result<(), Failed> {
        let deadline = Instant::now() + SILENCE;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait().map_err(|error| format!("wait for xtask: {error}"))? {
                return demand(status.code() == Some(code), &format!("xtask ended with {status}"));
            }
            std::thread::park_timeout(Duration::from_millis(10));
        }
        Err("xtask did not end".into())
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // That it has ended by itself is what should be.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
