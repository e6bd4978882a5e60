// SPDX-License-Identifier: GPL-2.0

//! Doing something on another processor while this thread goes on.

use super::ffi;
use core::ptr::from_mut;
use kernel::{
    bindings,
    ffi::c_int,
    prelude::*,
    sync::static_lock_class,
    types::Opaque, //
};

/// A work item and what it does. The work item comes first, so that both have one address.
#[repr(C)]
struct Job<F> {
    work: Opaque<bindings::work_struct>,
    run: Option<F>,
}

/// Runs `job` on another processor and `meanwhile` here, and returns when both have returned.
///
/// The scheduler would not do: it was seen to leave both threads on one processor. Fails with `ENODEV`
/// if there is no other.
pub(crate) fn beside<R, F: FnOnce() + Send>(job: F, meanwhile: impl FnOnce() -> R) -> Result<R> {
    let cpu = another_cpu().ok_or(ENODEV)?;
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
    // SAFETY: `work` is memory for a work item, which is initialized here and then queued, on the
    // system's queue of one processor. `trampoline` is told its address.
    unsafe {
        bindings::init_work_with_key(
            work,
            Some(trampoline::<F>),
            false,
            c"pinblk_kunit_job".as_char_ptr(),
            static_lock_class!().as_ptr(),
        );
        bindings::queue_work_on(cpu, bindings::system_percpu_wq, work);
    }
    let result = meanwhile();
    // SAFETY: The work item was queued above. After this it is idle again, so that the job can be
    // freed, and so can what it borrows.
    unsafe { bindings::flush_work(work) };
    Ok(result)
}

fn another_cpu() -> Option<c_int> {
    // SAFETY: It has no requirement.
    let here = unsafe { bindings::raw_smp_processor_id() } as c_int;
    let mut cpu = -1;
    loop {
        // SAFETY: The shim takes -1 to begin with, and then what it returned.
        cpu = unsafe { ffi::pinblk_next_cpu(cpu) };
        match cpu {
            -1 => return None,
            cpu if cpu != here => return Some(cpu),
            _ => {}
        }
    }
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
