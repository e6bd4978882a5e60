// SPDX-License-Identifier: GPL-2.0

//! An eventfd of userspace, to tell it that something has ended.

use core::ptr::NonNull;
use kernel::{
    bindings,
    error::from_err_ptr,
    ffi::c_int,
    prelude::*, //
};

/// An eventfd.
///
/// # Invariants
///
/// The pointer is to a context of which a reference is ours.
pub(crate) struct EventFd(NonNull<bindings::eventfd_ctx>);

// SAFETY: Contexts are counted, locked and may be used by any thread.
unsafe impl Send for EventFd {}
// SAFETY: As above.
unsafe impl Sync for EventFd {}

impl EventFd {
    /// The eventfd of that number in the current process.
    ///
    /// Fails with `EBADF` if there is no such file, with `EINVAL` if it is no eventfd.
    pub(crate) fn of_number(number: u32) -> Result<Self> {
        let number = c_int::try_from(number).map_err(|_| EBADF)?;
        // SAFETY: Any number may be asked for.
        let context = from_err_ptr(unsafe { bindings::eventfd_ctx_fdget(number) })?;
        // INVARIANT: The call gave us a reference.
        NonNull::new(context).map(Self).ok_or(EBADF)
    }

    /// Adds one to its count, which wakes who waits for it.
    pub(crate) fn signal(&self) {
        // SAFETY: By the type invariant the context is there.
        unsafe { bindings::eventfd_signal_mask(self.0.as_ptr(), 0) };
    }
}

impl Drop for EventFd {
    fn drop(&mut self) {
        // SAFETY: By the type invariant the reference is ours, and it is given up.
        unsafe { bindings::eventfd_ctx_put(self.0.as_ptr()) };
    }
}
