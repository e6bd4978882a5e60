// SPDX-License-Identifier: GPL-2.0

//! Bios of our own: user pages on their way to a disk or from it.

use super::{
    acquire::Acquisition,
    open_disk::OpenDisk,
    worker::{
        is_signalled,
        let_others_run, //
    },
    workqueue::QueueHandle, //
};
use crate::{
    acquisition::CountedPages,
    logic::{
        classify::Direction,
        split, //
    },
    pending::{
        Outcome,
        Pending, //
    }, //
};
use kernel::{
    bindings,
    error::to_result,
    impl_has_work,
    new_mutex,
    new_work,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Full,
            Relaxed, //
        },
        Arc,
        Mutex, //
    },
    workqueue::{
        Work,
        WorkItem, //
    }, //
};

/// User memory, acquired by `A`.
pub(crate) struct Buffer<A: Acquisition> {
    pub(crate) pages: CountedPages<A>,
    /// Where in the first page it begins, in bytes.
    pub(crate) offset: usize,
    /// Its length in bytes.
    pub(crate) length: usize,
}

/// A transfer: all of its bios carry pages that were acquired by `A`, and no others.
///
/// It and its pages stay until its last bio has ended, whoever has gone meanwhile.
#[pin_data]
pub(crate) struct Transfer<A: Acquisition> {
    direction: Direction,
    /// None once the last bio has ended. Before, what it holds is not changed.
    #[pin]
    needs: Mutex<Option<Needs<A>>>,
    /// Bios that have not ended, and one more until all are submitted.
    open: Atomic<i32>,
    bios: Atomic<u32>,
    /// Of bios that succeeded.
    bytes: Atomic<u64>,
    /// The errno of the first failure, or zero.
    error: Atomic<i32>,
    pending: Arc<Pending>,
    queue: QueueHandle,
    #[pin]
    work: Work<Self>,
}

/// What the bios of a transfer need.
struct Needs<A: Acquisition> {
    buffers: KVVec<Buffer<A>>,
    disk: Arc<OpenDisk>,
}

impl_has_work! {
    impl{A: Acquisition} HasWork<Self> for Transfer<A> { self.work }
}

/// A place in the memory of a transfer.
#[derive(Clone, Copy, Default)]
struct Place {
    buffer: usize,
    /// Bytes from the beginning of the buffer.
    at: usize,
}

impl<A: Acquisition> Transfer<A> {
    /// Submits bios for all of `buffers`, from byte `start` of the disk on, as long as no signal
    /// comes. `pending` is told when the last one has ended, after the pages are released.
    pub(crate) fn submit(
        direction: Direction,
        disk: Arc<OpenDisk>,
        start: u64,
        buffers: KVVec<Buffer<A>>,
        pending: Arc<Pending>,
        queue: QueueHandle,
    ) -> Result {
        let transfer = Arc::pin_init(
            pin_init!(Self {
                direction,
                needs <- new_mutex!(Some(Needs { buffers, disk })),
                open: Atomic::new(1),
                bios: Atomic::new(0),
                bytes: Atomic::new(0),
                error: Atomic::new(0),
                pending,
                queue,
                work <- new_work!("pinblk_transfer"),
            }),
            GFP_KERNEL,
        )?;
        let submitted = transfer.submit_all(start);
        Self::ended(transfer, submitted);
        Ok(())
    }

    fn submit_all(self: &Arc<Self>, start: u64) -> Result {
        let mut sector = start >> bindings::SECTOR_SHIFT;
        let mut place = Place::default();
        while let Some(bio) = self.next_bio(sector, &mut place)? {
            // SAFETY: The bio is ours until it is submitted.
            sector += u64::from(unsafe { (*bio).bi_iter.bi_size } >> bindings::SECTOR_SHIFT);
            self.open.fetch_add(1, Relaxed);
            self.bios.add(1, Relaxed);
            // SAFETY: The bio was made above and is complete. What it points to stays until it has
            // ended: it has a reference to the transfer, which keeps its needs as long as it is open.
            unsafe { bindings::submit_bio(bio) };
            if is_signalled() && self.is_left(place) {
                return Err(EINTR);
            }
            let_others_run();
        }
        Ok(())
    }

    /// Whether there is memory from `place` on.
    fn is_left(&self, place: Place) -> bool {
        let needs = self.needs.lock();
        let is_left = |needs: &Needs<A>| {
            let limits = needs.disk.bio_limits();
            let is_left = needs.runs(place, &limits).next().is_some();
            is_left
        };
        needs.as_ref().is_some_and(is_left)
    }

