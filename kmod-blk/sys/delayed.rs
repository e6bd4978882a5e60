// SPDX-License-Identifier: GPL-2.0

//! Something that a worker does a while after it was asked for.

use super::{
    ffi,
    workqueue::QueueHandle, //
};
use kernel::{
    bindings,
    prelude::*,
    time::{
        msecs_to_jiffies,
        Jiffies, //
    },
    types::Opaque, //
};

/// What the worker does.
pub(crate) trait Task: Send + Sync + 'static {
    /// Does it. Returns whether to do it again after the same while.
    fn run(&self) -> bool;
}

/// A task and its worker.
///
/// # Invariants
///
/// `item.work` is initialized, and queued only on `item.queue`.
pub(crate) struct Delayed<T: Task> {
    item: KBox<Item<T>>,
}

/// The work item comes first, so that both have one address.
#[repr(C)]
struct Item<T> {
    work: Opaque<bindings::delayed_work>,
    queue: QueueHandle,
    delay: Jiffies,
    task: T,
}

// SAFETY: The work item may be used from any thread, and the task is `Send` and `Sync`.
unsafe impl<T: Task> Send for Delayed<T> {}
// SAFETY: As above.
unsafe impl<T: Task> Sync for Delayed<T> {}

impl<T: Task> Delayed<T> {
    /// Prepares a task that runs on `queue`, `milliseconds` after it was asked for.
    pub(crate) fn new(queue: QueueHandle, milliseconds: u32, task: T) -> Result<Self> {
        let item = KBox::new(
            Item {
                work: Opaque::uninit(),
                queue,
                delay: msecs_to_jiffies(milliseconds),
                task,
            },
            GFP_KERNEL,
        )?;
        // SAFETY: `work` is memory for a delayed work item; `run` is told its address.
        unsafe { ffi::pinblk_delayed_work_init(item.work.get(), Some(run::<T>)) };
        // INVARIANT: It was initialized just now.
        Ok(Self { item })
    }

    /// Has the task run after its while, unless it is already going to.
    pub(crate) fn ask(&self) {
        // SAFETY: By the type invariant.
        unsafe { enqueue(&self.item) };
    }
}

impl<T: Task> Drop for Delayed<T> {
    fn drop(&mut self) {
        // After this the task neither runs nor will run, also if it asked for another time.
        // SAFETY: By the type invariant; this context may sleep.
        unsafe { bindings::cancel_delayed_work_sync(self.item.work.get()) };
    }
}

/// # Safety
///
/// The item must be that of a [`Delayed`] which is not dropped before the task has run.
unsafe fn enqueue<T>(item: &Item<T>) {
    // SAFETY: By the safety requirement work and queue are initialized.
    unsafe {
        bindings::queue_delayed_work_on(
            bindings::wq_misc_consts_WORK_CPU_UNBOUND as c_int,
            item.queue.as_ptr(),
            item.work.get(),
            item.delay,
        );
    }
}

/// # Safety
///
/// `work` must be within the first field of an [`Item<T>`] that is alive.
unsafe extern "C" fn run<T: Task>(work: *mut bindings::work_struct) {
    // SAFETY: By the safety requirement; the work item is the first field of a delayed one, and that
    // the first one of the item.
    let item = unsafe { &*work.cast::<Item<T>>() };
    if item.task.run() {
        // SAFETY: Whoever drops the `Delayed` waits for this function.
        unsafe { enqueue(item) };
    }
}
