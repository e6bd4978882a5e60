// SPDX-License-Identifier: GPL-2.0

//! What can be done with user pages while they are acquired, in whichever way.

use super::{
    ffi,
    folio::Page, //
};
use crate::logic::sectors::PAGE_SIZE;
use core::ptr::NonNull;
use kernel::{
    bindings,
    prelude::*, //
};

/// Acquired user pages, borrowed from their owner.
///
/// # Invariants
///
/// Each page is acquired for `'a`, with FOLL_WRITE if `writable`.
#[derive(Clone, Copy)]
pub(crate) struct Pages<'a> {
    pages: &'a [*mut bindings::page],
    writable: bool,
}

impl<'a> Pages<'a> {
    /// Borrows pages.
    ///
    /// # Safety
    ///
    /// They must be acquired for `'a`, with FOLL_WRITE if `writable`.
    pub(super) unsafe fn from_raw(pages: &'a [*mut bindings::page], writable: bool) -> Self {
        // INVARIANT: That is the safety requirement.
        Self { pages, writable }
    }

    /// The number of pages.
    pub(crate) fn len(self) -> usize {
        self.pages.len()
    }

    /// How many of them are the zero page.
    pub(crate) fn zero_pages(self) -> usize {
        // SAFETY: By the type invariant the page is acquired, which keeps it allocated.
        let is_zero = |page: &&*mut bindings::page| unsafe { ffi::pinblk_is_zero_page(**page) };
        self.pages.iter().filter(is_zero).count()
    }

    /// Whether the device may write into the pages.
    pub(crate) fn is_writable(self) -> bool {
        self.writable
    }

    /// One of the pages.
    pub(crate) fn page(self, index: usize) -> Option<Page<'a>> {
        let page = NonNull::new(*self.pages.get(index)?)?;
        // SAFETY: By the type invariant the page is acquired, which keeps it allocated.
        Some(unsafe { Page::from_raw(page) })
    }

    /// The page at byte `at`, which must lie in them, and where in it.
    pub(super) fn raw_at(self, at: usize) -> (*mut bindings::page, usize) {
        (self.pages[at / PAGE_SIZE], at % PAGE_SIZE)
    }

    /// How many bytes from byte `at` on, up to `most`, are contiguous memory of one folio. All of
    /// them must lie in the pages.
    pub(super) fn run(self, at: usize, most: usize) -> usize {
        let first = at / PAGE_SIZE;
        let mut length = PAGE_SIZE - at % PAGE_SIZE;
        for neighbours in self.pages[first..].windows(2) {
            // SAFETY: By the type invariant the pages are acquired, which keeps them allocated.
            let goes_on = unsafe { ffi::pinblk_folio_goes_on(neighbours[0], neighbours[1]) };
            if length >= most || !goes_on {
                break;
            }
            length += PAGE_SIZE;
        }
        length.min(most)
    }

    /// Whether that many bytes may be written from byte `offset` on. Fails as [`Self::write`] does.
    pub(crate) fn may_write(self, offset: usize, length: usize) -> Result {
        if !self.writable {
            return Err(EACCES);
        }
        let end = offset.checked_add(length).ok_or(ERANGE)?;
        if end > self.len() * PAGE_SIZE {
            return Err(ERANGE);
        }
        Ok(())
    }

    /// Writes bytes into the pages, through the kernel's own mapping, from byte `offset` on.
    ///
    /// Fails with `EACCES` if the pages are not writable, with `ERANGE` beyond their end.
    pub(crate) fn write(self, offset: usize, bytes: &[u8]) -> Result {
        self.may_write(offset, bytes.len())?;
        let end = offset + bytes.len();
        let mut at = offset;
        while at < end {
            let in_page = at % PAGE_SIZE;
            let length = (PAGE_SIZE - in_page).min(end - at);
            let from = &bytes[at - offset..at - offset + length];
            // SAFETY: By the type invariant the page is acquired for writing, and the range lies
            // in it. User threads that access it race with the C copy, as they would with DMA.
            unsafe {
                ffi::pinblk_copy_to_page(
                    self.pages[at / PAGE_SIZE],
                    in_page,
                    from.as_ptr().cast(),
                    length,
                );
            }
            at += length;
        }
        Ok(())
    }
}
