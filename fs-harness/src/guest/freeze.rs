// SPDX-License-Identifier: MIT OR Apache-2.0

//! A filesystem that is stopped: frozen, as for a snapshot of its disk, or shut down, as by a crash.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

use nix::errno::Errno;
use nix::libc;

use super::error::{Doing, Result};

/// `_IOWR('X', 119, int)` and `_IOWR('X', 120, int)` of `linux/fs.h`.
const FIFREEZE: u64 = 0xc004_5877;
const FITHAW: u64 = 0xc004_5878;

/// `_IOR('X', 125, __u32)` of ext4 and XFS, and its flag by which not even the log is flushed.
const SHUTDOWN: u64 = 0x8004_587d;
const NOLOGFLUSH: u32 = 2;

/// Shuts the filesystem of a file down: from now on nothing of it reaches the disk, as after a crash.
pub fn shut_down(file: &File) -> Result<()> {
    let how = NOLOGFLUSH;
    // SAFETY: the request reads one number there.
    let returned = unsafe { libc::ioctl(file.as_raw_fd(), SHUTDOWN, &raw const how) };
    Errno::result(returned).map(drop).doing("shut the filesystem down")
}

/// The filesystem of a file, frozen. It thaws when this is dropped.
pub struct Frozen<'a> {
    file: &'a File,
}

impl<'a> Frozen<'a> {
    /// Freezes it: what is dirty is written, and nothing may be written after that.
    pub fn freeze(file: &'a File) -> Result<Self> {
        call(file, FIFREEZE).doing("freeze the filesystem")?;
        Ok(Self { file })
    }

    /// Thaws it.
    pub fn thaw(self) -> Result<()> {
        let thawed = self.thaw_by_ref();
        self.leave();
        thawed
    }

    /// Thaws it, as a child of whoever froze it may.
    pub fn thaw_by_ref(&self) -> Result<()> {
        call(self.file, FITHAW).doing("thaw the filesystem")
    }

    /// Leaves it as it is: a child has thawed it, or nobody can.
    pub fn leave(self) {
        std::mem::forget(self);
    }
}

impl Drop for Frozen<'_> {
    fn drop(&mut self) {
        // Only a scenario that stops early comes here, and what stopped it is told.
        let _ = call(self.file, FITHAW);
    }
}

fn call(file: &File, request: u64) -> io::Result<()> {
    // SAFETY: neither request reads or writes its argument.
    let returned = unsafe { libc::ioctl(file.as_raw_fd(), request, 0) };
    if returned < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
