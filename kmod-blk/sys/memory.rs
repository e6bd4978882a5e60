// SPDX-License-Identifier: GPL-2.0

//! Memory for the I/O path, which must never wait for I/O itself.

use super::ffi;
use crate::logic::patch::{
    self,
    PageBytes,
    Patience, //
};
use core::{
    ops::{
        Deref,
        DerefMut, //
    },
    ptr::NonNull, //
};
use kernel::{
    bindings,
    prelude::*, //
};

/// One page of kernel memory.
///
/// # Invariants
///
/// The pointer is to a page that was allocated for this frame alone, and all of it is initialized.
pub(crate) struct Frame(NonNull<PageBytes>);

// SAFETY: A frame owns plain bytes: any thread may use and free them.
unsafe impl Send for Frame {}
// SAFETY: By shared reference its bytes are only read.
unsafe impl Sync for Frame {}

impl patch::Frame for Frame {
    type Error = Error;

    fn zeroed(patience: Patience) -> Result<Self> {
        // SAFETY: The shim has no requirement but a context that may sleep if told so, and
        // `MaySleep` is only used where the bio may.
        let page = unsafe { ffi::pinblk_frame_alloc(patience == Patience::MaySleep) };
        // INVARIANT: What the shim returned is a page of zeros, which nobody else knows.
        NonNull::new(page.cast()).map(Self).ok_or(ENOMEM)
    }
}

impl Deref for Frame {
    type Target = PageBytes;

    fn deref(&self) -> &PageBytes {
        // SAFETY: By the type invariant the page is ours and initialized, and `&self` keeps
        // writers away.
        unsafe { self.0.as_ref() }
    }
}

impl DerefMut for Frame {
    fn deref_mut(&mut self) -> &mut PageBytes {
        // SAFETY: By the type invariant the page is ours and initialized, and `&mut self` keeps
        // everybody else away.
        unsafe { self.0.as_mut() }
    }
}

impl Drop for Frame {
    fn drop(&mut self) {
        // SAFETY: By the type invariant the page is ours; nobody can use it after this.
        unsafe { bindings::free_pages(self.0.as_ptr() as usize, 0) };
    }
}
