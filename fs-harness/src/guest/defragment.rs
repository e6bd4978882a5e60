// SPDX-License-Identifier: MIT OR Apache-2.0

//! Two files of a filesystem exchange the places of their data, as its defragmenter has them do.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;

use nix::libc;

use super::error::{Doing, Result};

/// `_IOWR('f', 15, struct move_extent)` of ext4.
const EXT4_IOC_MOVE_EXT: u64 = 0xc028_660f;
/// `_IOWR('X', 109, struct xfs_swapext)`.
const XFS_IOC_SWAPEXT: u64 = 0xc0c0_586d;

/// `struct move_extent`: places and lengths are in blocks.
#[repr(C)]
#[derive(Default)]
struct MoveExtent {
    reserved: u32,
    donor: u32,
    start: u64,
    donor_start: u64,
    length: u64,
    moved: u64,
}

/// `struct xfs_swapext`, with its `struct xfs_bstat` in the order of the fields.
#[repr(C)]
#[derive(Default)]
struct SwapExtents {
    version: i64,
    target: i64,
    donor: i64,
    offset: i64,
    length: i64,
    padding: [u64; 2],
    /// What comes before the times in `struct xfs_bstat`, which nobody reads.
    unread: [u64; 5],
    accessed: Time,
    modified: Time,
    changed: Time,
    /// What comes behind them.
    unread_either: [u64; 6],
}

/// `xfs_bstime_t`.
#[repr(C)]
#[derive(Default)]
struct Time {
    seconds: i64,
    nanoseconds: i32,
    padding: u32,
}

const _: () = assert!(size_of::<MoveExtent>() == 40 && size_of::<SwapExtents>() == 192);

/// On ext4: the data of `file`, from its first block on, moves to where that of `donor` is; returns how many
/// blocks did.
pub fn move_extents(file: &File, donor: &File, blocks: u64) -> Result<u64> {
    let donor = donor.as_raw_fd().cast_unsigned();
    let mut exchange = MoveExtent { donor, length: blocks, ..MoveExtent::default() };
    call(file, EXT4_IOC_MOVE_EXT, &mut exchange).doing("move the data of a file by EXT4_IOC_MOVE_EXT")?;
    Ok(exchange.moved)
}

/// On XFS: two files that are equally long have the places of their data exchanged.
pub fn swap_extents(file: &File, donor: &File) -> Result<()> {
    let doing = "swap the extents of two files by XFS_IOC_SWAPEXT";
    let metadata = file.metadata().doing(doing)?;
    // The kernel demands that nobody has changed the file since it was looked at.
    let time = |seconds, nanoseconds: i64| Time {
        seconds,
        nanoseconds: i32::try_from(nanoseconds).unwrap_or_default(),
        padding: 0,
    };
    let mut exchange = SwapExtents {
        target: file.as_raw_fd().into(),
        donor: donor.as_raw_fd().into(),
        length: i64::try_from(metadata.len()).unwrap_or(i64::MAX),
        modified: time(metadata.mtime(), metadata.mtime_nsec()),
        changed: time(metadata.ctime(), metadata.ctime_nsec()),
        ..SwapExtents::default()
    };
    call(file, XFS_IOC_SWAPEXT, &mut exchange).doing(doing)
}

/// Makes a request with the structure that its number was made from.
fn call<T>(file: &File, request: u64, argument: &mut T) -> io::Result<()> {
    // SAFETY: both callers pair the request with its structure, whose size is asserted above; the kernel
    // writes no more than that.
    let returned = unsafe { libc::ioctl(file.as_raw_fd(), request, std::ptr::from_mut(argument)) };
    if returned < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
