// SPDX-License-Identifier: MIT OR Apache-2.0

//! What the user is offered when a cell did not pass and its guest stays: a shell in it, a debugger on it, or
//! its end.

use std::io::stdin;
use std::thread;

use fs_harness::protocol::Program;
use tokio::sync::oneshot;

use super::ending;
use super::seen::Seen;
use crate::note;

/// What a guest that stays is prepared for.
#[derive(Debug)]
pub struct Keep {
    /// The command line of a debugger; none where the host has none.
    pub debugger: Option<Vec<String>>,
    /// The shell, on a terminal.
    pub shell: Program,
    /// What comes along with the shell, a cpio archive.
    pub luggage: Vec<u8>,
}

/// What QEMU is told for it: a panic does not end it.
pub(super) fn options() -> Vec<String> {
    ["-action", "panic=pause"].map(str::to_owned).to_vec()
}

/// Whether the guest is to stay, whose cell was followed to its end.
pub(super) fn is_wanted(seen: &Seen) -> bool {
    !ending::judge_so_far(seen).kind.is_fine()
}

/// Whether the verdict has come, and the kernel's log that belongs to it.
pub(super) fn has_told_all(seen: &Seen) -> bool {
    seen.verdicts.iter().any(|(_, mark)| seen.log.iter().any(|record| record.text.contains(mark.as_str())))
}

/// What the user takes.
pub(super) enum Choice {
    /// The guest's end.
    End,
    /// This debugger.
    Debugger(Vec<String>),
    /// This shell.
    Shell(Program),
}

/// The offer to a user who has not taken anything yet.
pub(super) struct Offer<'a> {
    keep: &'a Keep,
    /// The agent lives, so that a shell can be started.
    is_alive: bool,
    /// The next line that the user types; none when something was taken.
    typed: Option<oneshot::Receiver<String>>,
}

impl Keep {
    /// Tells the user how the guest ended and what can be done with it.
    pub(super) fn offer(&self, seen: &Seen) -> Offer<'_> {
        let outcome = ending::judge_so_far(seen);
        note!("{}: {}", outcome.kind, outcome.detail);
        note!("its guest stands still, for you to look at; type a letter or nothing, and Enter:");
        let is_alive = has_told_all(seen) && !seen.panicked;
        if is_alive {
            note!("  s      a shell in it");
        }
        if self.debugger.is_some() {
            note!("  g      gdb on its kernel, with all symbols");
        }
        note!("  Enter  end it, as Ctrl-C does, and as leaving the shell or gdb does");
        Offer { keep: self, is_alive, typed: Some(line()) }
    }
}

impl Offer<'_> {
    /// Waits until the user has taken something; for ever after that.
    pub(super) async fn taken(&mut self) -> Choice {
        loop {
            let Some(typed) = &mut self.typed else { return std::future::pending().await };
            // Without a word the terminal is gone.
            let typed = typed.await.unwrap_or_default();
            match self.choice(typed.trim()) {
                Ok(choice) => {
                    self.typed = None;
                    return choice;
                }
                Err(why) => {
                    note!("{why}");
                    self.typed = Some(line());
                }
            }
        }
    }

    fn choice(&self, typed: &str) -> Result<Choice, String> {
        match (typed, &self.keep.debugger) {
            ("", _) => Ok(Choice::End),
            ("s", _) if self.is_alive => Ok(Choice::Shell(self.keep.shell.clone())),
            ("s", _) => {
                Err("nothing in this guest can start a shell any more; g starts gdb, Enter ends it".into())
            }
            ("g", Some(debugger)) => Ok(Choice::Debugger(debugger.clone())),
            ("g", None) => {
                Err("there is no gdb on this host; install it (on Debian the package gdb) and run again"
                    .into())
            }
            (other, _) => Err(format!("'{other}' is not among s, g and Enter alone")),
        }
    }
}

/// A line of the terminal, read by a thread that waits for nothing else: a guest may end before the user
/// types, and then the thread ends with the process.
fn line() -> oneshot::Receiver<String> {
    let (tell, typed) = oneshot::channel();
    thread::spawn(move || {
        let mut line = String::new();
        // A terminal that cannot be read says nothing.
        let _ = stdin().read_line(&mut line);
        let _ = tell.send(line);
    });
    typed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_had_is_refused_in_words() {
        let shell =
            Program { words: vec!["/bin/sh".into()], environment: Vec::new(), folder: None, terminal: None };
        let keep = Keep { debugger: None, shell, luggage: Vec::new() };
        let choice = |is_alive, typed: &str| Offer { keep: &keep, is_alive, typed: None }.choice(typed);
        assert!(matches!(choice(true, ""), Ok(Choice::End)));
        assert!(matches!(choice(true, "s"), Ok(Choice::Shell(_))));
        assert!(choice(false, "s").is_err_and(|why| why.starts_with("nothing in this guest can start")));
        assert!(choice(true, "g").is_err_and(|why| why.starts_with("there is no gdb")));
        assert!(choice(true, "x").is_err_and(|why| why.starts_with("'x' is not among")));
    }
}
