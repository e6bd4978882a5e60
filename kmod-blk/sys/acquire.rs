// SPDX-License-Identifier: GPL-2.0

//! User pages, acquired in one of several ways and released in the one that matches.

pub(crate) use super::calls::{
    Get,
    LongTerm,
    Pin, //
};
use super::{
    calls::{
        Acquired,
        Calls,
        PINS_AT_ONCE, //
    },
    compat::ESTALE,
    pages::Pages,
    process::{
        Charge,
        Process, //
    },
    worker::{
        is_signalled,
        let_others_run, //
    }, //
};
use crate::{
    abi::{
        MODE_GET,
        MODE_LONGTERM,
        MODE_PIN, //
    },
    logic::sectors::PAGE_SIZE, //
};
use core::mem::forget;
use kernel::{
    ffi::{
        c_int,
        c_long, //
    },
    prelude::*, //
};

/// A way to acquire user pages, with the releases that match it.
pub(crate) trait Acquisition: Calls {
    /// Its number in the interface.
    const MODE: u32;
}

impl Acquisition for Get {
    const MODE: u32 = MODE_GET;
}

impl Acquisition for Pin {
    const MODE: u32 = MODE_PIN;
}

impl Acquisition for LongTerm {
    const MODE: u32 = MODE_LONGTERM;
}

/// How the kernel gets at the pages.
pub(crate) enum Path {
    /// Those of the current process, without its mmap lock wherever that goes.
    Fast,
    /// Those of the current process, under its mmap lock.
    Slow,
    /// Those of a process, under its mmap lock.
    Remote(Process),
}

/// Which pages are wanted.
pub(crate) struct Wanted {
    /// User address of the first page.
    pub(crate) address: usize,
    /// How many pages.
    pub(crate) count: usize,
    /// How many times each of them is acquired, at least once.
    pub(crate) times: u32,
    /// The device will write into them.
    pub(crate) writable: bool,
    /// What could be acquired is kept if it is not all.
    pub(crate) partial: bool,
    /// All times but the first are pins that are added to pinned folios.
    pub(crate) add: bool,
}

/// User pages, kept until this is dropped.
///
/// # Invariants
///
/// Each page of `acquired` is acquired `times` times by `A`, with FOLL_WRITE if `writable`.
pub(crate) struct UserPages<A: Acquisition> {
    acquired: Acquired<A>,
    times: u32,
    writable: bool,
    // Dropped after the pages are released.
    charge: Option<Charge>,
}

// SAFETY: Acquired pages may be used and released by any thread, of any process.
unsafe impl<A: Acquisition> Send for UserPages<A> {}
// SAFETY: Through a shared reference pages are only looked at, or written by a C copy that may
// race with every other writer of user memory anyway.
unsafe impl<A: Acquisition> Sync for UserPages<A> {}

impl<A: Acquisition> UserPages<A> {
    /// Acquires pages: all of them or none, unless a part is welcome.
    ///
    /// Fails with what the kernel fails with, with `EINTR` if a signal comes first, with `ESTALE` if
    /// the process maps other pages while they are acquired several times.
    pub(crate) fn acquire(path: &Path, wanted: &Wanted) -> Result<Self> {
        // The kernel has an errno of its own for a range that wraps around; to the caller it is
        // one more address without a page.
        wanted
            .address
            .checked_add(wanted.count * PAGE_SIZE)
            .ok_or(EFAULT)?;
        let mut pages = Self::none(wanted)?;
        if A::IS_CHARGED {
            pages.charge = Some(charge(path, wanted)?);
        }
        let first = pages.fill(path, wanted);
        let keep = wanted.partial && !pages.acquired.pages.is_empty();
        match first {
            // What was acquired is released by `drop`.
            Err(error) if !keep => return Err(error),
            Err(_) => {}
            Ok(()) => match pages.repeat(path, wanted) {
                Err(error) if !keep => return Err(error),
                _ => {}
            },
        }
        let kept = pages.view().len() as u64 * u64::from(pages.times);
        if let Some(charge) = &mut pages.charge {
            charge.lower_to(kept);
        }
        Ok(pages)
    }

