// SPDX-License-Identifier: MIT OR Apache-2.0

//! Blocks that files share.

use std::fs::File;
use std::os::fd::AsRawFd;

use super::error::{Doing, Result};

/// As `linux/fs.h` has it.
#[repr(C)]
struct CloneRange {
    from: i64,
    from_offset: u64,
    length: u64,
    to_offset: u64,
}

/// As `linux/fs.h` has it.
#[repr(C)]
#[derive(Default)]
struct Attributes {
    flags: u32,
    extent_size: u32,
    extents: u32,
    project: u32,
    cow_extent_size: u32,
    padding: [u8; 8],
}

/// `FS_XFLAG_COWEXTSIZE`.
const HAS_COW_EXTENT_SIZE: u32 = 0x0001_0000;

/// The size of a block in bytes, in every guest.
const BLOCK: u32 = 4096;

mod request {
    use super::{Attributes, CloneRange};

    nix::ioctl_write_ptr!(clone_range, 0x94, 13, CloneRange);
    nix::ioctl_write_ptr!(set_attributes, b'X', 32, Attributes);
}

/// Has two files share so many bytes from that offset on, which were the first one's.
pub fn share(from: &File, to: &File, offset: u64, length: u64) -> Result<()> {
    let range = CloneRange { from: from.as_raw_fd().into(), from_offset: offset, length, to_offset: offset };
    // SAFETY: both files are open, and the request reads the structure.
    unsafe { request::clone_range(to.as_raw_fd(), &raw const range) }
        .map(drop)
        .doing("share a part of a file")
}

/// Of a file on XFS, a shared block that is written gets a place for itself alone, and not for its
/// neighbours as well.
pub fn write_anew_by_the_block(file: &File) -> Result<()> {
    let attributes =
        Attributes { flags: HAS_COW_EXTENT_SIZE, cow_extent_size: BLOCK, ..Attributes::default() };
    // SAFETY: the file is open, and the request reads the structure.
    unsafe { request::set_attributes(file.as_raw_fd(), &raw const attributes) }
        .map(drop)
        .doing("set how much of a file is written anew at once")
}
