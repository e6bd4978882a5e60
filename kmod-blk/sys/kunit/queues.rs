// SPDX-License-Identifier: GPL-2.0

//! Workqueues that suites must have a say in.

use super::workqueue::OwnedQueue;
use kernel::bindings;

/// Has the queue do what is queued from now on one by one: while the first waits, nothing else begins.
pub(crate) fn one_by_one(queue: &OwnedQueue) {
    // SAFETY: The queue is there, and was made without an order of its own.
    unsafe { bindings::workqueue_set_max_active(queue.handle().as_ptr(), 1) };
}
