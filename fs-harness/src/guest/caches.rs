// SPDX-License-Identifier: MIT OR Apache-2.0

//! What the kernel keeps of pages, where a scenario needs that it keeps nothing.

use std::fs;

use nix::sys::mman::MmapAdvise;

use super::error::{Doing, Result};
use super::memory::Memory;

/// Drops all clean page cache that is not mapped.
pub(super) fn drop_caches() -> Result<()> {
    fs::write("/proc/sys/vm/drop_caches", "1").doing("drop caches")
}

/// Moves pages from this processor's batches to the LRU lists: a page in a batch has one more reference.
pub(super) fn drain_lru() -> Result<()> {
    // madvise_cold() drains before it looks at the range.
    Memory::anonymous(1)?.advise(MmapAdvise::MADV_COLD)
}
