// SPDX-License-Identifier: MIT OR Apache-2.0

//! The file that a scenario works on: on `bdev` the device itself.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, fallocate};
use nix::libc::{self, c_uint};

use super::caches::drop_caches;
use super::error::{Doing, Result};
use super::io::{self, Interface};
use super::memory::{Memory, PAGE};

/// `_IO(0x00, 1)` of `linux/fs.h`.
const FIBMAP: u64 = 1;

/// A file on the setup under test.
pub struct TestFile {
    path: PathBuf,
    /// The same on the filesystem that has it on a disk: below FUSE another path.
    backing: PathBuf,
    pages: usize,
}

impl TestFile {
    pub(crate) fn new(path: PathBuf, backing: PathBuf, pages: usize) -> Self {
        Self { path, backing, pages }
    }

    /// Has none of it in the page cache, which loses all that is clean and not mapped.
    pub(crate) fn evict(&self) -> Result<()> {
        drop_caches(&self.backing, self.length() as u64)
    }

    /// Its name in its folder.
    pub fn name(&self) -> &Path {
        Path::new(self.path.file_name().expect("a file of a scenario has a name"))
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

    /// Opens it for reading only.
    pub fn read_only(&self) -> Result<File> {
        File::open(&self.path).doing(format!("open {} for reading", self.path.display()))
    }

    /// The block of the filesystem in which its first byte lies.
    pub fn block(&self) -> Result<u32> {
        let mut block: libc::c_int = 0;
        let file = self.read_only()?;
        // SAFETY: the request reads and writes one number there.
        let returned = unsafe { libc::ioctl(file.as_raw_fd(), FIBMAP, &raw mut block) };
        Errno::result(returned).doing(format!("look where {} lies", self.path.display()))?;
        Ok(block.cast_unsigned())
    }

    /// Opens it so that what is written is durable when the write returns: O_DSYNC.
    pub fn durable(&self) -> Result<File> {
        self.open(libc::O_DSYNC)
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

    /// Begins to write its dirty pages back as memory is cleaned, and does not wait for that.
    pub fn begin_cleaning(&self) -> Result<()> {
        self.sync_range(libc::SYNC_FILE_RANGE_WRITE)
    }

    /// Waits until none of its pages is under writeback.
    pub fn wait_for_writeback(&self) -> Result<()> {
        self.sync_range(libc::SYNC_FILE_RANGE_WAIT_AFTER)
    }

    fn sync_range(&self, flags: c_uint) -> Result<()> {
        let file = self.buffered()?;
        // SAFETY: the call takes numbers, and the descriptor is open.
        let returned = unsafe { libc::sync_file_range(file.as_raw_fd(), 0, 0, flags) };
        Errno::result(returned).map(drop).doing(format!("write {} back", self.path.display()))
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
