// SPDX-License-Identifier: MIT OR Apache-2.0
//! Progress of work that takes longer than two seconds: a bar or a spinner on a terminal, plain lines
//! in a log. Everything goes to stderr. Of work that is quicker, nothing is said.

use std::env;
use std::io::{IsTerminal, stderr};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use crate::note;
use indicatif::{ProgressBar, ProgressStyle};

/// Work that is over by then is not worth a line.
const WORTH_A_LINE: Duration = Duration::from_secs(2);

/// One piece of work under way. Dropped without [`Progress::finish`], it leaves the terminal clean.
pub struct Progress {
    what: String,
    started: Instant,
    view: View,
}

enum View {
    Terminal(ProgressBar),
    /// Plain lines, one for each tenth of the work.
    Log {
        total: Option<u64>,
        tenths: u64,
        /// Dropped with the work, which takes back the first line if it is not printed yet.
        _first_line: Sender<()>,
    },
}

impl Progress {
    /// Begins work whose length is not known. `what` reads like "unpacking linux-source-7.3".
    pub fn spinner(what: impl Into<String>) -> Self {
        Self::start(what.into(), None)
    }

    /// Begins work of `total` units.
    pub fn bar(what: impl Into<String>, total: u64) -> Self {
        Self::start(what.into(), Some(total))
    }

    fn start(what: String, total: Option<u64>) -> Self {
        let view = if is_interactive() {
            View::Terminal(terminal_bar(&what, total))
        } else {
            View::Log { total, tenths: 0, _first_line: print_later(format!("{what} ...")) }
        };
        Self { what, started: Instant::now(), view }
    }

    /// Says that `done` units of the whole are done. More than the whole counts as almost all of it,
    /// since totals are estimates.
    pub fn set(&mut self, done: u64) {
        match &mut self.view {
            View::Terminal(bar) => bar.set_position(done.min(bar.length().unwrap_or(done))),
            View::Log { total, tenths, .. } => {
                let now = tenths_done(done, *total);
                if now > *tenths {
                    *tenths = now;
                    note!("{} ... {now}0 % after {}", self.what, seconds(self.started.elapsed()));
                }
            }
        }
    }

    /// Ends the work, with one line that says what was done and for how long.
    pub fn finish(self, done: &str) {
        if let View::Terminal(bar) = &self.view {
            bar.finish_and_clear();
        }
        let elapsed = self.started.elapsed();
        if elapsed >= WORTH_A_LINE {
            note!("{done} in {}", seconds(elapsed));
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let View::Terminal(bar) = &self.view {
            bar.finish_and_clear();
        }
    }
}

/// Whether stderr is a terminal that a person looks at.
pub fn is_interactive() -> bool {
    stderr().is_terminal() && env::var_os("CI").is_none()
}

fn terminal_bar(what: &str, total: Option<u64>) -> ProgressBar {
    let (bar, template) = match total {
        Some(total) => (ProgressBar::new(total), "{msg} {wide_bar} {percent} % {elapsed}"),
        None => (ProgressBar::new_spinner(), "{spinner} {msg} {elapsed}"),
    };
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    bar.set_style(style);
    bar.set_message(what.to_owned());
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

/// Prints a line when the returned sender still exists by the time that it is worth it.
fn print_later(line: String) -> Sender<()> {
    let (sender, receiver) = mpsc::channel::<()>();
    thread::spawn(move || {
        if receiver.recv_timeout(WORTH_A_LINE) == Err(RecvTimeoutError::Timeout) {
            note!("{line}");
        }
    });
    sender
}

/// How many tenths of `total` are done; the last tenth is left to [`Progress::finish`].
fn tenths_done(done: u64, total: Option<u64>) -> u64 {
    total.filter(|&total| total > 0).map_or(0, |total| (done * 10 / total).min(9))
}

/// A duration as a person reads it: `12.3 s` or `4 min 5 s`.
pub fn seconds(elapsed: Duration) -> String {
    let whole = elapsed.as_secs();
    if whole < 60 {
        format!("{:.1} s", elapsed.as_secs_f64())
    } else {
        format!("{} min {} s", whole / 60, whole % 60)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tenths_never_claim_the_end() {
        assert_eq!(tenths_done(0, Some(100)), 0);
        assert_eq!(tenths_done(39, Some(100)), 3);
        assert_eq!(tenths_done(500, Some(100)), 9);
        assert_eq!(tenths_done(500, Some(0)), 0);
        assert_eq!(tenths_done(500, None), 0);
    }

    #[test]
    fn durations_read_well() {
        assert_eq!(seconds(Duration::from_millis(1240)), "1.2 s");
        assert_eq!(seconds(Duration::from_secs(245)), "4 min 5 s");
    }
}
