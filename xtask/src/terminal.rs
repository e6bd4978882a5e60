// SPDX-License-Identifier: MIT OR Apache-2.0

//! What commands say: results by [`say!`](crate::say) to stdout, the way there by
//! [`note!`](crate::note) to stderr. `println!` would panic where nobody reads any more, as after
//! `| head -1` or when the terminal is gone; here that ends the guests as Ctrl-C does.

use std::fmt::Arguments;
use std::io::{self, ErrorKind, Write, stderr, stdout};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::{CANNOT, interrupt};

/// Writes a line to stdout.
#[macro_export]
macro_rules! say {
    ($($line:tt)*) => { $crate::terminal::say(format_args!($($line)*)) };
}

/// Writes a line to stderr.
#[macro_export]
macro_rules! note {
    ($($line:tt)*) => { $crate::terminal::note(format_args!($($line)*)) };
}

/// Writes a line to stdout; for [`say!`](crate::say).
pub fn say(line: Arguments<'_>) {
    end_unheard(&write(&mut stdout(), line));
}

/// Writes a line to stderr; for [`note!`](crate::note).
pub fn note(line: Arguments<'_>) {
    end_unheard(&write(&mut stderr(), line));
}

fn write(stream: &mut impl Write, line: Arguments<'_>) -> io::Result<()> {
    writeln!(stream, "{line}")?;
    stream.flush()
}

/// What nobody can read any more need not be gone on with: what remains is to come to an end.
fn end_unheard(written: &io::Result<()>) {
    if let Err(error) = written {
        if !UNHEARD.swap(true, Ordering::Relaxed) && error.kind() != ErrorKind::BrokenPipe {
            LOST.store(true, Ordering::Relaxed);
            // Of the two streams the other may still be heard.
            let _ = writeln!(stderr(), "error: cannot write what is to be said: {error}");
        }
        interrupt::raise();
    }
}

/// Whether a line could not be written.
static UNHEARD: AtomicBool = AtomicBool::new(false);

/// Whether what was said is not there though somebody may read it, as on a full disk.
static LOST: AtomicBool = AtomicBool::new(false);

/// The code to exit with: a command whose words were lost did not do its work.
pub fn heard(code: ExitCode) -> ExitCode {
    if LOST.load(Ordering::Relaxed) { CANNOT.into() } else { code }
}
