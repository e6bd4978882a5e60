// SPDX-License-Identifier: MIT OR Apache-2.0

//! A process of the user's program: started with pipes or on a terminal of its own, interrupted, and cleaned up after.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus};

use nix::libc;
use nix::pty::{Winsize, openpty};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::{Pid, setsid};

use crate::guest::site::Site;
use crate::protocol::{Program, TerminalSize};

/// Where programs are looked for. Applets of busybox come last: they are for names that nothing else has.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/usr/lib/busybox";

/// The agent's ends of a program's standard streams.
pub(super) struct Ends {
    /// What the program reads.
    pub input: File,
    /// What it writes.
    pub output: File,
    /// What it writes as errors; on a terminal that is its output.
    pub errors: Option<File>,
}

/// A program that runs, in a session of its own.
pub(super) struct Process {
    group: Pid,
    terminal: Option<File>,
}

/// Why a program does not run: as a shell has it, with an exit code.
pub(super) struct NotStarted {
    pub code: u8,
    pub problem: String,
}

/// Starts the program in the folder of the site.
pub(super) fn start(program: &Program, site: &Site) -> Result<(Process, Child, Ends), NotStarted> {
    let (mut command, ends, terminal) =
        prepare(program, site).map_err(|error| not_started(program, &error))?;
    let child = command.spawn().map_err(|error| not_started(program, &error))?;
    let group = Pid::from_raw(child.id().cast_signed());
    Ok((Process { group, terminal }, child, ends))
}

impl Process {
    /// What Ctrl-C does.
    pub(super) fn interrupt(&self) {
        // That nobody is left to interrupt is fine.
        let _ = killpg(self.group, Signal::SIGINT);
    }

    /// Ends what the program left running in its process group.
    pub(super) fn clean_up(&self) {
        // That nothing was left is fine.
        let _ = killpg(self.group, Signal::SIGKILL);
    }

    /// Tells the program of its terminal's new size.
    pub(super) fn resize(&self, size: TerminalSize) {
        if let Some(terminal) = &self.terminal {
            let size = winsize(size);
            // SAFETY: the request reads one `winsize`, which lives until the call returns. Its failure
            // would leave the old size.
            let _ = unsafe { set_size(terminal.as_raw_fd(), &raw const size) };
        }
    }
}

nix::ioctl_write_ptr_bad!(set_size, libc::TIOCSWINSZ, Winsize);

/// The exit code of a program, as a shell has it.
pub(super) fn exit_code(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| Some(128 + status.signal()?));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX)
}

fn prepare(program: &Program, site: &Site) -> io::Result<(Command, Ends, Option<File>)> {
    let (path, arguments) = program.words.split_first().ok_or(ErrorKind::InvalidInput)?;
    let mut command = Command::new(path);
    let folder = program.folder.as_deref().map_or(site.folder(), Path::new);
    command.args(arguments).current_dir(folder).env_clear().env("PATH", PATH).env("HOME", "/root");
    if let Some(disk) = site.disk() {
        command.env("PINBED_DISK", disk.path());
    }
    command.envs(program.environment.iter().map(|(name, value)| (name, value)));
    let (ends, terminal) = match program.terminal {
        None => (on_pipes(&mut command)?, None),
        Some(size) => {
            let (ends, terminal) = on_terminal(&mut command, size)?;
            (ends, Some(terminal))
        }
    };
    Ok((command, ends, terminal))
}

fn on_pipes(command: &mut Command) -> io::Result<Ends> {
    let ((read, input), (output, write), (errors, complain)) = (io::pipe()?, io::pipe()?, io::pipe()?);
    command.stdin(read).stdout(write).stderr(complain);
    // SAFETY: between fork and exec only async-signal-safe functions may run; setsid is one.
    unsafe { command.pre_exec(|| setsid().map(drop).map_err(Into::into)) };
    let file = |end: OwnedFd| File::from(end);
    Ok(Ends { input: file(input.into()), output: file(output.into()), errors: Some(file(errors.into())) })
}

fn on_terminal(command: &mut Command, size: TerminalSize) -> io::Result<(Ends, File)> {
    let pair = openpty(Some(&winsize(size)), None)?;
    // Unlike the pair itself, duplicates are closed by exec: a program that held the agent's end would
    // never see its terminal go.
    let (slave, master) = (|| pair.slave.try_clone(), || pair.master.try_clone().map(File::from));
    command.stdin(slave()?).stdout(slave()?).stderr(slave()?);
    let lead = || {
        setsid()?;
        // SAFETY: the request takes a number, and standard input is the terminal by now.
        unsafe { take_terminal(libc::STDIN_FILENO, 0) }?;
        Ok(())
    };
    // SAFETY: between fork and exec only async-signal-safe functions may run; setsid and ioctl are, and
    // errors are made from numbers without allocating.
    unsafe { command.pre_exec(lead) };
    Ok((Ends { input: master()?, output: master()?, errors: None }, master()?))
}

nix::ioctl_write_int_bad!(take_terminal, libc::TIOCSCTTY);

fn winsize(TerminalSize { rows, columns }: TerminalSize) -> Winsize {
    Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }
}

fn not_started(program: &Program, error: &io::Error) -> NotStarted {
    let code = if error.kind() == ErrorKind::NotFound { 127 } else { 126 };
    let name = program.words.first().map_or("a program without a name", String::as_str);
    NotStarted { code, problem: format!("cannot start {name} in the guest: {error}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_those_of_a_shell() {
        assert_eq!(exit_code(ExitStatus::from_raw(7 << 8)), 7);
        assert_eq!(exit_code(ExitStatus::from_raw(11)), 139);
        let program =
            Program { words: vec!["/no/such".into()], environment: Vec::new(), folder: None, terminal: None };
        let code = |kind: ErrorKind| not_started(&program, &kind.into()).code;
        assert_eq!((code(ErrorKind::NotFound), code(ErrorKind::PermissionDenied)), (127, 126));
    }
}
