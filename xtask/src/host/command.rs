// SPDX-License-Identifier: MIT OR Apache-2.0
//! The one way to run another program: errors carry the command line and the tail of its output, and
//! the program is told to terminate when pinbed ends in whatever way. What it started itself is its own care.

use std::ffi::OsStr;
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::process::{CommandExt, parent_id};
use std::path::Path;
use std::process::{self, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crate::{interrupt, note};
use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// How many of the last lines of a failed program's output stand in the error.
const TAIL_LINES: usize = 8;

/// The only variables that builds see, so that a user's environment cannot change what is built.
const BUILD_ENVIRONMENT: &[&str] =
    &["PATH", "HOME", "TMPDIR", "CARGO_HOME", "RUSTUP_HOME", "RUSTUP_TOOLCHAIN"];

/// A program to run, its arguments and its environment.
///
/// A child is told to terminate when the *thread* that started it ends: start programs from a thread
/// that waits for them.
#[must_use = "a program does not run by being named"]
pub struct Command {
    inner: process::Command,
}

impl Command {
    /// A program found in PATH or named by its path, with pinbed's own environment but English output.
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        let mut inner = process::Command::new(program);
        inner.env("LC_ALL", "C").stdin(Stdio::null());
        // SIGTERM and not SIGKILL, because make passes it on to what it runs and removes half-written targets.
        // SAFETY: it makes system calls only, and does not allocate.
        unsafe { inner.pre_exec(end_with_parent(Signal::SIGTERM)) };
        Self { inner }
    }

    /// A program that builds something: of the environment it sees only what it cannot do without.
    pub fn build(program: impl AsRef<OsStr>) -> Self {
        let mut command = Self::new(program);
        command.inner.env_clear().env("LC_ALL", "C");
        for name in BUILD_ENVIRONMENT {
            if let Some(value) = std::env::var_os(name) {
                command.inner.env(name, value);
            }
        }
        command
    }

    /// Adds one argument.
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.inner.arg(arg);
        self
    }

    /// Adds arguments.
    pub fn args<A: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.inner.args(args);
        self
    }

    /// Sets a variable of the program's environment.
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.inner.env(name, value);
        self
    }

    /// Takes a variable out of the program's environment.
    pub fn env_remove(mut self, name: &str) -> Self {
        self.inner.env_remove(name);
        self
    }

    /// Sets the folder that the program runs in.
    pub fn current_dir(mut self, folder: &Path) -> Self {
        self.inner.current_dir(folder);
        self
    }

    /// The command line, as it could be typed.
    pub fn line(&self) -> String {
        let words = std::iter::once(self.inner.get_program()).chain(self.inner.get_args());
        words.map(|word| quoted(&word.to_string_lossy())).collect::<Vec<_>>().join(" ")
    }

    /// Prints the command line, for commands that change the machine.
    pub fn announced(self) -> Self {
        note!("+ {}", self.line());
        self
    }

    /// Runs the program and returns what it wrote to stdout, without the last newline.
    pub fn read(mut self) -> Result<String> {
        let line = self.line();
        let output = self.inner.output().with_context(|| format!("cannot run `{line}`"))?;
        if !output.status.success() {
            let text = [output.stdout, output.stderr].concat();
            bail!(failure(&line, output.status, &String::from_utf8_lossy(&text)));
        }
        Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
    }

    /// Runs the program and returns all that it wrote, whatever its status: for asking a tool about itself.
    pub fn ask(mut self) -> Result<String> {
        let output = self.inner.output().with_context(|| format!("cannot run `{}`", self.line()))?;
        Ok(String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
    }

    /// Runs the program silently.
    pub fn run(self) -> Result<()> {
        self.each_line(|_| Ok(()))
    }

    /// Runs the program and hands over each line that it writes to stdout or stderr, as it comes.
    pub fn each_line(mut self, mut line_seen: impl FnMut(&str) -> Result<()>) -> Result<()> {
        let line = self.line();
        let (reader, writer) = io::pipe().context("cannot create a pipe")?;
        let stderr = writer.try_clone().context("cannot duplicate a pipe")?;
        self.inner.stdout(writer).stderr(stderr);
        let mut child = self.inner.spawn().with_context(|| format!("cannot run `{line}`"))?;
        // The writing ends live on in the command; without this the reader would never see the end.
        drop(self);

        let child_id = Pid::from_raw(child.id().cast_signed());
        let result = until_interrupted(child_id, || read_lines(reader, &mut line_seen));
        if result.is_err() {
            // Nobody reads on, so the program must not go on. That it may have ended already is fine.
            let _ = kill(child_id, Signal::SIGTERM);
        }
        let status = child.wait().with_context(|| format!("cannot wait for `{line}`"))?;
        let tail = result?;
        if !status.success() {
            bail!(failure(&line, status, &tail.join("\n")));
        }
        Ok(())
    }
}

