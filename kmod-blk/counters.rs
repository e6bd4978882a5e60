// SPDX-License-Identifier: GPL-2.0

//! What was seen of the bios of a disk since it got its power, and of all holds since the module was
//! loaded.
//!
//! A snapshot has every bio whole, with all of its pages and bytes, or not at all; and it has every
//! bio that was completed before the snapshot was asked for. Bios are counted as they arrive.

use crate::{
    abi::{
        HoldStatistics,
        Statistics,
        Traffic,
        CLASSES,
        DECISIONS,
        DECISION_WRITTEN,
        MODES,
        PATHS, //
    },
    logic::classify::Direction,
    observe::{
        Data,
        Observation, //
    },
    policy::Decision,
    sys::{
        bio::Operation,
        percpu::Numbers, //
    },
    tally::Tally, //
};
use kernel::prelude::*;

/// The counters of a disk.
pub(crate) struct Counters(Tally<DISK_NUMBERS>);

/// The counters of all holds.
pub(crate) struct HoldCounters(Tally<HOLD_NUMBERS>);

// The numbers of a disk, by index: those of its traffic, by direction, class and field, then these.
const PREFLUSHES: usize = 2 * CLASSES * TRAFFIC_FIELDS;
const FUA_WRITES: usize = PREFLUSHES + 1;
const DISCARDS: usize = PREFLUSHES + 2;
const WRITE_ZEROES: usize = PREFLUSHES + 3;
const FAILED: usize = PREFLUSHES + 4;
const REFUSED: usize = PREFLUSHES + 5;
// Decisions, by whether somebody waits for the data, and by what was decided.
const DECIDED: usize = PREFLUSHES + 6;
const DISK_NUMBERS: usize = DECIDED + 2 * DECISIONS;

// The fields of traffic, by index from the first one of a direction and class.
const BIOS: usize = 0;
const PAGES: usize = 1;
const BYTES: usize = 2;
const PINNED_PAGES: usize = 3;
const TRAFFIC_FIELDS: usize = 4;

// The numbers of holds, by index: pages acquired by mode and path, pages released, then these.
const RELEASED: usize = MODES * PATHS;
const DMA_PAGES: usize = 2 * RELEASED;
const HOLD_NUMBERS: usize = DMA_PAGES + 1;

impl Counters {
    /// Nothing was seen yet.
    pub(crate) fn new() -> Result<Self> {
        Tally::new().map(Self)
    }

    /// Counts a bio.
    pub(crate) fn add(&self, seen: &Observation) {
        self.0.add(|numbers| {
            if seen.preflush {
                numbers.add(PREFLUSHES, 1);
            }
            if seen.fua {
                numbers.add(FUA_WRITES, 1);
            }
            match seen.operation {
                Operation::Discard => numbers.add(DISCARDS, 1),
                Operation::WriteZeroes => numbers.add(WRITE_ZEROES, 1),
                _ => {}
            }
            if let Some(data) = &seen.data {
                add_traffic(numbers, data);
            }
        });
    }

    /// Counts what was decided about the pages of a bio.
    pub(crate) fn add_decision(&self, decision: &Decision) {
        let first = DECIDED + usize::from(decision.integrity) * DECISIONS;
        self.0
            .add(|numbers| numbers.add(first + DECISION_WRITTEN, decision.written));
    }

    /// Counts a bio that is to come again where it may sleep.
    pub(crate) fn add_refused(&self) {
        self.0.add(|numbers| numbers.add(REFUSED, 1));
    }

    /// Counts a bio that was completed with an error.
    pub(crate) fn add_failed(&self) {
        self.0.add(|numbers| numbers.add(FAILED, 1));
    }

    /// All counters, and nothing that is not one of them.
    pub(crate) fn snapshot(&self) -> Statistics {
        let numbers = self.0.sums();
        let traffic = |direction| core::array::from_fn(|class| traffic(&numbers, direction, class));
        Statistics {
            reads: traffic(Direction::Read),
            writes: traffic(Direction::Write),
            preflushes: numbers[PREFLUSHES],
            fua_writes: numbers[FUA_WRITES],
            discards: numbers[DISCARDS],
            write_zeroes: numbers[WRITE_ZEROES],
            failed: numbers[FAILED],
            refused: numbers[REFUSED],
            cleaning: decisions(&numbers, false),
            integrity: decisions(&numbers, true),
            ..Statistics::default()
        }
    }
}

impl HoldCounters {
    /// Nothing was held yet.
    pub(crate) fn new() -> Result<Self> {
        Tally::new().map(Self)
    }

    /// Counts pages acquired; `mode` is one of the interface's `MODE_*`, `path` one of its `PATH_*`.
    pub(crate) fn add_acquired(&self, mode: u32, path: u32, pages: u64) {
        self.0
            .add(|numbers| numbers.add(by_mode_and_path(mode, path), pages));
    }

    /// Counts pages released that were acquired by that mode and path.
    pub(crate) fn add_released(&self, mode: u32, path: u32, pages: u64) {
        self.0
            .add(|numbers| numbers.add(RELEASED + by_mode_and_path(mode, path), pages));
    }

    /// Counts pages that DMA wrote into.
    pub(crate) fn add_dma(&self, pages: u64) {
        self.0.add(|numbers| numbers.add(DMA_PAGES, pages));
    }

    /// All of them.
    pub(crate) fn snapshot(&self) -> HoldStatistics {
        let numbers = self.0.sums();
        let by_mode_and_path = |first: usize| {
            let of = |mode, path| numbers[first + mode * PATHS + path];
            core::array::from_fn(|mode| core::array::from_fn(|path| of(mode, path)))
        };
        HoldStatistics {
            acquired: by_mode_and_path(0),
            released: by_mode_and_path(RELEASED),
            dma_pages: numbers[DMA_PAGES],
        }
    }
}

fn by_mode_and_path(mode: u32, path: u32) -> usize {
    mode as usize * PATHS + path as usize
}

fn add_traffic(numbers: &Numbers<DISK_NUMBERS>, data: &Data) {
    let first = first_of_traffic(data.direction, data.class as usize);
    numbers.add(first + BIOS, 1);
    numbers.add(first + PAGES, data.pages);
    numbers.add(first + BYTES, data.bytes);
    numbers.add(first + PINNED_PAGES, data.pinned_pages);
}

fn traffic(numbers: &[u64; DISK_NUMBERS], direction: Direction, class: usize) -> Traffic {
    let first = first_of_traffic(direction, class);
    Traffic {
        bios: numbers[first + BIOS],
        pages: numbers[first + PAGES],
        bytes: numbers[first + BYTES],
        pinned_pages: numbers[first + PINNED_PAGES],
    }
}

fn decisions(numbers: &[u64; DISK_NUMBERS], integrity: bool) -> [u64; DECISIONS] {
    let first = DECIDED + usize::from(integrity) * DECISIONS;
    core::array::from_fn(|decision| numbers[first + decision])
}

fn first_of_traffic(direction: Direction, class: usize) -> usize {
    let direction = match direction {
        Direction::Read => 0,
        Direction::Write => 1,
    };
    (direction * CLASSES + class) * TRAFFIC_FIELDS
}
