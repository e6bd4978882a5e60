// SPDX-License-Identifier: MIT OR Apache-2.0

//! What a filesystem knows of its files is brought up to date or made durable, and nobody has asked for their data.

use std::fs::File;
use std::os::fd::AsRawFd;

use super::error::{Doing, Result};

/// `struct f2fs_defragment` of `linux/f2fs.h`: bytes of a file.
#[repr(C)]
struct Part {
    start: u64,
    length: u64,
}

/// `struct fiemap` of `linux/fiemap.h`, without room for extents.
#[repr(C)]
struct Fiemap {
    start: u64,
    length: u64,
    flags: u32,
    mapped: u32,
    room: u32,
    reserved: u32,
}

/// FIEMAP_FLAG_SYNC.
const SYNC_FIRST: u32 = 1;

mod request {
    use super::{Fiemap, Part};

    nix::ioctl_none!(sync, 0x94, 8);
    nix::ioctl_none!(write_checkpoint, 0xf5, 7);
    nix::ioctl_readwrite!(defragment, 0xf5, 8, Part);
    nix::ioctl_readwrite!(fiemap, b'f', 11, Fiemap);
}

/// On btrfs: begins to clean what is dirty, waits for all that is being written, and commits the transaction.
pub fn transaction(file: &File) -> Result<()> {
    // SAFETY: the request has no argument.
    unsafe { request::sync(file.as_raw_fd()) }.map(drop).doing("commit the transaction by BTRFS_IOC_SYNC")
}

/// On btrfs: waits until all that was written of a file is entered among its extents, which fsync does not wait for.
/// Until then a direct read is answered from the page cache. Writes nothing.
pub fn extents(file: &File) -> Result<()> {
    let mut map = Fiemap { start: 0, length: u64::MAX, flags: SYNC_FIRST, mapped: 0, room: 0, reserved: 0 };
    // SAFETY: the request reads and writes the structure, which has no room for extents and says so.
    unsafe { request::fiemap(file.as_raw_fd(), &raw mut map) }
        .map(drop)
        .doing("wait for the extents of a file by FS_IOC_FIEMAP")
}

/// On F2FS: writes a checkpoint.
pub fn checkpoint(file: &File) -> Result<()> {
    // SAFETY: the request has no argument.
    unsafe { request::write_checkpoint(file.as_raw_fd()) }
        .map(drop)
        .doing("write a checkpoint by F2FS_IOC_WRITE_CHECKPOINT")
}

/// On F2FS: begins to move so many bytes from the file's first one on, so that they lie in order; returns how many
/// are moved. The next checkpoint waits for that, as it does for no other data.
pub fn defragment(file: &File, length: usize) -> Result<u64> {
    let mut part = Part { start: 0, length: length as u64 };
    // SAFETY: the request reads and writes the structure.
    unsafe { request::defragment(file.as_raw_fd(), &raw mut part) }
        .doing("move the data of a file by F2FS_IOC_DEFRAGMENT")?;
    Ok(part.length)
}
