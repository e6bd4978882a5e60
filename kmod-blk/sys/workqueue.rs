// SPDX-License-Identifier: GPL-2.0

//! The driver's own workqueues.

use core::{
    ops::Deref,
    ptr::NonNull, //
};
use kernel::{
    bindings,
    prelude::*,
    workqueue::Queue, //
};

/// A workqueue. Dropping it waits for all that was queued.
///
/// # Invariants
///
/// The pointer is to a workqueue that was allocated for this.
pub(crate) struct OwnedQueue(NonNull<bindings::workqueue_struct>);

// SAFETY: Workqueues may be used and destroyed by any thread.
unsafe impl Send for OwnedQueue {}
// SAFETY: As above.
unsafe impl Sync for OwnedQueue {}

impl OwnedQueue {
    /// A queue that makes progress when memory is full. What is queued there must not wait for
    /// anything else that is: one thread may have to do it all.
    pub(crate) fn for_reclaim(_owner: &'static ThisModule, name: &'static CStr) -> Result<Self> {
        Self::new(
            name,
            bindings::wq_flags_WQ_MEM_RECLAIM | bindings::wq_flags_WQ_UNBOUND,
        )
    }

    /// A queue whose work may sleep for long.
    pub(crate) fn for_delays(_owner: &'static ThisModule) -> Result<Self> {
        Self::new(c"pinblk-dma", bindings::wq_flags_WQ_UNBOUND)
    }

    fn new(name: &'static CStr, flags: bindings::wq_flags) -> Result<Self> {
        // SAFETY: The name has no format in it, so that no further argument is read. Zero stands
        // for the usual number of items at a time.
        let queue = unsafe { bindings::alloc_workqueue_noprof(name.as_char_ptr(), flags, 0) };
        // INVARIANT: It was just allocated.
        NonNull::new(queue).map(Self).ok_or(ENOMEM)
    }

    /// The queue, for what may outlive every borrow.
    pub(crate) fn handle(&self) -> QueueHandle {
        // INVARIANT: An owned queue belongs to the module, which drops it last of all when it is
        // unloaded: no open file is left then and no disk, and so nobody who could queue anything.
        QueueHandle(self.0)
    }
}

impl Drop for OwnedQueue {
    fn drop(&mut self) {
        // SAFETY: By the type invariant the queue is ours, and nobody queues to it any more.
        unsafe { bindings::destroy_workqueue(self.0.as_ptr()) };
    }
}

/// A workqueue that is there as long as the module is in use.
///
/// # Invariants
///
/// The queue outlives everything of the module but the end of its unloading.
#[derive(Clone, Copy)]
pub(crate) struct QueueHandle(NonNull<bindings::workqueue_struct>);

// SAFETY: Workqueues may be used by any thread.
unsafe impl Send for QueueHandle {}
// SAFETY: As above.
unsafe impl Sync for QueueHandle {}

impl QueueHandle {
    /// The queue, for the kernel.
    pub(super) fn as_ptr(self) -> *mut bindings::workqueue_struct {
        self.0.as_ptr()
    }
}

impl Deref for QueueHandle {
    type Target = Queue;

    fn deref(&self) -> &Queue {
        // SAFETY: By the type invariant the queue is there.
        unsafe { Queue::from_raw(self.0.as_ptr()) }
    }
}
