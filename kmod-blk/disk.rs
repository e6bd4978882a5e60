// SPDX-License-Identifier: GPL-2.0

//! What the disk does with a bio.

use crate::{
    abi::Statistics,
    counters::Counters,
    logic::{
        layers::Reach,
        patch::Patience,
        sectors::{
            pieces,
            SECTOR_SIZE, //
        }, //
    },
    observe::Observation,
    settings::Settings,
    store::Store,
    sys::{
        bio::{
            Bio,
            Operation,
            Segment, //
        },
        gendisk::BioDevice, //
    }, //
};
use core::ops::Range;
use kernel::{
    new_mutex,
    prelude::*,
    sync::Mutex, //
};

/// A RAM disk.
#[pin_data]
pub(crate) struct Disk {
    #[pin]
    store: Mutex<Store>,
    /// Where a write goes that does not say it.
    reach: Reach,
    /// The logical block in bytes.
    block_size: u64,
    counters: Counters,
}

impl Disk {
    /// A disk on which nothing was ever written.
    pub(crate) fn new(settings: &Settings) -> impl PinInit<Self, Error> {
        let reach = if settings.write_cache {
            Reach::Cache
        } else {
            Reach::Media
        };
        let block_size = u64::from(settings.block_size);
        try_pin_init!(Self {
            store <- new_mutex!(Store::default()),
            reach,
            block_size,
            counters: Counters::new()?,
        })
    }

    /// Everything counted up to now.
    pub(crate) fn statistics(&self) -> Statistics {
        let (cached_pages, media_pages) = {
            let store = self.store.lock();
            (store.cache.pages(), store.media.pages())
        };
        Statistics {
            cached_pages,
            media_pages,
            ..self.counters.snapshot()
        }
    }

    fn serve(&self, bio: &Bio) -> Result {
        if !self.is_aligned(bio) {
            return Err(EINVAL);
        }
        let patience = if bio.is_nowait() {
            Patience::NoWait
        } else {
            Patience::MaySleep
        };
        let mut store = match patience {
            Patience::NoWait => self.store.try_lock().ok_or(EAGAIN)?,
            Patience::MaySleep => self.store.lock(),
        };
        if bio.is_preflush() {
            store.flush();
        }
        let result = match bio.operation() {
            Operation::Read => read(&store, bio),
            Operation::Write => write(&mut store, bio, self.reach(bio), patience),
            Operation::WriteZeroes => store.write_zeroes(sectors(bio), self.reach, patience),
            Operation::Discard => {
                store.discard(sectors(bio));
                Ok(())
            }
            Operation::Unknown => Err(EOPNOTSUPP),
        };
        match result {
            // Whoever may not wait for memory is to try again where waiting is allowed.
            Err(error) if error == ENOMEM && patience == Patience::NoWait => Err(EAGAIN),
            result => result,
        }
    }

    /// Whether the bio is made of whole logical blocks. Filesystems and direct I/O are held to it
    /// before; other submitters inside the kernel may not be.
    fn is_aligned(&self, bio: &Bio) -> bool {
        let start = bio.sector() * SECTOR_SIZE as u64;
        start % self.block_size == 0 && u64::from(bio.size()) % self.block_size == 0
    }

    fn reach(&self, bio: &Bio) -> Reach {
        if bio.is_fua() {
            Reach::Media
        } else {
            self.reach
        }
    }
}

impl BioDevice for Disk {
    fn submit(&self, bio: Bio) {
        let seen = Observation::of(&bio);
        let result = self.serve(&bio);
        // Counted before it is completed: who waits for it finds it in the counters. A bio that may
        // not sleep comes again if it was refused, and is counted then.
        if result != Err(EAGAIN) {
            self.counters.add(&seen);
            if result.is_err() {
                self.counters.add_failed();
            }
        }
        bio.complete(result);
    }
}

fn read(store: &Store, bio: &Bio) -> Result {
    for_each_segment(bio, |segment, sector, count| {
        let mut done = 0;
        for piece in pieces(sector, count) {
            let start = piece.bytes().start;
            store.read(piece, |range, bytes| {
                segment.copy_in(done + range.start - start, bytes);
            });
            done += piece.bytes().len();
        }
        Ok(())
    })
}

fn write(store: &mut Store, bio: &Bio, reach: Reach, patience: Patience) -> Result {
    for_each_segment(bio, |segment, sector, count| {
        let mut done = 0;
        for piece in pieces(sector, count) {
            store.write(piece, reach, patience, |bytes| {
                segment.copy_out(done, bytes);
            })?;
            done += piece.bytes().len();
        }
        Ok(())
    })
}

/// Calls `serve` with each segment of the bio, its first sector, and how many sectors it has.
fn for_each_segment(bio: &Bio, mut serve: impl FnMut(Segment<'_>, u64, u64) -> Result) -> Result {
    let mut sector = bio.sector();
    for segment in bio.segments() {
        // Nobody has checked this before: the block layer looks at segments only where it splits
        // bios itself, and asynchronous direct I/O from bvecs (ITER_BVEC) passes them on as is.
        if segment.len() % SECTOR_SIZE != 0 {
            return Err(EINVAL);
        }
        let count = (segment.len() / SECTOR_SIZE) as u64;
        serve(segment, sector, count)?;
        sector += count;
    }
    Ok(())
}

fn sectors(bio: &Bio) -> Range<u64> {
    let count = u64::from(bio.size()) / SECTOR_SIZE as u64;
    bio.sector()..bio.sector() + count
}
