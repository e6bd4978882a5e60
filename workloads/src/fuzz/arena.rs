// SPDX-License-Identifier: MIT OR Apache-2.0

//! The memory that requests are about: mapped, unmapped, moved and protected all the time.

use std::ffi::c_void;
use std::os::fd::{AsRawFd, OwnedFd};

use fs_harness::guest::Result;
use fs_harness::guest::error::Doing;
use fs_harness::guest::memory::PAGE;
use nix::libc;
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::unistd::ftruncate;

use super::draw::Draw;

/// Where it is: far below what the kernel and the allocator choose by themselves, so that a hole in it
/// stays one, and at a number that no single bit makes an address of the program.
const START: u64 = 0x2a_5000_0000;

/// Its pages: three of the largest kind's, a huge page of which may be made.
pub(super) const PAGES: u64 = 3 * HUGE;

const HUGE: u64 = 512;

const READ_WRITE: i32 = libc::PROT_READ | libc::PROT_WRITE;

/// The memory. Nobody but the kernel reads or writes it, so that its pages may come and go.
pub(super) struct Arena {
    file: OwnedFd,
}

impl Arena {
    /// All of it anonymous and there.
    pub(super) fn map() -> Result<Self> {
        let file = memfd_create(c"arena", MFdFlags::MFD_CLOEXEC).doing("make a memfd")?;
        let arena = Self { file };
        arena.resize(PAGES)?;
        Self::map_anonymous(0, PAGES);
        Ok(arena)
    }

    /// The address of a page of it.
    pub(super) fn address(page: u64) -> u64 {
        START + page * PAGE as u64
    }

    /// Changes some part of it. Whether the kernel could makes no difference.
    pub(super) fn change(&self, draw: &mut Draw) {
        let count = draw.small(64);
        let first = draw.below(PAGES - count);
        let (start, length) = place(first, count);
        // SAFETY: for all of these calls: they change mappings within the arena alone, which nobody but
        // the kernel touches, and which replace nothing else.
        unsafe {
            match draw.below32(13) {
                0..=3 => Self::map_anonymous(first, count),
                4 => drop(libc::munmap(start, length)),
                5 => drop(libc::mprotect(start, length, libc::PROT_NONE)),
                6 => drop(libc::mprotect(start, length, libc::PROT_READ)),
                7 => drop(libc::mprotect(start, length, READ_WRITE)),
                8 => drop(libc::madvise(start, length, libc::MADV_DONTNEED)),
                9 => self.map_file(first, count),
                10 => {
                    let flags = libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED;
                    let (to, _) = place(draw.below(PAGES - count), count);
                    libc::mremap(start, length, length, flags, to);
                }
                11 => {
                    let (start, length) = place(draw.below(PAGES / HUGE) * HUGE, HUGE);
                    libc::madvise(start, length, libc::MADV_HUGEPAGE);
                    libc::madvise(start, length, libc::MADV_DONTNEED);
                    libc::madvise(start, length, libc::MADV_POPULATE_WRITE);
                }
                // Pages of the file beyond its end are there for nobody.
                _ => drop(self.resize(draw.below(PAGES))),
            }
        }
    }

    fn map_anonymous(first: u64, count: u64) {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED | libc::MAP_POPULATE;
        let (start, length) = place(first, count);
        // SAFETY: it replaces mappings of the arena alone.
        unsafe { libc::mmap(start, length, READ_WRITE, flags, -1, 0) };
    }

    fn map_file(&self, first: u64, count: u64) {
        let (start, length) = place(first, count);
        let offset = (first * PAGE as u64).cast_signed();
        let (flags, file) = (libc::MAP_SHARED | libc::MAP_FIXED, self.file.as_raw_fd());
        // SAFETY: it replaces mappings of the arena alone.
        unsafe { libc::mmap(start, length, READ_WRITE, flags, file, offset) };
    }

    fn resize(&self, pages: u64) -> Result<()> {
        let length = (pages * PAGE as u64).cast_signed();
        ftruncate(&self.file, length).doing("resize a memfd")
    }
}

fn place(first: u64, count: u64) -> (*mut c_void, usize) {
    let length = usize::try_from(count).unwrap_or(0) * PAGE;
    (Arena::address(first) as *mut c_void, length)
}
