// SPDX-License-Identifier: GPL-2.0

//! I/O as userspace asks for it: user memory is acquired, and goes on its way to a disk or from it.

use crate::{
    abi::IoSegment,
    acquisition::{
        CountedPages,
        How,
        Mode, //
    },
    counters::HoldCounters,
    logic::{
        classify::Direction,
        sectors::PAGE_SIZE, //
    },
    pending::Pending,
    sys::{
        acquire::{
            Acquisition,
            Get,
            LongTerm,
            Pin,
            Wanted, //
        },
        open_disk::OpenDisk,
        transfer::{
            Buffer,
            Transfer, //
        },
        workqueue::QueueHandle, //
    }, //
};
use kernel::{
    alloc::flags::GFP_KERNEL_ACCOUNT,
    prelude::*,
    sync::Arc, //
};

/// An I/O that was asked for.
pub(crate) struct Request {
    pub(crate) disk: Arc<OpenDisk>,
    pub(crate) direction: Direction,
    /// Where on the disk it begins, in bytes.
    pub(crate) start: u64,
    pub(crate) segments: KVVec<IoSegment>,
}

impl Request {
    /// Whether the disk takes it. Fails with `EINVAL` for memory, a length or an offset that is not
    /// aligned, for nothing and for too much, with `ERANGE` beyond the end of the disk.
    pub(crate) fn check(&self, most: u64) -> Result {
        let misaligned = u64::from(self.disk.misaligned_memory());
        let mut bytes = 0;
        for segment in &self.segments {
            if (segment.address | segment.length) & misaligned != 0
                || !(1..=most - bytes).contains(&segment.length)
            {
                return Err(EINVAL);
            }
            bytes += segment.length;
        }
        // Logical blocks are powers of two.
        let within_block = self.disk.bio_limits().block as u64 - 1;
        if (bytes | self.start) & within_block != 0 {
            return Err(EINVAL);
        }
        match self.start.checked_add(bytes) {
            Some(end) if end <= self.disk.bytes() => Ok(()),
            _ => Err(ERANGE),
        }
    }

    /// Acquires the memory and submits it; `pending` is told when it has ended, unless this fails.
    pub(crate) fn submit(
        self,
        how: &How,
        counters: &Arc<HoldCounters>,
        pending: Arc<Pending>,
        queue: QueueHandle,
    ) -> Result {
        match how.mode {
            Mode::Get => self.submit_by::<Get>(how, counters, pending, queue),
            Mode::Pin => self.submit_by::<Pin>(how, counters, pending, queue),
            Mode::LongTerm => self.submit_by::<LongTerm>(how, counters, pending, queue),
        }
    }

    fn submit_by<A: Acquisition>(
        self,
        how: &How,
        counters: &Arc<HoldCounters>,
        pending: Arc<Pending>,
        queue: QueueHandle,
    ) -> Result {
        let mut buffers = KVVec::with_capacity(self.segments.len(), GFP_KERNEL_ACCOUNT)?;
        for segment in &self.segments {
            let buffer = self.acquire::<A>(how, counters, segment)?;
            buffers.push(buffer, GFP_KERNEL_ACCOUNT)?;
        }
        Transfer::submit(
            self.direction,
            self.disk,
            self.start,
            buffers,
            pending,
            queue,
        )
    }

    fn acquire<A: Acquisition>(
        &self,
        how: &How,
        counters: &Arc<HoldCounters>,
        segment: &IoSegment,
    ) -> Result<Buffer<A>> {
        let offset = segment.address as usize % PAGE_SIZE;
        let length = segment.length as usize;
        let wanted = Wanted {
            address: segment.address as usize - offset,
            count: (offset + length).div_ceil(PAGE_SIZE),
            times: 1,
            // The device writes into the memory of a read.
            writable: self.direction == Direction::Read,
            partial: false,
            add: false,
        };
        Ok(Buffer {
            pages: CountedPages::acquire(counters, &how.path, &wanted)?,
            offset,
            length,
        })
    }
}
