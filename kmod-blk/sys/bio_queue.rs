// SPDX-License-Identifier: GPL-2.0

//! Bios in a row. A bio has a link of its own for whoever owns it, so this needs no memory.

use super::bio::Bio;
use crate::logic::gates::Queue;
use core::{
    mem::{
        take,
        ManuallyDrop, //
    },
    ptr::{
        null_mut,
        NonNull, //
    }, //
};
use kernel::bindings;

/// Bios in the order in which they were put in.
///
/// # Invariants
///
/// From `first` on, each bio's `bi_next` points to the next one, that of `last` is null, and all of
/// them would be valid as a [`Bio`], which nobody else has. Both are there or none.
#[derive(Default)]
pub(crate) struct BioQueue {
    first: Option<NonNull<bindings::bio>>,
    last: Option<NonNull<bindings::bio>>,
}

// SAFETY: It is a row of `Bio`, which are `Send`.
unsafe impl Send for BioQueue {}
// SAFETY: By shared reference it only lends `&Bio`, which is `Sync`.
unsafe impl Sync for BioQueue {}

impl Queue for BioQueue {
    type Item = Bio;

    fn push(&mut self, bio: Bio) {
        let bio = bio.into_raw();
        // SAFETY: The bio is ours, and with it its link.
        unsafe { (*bio.as_ptr()).bi_next = null_mut() };
        match self.last {
            // SAFETY: By the type invariant.
            Some(last) => unsafe { (*last.as_ptr()).bi_next = bio.as_ptr() },
            None => self.first = Some(bio),
        }
        // INVARIANT: It is linked behind the others, and ends the row.
        self.last = Some(bio);
    }

    fn pop(&mut self) -> Option<Bio> {
        let first = self.first?;
        // SAFETY: By the type invariant.
        let next = unsafe { core::mem::replace(&mut (*first.as_ptr()).bi_next, null_mut()) };
        // INVARIANT: The row begins with the next one, or is empty.
        self.first = NonNull::new(next);
        if self.first.is_none() {
            self.last = None;
        }
        // SAFETY: By the type invariant; it is in the row no more.
        Some(unsafe { Bio::from_raw(first) })
    }
}

impl BioQueue {
    /// Puts all bios of the other queue behind these.
    pub(crate) fn append(&mut self, other: &mut Self) {
        let other = ManuallyDrop::new(take(other));
        match (self.last, other.first) {
            // SAFETY: By the type invariant.
            (Some(last), Some(first)) => unsafe { (*last.as_ptr()).bi_next = first.as_ptr() },
            (Some(_), None) => return,
            (None, _) => self.first = other.first,
        }
        // INVARIANT: The rows are one; the other queue is empty and forgotten.
        self.last = other.last;
    }

    /// Whether there is no bio.
    pub(crate) fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    /// Calls `look` with the bio of that position, from zero.
    pub(crate) fn with<R>(&self, position: usize, look: impl FnOnce(&Bio) -> R) -> Option<R> {
        let mut at = self.first?;
        for _ in 0..position {
            // SAFETY: By the type invariant.
            at = NonNull::new(unsafe { (*at.as_ptr()).bi_next })?;
        }
        // SAFETY: By the type invariant. It stays in the row, so this `Bio` is not dropped; `&self`
        // keeps it there while it is looked at.
        let bio = ManuallyDrop::new(unsafe { Bio::from_raw(at) });
        Some(look(&bio))
    }
}

impl Drop for BioQueue {
    /// Bios that were forgotten are errors to their submitters.
    fn drop(&mut self) {
        while let Some(bio) = self.pop() {
            drop(bio);
        }
    }
}
