// SPDX-License-Identifier: MIT OR Apache-2.0

//! The kernel's own search for memory to which no pointer is left. Only the sanitizer kernel has it.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use super::error::{Doing, Error, Result};

const FILE: &str = "/sys/kernel/debug/kmemleak";

/// The kernel does not speak of memory that is younger than five seconds.
const AGE: Duration = Duration::from_secs(6);

/// Forgets what looks lost by now: nobody asks for that any more.
pub fn forget() -> Result<()> {
    if !Path::new(FILE).exists() {
        return Err(Error::Lacking("CONFIG_DEBUG_KMEMLEAK".to_owned()));
    }
    command("scan")?;
    command("clear")
}

/// What was lost since, as the kernel reports it; empty if nothing was. Takes a while.
///
/// A pointer may hide in a register or on its way from place to place while the kernel looks, so that
/// what one search finds a later one may find again in use: the last search counts.
pub fn found() -> Result<String> {
    let asked = Instant::now();
    while asked.elapsed() < AGE {
        command("scan")?;
    }
    command("scan")?;
    fs::read_to_string(FILE).doing(format!("read {FILE}"))
}

fn command(word: &str) -> Result<()> {
    fs::write(FILE, word).doing(format!("write {word} to {FILE}"))
}
