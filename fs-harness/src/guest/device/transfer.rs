// SPDX-License-Identifier: MIT OR Apache-2.0

//! I/O of pinblk on its own disks, from and into user memory that it takes as it is told.

use std::os::fd::AsRawFd;

use nix::errno::Errno;
use nix::sys::eventfd::EventFd;
use pinblk_abi as abi;

use super::{Device, Pending, Take};
use crate::guest::disk::Disk;
use crate::guest::error::{Doing, Result};
use crate::guest::range::Range;
use crate::record::Direction;

/// A disk that pinblk itself has open, and nobody else has claimed. Closed when dropped.
pub struct OpenDisk {
    device: Device,
    handle: u32,
}

impl Device {
    /// Has pinblk open a disk and claim it: it cannot be mounted meanwhile.
    pub fn open_disk(&self, disk: &Disk) -> Result<OpenDisk> {
        let doing = || format!("have pinblk open {}", disk.name());
        let name = disk.name().as_bytes();
        let mut open = abi::OpenDisk::default();
        let place = open.disk.get_mut(..name.len()).ok_or(Errno::ENAMETOOLONG).doing(doing())?;
        place.copy_from_slice(name);
        self.call(abi::OPEN_DISK, &mut open).doing(doing())?;
        Ok(OpenDisk { device: self.clone(), handle: open.handle })
    }
}

impl OpenDisk {
    /// Its number in the interface.
    pub fn handle(&self) -> u32 {
        self.handle
    }

    /// Begins to read from byte `offset` of the disk into memory, or to write from memory to there.
    ///
    /// The memory may go before the end: the driver keeps its pages.
    pub fn begin(
        &self,
        direction: Direction,
        offset: u64,
        memory: &[Range],
        take: impl Into<Take>,
    ) -> Result<Pending> {
        self.ask(direction, offset, memory, take.into(), None)
    }

    /// The same, and the eventfd is signalled at the end.
    pub fn begin_with_event(
        &self,
        direction: Direction,
        offset: u64,
        memory: &[Range],
        take: impl Into<Take>,
        event: &EventFd,
    ) -> Result<Pending> {
        self.ask(direction, offset, memory, take.into(), Some(event))
    }

    fn ask(
        &self,
        direction: Direction,
        offset: u64,
        memory: &[Range],
        take: Take,
        event: Option<&EventFd>,
    ) -> Result<Pending> {
        let segment = |range: &Range| abi::IoSegment { address: range.address(), length: range.length() };
        let segments: Vec<abi::IoSegment> = memory.iter().map(segment).collect();
        let write = if direction == Direction::Write { abi::IO_WRITE } else { 0 };
        let signal = if event.is_some() { abi::IO_EVENT } else { 0 };
        let mut io = abi::Io {
            disk: self.handle,
            how: take.how()?,
            segments: segments.as_ptr() as u64,
            count: u32::try_from(segments.len()).unwrap_or(u32::MAX),
            flags: write | signal,
            offset,
            event: event.map_or(0, |event| event.as_raw_fd().cast_unsigned()),
            pending: 0,
        };
        let doing = || format!("have pinblk {direction:?} at {offset} by {take:?}");
        self.device.call(abi::IO, &mut io).doing(doing())?;
        Ok(Pending::new(self.device.clone(), io.pending))
    }
}

impl Drop for OpenDisk {
    fn drop(&mut self) {
        let mut close = abi::CloseDisk { handle: self.handle, reserved: 0 };
        let closed = self.device.call(abi::CLOSE_DISK, &mut close);
        debug_assert!(closed.is_ok(), "an open disk is closed once");
    }
}
