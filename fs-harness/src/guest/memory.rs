// SPDX-License-Identifier: MIT OR Apache-2.0

//! Mapped memory that a device may write at any moment: reached by copies only, never by reference.

use std::ffi::c_void;
use std::num::NonZeroUsize;
use std::os::fd::AsFd;
use std::ptr::NonNull;

use nix::sys::mman::{self, MapFlags, MmapAdvise, MsFlags, ProtFlags};

use super::error::{Doing, Result};
use super::huge;
use super::range::Range;
use crate::pattern::Pattern;

/// Bytes of a page.
pub const PAGE: usize = 4096;

/// A mapping of whole pages, unmapped when dropped.
pub struct Memory {
    start: NonNull<c_void>,
    length: NonZeroUsize,
}

impl Memory {
    /// Anonymous memory of single pages, not yet touched.
    pub fn anonymous(pages: usize) -> Result<Self> {
        let length = length_of(pages);
        let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice replaces no other.
        let start = unsafe { mman::mmap_anonymous(None, length, protection, MapFlags::MAP_PRIVATE) }
            .doing(format!("map {pages} anonymous pages"))?;
        let memory = Self { start, length };
        memory.advise(MmapAdvise::MADV_NOHUGEPAGE)?;
        Ok(memory)
    }

    /// The first pages of a file, shared.
    pub fn shared(file: impl AsFd, pages: usize) -> Result<Self> {
        Self::of_file(file, pages, MapFlags::MAP_SHARED)
    }

    /// The first pages of a file, which become the process's own where it writes to them.
    pub fn private(file: impl AsFd, pages: usize) -> Result<Self> {
        Self::of_file(file, pages, MapFlags::MAP_PRIVATE)
    }

    fn of_file(file: impl AsFd, pages: usize, flags: MapFlags) -> Result<Self> {
        let length = length_of(pages);
        let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // How much of a folio one page fault maps depends on where it lies in its page table: at an address
        // of the kernel's choice that would change with the size of this program.
        let place = huge::aligned(length.get())?;
        // SAFETY: it replaces the memory that was mapped just now, and nothing else; the bytes are reached
        // by copies, so the file may change below it.
        let start = unsafe {
            mman::mmap(
                NonZeroUsize::new(place.as_ptr() as usize),
                length,
                protection,
                flags | MapFlags::MAP_FIXED,
                file,
                0,
            )
        }
        .doing(format!("map {pages} pages of a file"))?;
        Ok(Self { start, length })
    }

    /// A mapping that was just made and is nobody else's.
    pub(super) fn of_mapping(start: NonNull<c_void>, pages: usize) -> Self {
        Self { start, length: length_of(pages) }
    }

    /// Some of its pages.
    pub fn pages_of(&self, first: usize, count: usize) -> Range {
        let (offset, length) = ((first * PAGE) as u64, (count * PAGE) as u64);
        Range::from(self).part(offset, length).expect("a scenario asks for pages that it mapped")
    }

    /// Some of its bytes, from `offset` on.
    pub fn part(&self, offset: usize, length: usize) -> Range {
        Range::from(self)
            .part(offset as u64, length as u64)
            .expect("a scenario asks for bytes that it mapped")
    }

    /// Writes back what was written to it, as of a file, and waits for that.
    pub fn msync(&self) -> Result<()> {
        // SAFETY: the range is exactly this mapping, of which the call changes nothing.
        unsafe { mman::msync(self.start, self.length(), MsFlags::MS_SYNC) }
            .doing(format!("msync {} bytes", self.length()))
    }

    /// Changes what the process may do with some of its pages.
    pub fn protect(&self, first: usize, count: usize, protection: ProtFlags) -> Result<()> {
        let range = self.pages_of(first, count);
        // SAFETY: the range lies in this mapping, whose start it is an offset from.
        let start = unsafe { self.start.byte_add(first * PAGE) };
        // SAFETY: as above; the memory is reached by copies only.
        unsafe { mman::mprotect(start, count * PAGE, protection) }
            .doing(format!("protect {} bytes as {protection:?}", range.length()))
    }

