// SPDX-License-Identifier: MIT OR Apache-2.0

//! Memory of huge pages.

use std::fs;
use std::num::NonZeroUsize;
use std::os::fd::OwnedFd;
use std::ptr::NonNull;

use nix::libc::c_void;
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::mman::{self, MapFlags, MmapAdvise, ProtFlags};
use nix::unistd::ftruncate;

use super::error::{Doing, Result};
use super::memory::{Memory, PAGE};

/// Pages of a huge page: of one entry of a page middle directory.
pub const HUGE_PAGES: usize = 512;

const HUGE: usize = HUGE_PAGES * PAGE;

/// Where the kernel is told when to use transparent huge pages: by itself it does not in a machine of
/// less than 512 MiB.
const TRANSPARENT: &str = "/sys/kernel/mm/transparent_hugepage";

/// Where the kernel is told how many pages to set apart for hugetlb.
const POOL: &str = "/proc/sys/vm/nr_hugepages";

impl Memory {
    /// Anonymous memory, not yet touched, that can become one transparent huge page.
    pub fn huge() -> Result<Self> {
        for (setting, value) in [("enabled", "madvise"), ("defrag", "madvise"), ("use_zero_page", "1")] {
            let path = format!("{TRANSPARENT}/{setting}");
            fs::write(&path, value).doing(format!("write {value} to {path}"))?;
        }
        let place = aligned(HUGE)?;
        let memory = Self::of_mapping(place, HUGE_PAGES);
        memory.advise(MmapAdvise::MADV_HUGEPAGE)?;
        Ok(memory)
    }

    /// One huge page of hugetlb, not yet touched: anonymous, or shared of a file in memory.
    pub fn hugetlb(is_shared: bool) -> Result<Self> {
        fs::write(POOL, "1").doing(format!("write 1 to {POOL}"))?;
        let length = NonZeroUsize::new(HUGE).unwrap_or(NonZeroUsize::MIN);
        let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        let start = if is_shared {
            let file: OwnedFd = memfd_create(c"hugetlb", MFdFlags::MFD_HUGETLB)
                .doing("make a file in memory of huge pages")?;
            ftruncate(&file, i64::try_from(HUGE).unwrap_or(i64::MAX)).doing("size a file of huge pages")?;
            // SAFETY: as above; the file belongs to the mapping alone.
            unsafe { mman::mmap(None, length, protection, MapFlags::MAP_SHARED, file, 0) }
        } else {
            let flags = MapFlags::MAP_PRIVATE | MapFlags::MAP_HUGETLB;
            // SAFETY: as above.
            unsafe { mman::mmap_anonymous(None, length, protection, flags) }
        };
        Ok(Self::of_mapping(start.doing("map a huge page of hugetlb")?, HUGE_PAGES))
    }
}

/// Maps anonymous memory where a huge page could begin.
pub(super) fn aligned(length: usize) -> Result<NonNull<c_void>> {
    let with_room = NonZeroUsize::new(length + HUGE).unwrap_or(NonZeroUsize::MIN);
    let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
    // SAFETY: a new mapping at an address of the kernel's choice replaces no other.
    let start = unsafe { mman::mmap_anonymous(None, with_room, protection, MapFlags::MAP_PRIVATE) }
        .doing("map anonymous memory where a huge page can begin")?;
    let place = (start.as_ptr() as usize).next_multiple_of(HUGE);
    let before = place - start.as_ptr() as usize;
    unmap(start, before)?;
    // SAFETY: the place and what is behind it lie within the mapping, and so does its end.
    let (place, rest) = unsafe { (start.byte_add(before), start.byte_add(before + length)) };
    unmap(rest, HUGE - before)?;
    Ok(place)
}

fn unmap(start: NonNull<c_void>, length: usize) -> Result<()> {
    if length == 0 {
        return Ok(());
    }
    // SAFETY: the range is a part of a mapping that was just made and that nobody knows.
    unsafe { mman::munmap(start, length) }.doing("unmap what is not aligned")
}
