// SPDX-License-Identifier: GPL-2.0

//! What was seen of the bios of a disk since it got its power, and of all holds since the module was
//! loaded. Each counter is exact; together they are a snapshot only while nothing is going on.

use crate::{
    abi::{
        HoldStatistics,
        Statistics,
        Traffic,
        CLASSES,
        CLASS_METADATA,
        CLASS_OTHER,
        CLASS_PAGE_CACHE,
        CLASS_USER_PINNED, //
    },
    logic::classify::{
        Class,
        Direction, //
    },
    observe::{
        Data,
        Observation, //
    },
    sys::bio::Operation,
};
use kernel::sync::atomic::{
    Atomic,
    Relaxed, //
};

/// The counters of a disk.
#[derive(Default)]
pub(crate) struct Counters {
    reads: [TrafficCounters; CLASSES],
    writes: [TrafficCounters; CLASSES],
    preflushes: Counter,
    fua_writes: Counter,
    discards: Counter,
    write_zeroes: Counter,
}

/// The counters of all holds.
#[derive(Default)]
pub(crate) struct HoldCounters {
    /// Of holds by reference.
    pub(crate) get: PageCounters,
    /// Of holds by pin.
    pub(crate) pin: PageCounters,
    /// Pages that DMA wrote into.
    pub(crate) dma_pages: Counter,
}

/// A number that only grows.
pub(crate) struct Counter(Atomic<u64>);

/// Pages of holds of one mode.
#[derive(Default)]
pub(crate) struct PageCounters {
    /// Acquired.
    pub(crate) acquired: Counter,
    /// Released.
    pub(crate) released: Counter,
}

/// What bios of one class and direction carried.
#[derive(Default)]
struct TrafficCounters {
    bios: Counter,
    pages: Counter,
    bytes: Counter,
    pinned_pages: Counter,
}

impl Counters {
    /// Counts a bio.
    pub(crate) fn add(&self, seen: &Observation) {
        if seen.preflush {
            self.preflushes.add(1);
        }
        if seen.fua {
            self.fua_writes.add(1);
        }
        match seen.operation {
            Operation::Discard => self.discards.add(1),
            Operation::WriteZeroes => self.write_zeroes.add(1),
            _ => {}
        }
        if let Some(data) = &seen.data {
            let by_class = match data.direction {
                Direction::Read => &self.reads,
                Direction::Write => &self.writes,
            };
            by_class[class_index(data.class)].add(data);
        }
    }

    /// All counters, and nothing that is not one of them.
    pub(crate) fn snapshot(&self) -> Statistics {
        Statistics {
            reads: self.reads.each_ref().map(TrafficCounters::snapshot),
            writes: self.writes.each_ref().map(TrafficCounters::snapshot),
            preflushes: self.preflushes.get(),
            fua_writes: self.fua_writes.get(),
            discards: self.discards.get(),
            write_zeroes: self.write_zeroes.get(),
            ..Statistics::default()
        }
    }
}

impl HoldCounters {
    /// All of them.
    pub(crate) fn snapshot(&self) -> HoldStatistics {
        HoldStatistics {
            get_acquired: self.get.acquired.get(),
            get_released: self.get.released.get(),
            pin_acquired: self.pin.acquired.get(),
            pin_released: self.pin.released.get(),
            dma_pages: self.dma_pages.get(),
        }
    }
}

impl TrafficCounters {
    fn add(&self, data: &Data) {
        self.bios.add(1);
        self.pages.add(data.pages);
        self.bytes.add(data.bytes);
        self.pinned_pages.add(data.pinned_pages);
    }

    fn snapshot(&self) -> Traffic {
        Traffic {
            bios: self.bios.get(),
            pages: self.pages.get(),
            bytes: self.bytes.get(),
            pinned_pages: self.pinned_pages.get(),
        }
    }
}

impl Counter {
    /// Adds to the number.
    pub(crate) fn add(&self, more: u64) {
        self.0.add(more, Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

impl Default for Counter {
    fn default() -> Self {
        Self(Atomic::new(0))
    }
}

fn class_index(class: Class) -> usize {
    match class {
        Class::UserPinned => CLASS_USER_PINNED,
        Class::PageCache => CLASS_PAGE_CACHE,
        Class::Metadata => CLASS_METADATA,
        Class::Other => CLASS_OTHER,
    }
}
