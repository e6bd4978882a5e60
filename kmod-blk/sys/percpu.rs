// SPDX-License-Identifier: GPL-2.0

//! A value for each processor, for which the kernel crate has nothing.

use super::ffi;
use core::{
    marker::PhantomData,
    mem::{
        align_of,
        size_of, //
    },
    ptr::NonNull, //
};
use kernel::{
    bindings,
    ffi::c_void,
    prelude::*,
    sync::atomic::Atomic, //
};

/// The numbers of one processor, and a sequence that tells a reader whether they changed.
pub(crate) struct Numbers<const N: usize> {
    pub(crate) sequence: Atomic<u64>,
    pub(crate) numbers: [Atomic<u64>; N],
}

// SAFETY: Atomic integers only, for which zero bytes are a zero.
unsafe impl<const N: usize> Zeroable for Numbers<N> {}

/// A `T` for each processor, all bytes zero at first.
///
/// # Invariants
///
/// The pointer is one of the kernel's per-CPU allocator, for a `T`, and belongs to this value.
pub(crate) struct PerCpu<T> {
    raw: NonNull<c_void>,
    _owns: PhantomData<T>,
}

// SAFETY: It is a `T` for each processor, reached by shared reference only.
unsafe impl<T: Send + Sync> Send for PerCpu<T> {}
// SAFETY: As above: whatever thread reaches a `T` does so by shared reference.
unsafe impl<T: Send + Sync> Sync for PerCpu<T> {}

impl<T: Zeroable + Sync> PerCpu<T> {
    /// Allocates it. May sleep.
    pub(crate) fn new() -> Result<Self> {
        // SAFETY: Any size and alignment may be asked for; what is too large is refused.
        let raw = unsafe {
            bindings::pcpu_alloc_noprof(
                size_of::<T>(),
                align_of::<T>(),
                false,
                bindings::GFP_KERNEL,
            )
        };
        // INVARIANT: The allocator returned it just now, zeroed, and a `T` may be all zeros.
        Ok(Self {
            raw: NonNull::new(raw).ok_or(ENOMEM)?,
            _owns: PhantomData,
        })
    }

    /// Calls `use_it` with the value of this processor. The thread is not moved to another one, and
    /// no other thread of this processor comes in between: `use_it` must not sleep.
    pub(crate) fn with_local<R>(&self, use_it: impl FnOnce(&T) -> R) -> R {
        // SAFETY: By the type invariant; preemption is off until the matching call below.
        let local = unsafe { ffi::pinblk_percpu_get(self.raw.as_ptr()) };
        // SAFETY: By the type invariant it is a `T`, which nobody borrows mutably.
        let result = use_it(unsafe { &*local.cast::<T>() });
        // SAFETY: Got above.
        unsafe { ffi::pinblk_percpu_put(self.raw.as_ptr()) };
        result
    }

    /// The values of all processors that there may be.
    pub(crate) fn each(&self) -> impl Iterator<Item = &T> {
        let mut cpu = -1;
        core::iter::from_fn(move || {
            // SAFETY: The shim takes -1 to begin with, and then what it returned.
            cpu = unsafe { ffi::pinblk_next_cpu(cpu) };
            if cpu < 0 {
                return None;
            }
            // SAFETY: By the type invariant, and the processor is a possible one.
            let value = unsafe { ffi::pinblk_percpu_of(self.raw.as_ptr(), cpu) };
            // SAFETY: As in `with_local`; it lives as long as `self`.
            Some(unsafe { &*value.cast::<T>() })
        })
    }
}

impl<T> Drop for PerCpu<T> {
    fn drop(&mut self) {
        // SAFETY: By the type invariant it is ours, and nobody can reach it after this.
        unsafe { bindings::free_percpu(self.raw.as_ptr()) };
    }
}