    /// The pages, to work with.
    pub(crate) fn view(&self) -> Pages<'_> {
        // SAFETY: By the type invariant they are acquired so, as long as `self` is there.
        unsafe { Pages::from_raw(&self.acquired.pages, self.writable) }
    }

    /// How many acquisitions the kernel counts.
    pub(crate) fn counted(&self) -> u64 {
        let pages = self.view();
        let uncounted = if A::IS_PIN { pages.zero_pages() } else { 0 };
        (pages.len() - uncounted) as u64 * u64::from(self.times)
    }

    /// How many times each page is acquired.
    pub(crate) fn times(&self) -> u32 {
        self.times
    }

    /// Releases the pages as written to by the device: they are dirtied before the last release.
    pub(crate) fn release_dirty(mut self) {
        self.release_but_last();
        // SAFETY: By the type invariant each page is acquired once more. That is given up here, and
        // so that `drop` does not give it up again the pointers are.
        unsafe { A::release_dirty(&self.acquired) };
        self.acquired.pages.clear();
    }

    fn none(wanted: &Wanted) -> Result<Self> {
        // INVARIANT: No page is a page too few for nothing.
        Ok(Self {
            acquired: Acquired::with_capacity(wanted.count)?,
            times: 1,
            writable: wanted.writable,
            charge: None,
        })
    }

    /// Acquires each page once. When it fails, what was acquired before is kept.
    fn fill(&mut self, path: &Path, wanted: &Wanted) -> Result {
        while self.acquired.pages.len() < wanted.count {
            if is_signalled() {
                return Err(EINTR);
            }
            let have = self.acquired.pages.len();
            let address = wanted.address + have * PAGE_SIZE;
            if self.more(path, address, wanted.count - have)? == 0 {
                return Err(EFAULT);
            }
        }
        Ok(())
    }

    /// Adds pins to the folios, as often as is wanted. When it fails, the times before are kept.
    fn add(&mut self, wanted: &Wanted) -> Result {
        let at_once = PINS_AT_ONCE.checked_div(wanted.count).unwrap_or(0).max(1) as u32;
        while self.times < wanted.times {
            if is_signalled() {
                return Err(EINTR);
            }
            let times = at_once.min(wanted.times - self.times);
            A::add(&self.acquired, times)?;
            // INVARIANT: That many acquisitions were added.
            self.times += times;
            let_others_run();
        }
        Ok(())
    }

    /// Acquires each page again, as often as is wanted. When it fails, the times before are kept.
    fn repeat(&mut self, path: &Path, wanted: &Wanted) -> Result {
        if wanted.add {
            return self.add(wanted);
        }
        if wanted.times == 1 {
            return Ok(());
        }
        let mut again = Self::none(wanted)?;
        while self.times < wanted.times {
            again.fill(path, wanted)?;
            if again.acquired.pages.as_slice() != self.acquired.pages.as_slice() {
                return Err(ESTALE);
            }
            // INVARIANT: The same pages were acquired once more, and are now counted here.
            self.times += 1;
            again.acquired.pages.clear();
            let_others_run();
        }
        Ok(())
    }

    /// Acquires up to `count` pages, at most as many as there is room for; returns how many.
    fn more(&mut self, path: &Path, address: usize, count: usize) -> Result<usize> {
        let room = self.acquired.pages.spare_capacity_mut();
        let count = count.min(room.len());
        let pages = room.as_mut_ptr().cast();
        let flags = A::FLAGS
            | if self.writable {
                kernel::bindings::FOLL_WRITE
            } else {
                0
            };
        let acquired = match path {
            // SAFETY: There is room for `count` pointers, and any address may be asked for.
            Path::Fast => unsafe {
                (A::FAST)(address, c_int::try_from(count)?, flags, pages) as c_long
            },
            Path::Slow => {
                let process = Process::current()?;
                let _lock = process.mm().mmap_read_lock();
                // SAFETY: As above, and the mmap lock is held.
                unsafe { (A::SLOW)(address, count, flags, pages) }
            }
            Path::Remote(process) => {
                let mm = process.mm();
                let lock = mm.mmap_read_lock();
                let mut locked: c_int = 1;
                // SAFETY: As above, and the memory is alive.
                let acquired =
                    unsafe { (A::REMOTE)(mm.as_raw(), address, count, flags, pages, &mut locked) };
                if locked == 0 {
                    // The kernel has given it up already.
                    forget(lock);
                }
                acquired
            }
        };
        let acquired: c_long = acquired;
        let acquired =
            usize::try_from(acquired).map_err(|_| Error::from_errno(acquired as c_int))?;
        // SAFETY: That many pointers were written, at most `count`.
        // INVARIANT: Each of them is one acquisition by `A`.
        unsafe { self.acquired.pages.inc_len(acquired) };
        Ok(acquired)
    }

    /// Releases each page until it is acquired once.
    fn release_but_last(&mut self) {
        let times = self.times - 1;
        self.times = 1;
        // SAFETY: By the type invariant each page is acquired that many times, and once more.
        unsafe { A::release_times(&self.acquired, times) };
    }
}

impl<A: Acquisition> Drop for UserPages<A> {
    fn drop(&mut self) {
        self.release_but_last();
        // SAFETY: By the type invariant each page is acquired once more, which is given up here.
        unsafe { A::release(&self.acquired) };
    }
}

fn charge(path: &Path, wanted: &Wanted) -> Result<Charge> {
    let pages = wanted.count as u64 * u64::from(wanted.times);
    match path {
        Path::Remote(process) => process.charge(pages),
        Path::Fast | Path::Slow => Process::current()?.charge(pages),
    }
}
