// SPDX-License-Identifier: GPL-2.0

//! User pages, acquired by reference or by pin, and released by the call that matches.
//!
//! [`UserPages<Get>`] and [`UserPages<Pin>`] are different types, and neither has a way to name
//! its release: a page that is released by the wrong call does not compile.

use super::{
    ffi,
    folio::Page, //
};
use crate::logic::sectors::PAGE_SIZE;
use core::{
    marker::PhantomData,
    ptr::NonNull, //
};
use kernel::{
    alloc::flags::GFP_KERNEL_ACCOUNT,
    bindings,
    prelude::*, //
};

/// One way to acquire user pages, with the releases that match it.
pub(crate) trait Acquisition: private::Calls {}

/// References (FOLL_GET), by `get_user_pages_fast()`: the legacy way.
pub(crate) enum Get {}

/// Pins (FOLL_PIN), by `pin_user_pages_fast()`.
pub(crate) enum Pin {}

impl Acquisition for Get {}
impl Acquisition for Pin {}

/// Pages of the process that acquired them, kept until this is dropped.
///
/// # Invariants
///
/// Each of `pages` holds one acquisition by `A`, with FOLL_WRITE if `writable`.
pub(crate) struct UserPages<A: Acquisition> {
    pages: KVVec<*mut bindings::page>,
    writable: bool,
    _mode: PhantomData<A>,
}

// SAFETY: Acquired pages may be used and released by any thread, of any process.
unsafe impl<A: Acquisition> Send for UserPages<A> {}
// SAFETY: Through a shared reference pages are only looked at, or written by a C copy that may
// race with every other writer of user memory anyway.
unsafe impl<A: Acquisition> Sync for UserPages<A> {}

impl<A: Acquisition> UserPages<A> {
    /// Acquires `count` pages of the current process from `address` on: all of them or none.
    ///
    /// `writable` tells that the device will write into them.
    pub(crate) fn acquire(address: usize, count: usize, writable: bool) -> Result<Self> {
        // The kernel has an errno of its own for a range that wraps around; to the caller it is
        // one more address without a page.
        address.checked_add(count * PAGE_SIZE).ok_or(EFAULT)?;
        let flags = if writable { bindings::FOLL_WRITE } else { 0 };
        let mut pages = KVVec::with_capacity(count, GFP_KERNEL_ACCOUNT)?;
        // SAFETY: The vector has room for `count` pointers.
        let acquired =
            unsafe { A::acquire(address, i32::try_from(count)?, flags, pages.as_mut_ptr()) };
        let acquired = usize::try_from(acquired).map_err(|_| Error::from_errno(acquired))?;
        // SAFETY: That many pointers were written, at most `count`.
        unsafe { pages.inc_len(acquired) };
        // INVARIANT: Each of them is one acquisition by `A`.
        let acquired = Self {
            pages,
            writable,
            _mode: PhantomData,
        };
        if acquired.len() == count {
            Ok(acquired)
        } else {
            // What was acquired is released by `drop`.
            Err(EFAULT)
        }
    }

    /// The number of pages.
    pub(crate) fn len(&self) -> usize {
        self.pages.len()
    }

    /// Whether the device may write into the pages.
    pub(crate) fn is_writable(&self) -> bool {
        self.writable
    }

    /// One of the pages.
    pub(crate) fn page(&self, index: usize) -> Option<Page<'_>> {
        let page = NonNull::new(*self.pages.get(index)?)?;
        // SAFETY: By the type invariant the page is acquired, which keeps it allocated.
        Some(unsafe { Page::from_raw(page) })
    }

    /// Writes bytes into the pages, through the kernel's own mapping, from byte `offset` on.
    ///
    /// Fails with `EACCES` if the pages are not writable, with `ERANGE` beyond their end.
    pub(crate) fn write(&self, offset: usize, bytes: &[u8]) -> Result {
        if !self.writable {
            return Err(EACCES);
        }
        let end = offset.checked_add(bytes.len()).ok_or(ERANGE)?;
        if end > self.len() * PAGE_SIZE {
            return Err(ERANGE);
        }
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

    /// Releases the pages as written to by the device: they are dirtied first.
    pub(crate) fn release_dirty(mut self) {
        // SAFETY: By the type invariant each page is one acquisition by `A`. It is given up here,
        // and so that `drop` does not give it up again the vector is emptied.
        unsafe { A::release_dirty(&mut self.pages) };
        self.pages.clear();
    }
}

impl<A: Acquisition> Drop for UserPages<A> {
    fn drop(&mut self) {
        // SAFETY: By the type invariant each page is one acquisition by `A`, given up here.
        unsafe { A::release(&mut self.pages) };
    }
}

mod private {
    use super::*;

    /// The calls of the kernel that belong together. Private: nobody else can mix them.
    pub(crate) trait Calls {
        /// Acquires up to `count` pages, returns how many or an errno.
        ///
        /// # Safety
        ///
        /// `pages` must have room for `count` pointers.
        unsafe fn acquire(
            address: usize,
            count: i32,
            flags: u32,
            pages: *mut *mut bindings::page,
        ) -> i32;

        /// Releases pages.
        ///
        /// # Safety
        ///
        /// Each page must have been acquired by `acquire`, and its acquisition is used up.
        unsafe fn release(pages: &mut [*mut bindings::page]);

        /// Dirties pages and releases them.
        ///
        /// # Safety
        ///
        /// As for [`Self::release`].
        unsafe fn release_dirty(pages: &mut [*mut bindings::page]);
    }

    impl Calls for Get {
        unsafe fn acquire(
            address: usize,
            count: i32,
            flags: u32,
            pages: *mut *mut bindings::page,
        ) -> i32 {
            // SAFETY: The caller gives the room, and any address may be asked for.
            unsafe { bindings::get_user_pages_fast(address, count, flags, pages) }
        }

        unsafe fn release(pages: &mut [*mut bindings::page]) {
            for page in pages {
                // SAFETY: The caller owns a reference to the page, and gives it up.
                unsafe { ffi::pinblk_put_page(*page) };
            }
        }

        unsafe fn release_dirty(pages: &mut [*mut bindings::page]) {
            for page in pages.iter() {
                // SAFETY: The reference keeps the page; this may sleep, as ioctls may.
                unsafe { bindings::set_page_dirty_lock(*page) };
            }
            // SAFETY: The caller's promise is ours.
            unsafe { Self::release(pages) };
        }
    }

    impl Calls for Pin {
        unsafe fn acquire(
            address: usize,
            count: i32,
            flags: u32,
            pages: *mut *mut bindings::page,
        ) -> i32 {
            // SAFETY: The caller gives the room, and any address may be asked for.
            unsafe { bindings::pin_user_pages_fast(address, count, flags, pages) }
        }

        unsafe fn release(pages: &mut [*mut bindings::page]) {
            // SAFETY: The caller owns a pin of each page, and gives it up.
            unsafe { bindings::unpin_user_pages(pages.as_mut_ptr(), pages.len()) };
        }

        unsafe fn release_dirty(pages: &mut [*mut bindings::page]) {
            // SAFETY: As above; this may sleep, as ioctls may.
            unsafe { bindings::unpin_user_pages_dirty_lock(pages.as_mut_ptr(), pages.len(), true) };
        }
    }
}
