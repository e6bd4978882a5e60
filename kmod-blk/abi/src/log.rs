// SPDX-License-Identifier: GPL-2.0 OR MIT OR Apache-2.0

//! The log of a disk: what reached its store, in order, so that its media after a power cut at any moment
//! can be made again.

use super::DISK_NAME_BYTES;

/// The most entries of a log.
pub const LOG_ENTRIES_MAX: u64 = 16384;

/// The disk has a log.
pub const LOG_ON: u32 = 1 << 0;
/// Something is not in the log, for it was full or there was no memory; nor is anything that came after.
pub const LOG_INCOMPLETE: u32 = 1 << 1;

/// How the log of a disk stands. Each entry is there before the bio that it belongs to ends.
///
/// `ENOENT` where no disk with power has that name, `EINVAL` for a reserved field.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogState {
    /// In: the name of the disk, ended by a NUL.
    pub disk: [u8; DISK_NAME_BYTES],
    /// Out: number of entries.
    pub entries: u64,
    /// Out: zero or `LOG_*`.
    pub flags: u32,
    /// Zero.
    pub reserved: u32,
}

/// The entry reached the media, and not only the cache.
pub const LOG_THROUGH: u32 = 1 << 0;

/// One entry of the log of a disk: a write of one page or of a part of it, a write-zeroes or a discard as
/// it came, or a flush that has moved to the media what stands before it.
///
/// `ENOENT` where no disk with power has that name, `ERANGE` without such an entry, `EFAULT` where a
/// write's data cannot be put.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogEntry {
    /// In: the name of the disk, ended by a NUL.
    pub disk: [u8; DISK_NAME_BYTES],
    /// In: which entry: zero for the first.
    pub index: u64,
    /// In: user address of a page, where the data of a write is put.
    pub address: u64,
    /// Out: the first sector.
    pub first_sector: u64,
    /// Out: the sector behind the last; the first for a flush.
    pub end_sector: u64,
    /// Out: the number of its bio; the pieces of one have the same.
    pub bio: u64,
    /// Out: `KIND_*`.
    pub kind: u32,
    /// Out: zero or [`LOG_THROUGH`].
    pub flags: u32,
}

// Compiled on both sides: a size that differs between them does not build.
const _: () = {
    assert!(size_of::<LogState>() == DISK_NAME_BYTES + 16);
    assert!(size_of::<LogEntry>() == DISK_NAME_BYTES + 48);
};
