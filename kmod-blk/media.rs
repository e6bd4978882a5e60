// SPDX-License-Identifier: GPL-2.0

//! Serving a bio: its data is copied, the cache is flushed, and it is completed.

use crate::{
    abi::{
        KIND_DISCARD,
        KIND_WRITE_ZEROES, //
    },
    counters::Counters,
    flights::Flights,
    log::{
        Log,
        Recorder, //
    },
    logic::{
        faults::{
            Faults,
            Request, //
        },
        layers::Reach,
        patch::Patience,
        sectors::{
            pieces,
            PAGE_SECTORS,
            PAGE_SIZE,
            SECTOR_SIZE, //
        }, //
    },
    observe::target,
    settings::Settings,
    store::{
        Store,
        Visit, //
    },
    sys::{
        bio::{
            Bio,
            Operation,
            Segment, //
        },
        compat::EOPNOTSUPP, //
    }, //
};
use kernel::{
    fmt,
    new_mutex,
    new_spinlock,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Mutex,
        SpinLock, //
    }, //
};

/// What a disk has behind its gates.
#[pin_data]
pub(crate) struct Media {
    #[pin]
    store: Store,
    /// Where a write goes that does not say it.
    reach: Reach,
    /// Whether the disk can write through its cache; else it flushes after a write that asks for it.
    fua: bool,
    /// The logical block in bytes.
    block_size: u64,
    /// The power is cut. The store knows it too, and is who decides.
    dead: Atomic<bool>,
    /// Whoever cuts the power or brings it back.
    #[pin]
    pub(crate) power: Mutex<()>,
    #[pin]
    faults: SpinLock<Faults>,
    /// There are faults.
    faulty: Atomic<bool>,
    /// What reached the store.
    #[pin]
    pub(crate) log: Log,
    /// What was seen.
    pub(crate) counters: Counters,
    /// What is in flight.
    #[pin]
    pub(crate) flights: Flights,
}

impl Media {
    /// Media to which nothing was ever written.
    pub(crate) fn new(settings: &Settings) -> impl PinInit<Self, Error> {
        let reach = if settings.write_cache {
            Reach::Cache
        } else {
            Reach::Media
        };
        let fua = settings.fua;
        let block_size = u64::from(settings.block_size);
        try_pin_init!(Self {
            store <- Store::new(),
            reach,
            fua,
            block_size,
            dead: Atomic::new(false),
            power <- new_mutex!(()),
            faults <- new_spinlock!(Faults::default()),
            faulty: Atomic::new(false),
            log <- Log::new(),
            counters: Counters::new()?,
            flights <- Flights::new(),
        })
    }

    /// Completes a bio, and counts it if that is with an error.
    pub(crate) fn complete(&self, bio: Bio, result: Result) {
        match result {
            Ok(()) => {}
            Err(error) if error == EAGAIN => self.counters.add_refused(),
            Err(_) => self.counters.add_failed(),
        }
        bio.complete(result);
    }

    /// Does what the bio asks for. Only with [`Patience::NoWait`] this fails with `EAGAIN`.
    pub(crate) fn serve(&self, bio: &Bio, patience: Patience) -> Result {
        if !self.is_aligned(bio) {
            return Err(EINVAL);
        }
        if self.faulty.load(Relaxed) && self.strike(bio) {
            return Err(EIO);
        }
        let mut log = match bio.operation() {
            Operation::Read => None,
            _ => self.log.recorder(patience)?,
        };
        let mut visit = match bio.operation() {
            Operation::Read => self.store.visit_to_read(patience),
            _ => self.store.visit(patience),
        };
        if bio.is_preflush() {
            flush(&mut visit, &mut log)?;
        }
        let result = match bio.operation() {
            Operation::Read => read(&mut visit, bio),
            Operation::Write => self.write(&mut visit, &mut log, bio),
            Operation::WriteZeroes => self.write_zeroes(&mut visit, &mut log, bio),
            Operation::Discard => discard(&mut visit, &mut log, bio),
            Operation::Unknown => Err(EOPNOTSUPP),
        };
        if log.is_none() && bio.operation() != Operation::Read && self.log.is_on() {
            // It began meanwhile, and may or may not be of media with what this bio did.
            self.log.give_up();
        }
        match result {
            // Whoever may not wait for memory is to try again where waiting is allowed.
            Err(error) if error == ENOMEM && patience == Patience::NoWait => Err(EAGAIN),
            result => result,
        }
    }

