// SPDX-License-Identifier: GPL-2.0

//! The kernel's calls to acquire and to release user pages, in the sets that belong together.
//!
//! [`Acquired<A>`] names the set by which its pages were acquired, and each release takes only its
//! own: a page that is released by the wrong call does not compile.

use super::{
    ffi,
    worker::let_others_run, //
};
use core::marker::PhantomData;
use kernel::{
    bindings,
    error::to_result,
    ffi::{
        c_int,
        c_long,
        c_uint,
        c_ulong, //
    },
    prelude::*, //
};

/// Pointers to pages, one for each time that a page was acquired by `A` and not released.
pub(crate) struct Acquired<A> {
    pub(super) pages: KVVec<*mut bindings::page>,
    _by: PhantomData<A>,
}

impl<A> Acquired<A> {
    /// None yet, and room for `count`.
    pub(super) fn with_capacity(count: usize) -> Result<Self> {
        Ok(Self {
            pages: KVVec::with_capacity(count, kernel::alloc::flags::GFP_KERNEL_ACCOUNT)?,
            _by: PhantomData,
        })
    }
}

type Fast = unsafe extern "C" fn(c_ulong, c_int, c_uint, *mut *mut bindings::page) -> c_int;
type Slow = unsafe extern "C" fn(c_ulong, c_ulong, c_uint, *mut *mut bindings::page) -> c_long;
type Remote = unsafe extern "C" fn(
    *mut bindings::mm_struct,
    c_ulong,
    c_ulong,
    c_uint,
    *mut *mut bindings::page,
    *mut c_int,
) -> c_long;

/// A set of calls.
pub(crate) trait Calls: Sized + 'static {
    /// Flags of every acquisition.
    const FLAGS: c_uint;
    /// Acquires pages of the current process, wherever that goes without its mmap lock.
    const FAST: Fast;
    /// Acquires pages of the current process, whose mmap lock is held for reading.
    const SLOW: Slow;
    /// Acquires pages of any process, whose mmap lock is held for reading. It may give the lock up,
    /// and then sets its last argument to zero.
    const REMOTE: Remote;
    /// The pages count as pinned memory of their process.
    const IS_CHARGED: bool;
    /// Acquires by pin, which has no effect on the zero page.
    const IS_PIN: bool;

    /// Acquires each page again, that many times, by adding pins to its folio: for each page and time
    /// one. At most [`PINS_AT_ONCE`] pins, unless it is for one time. All of them or none.
    fn add(acquired: &Acquired<Self>, times: u32) -> Result;

    /// Releases each page that many times. May sleep.
    ///
    /// # Safety
    ///
    /// The caller owns as many acquisitions of each page, which are given up.
    unsafe fn release_times(acquired: &Acquired<Self>, times: u32);

    /// Releases each page once.
    ///
    /// # Safety
    ///
    /// The caller owns an acquisition of each page, which is given up.
    unsafe fn release(acquired: &Acquired<Self>);

    /// Dirties each page and releases it once. May sleep.
    ///
    /// # Safety
    ///
    /// As for [`Self::release`].
    unsafe fn release_dirty(acquired: &Acquired<Self>);
}

/// References (FOLL_GET): the legacy way.
pub(crate) enum Get {}

/// Pins (FOLL_PIN).
pub(crate) enum Pin {}

/// Pins for long (FOLL_PIN and FOLL_LONGTERM), as RDMA takes them.
pub(crate) enum LongTerm {}

/// The most pins that are added or released at once: their count times 1024 is far from overflowing.
pub(super) const PINS_AT_ONCE: usize = 1 << 16;

impl Calls for Get {
    const FLAGS: c_uint = 0;
    const FAST: Fast = bindings::get_user_pages_fast;
    const SLOW: Slow = bindings::get_user_pages;
    const REMOTE: Remote = bindings::get_user_pages_remote;
    const IS_CHARGED: bool = false;
    const IS_PIN: bool = false;

    fn add(_acquired: &Acquired<Self>, _times: u32) -> Result {
        Err(EINVAL)
    }

    unsafe fn release_times(acquired: &Acquired<Self>, times: u32) {
        for _ in 0..times {
            // SAFETY: The caller's promise is ours, for each time.
            unsafe { Self::release(acquired) };
            let_others_run();
        }
    }

    unsafe fn release(acquired: &Acquired<Self>) {
        for page in acquired.pages.iter() {
            // SAFETY: The caller owns a reference to the page, and gives it up.
            unsafe { ffi::pinblk_put_page(*page) };
        }
    }

    unsafe fn release_dirty(acquired: &Acquired<Self>) {
        for page in acquired.pages.iter() {
            // SAFETY: The caller's reference keeps the page.
            unsafe { bindings::set_page_dirty_lock(*page) };
        }
        // SAFETY: The caller's promise is ours.
        unsafe { Self::release(acquired) };
    }
}

