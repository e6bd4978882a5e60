// SPDX-License-Identifier: GPL-2.0

//! The kernel's calls to acquire and to release user pages, in the sets that belong together.
//!
//! [`Acquired<A>`] names the set by which its pages were acquired, and each release takes only its
//! own: a page that is released by the wrong call does not compile.

use super::ffi;
use core::marker::PhantomData;
use kernel::{
    bindings,
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

impl Calls for Get {
    const FLAGS: c_uint = 0;
    const FAST: Fast = bindings::get_user_pages_fast;
    const SLOW: Slow = bindings::get_user_pages;
    const REMOTE: Remote = bindings::get_user_pages_remote;
    const IS_CHARGED: bool = false;
    const IS_PIN: bool = false;

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
