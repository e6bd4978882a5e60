// SPDX-License-Identifier: MIT OR Apache-2.0

//! Which page frame a page of this process is, by `/proc/self/pagemap`: another witness than pinblk.

use std::fs::File;
use std::os::unix::fs::FileExt;

use super::error::{Doing, Error, Result};
use super::memory::{Memory, PAGE};

const PAGEMAP: &str = "/proc/self/pagemap";
/// Bit 63 of an entry.
const PRESENT: u64 = 1 << 63;
/// Bits 0 to 54 of an entry.
const FRAME: u64 = (1 << 55) - 1;

/// The frame of one page of `memory`, which must be present.
pub fn frame_of(memory: &Memory, page: usize) -> Result<u64> {
    let present = present_frame_of(memory, page)?;
    present.ok_or_else(|| Error::Unexpected(format!("page {page} of the memory is not present")))
}

/// The frame of one page of `memory`, if the page tables have one.
pub fn present_frame_of(memory: &Memory, page: usize) -> Result<Option<u64>> {
    let index = memory.address() / PAGE as u64 + page as u64;
    let mut entry = [0; 8];
    let pagemap = File::open(PAGEMAP).doing(format!("open {PAGEMAP}"))?;
    pagemap.read_exact_at(&mut entry, index * 8).doing(format!("read {PAGEMAP}"))?;
    let entry = u64::from_ne_bytes(entry);
    Ok((entry & PRESENT != 0).then_some(entry & FRAME))
}
