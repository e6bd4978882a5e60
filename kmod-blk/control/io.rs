// SPDX-License-Identifier: GPL-2.0

//! The ioctls of I/O on the driver's own disks.

use super::{
    disk_name,
    Argument,
    Control, //
};
use crate::{
    abi::{
        self,
        IoSegment,
        IO_BYTES_MAX,
        IO_EVENT,
        IO_SEGMENTS_MAX,
        IO_WRITE, //
    },
    acquisition::How,
    logic::classify::Direction,
    pending::Pending,
    request::Request,
    sys::{
        event::EventFd,
        open_disk::OpenDisk, //
    }, //
};
use kernel::{
    alloc::flags::GFP_KERNEL_ACCOUNT,
    prelude::*,
    sync::Arc,
    uaccess::{
        UserPtr,
        UserSlice, //
    }, //
};

impl Control {
    pub(super) fn open_disk(&self, argument: &Argument) -> Result {
        let asked: abi::OpenDisk = argument.read()?;
        if asked.reserved != 0 {
            return Err(EINVAL);
        }
        let name = disk_name(&asked.disk)?;
        let number = self.shared.disks.number(&name).ok_or(ENOENT)?;
        let disk = Arc::new(OpenDisk::open(number)?, GFP_KERNEL)?;
        if self.shared.disks.number(&name) != Some(number) {
            // The disk went away before it was opened, and another may have got its number.
            return Err(ENXIO);
        }
        let handle = self.session.lock().disks.insert(disk)?;
        let answer = argument.write(&abi::OpenDisk { handle, ..asked });
        if answer.is_err() {
            // Userspace does not know the handle and could not close the disk.
            let unknown = self.session.lock().disks.remove(handle);
            drop(unknown);
        }
        answer
    }

    pub(super) fn close_disk(&self, close: &abi::CloseDisk) -> Result {
        if close.reserved != 0 {
            return Err(EINVAL);
        }
        let disk = self.session.lock().disks.remove(close.handle)?;
        drop(disk);
        Ok(())
    }

    pub(super) fn io(&self, argument: &Argument) -> Result {
        let io: abi::Io = argument.read()?;
        if io.flags & !(IO_WRITE | IO_EVENT) != 0 || !(1..=IO_SEGMENTS_MAX).contains(&io.count) {
            return Err(EINVAL);
        }
        let event = match io.flags & IO_EVENT {
            0 if io.event != 0 => return Err(EINVAL),
            0 => None,
            _ => Some(EventFd::of_number(io.event)?),
        };
        let request = Request {
            disk: self.session.lock().disks.get(io.disk)?.clone(),
            direction: match io.flags & IO_WRITE {
                0 => Direction::Read,
                _ => Direction::Write,
            },
            start: io.offset,
            segments: read_segments(&io)?,
        };
        request.check(IO_BYTES_MAX)?;
        let how = How::parse(&io.how)?;
        let pending = Arc::pin_init(Pending::new(event), GFP_KERNEL)?;
        let shared = &self.shared;
        self.begin(
            pending,
            |pending| request.submit(&how, &shared.holds, pending, shared.releases),
            |pending| argument.write(&abi::Io { pending, ..io }),
        )
    }
}

fn read_segments(io: &abi::Io) -> Result<KVVec<IoSegment>> {
    let count = io.count as usize;
    let at = UserPtr::from_addr(io.segments as usize);
    let mut reader = UserSlice::new(at, count * size_of::<IoSegment>()).reader();
    let mut segments = KVVec::with_capacity(count, GFP_KERNEL_ACCOUNT)?;
    for _ in 0..count {
        segments.push(reader.read()?, GFP_KERNEL_ACCOUNT)?;
    }
    Ok(segments)
}
