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
        MODES,
        PATHS, //
    },
    logic::classify::Direction,
    observe::{
        Observation,
        Sort, //
    },
    tally::Tally, //
};
use kernel::prelude::*;

/// The counters of a disk.
pub(crate) struct Counters(Tally<DISK_NUMBERS>);

/// The counters of all holds.
pub(crate) struct HoldCounters(Tally<HOLD_NUMBERS>);

// The numbers of a disk are first a table: each bio adds to one row, and to nothing else. There are
// four rows for each sort of bio: without and with REQ_PREFLUSH, and both without and with REQ_FUA.
// The sorts are reads by class, writes by class, and these.
const DISCARDS: usize = 2 * CLASSES;
const WRITE_ZEROES: usize = DISCARDS + 1;
const BARE: usize = DISCARDS + 2;
const SORTS: usize = DISCARDS + 3;

// What is added to the index of a row.
const PREFLUSH: usize = 1;
const FUA: usize = 2;
const ROWS_OF_SORT: usize = 4;

// The fields of a row, by index from its first one.
const BIOS: usize = 0;
const PAGES: usize = 1;
const BYTES: usize = 2;
const PINNED_PAGES: usize = 3;
const FIELDS: usize = 4;

// Behind the table: bios by how they ended; then decisions, by whether somebody waits for the data,
// and by what was decided.
const FAILED: usize = SORTS * ROWS_OF_SORT * FIELDS;
const REFUSED: usize = FAILED + 1;
const DECIDED: usize = FAILED + 2;
const DISK_NUMBERS: usize = DECIDED + 2 * DECISIONS;

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
        let sort = match seen.sort {
            Sort::Traffic(direction, class) => sort_of_traffic(direction, class as usize),
            Sort::Discard => DISCARDS,
            Sort::WriteZeroes => WRITE_ZEROES,
            Sort::Bare => BARE,
        };
        let row = sort * ROWS_OF_SORT
            + usize::from(seen.preflush) * PREFLUSH
            + usize::from(seen.fua) * FUA;
        let mut more = [0; FIELDS];
        more[BIOS] = 1;
        more[PAGES] = seen.pages;
        more[BYTES] = seen.bytes;
        more[PINNED_PAGES] = seen.pinned_pages;
        self.0.add(row * FIELDS, &more);
    }

    /// Counts pages by what became of them: `decision` is one of the interface's `DECISION_*`.
    pub(crate) fn add_decision(&self, integrity: bool, decision: usize, pages: u64) {
        if pages > 0 {
            let first = DECIDED + usize::from(integrity) * DECISIONS;
            self.0.add(first + decision, &[pages]);
        }
    }

    /// Counts a bio that is to come again where it may sleep.
    pub(crate) fn add_refused(&self) {
        self.0.add(REFUSED, &[1]);
    }

    /// Counts a bio that was completed with an error.
    pub(crate) fn add_failed(&self) {
        self.0.add(FAILED, &[1]);
    }

    /// All counters, and nothing that is not one of them.
    pub(crate) fn snapshot(&self) -> Statistics {
        let numbers = self.0.sums();
        let traffic = |direction| core::array::from_fn(|class| traffic(&numbers, direction, class));
        Statistics {
            reads: traffic(Direction::Read),
            writes: traffic(Direction::Write),
            preflushes: bios_with(&numbers, PREFLUSH),
            fua_writes: bios_with(&numbers, FUA),
            discards: of_sort(&numbers, DISCARDS, BIOS),
            write_zeroes: of_sort(&numbers, WRITE_ZEROES, BIOS),
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
        self.0.add(by_mode_and_path(mode, path), &[pages]);
    }

    /// Counts pages released that were acquired by that mode and path.
    pub(crate) fn add_released(&self, mode: u32, path: u32, pages: u64) {
        self.0
            .add(RELEASED + by_mode_and_path(mode, path), &[pages]);
    }

    /// Counts pages that DMA wrote into.
    pub(crate) fn add_dma(&self, pages: u64) {
        self.0.add(DMA_PAGES, &[pages]);
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

fn traffic(numbers: &[u64; DISK_NUMBERS], direction: Direction, class: usize) -> Traffic {
    let sort = sort_of_traffic(direction, class);
    Traffic {
        bios: of_sort(numbers, sort, BIOS),
        pages: of_sort(numbers, sort, PAGES),
        bytes: of_sort(numbers, sort, BYTES),
        pinned_pages: of_sort(numbers, sort, PINNED_PAGES),
    }
}

/// The sum of a field over the rows of a sort.
fn of_sort(numbers: &[u64; DISK_NUMBERS], sort: usize, field: usize) -> u64 {
    let rows = sort * ROWS_OF_SORT..(sort + 1) * ROWS_OF_SORT;
    rows.map(|row| numbers[row * FIELDS + field]).sum()
}

/// The number of bios that have this flag.
fn bios_with(numbers: &[u64; DISK_NUMBERS], flag: usize) -> u64 {
    let rows = (0..SORTS * ROWS_OF_SORT).filter(|row| row & flag != 0);
    rows.map(|row| numbers[row * FIELDS + BIOS]).sum()
}

fn decisions(numbers: &[u64; DISK_NUMBERS], integrity: bool) -> [u64; DECISIONS] {
    let first = DECIDED + usize::from(integrity) * DECISIONS;
    core::array::from_fn(|decision| numbers[first + decision])
}

fn sort_of_traffic(direction: Direction, class: usize) -> usize {
    match direction {
        Direction::Read => class,
        Direction::Write => CLASSES + class,
    }
}
