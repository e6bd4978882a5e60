// SPDX-License-Identifier: MIT OR Apache-2.0

//! The file that a scenario works on: on `bdev` the device itself.

use std::fs::File;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use nix::fcntl::{FallocateFlags, fallocate};
use nix::libc;

use super::error::{Doing, Result};
use super::io::{self, Interface};
use super::memory::{Memory, PAGE};

/// A file on the setup under test.
pub struct TestFile {
    path: PathBuf,
    pages: usize,
}

impl TestFile {
    pub(crate) fn new(path: PathBuf, pages: usize) -> Self {
        Self { path, pages }
    }

    /// Bytes of it that the scenario uses.
    pub fn length(&self) -> usize {
        self.pages * PAGE
    }

    /// Opens it for direct I/O.
    pub fn direct(&self) -> Result<File> {
        self.open(libc::O_DIRECT)
    }

    /// Opens it for buffered I/O.
    pub fn buffered(&self) -> Result<File> {
        self.open(0)
    }

    /// Maps it, shared.
    pub fn map(&self) -> Result<Memory> {
        Memory::shared(self.buffered()?, self.pages)
    }

    /// Makes its data durable by fsync.
    pub fn fsync(&self) -> Result<()> {
        self.buffered()?.sync_all().doing(format!("fsync {}", self.path.display()))
    }

    /// Cuts it off at that length.
    pub fn truncate(&self, length: usize) -> Result<()> {
        self.buffered()?.set_len(length as u64).doing(format!("truncate {}", self.path.display()))
    }

    /// Punches a hole: its bytes have no place on the disk any more.
    pub fn punch(&self, offset: usize, length: usize) -> Result<()> {
        let signed =
            |bytes: usize| i64::try_from(bytes).expect("files of the guest are far below 2^63 bytes");
        let flags = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
        fallocate(self.buffered()?, flags, signed(offset), signed(length))
            .doing(format!("punch a hole into {}", self.path.display()))
    }

    /// Its bytes, by one read into whole pages.
    pub fn bytes(&self) -> Result<Vec<u8>> {
        let buffer = Memory::anonymous(self.pages)?;
        io::read(Interface::Syscall, &self.buffered()?, &buffer)?;
        Ok(buffer.bytes())
    }

    fn open(&self, flags: i32) -> Result<File> {
        File::options()
            .read(true)
            .write(true)
            .custom_flags(flags)
            .open(&self.path)
            .doing(format!("open {}", self.path.display()))
    }
}
