// SPDX-License-Identifier: MIT OR Apache-2.0

//! The clock from which files have their times. It stands still between two ticks, and an inode whose times would
//! be the same is not made dirty: whether one is must not depend on how many ticks a busy host let through.

use std::thread;
use std::time::{Duration, Instant};

use nix::sys::time::TimeSpec;
use nix::time::{ClockId, clock_gettime};

use super::error::{Doing, Error, Result};

/// Ticks come many times a second.
const PATIENCE: Duration = Duration::from_secs(10);

/// The time that a file would be given now.
pub(super) fn tick() -> Result<TimeSpec> {
    clock_gettime(ClockId::CLOCK_REALTIME_COARSE).doing("ask for the time of files")
}

/// Waits until files are given another time than that.
pub(super) fn wait_for_another(last: TimeSpec) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while tick()? == last {
        if Instant::now() > deadline {
            return Err(Error::Unexpected(format!("no tick of the clock in {} s", PATIENCE.as_secs())));
        }
        thread::yield_now();
    }
    Ok(())
}