impl Calls for Pin {
    const FLAGS: c_uint = 0;
    const FAST: Fast = bindings::pin_user_pages_fast;
    const SLOW: Slow = bindings::pin_user_pages;
    const REMOTE: Remote = bindings::pin_user_pages_remote;
    const IS_CHARGED: bool = false;
    const IS_PIN: bool = true;

    fn add(acquired: &Acquired<Self>, times: u32) -> Result {
        add_pins(acquired, times)
    }

    unsafe fn release_times(acquired: &Acquired<Self>, times: u32) {
        // SAFETY: The caller's promise is ours.
        unsafe { unpin_times(acquired, times) };
    }

    unsafe fn release(acquired: &Acquired<Self>) {
        // SAFETY: The caller's promise is ours.
        unsafe { unpin(acquired, false) };
    }

    unsafe fn release_dirty(acquired: &Acquired<Self>) {
        // SAFETY: The caller's promise is ours.
        unsafe { unpin(acquired, true) };
    }
}

impl Calls for LongTerm {
    const FLAGS: c_uint = bindings::FOLL_LONGTERM;
    const FAST: Fast = Pin::FAST;
    const SLOW: Slow = Pin::SLOW;
    const REMOTE: Remote = Pin::REMOTE;
    const IS_CHARGED: bool = true;
    const IS_PIN: bool = true;

    fn add(acquired: &Acquired<Self>, times: u32) -> Result {
        add_pins(acquired, times)
    }

    unsafe fn release_times(acquired: &Acquired<Self>, times: u32) {
        // SAFETY: The caller's promise is ours.
        unsafe { unpin_times(acquired, times) };
    }

    unsafe fn release(acquired: &Acquired<Self>) {
        // SAFETY: The caller's promise is ours.
        unsafe { unpin(acquired, false) };
    }

    unsafe fn release_dirty(acquired: &Acquired<Self>) {
        // SAFETY: The caller's promise is ours.
        unsafe { unpin(acquired, true) };
    }
}

/// Sets that acquire by pin.
trait Pins {}
impl Pins for Pin {}
impl Pins for LongTerm {}

/// # Safety
///
/// The caller owns a pin of each page, which is given up.
unsafe fn unpin<A: Pins>(acquired: &Acquired<A>, dirty: bool) {
    let pages = &acquired.pages;
    // SAFETY: That is the safety requirement. The pointers are only read.
    unsafe {
        bindings::unpin_user_pages_dirty_lock(pages.as_ptr().cast_mut(), pages.len(), dirty);
    }
}

/// # Safety
///
/// The caller owns that many pins of each page, which are given up.
unsafe fn unpin_times<A: Pins>(acquired: &Acquired<A>, times: u32) {
    for (folio, pages) in folios(acquired) {
        let mut left = pages as u64 * u64::from(times);
        while left > 0 {
            let pins = left.min(PINS_AT_ONCE as u64);
            // SAFETY: That is the safety requirement: the folio has as many pins of ours.
            unsafe { bindings::unpin_user_folio(folio, pins as c_ulong) };
            left -= pins;
            let_others_run();
        }
    }
}

fn add_pins<A: Pins>(acquired: &Acquired<A>, times: u32) -> Result {
    for (index, (folio, pages)) in folios(acquired).enumerate() {
        let pins = pages as c_uint * times;
        // SAFETY: The type says that we own a pin of the folio.
        let added = to_result(unsafe { bindings::folio_add_pins(folio, pins) });
        if added.is_err() {
            for (folio, pages) in folios(acquired).take(index) {
                // SAFETY: As many pins were added to it above.
                unsafe { bindings::unpin_user_folio(folio, pages as c_ulong * times as c_ulong) };
            }
            return added;
        }
    }
    Ok(())
}

/// The folios of pages, and how many of the pages that follow one another lie in each. Without the zero
/// page: a pin has no effect on it, so that it is never a folio that is pinned already.
fn folios<A>(acquired: &Acquired<A>) -> impl Iterator<Item = (*mut bindings::folio, usize)> + '_ {
    // SAFETY: The type says that the page is acquired, which keeps it and its folio allocated.
    let folio_of = |page: *mut bindings::page| unsafe { ffi::pinblk_page_folio(page) };
    let is_same = move |one: &*mut bindings::page, other: &*mut bindings::page| {
        folio_of(*one) == folio_of(*other)
    };
    // SAFETY: As above.
    let is_zero = |page: *mut bindings::page| unsafe { ffi::pinblk_is_zero_page(page) };
    let chunks = acquired.pages.as_slice().chunk_by(is_same);
    let pinned = chunks.filter(move |pages| !is_zero(pages[0]));
    pinned.map(move |pages| (folio_of(pages[0]), pages.len()))
}
