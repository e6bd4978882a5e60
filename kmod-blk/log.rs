// SPDX-License-Identifier: GPL-2.0

//! The log of a disk: what reached its store, in order, with the bytes that were stored.
//!
//! While there is a log, bios that change the store go through it one by one: the order of the entries is
//! the order in which the store changed, and a flush stands behind just what it has moved to the media.

use crate::{
    abi::{
        KIND_FLUSH,
        KIND_WRITE,
        LOG_ENTRIES_MAX,
        LOG_INCOMPLETE,
        LOG_ON,
        LOG_THROUGH,
        PAGE_SIZE, //
    },
    logic::{
        layers::Reach,
        patch::{
            Frame as _,
            Patience, //
        },
        sectors::{
            Piece,
            PAGE_SECTORS, //
        }, //
    },
    store::Visit,
    sys::memory::Frame, //
};
use core::ops::Range;
use kernel::{
    new_mutex,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        lock::{
            mutex::MutexBackend,
            Guard, //
        },
        Mutex, //
    }, //
};

/// The log of a disk, if it has one.
#[pin_data]
pub(crate) struct Log {
    /// For a look without the lock.
    is_on: Atomic<bool>,
    #[pin]
    entries: Mutex<Option<Entries>>,
}

struct Entries {
    /// Never grows: who appends may be freeing memory.
    list: KVVec<Entry>,
    /// Bios that came until now.
    bios: u64,
    is_incomplete: bool,
}

struct Entry {
    head: Head,
    /// What a write stored, from its first byte on.
    data: Option<Frame>,
}

/// What an entry says of itself.
#[derive(Clone)]
pub(crate) struct Head {
    /// One of `KIND_*`.
    pub(crate) kind: u32,
    /// Zero or `LOG_THROUGH`.
    pub(crate) flags: u32,
    /// The number of its bio.
    pub(crate) bio: u64,
    pub(crate) sectors: Range<u64>,
}

/// The log, for one bio, which has it for itself.
pub(crate) struct Recorder<'a>(Guard<'a, Option<Entries>, MutexBackend>);

impl Log {
    /// No log.
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            is_on: Atomic::new(false),
            entries <- new_mutex!(None),
        })
    }

    /// Begins a new log, and forgets the one that there may be. Fails with `ENOMEM`.
    pub(crate) fn start(&self) -> Result {
        let fresh = Entries {
            list: KVVec::with_capacity(LOG_ENTRIES_MAX as usize, GFP_KERNEL)?,
            bios: 0,
            is_incomplete: false,
        };
        self.replace(Some(fresh));
        Ok(())
    }

    /// Forgets the log.
    pub(crate) fn stop(&self) {
        self.replace(None);
    }

    fn replace(&self, with: Option<Entries>) {
        let mut entries = self.entries.lock();
        self.is_on.store(with.is_some(), Relaxed);
        let old = core::mem::replace(&mut *entries, with);
        drop(entries);
        // It may have much memory to free: not under the lock.
        drop(old);
    }

    /// What comes from now on is not recorded: it happens to media that the log cannot tell of.
    pub(crate) fn give_up(&self) {
        if let Some(entries) = &mut *self.entries.lock() {
            entries.is_incomplete = true;
        }
    }

    /// Whether there is a log.
    #[inline(always)]
    pub(crate) fn is_on(&self) -> bool {
        self.is_on.load(Relaxed)
    }

    /// The log for a bio that changes the store, if there is one. Fails with `EAGAIN` for who may not wait:
    /// who has the log may be sleeping for memory.
    #[inline]
    pub(crate) fn recorder(&self, patience: Patience) -> Result<Option<Recorder<'_>>> {
        if !self.is_on() {
            return Ok(None);
        }
        if patience == Patience::NoWait {
            return Err(EAGAIN);
        }
        let mut entries = self.entries.lock();
        let Some(log) = &mut *entries else {
            return Ok(None);
        };
        log.bios += 1;
        Ok(Some(Recorder(entries)))
    }

    /// The number of entries, and `LOG_*`.
    pub(crate) fn state(&self) -> (u64, u32) {
        match &*self.entries.lock() {
            None => (0, 0),
            Some(entries) if entries.is_incomplete => {
                (entries.list.len() as u64, LOG_ON | LOG_INCOMPLETE)
            }
            Some(entries) => (entries.list.len() as u64, LOG_ON),
        }
    }

    /// An entry, and the data of a write. Fails with `ERANGE` where there is none, with `ENOMEM`.
    pub(crate) fn entry(&self, index: u64) -> Result<(Head, Option<Frame>)> {
        let mut copy = Frame::zeroed(Patience::MaySleep)?;
        let entries = self.entries.lock();
        let list = entries.as_ref().map(|entries| &entries.list);
        let entry = list.and_then(|list| list.get(usize::try_from(index).ok()?));
        let Entry { head, data } = entry.ok_or(ERANGE)?;
        let data = data.as_ref().map(|data| {
            copy.copy_from_slice(&**data);
            copy
        });
        Ok((head.clone(), data))
    }
}

impl Recorder<'_> {
    /// Writes a piece, and records what was stored: `fill` is asked for the bytes once, for a device may
    /// change them meanwhile.
    pub(crate) fn write(
        &mut self,
        visit: &mut Visit<'_>,
        piece: Piece,
        reach: Reach,
        fill: impl FnOnce(&mut [u8]),
    ) -> Result {
        let Ok(mut stored) = Frame::zeroed(Patience::MaySleep) else {
            visit.write(piece, reach, fill)?;
            self.lose();
            return Ok(());
        };
        let bytes = &mut stored[..piece.bytes().len()];
        fill(bytes);
        visit.write(piece, reach, |place| place.copy_from_slice(bytes))?;
        let first = piece.page * PAGE_SECTORS as u64 + piece.first as u64;
        let sectors = first..first + piece.count as u64;
        self.append(KIND_WRITE, reach, sectors, Some(stored));
        Ok(())
    }

    /// Records that sectors were filled without data, by a bio of that kind.
    pub(crate) fn filled(&mut self, kind: u32, reach: Reach, sectors: Range<u64>) {
        self.append(kind, reach, sectors, None);
    }

    /// Records that what was written until now is on the media.
    pub(crate) fn flushed(&mut self) {
        self.append(KIND_FLUSH, Reach::Media, 0..0, None);
    }

    fn append(&mut self, kind: u32, reach: Reach, sectors: Range<u64>, data: Option<Frame>) {
        let Some(entries) = &mut *self.0 else { return };
        let head = Head {
            kind,
            flags: if reach == Reach::Media {
                LOG_THROUGH
            } else {
                0
            },
            bio: entries.bios,
            sectors,
        };
        // What follows a gap would tell of media that never were.
        let kept = !entries.is_incomplete
            && entries
                .list
                .push_within_capacity(Entry { head, data })
                .is_ok();
        entries.is_incomplete = !kept;
    }

    /// Something of what the bio does is not recorded.
    pub(crate) fn lose(&mut self) {
        if let Some(entries) = &mut *self.0 {
            entries.is_incomplete = true;
        }
    }
}

// An entry has at most a page of data.
const _: () = assert!(PAGE_SECTORS as u64 * 512 == PAGE_SIZE);
