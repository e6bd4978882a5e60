// SPDX-License-Identifier: GPL-2.0

//! User memory for a suite: a KUnit test is a kernel thread, which gets an address space to itself.

use crate::logic::sectors::PAGE_SIZE;
use core::ptr::null_mut;
use kernel::{
    bindings,
    ffi::c_ulong,
    prelude::*,
    uaccess::{
        UserPtr,
        UserSlice, //
    }, //
};

// As in mmap(2); bindgen does not see them.
const PROT_READ: c_ulong = 1;
const PROT_WRITE: c_ulong = 2;
const MAP_PRIVATE: c_ulong = 2;
const MAP_ANONYMOUS: c_ulong = 0x20;
const MAP_POPULATE: c_ulong = 0x8000;

/// Anonymous memory of the running test, mapped until the test has ended.
pub(crate) struct UserMemory {
    pub(crate) address: usize,
    pages: usize,
}

impl UserMemory {
    /// Maps that many pages, readable and writable, and touches none of them.
    pub(crate) fn map(pages: usize) -> Result<Self> {
        Self::map_with(pages, 0)
    }

    fn map_with(pages: usize, flags: c_ulong) -> Result<Self> {
        // SAFETY: It has no requirement.
        let test = unsafe { bindings::kunit_get_current_test() };
        if test.is_null() {
            return Err(EINVAL);
        }
        // SAFETY: The test is the running one, and without a file there is nothing else to demand.
        let address = unsafe {
            bindings::kunit_vm_mmap(
                test,
                null_mut(),
                0,
                (pages * PAGE_SIZE) as c_ulong,
                PROT_READ | PROT_WRITE,
                MAP_PRIVATE | MAP_ANONYMOUS | flags,
                0,
            )
        };
        // The call answers with an errno as the address where it fails.
        if address == 0 || address % PAGE_SIZE != 0 {
            return Err(ENOMEM);
        }
        Ok(Self { address, pages })
    }

    /// Fills all of it with a byte, as its user would.
    pub(crate) fn fill(&self, byte: u8) -> Result {
        let bytes = KVec::from_elem(byte, PAGE_SIZE, GFP_KERNEL)?;
        for page in 0..self.pages {
            let at = UserPtr::from_addr(self.address + page * PAGE_SIZE);
            UserSlice::new(at, PAGE_SIZE).writer().write_slice(&bytes)?;
        }
        Ok(())
    }

    /// Moves pages from this processor's batch to the LRU lists: a page in a batch has one more
    /// reference. Populating other memory begins with that.
    pub(crate) fn drain_lru() -> Result {
        Self::map_with(1, MAP_POPULATE).map(drop)
    }

    /// The byte at that offset, as its user sees it.
    pub(crate) fn byte(&self, offset: usize) -> Result<u8> {
        UserSlice::new(UserPtr::from_addr(self.address + offset), 1)
            .reader()
            .read()
    }
}
