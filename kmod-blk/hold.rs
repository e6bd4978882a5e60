// SPDX-License-Identifier: GPL-2.0

//! Held user pages: what a device does to the pages that were registered with it.

use crate::{
    abi::{
        PageState,
        MODE_GET,
        MODE_PIN,
        PATH_FAST, //
    },
    counters::HoldCounters,
    logic::sectors::PAGE_SIZE,
    sys::{
        acquire::{
            Get,
            Pin,
            UserPages, //
        },
        folio::Page,
        worker::run_and_wait, //
    }, //
};
use kernel::{
    prelude::*,
    sync::Arc, //
};

/// How pages are acquired.
#[derive(Clone, Copy)]
pub(crate) enum Mode {
    /// By reference.
    Get,
    /// By pin.
    Pin,
}

/// Pages that are held until this is dropped.
pub(crate) struct Hold {
    // Dropped before the entry is: what counts as released is released.
    pages: HeldPages,
    entry: Entry,
}

enum HeldPages {
    Get(UserPages<Get>),
    Pin(UserPages<Pin>),
}

/// What the counters know of a hold.
struct Entry {
    counters: Arc<HoldCounters>,
    mode: Mode,
    pages: u64,
}

impl Hold {
    /// Acquires pages of the current process: all of them or none.
    pub(crate) fn acquire(
        counters: &Arc<HoldCounters>,
        mode: Mode,
        address: usize,
        count: usize,
        writable: bool,
    ) -> Result<Self> {
        let pages = match mode {
            Mode::Get => HeldPages::Get(UserPages::acquire(address, count, writable)?),
            Mode::Pin => HeldPages::Pin(UserPages::acquire(address, count, writable)?),
        };
        Ok(Self {
            pages,
            entry: Entry::new(counters.clone(), mode, count as u64),
        })
    }

    /// Whether the device may write into the pages.
    pub(crate) fn is_writable(&self) -> bool {
        match &self.pages {
            HeldPages::Get(pages) => pages.is_writable(),
            HeldPages::Pin(pages) => pages.is_writable(),
        }
    }

    /// Writes into the pages as a device would: from a thread that does not know the process.
    ///
    /// Fails with `EACCES` if the pages are not writable, with `ERANGE` beyond their end.
    pub(crate) fn dma(&self, offset: usize, bytes: &[u8]) -> Result {
        let mut result = Ok(());
        run_and_wait(|| result = self.write(offset, bytes))?;
        result?;
        let first = offset / PAGE_SIZE;
        let end = (offset + bytes.len()).div_ceil(PAGE_SIZE);
        self.entry.counters.add_dma((end - first) as u64);
        Ok(())
    }

    /// Prints a page to the kernel log and returns what it says of itself.
    ///
    /// Fails with `ERANGE` beyond the held pages.
    pub(crate) fn dump(&self, index: usize) -> Result<PageState> {
        let page = self.page(index).ok_or(ERANGE)?;
        page.dump();
        Ok(page.state())
    }

    /// Releases the pages as written to by the device, which must have been allowed to.
    pub(crate) fn release_dirty(self) {
        match self.pages {
            HeldPages::Get(pages) => pages.release_dirty(),
            HeldPages::Pin(pages) => pages.release_dirty(),
        }
    }

    fn write(&self, offset: usize, bytes: &[u8]) -> Result {
        match &self.pages {
            HeldPages::Get(pages) => pages.write(offset, bytes),
            HeldPages::Pin(pages) => pages.write(offset, bytes),
        }
    }

    fn page(&self, index: usize) -> Option<Page<'_>> {
        match &self.pages {
            HeldPages::Get(pages) => pages.page(index),
            HeldPages::Pin(pages) => pages.page(index),
        }
    }
}

impl Entry {
    fn new(counters: Arc<HoldCounters>, mode: Mode, pages: u64) -> Self {
        counters.add_acquired(mode.number(), PATH_FAST, pages);
        Self {
            counters,
            mode,
            pages,
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.counters
            .add_released(self.mode.number(), PATH_FAST, self.pages);
    }
}

impl Mode {
    /// The interface's number of it.
    fn number(self) -> u32 {
        match self {
            Self::Get => MODE_GET,
            Self::Pin => MODE_PIN,
        }
    }
}
