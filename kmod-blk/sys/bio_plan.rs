// SPDX-License-Identifier: GPL-2.0

//! A plan that goes with a bio wherever the driver keeps it.
//!
//! A bio has no room for its driver. The plan takes the place of what the submitter has for itself,
//! `bi_private` and `bi_end_io`, keeps that, and puts it back before the bio ends, as device-mapper
//! targets do.

use super::{
    bio::Bio,
    ffi, //
};
use crate::plan::Plan;
use core::ptr::NonNull;
use kernel::{
    bindings,
    ffi::c_void,
    prelude::*, //
};

// It goes wherever its bio goes, behind a pointer at which the compiler does not look.
const _: () = {
    const fn is_send_and_sync<T: Send + Sync>() {}
    is_send_and_sync::<Plan>();
};

/// A plan, and what it has taken the place of.
struct Attached {
    plan: Plan,
    end_io: bindings::bio_end_io_t,
    private: *mut c_void,
}

impl Bio {
    /// Has the plan go with the bio, in the place of one that may do so already. Without memory the
    /// bio is as it was, and the plan is lost.
    pub(crate) fn attach(&mut self, plan: Plan) -> Result {
        self.detach();
        let bio = self.raw.as_ptr();
        // SAFETY: By the type invariant the bio is ours until it ends, and with it these fields.
        let (end_io, private) = unsafe { ((*bio).bi_end_io, (*bio).bi_private) };
        // Without waiting: memory may be full because of what is to be written here.
        let attached = KBox::new(
            Attached {
                plan,
                end_io,
                private,
            },
            GFP_NOWAIT,
        )?;
        // SAFETY: As above. Nobody but the driver looks at these fields before the bio has ended.
        unsafe {
            (*bio).bi_private = KBox::into_raw(attached).cast();
            (*bio).bi_end_io = Some(ffi::pinblk_bio_has_plan);
        }
        Ok(())
    }

    /// The plan that goes with the bio.
    pub(crate) fn plan(&self) -> Option<&Plan> {
        // SAFETY: It stays there until `detach`, which needs the bio for itself.
        self.attached()
            .map(|attached| unsafe { &attached.as_ref().plan })
    }

    /// The plan that goes with the bio, to be changed.
    pub(crate) fn plan_mut(&mut self) -> Option<&mut Plan> {
        // SAFETY: As for `plan`, and the bio is borrowed for writing, so that nobody else has the plan.
        self.attached()
            .map(|mut attached| unsafe { &mut attached.as_mut().plan })
    }

    /// Takes the plan away from the bio.
    pub(crate) fn detach(&mut self) -> Option<Plan> {
        // SAFETY: The bio is borrowed for writing, so that nobody has the plan.
        unsafe { self.restore() }
    }

    /// Puts back what the plan has taken the place of.
    ///
    /// # Safety
    ///
    /// Nobody may have borrowed the plan.
    pub(super) unsafe fn restore(&self) -> Option<Plan> {
        let attached = self.attached()?;
        // SAFETY: `attach` made it of a box, and its place is given up below.
        let attached = unsafe { KBox::from_raw(attached.as_ptr()) };
        let bio = self.raw.as_ptr();
        // SAFETY: By the type invariant the bio is ours until it ends, and with it these fields.
        unsafe {
            (*bio).bi_end_io = attached.end_io;
            (*bio).bi_private = attached.private;
        }
        Some(KBox::into_inner(attached).plan)
    }

    fn attached(&self) -> Option<NonNull<Attached>> {
        let bio = self.raw.as_ptr();
        // SAFETY: By the type invariant the bio is ours until it ends, and with it these fields.
        let (end_io, private) = unsafe { ((*bio).bi_end_io, (*bio).bi_private) };
        // The function is one of C, so that it has one address.
        let has_plan = end_io
            .is_some_and(|end_io| end_io as *const () == ffi::pinblk_bio_has_plan as *const ());
        has_plan.then(|| NonNull::new(private.cast())).flatten()
    }
}