    /// Makes the bio for the memory from `place` on, which moves behind it; none at the end.
    fn next_bio(
        self: &Arc<Self>,
        sector: u64,
        place: &mut Place,
    ) -> Result<Option<*mut bindings::bio>> {
        let needs = self.needs.lock();
        let needs = needs.as_ref().ok_or(EINVAL)?;
        let limits = needs.disk.bio_limits();
        if needs.runs(*place, &limits).next().is_none() {
            return Ok(None);
        }
        let length = split::next_bio(needs.runs(*place, &limits).map(|(_, run)| run), &limits);
        if length == 0 {
            return Err(EINVAL);
        }
        let segments = needs.segments(*place, length, &limits);
        // SAFETY: The device is open. Only one bio at a time is allocated before it is submitted,
        // and sleeping is allowed, so that this does not fail.
        let bio = unsafe {
            bindings::bio_alloc_bioset(
                needs.disk.bdev(),
                segments as u16,
                self.operation(),
                bindings::GFP_KERNEL,
                &raw mut bindings::fs_bio_set,
            )
        };
        // SAFETY: The bio was just allocated and is ours.
        let fields = unsafe { &mut *bio };
        fields.bi_iter.bi_sector = sector;
        fields.bi_end_io = Some(Self::bio_ended);
        fields.bi_private = Arc::into_raw(self.clone()).cast_mut().cast();
        if A::IS_PIN {
            fields.bi_flags |= 1 << bindings::BIO_PAGE_PINNED;
        }
        let mut left = length;
        while left > 0 {
            let Some((here, run)) = needs.runs(*place, &limits).next() else {
                break;
            };
            let run = run.min(left);
            let buffer = &needs.buffers[here.buffer];
            let (page, offset) = buffer.pages.view().raw_at(buffer.offset + here.at);
            // SAFETY: The bio has room for as many segments as were counted above. Not
            // bio_add_page(), which would put neighbours of different folios into one segment.
            unsafe { bindings::__bio_add_page(bio, page, run as u32, offset as u32) };
            *place = Place {
                at: here.at + run,
                ..here
            };
            left -= run;
        }
        Ok(Some(bio))
    }

    /// # Safety
    ///
    /// Only for the block layer, at the end of a bio of [`Self::next_bio`].
    unsafe extern "C" fn bio_ended(bio: *mut bindings::bio) {
        // SAFETY: The bio has ended and is ours again.
        let fields = unsafe { &*bio };
        // SAFETY: Its private data is the reference that it was given.
        let transfer = unsafe { Arc::from_raw(fields.bi_private.cast::<Self>()) };
        // SAFETY: Any status may be asked for.
        let result = to_result(unsafe { bindings::blk_status_to_errno(fields.bi_status) });
        if result.is_ok() {
            let segments = 0..usize::from(fields.bi_vcnt);
            // SAFETY: The bio has its own table, with that many segments.
            let bytes = segments.map(|at| u64::from(unsafe { (*fields.bi_io_vec.add(at)).bv_len }));
            transfer.bytes.add(bytes.sum(), Relaxed);
        }
        // SAFETY: The bio is ours, and given up.
        unsafe { bindings::bio_put(bio) };
        Self::ended(transfer, result);
    }

    /// A bio, or the submission of them all, has ended. In any context.
    fn ended(self: Arc<Self>, result: Result) {
        if let Err(error) = result {
            // The first one is told.
            let _ = self.error.cmpxchg(0, error.to_errno(), Relaxed);
        }
        if self.open.fetch_add(-1, Full) == 1 {
            let queue = self.queue;
            // It was never queued before, so that this cannot fail.
            let _ = queue.enqueue(self);
        }
    }

    fn operation(&self) -> bindings::blk_opf_t {
        match self.direction {
            Direction::Read => bindings::req_op_REQ_OP_READ,
            // As every direct write has it.
            Direction::Write => {
                bindings::req_op_REQ_OP_WRITE
                    | 1 << bindings::req_flag_bits___REQ_SYNC
                    | 1 << bindings::req_flag_bits___REQ_IDLE
            }
        }
    }
}

impl<A: Acquisition> WorkItem for Transfer<A> {
    type Pointer = Arc<Self>;

    /// All has ended: the pages are released, in process context, and who waits is told.
    fn run(this: Arc<Self>) {
        let needs = this.needs.lock().take();
        if let Some(Needs { buffers, disk }) = needs {
            for buffer in buffers {
                match this.direction {
                    // The device wrote them.
                    Direction::Read => buffer.pages.release_dirty(),
                    Direction::Write => drop(buffer),
                }
            }
            drop(disk);
        }
        let result = to_result(this.error.load(Relaxed));
        this.pending.finish(Outcome {
            result,
            bios: this.bios.load(Relaxed),
            bytes: this.bytes.load(Relaxed),
        });
    }
}

impl<A: Acquisition> Needs<A> {
    /// The runs of contiguous memory from a place on: where each begins, and its length.
    fn runs<'a>(
        &'a self,
        place: Place,
        limits: &'a split::Limits,
    ) -> impl Iterator<Item = (Place, usize)> + 'a {
        let mut place = place;
        core::iter::from_fn(move || {
            let mut buffer = self.buffers.get(place.buffer)?;
            if place.at == buffer.length {
                place = Place {
                    buffer: place.buffer + 1,
                    at: 0,
                };
                buffer = self.buffers.get(place.buffer)?;
            }
            let most = (buffer.length - place.at).min(limits.segment_bytes);
            let run = buffer.pages.view().run(buffer.offset + place.at, most);
            let here = place;
            place.at += run;
            Some((here, run))
        })
    }

    /// In how many runs the next `length` bytes lie.
    fn segments(&self, place: Place, length: usize, limits: &split::Limits) -> usize {
        let mut bytes = 0;
        self.runs(place, limits)
            .take_while(|(_, run)| {
                let is_in = bytes < length;
                bytes += run;
                is_in
            })
            .count()
    }
}
