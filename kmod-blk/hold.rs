// SPDX-License-Identifier: GPL-2.0

//! Held user pages: what a device does to the pages that were registered with it.

use crate::{
    abi::PageState,
    acquisition::{
        CountedPages,
        How,
        Mode, //
    },
    counters::HoldCounters,
    logic::sectors::PAGE_SIZE,
    sys::{
        acquire::{
            Get,
            LongTerm,
            Pin,
            Wanted, //
        },
        pages::Pages, //
    }, //
};
use kernel::{
    new_mutex,
    prelude::*,
    sync::{
        Arc,
        Mutex, //
    }, //
};

/// A registration of pages: they are held until it is released.
#[pin_data]
pub(crate) struct Hold {
    /// None once it is released. The lock is held while the device works on the pages, so that a
    /// release waits for it.
    #[pin]
    pages: Mutex<Option<HeldPages>>,
    counters: Arc<HoldCounters>,
    /// How many pages, and how many times each of them.
    pub(crate) count: usize,
    pub(crate) times: u32,
}

enum HeldPages {
    Get(CountedPages<Get>),
    Pin(CountedPages<Pin>),
    LongTerm(CountedPages<LongTerm>),
}

impl Hold {
    /// Acquires pages to hold.
    pub(crate) fn acquire(
        counters: &Arc<HoldCounters>,
        how: &How,
        wanted: &Wanted,
    ) -> Result<Arc<Self>> {
        let path = &how.path;
        let pages = match how.mode {
            Mode::Get => HeldPages::Get(CountedPages::acquire(counters, path, wanted)?),
            Mode::Pin => HeldPages::Pin(CountedPages::acquire(counters, path, wanted)?),
            Mode::LongTerm => HeldPages::LongTerm(CountedPages::acquire(counters, path, wanted)?),
        };
        let counters = counters.clone();
        let (count, times) = (pages.view().len(), pages.times());
        Arc::pin_init(
            pin_init!(Self {
                pages <- new_mutex!(Some(pages)),
                counters,
                count,
                times,
            }),
            GFP_KERNEL,
        )
    }

    /// Writes into the pages as a device would. For a thread that does not know the process.
    ///
    /// Fails with `EACCES` if the pages are not writable, with `ERANGE` beyond their end, with
    /// `ENOENT` if they are released.
    pub(crate) fn write(&self, offset: usize, bytes: &[u8]) -> Result {
        self.with_pages(|pages| pages.write(offset, bytes))?;
        let first = offset / PAGE_SIZE;
        let end = (offset + bytes.len()).div_ceil(PAGE_SIZE);
        self.counters.add_dma((end - first) as u64);
        Ok(())
    }

    /// Whether the device may write that many bytes, as [`Self::write`] would find it.
    pub(crate) fn may_write(&self, offset: usize, length: usize) -> Result {
        self.with_pages(|pages| pages.may_write(offset, length))
    }

    /// Prints a page to the kernel log and returns what it says of itself.
    ///
    /// Fails with `ERANGE` beyond the held pages.
    pub(crate) fn dump(&self, index: usize) -> Result<PageState> {
        self.with_pages(|pages| {
            let page = pages.page(index).ok_or(ERANGE)?;
            page.dump();
            Ok(page.state())
        })
    }

    /// Whether the device may write into the pages.
    pub(crate) fn is_writable(&self) -> Result<bool> {
        self.with_pages(|pages| Ok(pages.is_writable()))
    }

    /// Releases the pages, as written to by the device or as they are.
    pub(crate) fn release(&self, dirty: bool) {
        let pages = self.pages.lock().take();
        match pages {
            Some(HeldPages::Get(pages)) if dirty => pages.release_dirty(),
            Some(HeldPages::Pin(pages)) if dirty => pages.release_dirty(),
            Some(HeldPages::LongTerm(pages)) if dirty => pages.release_dirty(),
            clean => drop(clean),
        }
    }

    fn with_pages<T>(&self, work: impl FnOnce(Pages<'_>) -> Result<T>) -> Result<T> {
        let pages = self.pages.lock();
        work(pages.as_ref().ok_or(ENOENT)?.view())
    }
}

impl HeldPages {
    fn view(&self) -> Pages<'_> {
        match self {
            Self::Get(pages) => pages.view(),
            Self::Pin(pages) => pages.view(),
            Self::LongTerm(pages) => pages.view(),
        }
    }

    fn times(&self) -> u32 {
        match self {
            Self::Get(pages) => pages.times(),
            Self::Pin(pages) => pages.times(),
            Self::LongTerm(pages) => pages.times(),
        }
    }
}
