// SPDX-License-Identifier: GPL-2.0

//! Numbers that each processor has of its own, for which the kernel crate has nothing.

use super::ffi;
use core::{
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

/// The numbers of one processor, and a sequence that is odd while they change: `struct
/// pinblk_numbers` of `sys/shims.h`.
#[repr(C)]
pub(crate) struct Numbers<const N: usize> {
    pub(crate) sequence: Atomic<u64>,
    pub(crate) numbers: [Atomic<u64>; N],
}

/// `N` numbers for each processor, all zero at first.
///
/// # Invariants
///
/// The pointer is one of the kernel's per-CPU allocator, for `Numbers<N>`, and belongs to this value.
/// Only `pinblk_numbers_add` writes to them.
pub(crate) struct PerCpu<const N: usize>(NonNull<c_void>);

// SAFETY: Atomic integers, which any thread may read, and to which the shim adds in any thread.
unsafe impl<const N: usize> Send for PerCpu<N> {}
// SAFETY: As above.
unsafe impl<const N: usize> Sync for PerCpu<N> {}

impl<const N: usize> PerCpu<N> {
    /// Allocates them. May sleep.
    pub(crate) fn new() -> Result<Self> {
        // SAFETY: Any size and alignment may be asked for; what is too large is refused.
        let raw = unsafe {
            bindings::pcpu_alloc_noprof(
                size_of::<Numbers<N>>(),
                align_of::<Numbers<N>>(),
                false,
                bindings::GFP_KERNEL,
            )
        };
        // INVARIANT: The allocator returned it just now, zeroed, which atomic integers may be.
        Ok(Self(NonNull::new(raw).ok_or(ENOMEM)?))
    }

    /// Adds to numbers in a row of this processor, between two changes of its sequence. Not for
    /// interrupt handlers.
    pub(crate) fn add(&self, first: usize, more: &[u64]) {
        assert!(first <= N && more.len() <= N - first, "beyond the numbers");
        // SAFETY: By the type invariant, and the numbers that are added to are among them.
        unsafe {
            ffi::pinblk_numbers_add(self.0.as_ptr(), first, more.as_ptr(), more.len());
        }
    }

    /// The numbers of all processors that there may be.
    pub(crate) fn each(&self) -> impl Iterator<Item = &Numbers<N>> {
        let mut cpu = -1;
        core::iter::from_fn(move || {
            // SAFETY: The shim takes -1 to begin with, and then what it returned.
            cpu = unsafe { ffi::pinblk_next_cpu(cpu) };
            if cpu < 0 {
                return None;
            }
            // SAFETY: By the type invariant, and the processor is a possible one.
            let numbers = unsafe { ffi::pinblk_percpu_of(self.0.as_ptr(), cpu) };
            // SAFETY: By the type invariant. They live as long as `self`, and whoever writes to them
            // meanwhile does so as to atomic integers.
            Some(unsafe { &*numbers.cast::<Numbers<N>>() })
        })
    }
}

impl<const N: usize> Drop for PerCpu<N> {
    fn drop(&mut self) {
        // SAFETY: By the type invariant it is ours, and nobody can reach it after this.
        unsafe { bindings::free_percpu(self.0.as_ptr()) };
    }
}
