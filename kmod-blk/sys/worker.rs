// SPDX-License-Identifier: GPL-2.0

//! Running something on a kernel worker thread, which has no user memory of its own.

use super::ffi;
use core::ptr::from_mut;
use kernel::{
    bindings,
    prelude::*,
    sync::static_lock_class,
    types::Opaque, //
};

/// Gives the processor to others that wait for it: within whatever userspace can make long.
pub(crate) fn let_others_run() {
    // SAFETY: Only for contexts that may sleep, as everything in this driver but what is documented
    // otherwise; the kernel checks it.
    unsafe { ffi::pinblk_cond_resched() };
}

/// Whether the current task is to do something about a signal: whatever userspace can make long ends
/// then. Work that io_uring has left for a task wakes it as a signal does, and is none.
pub(crate) fn is_signalled() -> bool {
    // SAFETY: The shim has no requirement.
    unsafe { ffi::pinblk_is_signalled() }
}

/// A work item and what it does. The work item comes first, so that both have one address.
#[repr(C)]
struct Job<F> {
    work: Opaque<bindings::work_struct>,
    run: Option<F>,
}

/// Runs `job` on a kernel worker, and returns when it has run.
///
/// The module's code is not left running behind: the worker has left it when this returns.
pub(crate) fn run_and_wait<F: FnOnce() + Send>(job: F) -> Result {
    let mut job = KBox::new(
        Job {
            work: Opaque::uninit(),
            run: Some(job),
        },
        GFP_KERNEL,
    )?;
    // From here on only through the pointer, which the worker uses too.
    let job: *mut Job<F> = from_mut(&mut *job);
    // SAFETY: The job is alive until the end of this function, and does not move.
    let work = unsafe { (*job).work.get() };
    // SAFETY: `work` is memory for a work item; `trampoline` is told its address.
    unsafe {
        bindings::init_work_with_key(
            work,
            Some(trampoline::<F>),
            false,
            c"pinblk_job".as_char_ptr(),
            static_lock_class!().as_ptr(),
        );
    }
    // SAFETY: The work item was initialized above and is not queued. The queue is the system's.
    unsafe {
        bindings::queue_work_on(
            bindings::wq_misc_consts_WORK_CPU_UNBOUND as c_int,
            bindings::system_dfl_wq,
            work,
        );
    }
    // SAFETY: The work item was queued above. After this it is idle again, so that the job can be
    // freed, and so can what it borrows.
    unsafe { bindings::flush_work(work) };
    Ok(())
}

/// # Safety
///
/// `work` must be the first field of a [`Job<F>`] that nobody else touches meanwhile.
unsafe extern "C" fn trampoline<F: FnOnce()>(work: *mut bindings::work_struct) {
    // SAFETY: By the safety requirement, and as `Job` is `repr(C)`.
    let job = unsafe { &mut *work.cast::<Job<F>>() };
    if let Some(run) = job.run.take() {
        run();
    }
}