    /// User address of the first byte.
    pub fn address(&self) -> u64 {
        self.start.as_ptr() as u64
    }

    /// Number of bytes.
    pub fn length(&self) -> usize {
        self.length.get()
    }

    /// Number of pages.
    pub fn pages(&self) -> u32 {
        u32::try_from(self.length() / PAGE).expect("mappings of the guest are far below 2^32 pages")
    }

    /// Pointer to the first byte, for system calls.
    pub(crate) fn pointer(&self) -> *mut u8 {
        self.start.as_ptr().cast()
    }

    /// Fills the memory by the processor, which touches and dirties every page.
    pub fn fill(&self, pattern: Pattern) {
        self.fill_part(pattern, 0..self.length());
    }

    /// Fills these bytes of the memory by the processor, with what the pattern has there.
    pub fn fill_part(&self, pattern: Pattern, part: std::ops::Range<usize>) {
        assert!(part.start <= part.end && part.end <= self.length(), "beyond the memory");
        let bytes = pattern.bytes(part.start, part.len());
        let place = self.pointer().wrapping_add(part.start);
        // SAFETY: the part lies in the mapping, which is writable, and no reference to it exists.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), place, bytes.len()) };
    }

    /// Puts bytes at its beginning, by the processor.
    pub fn put(&self, bytes: &[u8]) {
        assert!(bytes.len() <= self.length(), "beyond the memory");
        // SAFETY: as many bytes lie in the mapping, which is writable, and no reference to it exists.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.pointer(), bytes.len()) };
    }

    /// A copy of the bytes as they are now.
    pub fn bytes(&self) -> Vec<u8> {
        self.bytes_of(0..self.length())
    }

    /// A copy of some of the bytes as they are now.
    pub fn bytes_of(&self, part: std::ops::Range<usize>) -> Vec<u8> {
        assert!(part.start <= part.end && part.end <= self.length(), "beyond the memory");
        let mut bytes = vec![0; part.len()];
        let place = self.pointer().wrapping_add(part.start);
        // SAFETY: the part lies in the mapping, which is readable, and no reference to it exists.
        unsafe { std::ptr::copy_nonoverlapping(place, bytes.as_mut_ptr(), bytes.len()) };
        bytes
    }

    /// Asks the kernel to reclaim its pages.
    pub fn page_out(&self) -> Result<()> {
        self.advise(MmapAdvise::MADV_PAGEOUT)
    }

    /// Has its pages read one by one from then on, where they are a file's: none of them is part of a large folio.
    pub fn read_singly(&self) -> Result<()> {
        self.advise(MmapAdvise::MADV_RANDOM)
    }

    /// Writes some of its pages back to the file that is mapped, and waits for that: `msync()` with `MS_SYNC`.
    pub fn sync_pages(&self, first: usize, count: usize) -> Result<()> {
        let range = self.pages_of(first, count);
        // SAFETY: the range lies in this mapping, whose start it is an offset from.
        let start = unsafe { self.start.byte_add(first * PAGE) };
        // SAFETY: as above; nothing is unmapped or changed.
        unsafe { mman::msync(start, count * PAGE, MsFlags::MS_SYNC) }
            .doing(format!("msync {} bytes", range.length()))
    }

    pub(crate) fn advise(&self, advice: MmapAdvise) -> Result<()> {
        // SAFETY: the range is exactly this mapping, and none of the advices used here frees it.
        unsafe { mman::madvise(self.start, self.length(), advice) }
            .doing(format!("madvise {advice:?} {} bytes", self.length()))
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: the range is exactly this mapping, and nothing borrows from it.
        let unmapped = unsafe { mman::munmap(self.start, self.length()) };
        debug_assert!(unmapped.is_ok(), "munmap of a whole mapping fails for wrong arguments only");
    }
}

fn length_of(pages: usize) -> NonZeroUsize {
    // No scenario maps nothing.
    NonZeroUsize::new(pages * PAGE).unwrap_or_else(|| unreachable!("a mapping of no pages"))
}