/// Listens to a program, and passes on to it that the run is to end: a signal to this process alone is none to it.
fn until_interrupted<T>(program: Pid, listen: impl FnOnce() -> T) -> T {
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                if interrupt::has_come() {
                    // That it may have ended already is fine.
                    let _ = kill(program, Signal::SIGTERM);
                    return;
                }
                thread::park_timeout(Duration::from_millis(100));
            }
        });
        let result = listen();
        over.store(true, Ordering::Relaxed);
        watcher.thread().unpark();
        result
    })
}

/// Hands over each line, and returns the last ones.
fn read_lines(reader: impl Read, line_seen: &mut impl FnMut(&str) -> Result<()>) -> Result<Vec<String>> {
    let mut tail: Vec<String> = Vec::new();
    for bytes in BufReader::new(reader).split(b'\n') {
        let bytes = bytes.context("cannot read a program's output")?;
        let text = String::from_utf8_lossy(&bytes).into_owned();
        line_seen(&text)?;
        if tail.len() == TAIL_LINES {
            tail.remove(0);
        }
        tail.push(text);
    }
    Ok(tail)
}

fn failure(line: &str, status: ExitStatus, output: &str) -> String {
    let lines: Vec<&str> = output.lines().filter(|line| !line.trim().is_empty()).collect();
    let tail = lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n  ");
    let separator = if tail.is_empty() { "" } else { ":\n  " };
    format!("`{line}` failed ({status}){separator}{tail}")
}

/// A text as one word of a shell's command line.
pub(crate) fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=+./:,@%^".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// What a child does between fork and exec: it asks the kernel for `signal` when its parent ends in
/// whatever way. Only async-signal-safe functions may run there: these are two system calls, prctl and
/// getppid, and the errors are made from numbers without allocating.
pub(crate) fn end_with_parent(signal: Signal) -> impl FnMut() -> io::Result<()> + Send + Sync + 'static {
    let parent = std::process::id();
    move || {
        set_pdeathsig(signal)?;
        // The parent may have died before the line above.
        if parent_id() != parent {
            return Err(Errno::ESRCH.into());
        }
        Ok(())
    }
}

/// Ends this process when the one that started it ends, for tests: a runner that is killed must not leave
/// them and their guests behind. To be called from the main thread, whose attribute it is.
pub fn end_with_runner() {
    // Where the kernel refuses, a test ends by itself in the end.
    let _ = set_pdeathsig(Signal::SIGTERM);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_names_the_command_and_the_tail() {
        let script = "for i in 1 2 3 4 5 6 7 8 9 10; do echo line $i; done; exit 3";
        let err = Command::new("sh").args(["-c", script]).run().unwrap_err().to_string();
        assert!(err.starts_with("`sh -c 'for i in"), "{err}");
        assert!(err.contains("exit status: 3") && err.contains("line 10"), "{err}");
        assert!(!err.contains("line 2\n"), "{err}");
    }

    #[test]
    fn a_missing_program_is_named() {
        let err = Command::new("no-such-program").arg("-x").read().unwrap_err().to_string();
        assert_eq!(err, "cannot run `no-such-program -x`");
    }

    #[test]
    fn both_streams_arrive_in_order() {
        let mut seen = Vec::new();
        let keep = |line: &str| {
            seen.push(line.to_owned());
            Ok(())
        };
        Command::new("sh").args(["-c", "echo a; echo b >&2; echo c"]).each_line(keep).unwrap();
        assert_eq!(seen, ["a", "b", "c"]);
    }

    #[test]
    fn a_shell_takes_a_quoted_word_for_what_it_was() {
        for word in ["plain-1.0", "", "two words", "it's", "~", "$HOME", "a\\b", "*", "a;b", "new\nline"] {
            let script = format!("printf '%s.' {}", quoted(word));
            assert_eq!(Command::new("sh").args(["-c", &script]).read().unwrap(), format!("{word}."));
        }
    }

    #[test]
    fn builds_do_not_see_the_environment() {
        let env = Command::build("env").env("KEPT", "1").read().unwrap();
        let names: Vec<_> = env.lines().filter_map(|line| line.split('=').next()).collect();
        assert!(names.contains(&"KEPT") && names.contains(&"PATH"), "{names:?}");
        let allowed = |name: &&str| BUILD_ENVIRONMENT.contains(name) || ["KEPT", "LC_ALL"].contains(name);
        assert!(names.iter().all(allowed), "{names:?}");
    }
}