    /// Cuts the power: what only the cache has is lost, and I/O fails until [`Self::revive`].
    pub(crate) fn cut(&self) {
        self.dead.store(true, Relaxed);
        self.log.give_up();
        self.store.cut();
    }

    /// The power comes back.
    pub(crate) fn revive(&self) {
        self.store.revive();
        self.dead.store(false, Relaxed);
    }

    /// Whether the power is cut.
    pub(crate) fn is_dead(&self) -> bool {
        self.dead.load(Relaxed)
    }

    /// Has its media hold what the other's hold, and nothing in its cache: what a power cut of the other
    /// would leave now. Nothing may be at work on these media. Fails with `ENOMEM`, and with `EAGAIN` if
    /// there was no moment at which the other was not being written to.
    pub(crate) fn copy_from(&self, other: &Self) -> Result {
        self.store.copy_from(&other.store)
    }

    /// How many pages the cache and the media have.
    pub(crate) fn pages(&self) -> (u64, u64) {
        self.store.pages()
    }

    /// Adds a fault or forgets all. Fails with `ENOSPC` if there are too many.
    pub(crate) fn inject(&self, request: Request) -> Result {
        let mut faults = self.faults.lock();
        match request {
            Request::Forget => *faults = Faults::default(),
            Request::Add(fault) => faults.add(fault).then_some(()).ok_or(ENOSPC)?,
        }
        self.faulty.store(!faults.is_empty(), Relaxed);
        Ok(())
    }

    /// Shows the faults that are left.
    pub(crate) fn show_faults(&self, text: &mut impl fmt::Write) -> fmt::Result {
        let faults = self.faults.lock().clone();
        // The kernel crate has a `Display` of its own, which the logic cannot implement.
        text.write_fmt(format_args!("{faults}"))
    }

    fn strike(&self, bio: &Bio) -> bool {
        let mut faults = self.faults.lock();
        let struck = target(bio).is_some_and(|target| faults.strike(&target));
        self.faulty.store(!faults.is_empty(), Relaxed);
        struck
    }

    /// Whether the bio is made of whole logical blocks. Filesystems and direct I/O are held to it
    /// before; other submitters inside the kernel may not be.
    fn is_aligned(&self, bio: &Bio) -> bool {
        let start = bio.sector() * SECTOR_SIZE as u64;
        // A block's size is a power of two.
        (start | u64::from(bio.size())) & (self.block_size - 1) == 0
    }

    fn write(&self, visit: &mut Visit<'_>, log: &mut Option<Recorder<'_>>, bio: &Bio) -> Result {
        let through = bio.is_fua() && self.fua;
        let reach = if through { Reach::Media } else { self.reach };
        if log.is_none() && bio.plan().is_none() {
            for_each_segment(bio, |segment, sector| {
                write_segment(visit, reach, segment, sector)
            })?;
        } else {
            write_with_care(visit, log, reach, bio)?;
        }
        // The block layer leaves this to a disk that takes bios, other than to one with requests.
        if bio.is_fua() && !through {
            flush(visit, log)?;
        }
        Ok(())
    }

    fn write_zeroes(
        &self,
        visit: &mut Visit<'_>,
        log: &mut Option<Recorder<'_>>,
        bio: &Bio,
    ) -> Result {
        let written = visit.write_zeroes(bio.sectors(), self.reach);
        if let Some(log) = log {
            match written {
                Ok(()) => log.filled(KIND_WRITE_ZEROES, self.reach, bio.sectors()),
                // A part of it may be written.
                Err(_) => log.lose(),
            }
        }
        written
    }
}

fn discard(visit: &mut Visit<'_>, log: &mut Option<Recorder<'_>>, bio: &Bio) -> Result {
    visit.discard(bio.sectors())?;
    if let Some(log) = log {
        // A disk need not remember over a power cut what it was told to forget.
        log.filled(KIND_DISCARD, Reach::Cache, bio.sectors());
    }
    Ok(())
}

