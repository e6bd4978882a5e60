// SPDX-License-Identifier: GPL-2.0

//! Processes whose pages are acquired, and the pinned memory that they are charged with.

use super::ffi;
use core::ptr::{
    eq,
    NonNull, //
};
use kernel::{
    bindings,
    ffi::c_int,
    mm::{
        Mm,
        MmWithUser, //
    },
    prelude::*,
    sync::aref::ARef,
    task::Task, //
};

/// A process and its memory, which both stay until this is dropped.
pub(crate) struct Process {
    task: ARef<Task>,
    mm: ARef<MmWithUser>,
}

impl Process {
    /// The current process. Fails with `ESRCH` for a thread without user memory.
    pub(crate) fn current() -> Result<Self> {
        Self::of((&**kernel::current!()).into())
    }

    /// The process or thread of that number in the current PID namespace.
    ///
    /// The kernel's own rules for this, of ptrace(2), are not exported. So whoever asks for another
    /// process needs CAP_SYS_PTRACE, which satisfies most of them; security modules are not asked.
    ///
    /// Fails with `ESRCH` if there is none or it has no user memory, with `EPERM` as said above.
    pub(crate) fn find(pid: u32) -> Result<Self> {
        let pid = c_int::try_from(pid).map_err(|_| ESRCH)?;
        // SAFETY: Any number may be asked for; a reference to what is found is ours.
        let found = unsafe { bindings::find_get_pid(pid) };
        // SAFETY: The pid is null, which is allowed, or was just found.
        let task = unsafe { bindings::get_pid_task(found, bindings::pid_type_PIDTYPE_PID) };
        // SAFETY: As above. The reference is given up.
        unsafe { bindings::put_pid(found) };
        let task = NonNull::new(task).ok_or(ESRCH)?;
        // SAFETY: The task was found with a reference that is now ours.
        let process = Self::of(unsafe { ARef::from_raw(task.cast()) })?;
        let is_own = eq(process.mm.as_raw(), Self::current()?.mm.as_raw());
        // SAFETY: It has no requirement.
        if is_own || unsafe { bindings::capable(bindings::CAP_SYS_PTRACE as c_int) } {
            Ok(process)
        } else {
            Err(EPERM)
        }
    }

    /// Not by `CurrentTask::mm()`, which reads a field: bindgen may lay `task_struct` out in another
    /// way than the C compiler does, and was seen to.
    fn of(task: ARef<Task>) -> Result<Self> {
        // SAFETY: The task is alive. A reference to the users of what is found is ours.
        let mm = unsafe { bindings::get_task_mm(task.as_ptr()) };
        let mm = NonNull::new(mm).ok_or(ESRCH)?;
        Ok(Self {
            task,
            // SAFETY: See above.
            mm: unsafe { ARef::from_raw(mm.cast()) },
        })
    }

    /// Its memory.
    pub(crate) fn mm(&self) -> &MmWithUser {
        &self.mm
    }

    /// Charges it with pages that are pinned for long, as RDMA does.
    ///
    /// Fails with `ENOMEM` beyond its RLIMIT_MEMLOCK, unless the caller has CAP_IPC_LOCK.
    pub(crate) fn charge(&self, pages: u64) -> Result<Charge> {
        let pages = i64::try_from(pages)?;
        let charge = Charge {
            mm: ARef::from(&**self.mm),
            pages,
        };
        // SAFETY: The memory is alive. Whatever comes below, `charge` takes back what is added here.
        let charged = unsafe { ffi::pinblk_mm_add_pinned(self.mm.as_raw(), pages) };
        // SAFETY: The task is alive.
        let limit = unsafe { ffi::pinblk_task_memlock_pages(self.task.as_ptr()) };
        let is_within = u64::try_from(charged).is_ok_and(|charged| charged <= limit as u64);
        // SAFETY: It has no requirement.
        if is_within || unsafe { bindings::capable(bindings::CAP_IPC_LOCK as c_int) } {
            Ok(charge)
        } else {
            Err(ENOMEM)
        }
    }
}

/// Pages that a process is charged with, until this is dropped, also when it has exited.
pub(crate) struct Charge {
    mm: ARef<Mm>,
    pages: i64,
}

impl Charge {
    /// Lowers the charge to that many pages.
    pub(crate) fn lower_to(&mut self, pages: u64) {
        let Ok(pages) = i64::try_from(pages) else {
            return;
        };
        let less = self.pages.min(pages);
        // SAFETY: The memory's structure is alive, and was charged with more than what goes.
        unsafe { ffi::pinblk_mm_add_pinned(self.mm.as_raw(), less - self.pages) };
        self.pages = less;
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.lower_to(0);
    }
}
