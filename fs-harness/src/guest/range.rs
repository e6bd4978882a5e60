// SPDX-License-Identifier: MIT OR Apache-2.0

//! User memory by its address: what pinblk is handed.

use super::memory::{Memory, PAGE};

/// Bytes of the address space, mapped or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    address: u64,
    length: u64,
}

impl Range {
    /// Any addresses, for the driver to find fault with.
    ///
    /// # Safety
    ///
    /// A device may write there: nothing may be there but what may change at any moment.
    pub unsafe fn anywhere(address: u64, length: u64) -> Self {
        Self { address, length }
    }

    /// A part of it, in bytes; none where it does not lie within.
    #[must_use]
    pub fn part(self, offset: u64, length: u64) -> Option<Self> {
        let end = offset.checked_add(length)?;
        (end <= self.length).then(|| Self { address: self.address + offset, length })
    }

    /// User address of the first byte.
    pub fn address(self) -> u64 {
        self.address
    }

    /// Number of bytes.
    pub fn length(self) -> u64 {
        self.length
    }

    /// Number of pages, where it is made of whole ones.
    pub(super) fn pages(self) -> u32 {
        // Addresses that are none have as many pages as fit.
        u32::try_from(self.length / PAGE as u64).unwrap_or(u32::MAX)
    }
}

impl From<&Memory> for Range {
    fn from(memory: &Memory) -> Self {
        Self { address: memory.address(), length: memory.length() as u64 }
    }
}
