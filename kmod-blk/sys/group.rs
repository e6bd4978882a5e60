// SPDX-License-Identifier: GPL-2.0

//! The process that did something, remembered without being kept alive.
//!
//! What a file has goes when the file is closed, and a process that dies closes its files. But not
//! while one of its threads sleeps uninterruptibly, which may be for what the file has.

use super::ffi;
use core::ptr::NonNull;
use kernel::bindings;

/// A thread group: a process.
///
/// # Invariants
///
/// The pointer is to a pid to which this has a reference.
pub(crate) struct Group(NonNull<bindings::pid>);

// SAFETY: A pid may be looked at and put from any thread.
unsafe impl Send for Group {}
// SAFETY: As above.
unsafe impl Sync for Group {}

impl Group {
    /// That of the current thread; none for one that has exited and is no more of a group.
    pub(crate) fn current() -> Option<Self> {
        // SAFETY: It has no requirement, and returns a reference that is ours.
        let pid = unsafe { ffi::pinblk_current_group() };
        // INVARIANT: See above.
        NonNull::new(pid).map(Self)
    }

    /// Whether the process is dying, or gone.
    pub(crate) fn is_dying(&self) -> bool {
        // SAFETY: By the type invariant.
        unsafe { ffi::pinblk_group_is_dying(self.0.as_ptr()) }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // SAFETY: By the type invariant; the reference is given up.
        unsafe { bindings::put_pid(self.0.as_ptr()) };
    }
}
