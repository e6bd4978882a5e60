// SPDX-License-Identifier: GPL-2.0 OR MIT OR Apache-2.0

//! I/O of the driver on its own disks, from and into user pages that it acquires as it is told.

use super::{Acquire, DISK_NAME_BYTES};

/// The most disks that one open file has open at a time.
pub const OPEN_DISKS_MAX: u32 = 64;

/// The longest I/O, in bytes.
pub const IO_BYTES_MAX: u64 = 64 << 20;

/// The most segments of one I/O.
pub const IO_SEGMENTS_MAX: u32 = 1024;

/// Opens a disk to do I/O on it, and claims it: nobody can mount it meanwhile.
///
/// `ENOENT` where no disk with power has that name, `EBUSY` where it is mounted or claimed in another
/// way, also by this, `ENXIO` where it is going away, `ENOSPC` beyond [`OPEN_DISKS_MAX`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OpenDisk {
    /// In: the name of the disk, ended by a NUL.
    pub disk: [u8; DISK_NAME_BYTES],
    /// Out: names it in later requests on the same open file. Never zero.
    pub handle: u32,
    /// Zero.
    pub reserved: u32,
}

/// Closes a disk. I/O that goes on keeps it open until it has ended.
///
/// `ENOENT` for an unknown handle.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CloseDisk {
    /// In: the disk; gone afterwards.
    pub handle: u32,
    /// Zero.
    pub reserved: u32,
}

/// Some user memory.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IoSegment {
    /// User address of the first byte.
    pub address: u64,
    /// Number of bytes.
    pub length: u64,
}

/// Write to the disk; without it, read from it.
pub const IO_WRITE: u32 = 1 << 0;
/// Signal the eventfd [`Io::event`] at the end.
pub const IO_EVENT: u32 = 1 << 1;

/// Acquires user pages, builds bios of them, and submits these to a disk. It returns when all are
/// submitted; [`super::WAIT`] tells when and how they ended. By then the pages are released, those
/// that were read into as dirty.
///
/// What the caller does meanwhile changes nothing: the pages stay until the last bio has ended, also
/// if the memory is unmapped, the file closed or the process killed. A signal keeps bios from being
/// submitted, but not those from ending that were: the operation then ends with `EINTR`.
///
/// `ENOENT` for an unknown disk, `EINVAL` for no or too many segments, for an empty one, for more than
/// [`IO_BYTES_MAX`], for memory that is not aligned as the queue wants it (`dma_alignment`), for a
/// length or an offset that is not of whole logical blocks, for an unknown mode, path or flag, `ERANGE`
/// beyond the end of the disk, `EFAULT`, `ENOMEM`, `EINTR`, `EPERM` and `ESRCH` as for [`super::HOLD`],
/// `EBADF` for a bad eventfd, `ENOSPC` beyond [`super::PENDING_MAX`] operations.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Io {
    /// In: the disk.
    pub disk: u32,
    /// In: how the pages are acquired.
    pub how: Acquire,
    /// In: user address of an array of [`IoSegment`].
    pub segments: u64,
    /// In: number of segments.
    pub count: u32,
    /// In: zero or `IO_*`.
    pub flags: u32,
    /// In: byte offset on the disk.
    pub offset: u64,
    /// In: with [`IO_EVENT`] an eventfd; else zero.
    pub event: u32,
    /// Out: the operation to [`super::WAIT`] for.
    pub pending: u32,
}
