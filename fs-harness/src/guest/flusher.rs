// SPDX-License-Identifier: MIT OR Apache-2.0

//! The kernel's own writeback of what has been dirty for long, which is off in a guest otherwise.

use std::fs;

use super::error::{Doing, Result};
use super::threads;

const EXPIRE: &str = "/proc/sys/vm/dirty_expire_centisecs";
const WAKE: &str = "/proc/sys/vm/dirty_writeback_centisecs";

/// While it exists, the kernel looks every 10 ms for what has been dirty for long.
pub struct Flusher {
    expire: String,
    wake: String,
}

impl Flusher {
    /// Turns it on, which also has the kernel write back at once what is dirty now.
    pub fn start() -> Result<Self> {
        let read = |path| fs::read_to_string(path).doing(format!("read {path}"));
        let flusher = Self { expire: read(EXPIRE)?, wake: read(WAKE)? };
        write(WAKE, "1")?;
        Ok(flusher)
    }

    /// From now on 10 ms are long.
    pub fn expire(&self) -> Result<()> {
        write(EXPIRE, "1")
    }

    /// Turns it off again, and waits until it is done with what it has begun: a filesystem may read blocks of its own
    /// after it has submitted what is written back.
    pub fn stop(self) -> Result<()> {
        drop(self);
        threads::wait_for_flushers().doing("wait for the kernel's writeback")
    }
}

impl Drop for Flusher {
    fn drop(&mut self) {
        let restored = write(WAKE, &self.wake).and_then(|()| write(EXPIRE, &self.expire));
        debug_assert!(restored.is_ok(), "a value that was read can be written");
    }
}

fn write(path: &str, value: &str) -> Result<()> {
    fs::write(path, value).doing(format!("write {value} to {path}"))
}