fn flush(visit: &mut Visit<'_>, log: &mut Option<Recorder<'_>>) -> Result {
    visit.flush()?;
    if let Some(log) = log {
        log.flushed();
    }
    Ok(())
}

#[inline(always)]
fn write_segment(visit: &mut Visit<'_>, reach: Reach, segment: Segment<'_>, sector: u64) -> Result {
    if let Some(page) = whole_page(&segment, sector) {
        if visit.rewrite(page, reach, move |bytes| segment.copy_out(0, bytes))? {
            return Ok(());
        }
    }
    write_pieces(visit, reach, sector, segment.sectors(), |start, bytes| {
        segment.copy_out(start, bytes);
    })
}

/// Of some pages copies are written, or nothing; or there is a log.
#[cold]
fn write_with_care(
    visit: &mut Visit<'_>,
    log: &mut Option<Recorder<'_>>,
    reach: Reach,
    bio: &Bio,
) -> Result {
    let mut position = 0;
    for_each_segment(bio, |segment, sector| {
        let planned = bio.plan().and_then(|plan| plan.of_segment(position));
        position += 1;
        let copy_out = |start: usize, bytes: &mut [u8]| match planned {
            None => segment.copy_out(start, bytes),
            Some(planned) => planned.copy_out(start, bytes),
        };
        match log {
            _ if planned.is_some_and(|planned| !planned.is_written()) => Ok(()),
            None => write_pieces(visit, reach, sector, segment.sectors(), copy_out),
            Some(log) => log_pieces(visit, log, reach, sector, segment.sectors(), copy_out),
        }
    })
}

fn log_pieces(
    visit: &mut Visit<'_>,
    log: &mut Recorder<'_>,
    reach: Reach,
    sector: u64,
    sectors: u64,
    copy_out: impl Fn(usize, &mut [u8]),
) -> Result {
    let mut start = 0;
    for piece in pieces(sector, sectors) {
        log.write(visit, piece, reach, |bytes| copy_out(start, bytes))?;
        start += piece.bytes().len();
    }
    Ok(())
}

fn read(visit: &mut Visit<'_>, bio: &Bio) -> Result {
    for_each_segment(bio, |segment, sector| {
        if let Some(page) = whole_page(&segment, sector) {
            if let Some(bytes) = visit.page(page)? {
                segment.copy_in(0, bytes);
                return Ok(());
            }
        }
        read_pieces(visit, segment, sector)
    })
}

/// The page that a segment is for, if it is all of it: the ordinary case, and the quick one.
fn whole_page(segment: &Segment<'_>, sector: u64) -> Option<u64> {
    const PAGE: u64 = PAGE_SECTORS as u64;
    let is_whole = segment.len() == PAGE_SIZE && sector % PAGE == 0;
    is_whole.then_some(sector / PAGE)
}

#[inline(never)]
fn read_pieces(visit: &mut Visit<'_>, segment: Segment<'_>, sector: u64) -> Result {
    let mut start = 0;
    for piece in pieces(sector, segment.sectors()) {
        let first = piece.bytes().start;
        visit.read(piece, |range, bytes| {
            segment.copy_in(start + range.start - first, bytes);
        })?;
        start += piece.bytes().len();
    }
    Ok(())
}

#[inline(never)]
fn write_pieces(
    visit: &mut Visit<'_>,
    reach: Reach,
    sector: u64,
    sectors: u64,
    copy_out: impl Fn(usize, &mut [u8]),
) -> Result {
    let mut start = 0;
    for piece in pieces(sector, sectors) {
        visit.write(piece, reach, |bytes| copy_out(start, bytes))?;
        start += piece.bytes().len();
    }
    Ok(())
}

/// Calls `serve` with each segment of the bio, and its first sector.
fn for_each_segment(bio: &Bio, mut serve: impl FnMut(Segment<'_>, u64) -> Result) -> Result {
    let mut sector = bio.sector();
    for segment in bio.segments() {
        // Nobody has checked this before: the block layer looks at segments only where it splits
        // bios itself, and asynchronous direct I/O from bvecs (ITER_BVEC) passes them on as is.
        if segment.len() % SECTOR_SIZE != 0 {
            return Err(EINVAL);
        }
        serve(segment, sector)?;
        sector += segment.sectors();
    }
    Ok(())
}
