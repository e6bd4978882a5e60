// SPDX-License-Identifier: GPL-2.0 OR MIT OR Apache-2.0

//! Requests and structures that cross between userspace and pinblk.
//!
//! An open file of `/dev/pinblk-control` first says [`HELLO`] with the [`VERSION`] that it was
//! built for; until then, and after a wrong one, every other request fails with `EPROTO`.
//! Reserved fields must be zero and unknown flags are refused with `EINVAL`.

use core::mem::size_of;

/// Version of everything in this file: raised by any change of a number, a size or a meaning.
pub const VERSION: u32 = 3;

/// The size in bytes of the pages that requests count in.
pub const PAGE_SIZE: u64 = 4096;

/// The size in bytes of the name of a disk, with the NUL that ends it: the kernel's DISK_NAME_LEN.
pub const DISK_NAME_BYTES: usize = 32;

/// The longest hold, in pages: two transparent huge pages.
pub const HOLD_PAGES_MAX: u32 = 1024;

/// The most holds of one open file at a time.
pub const HOLDS_MAX: u32 = 4096;

/// The longest DMA of one request, in bytes.
pub const DMA_BYTES_MAX: u64 = 1 << 20;

/// First request on an open file.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hello {
    /// In: the version that userspace was built for. Out: the version of the module.
    pub version: u32,
    /// Zero.
    pub reserved: u32,
}

/// Acquire by `get_user_pages_fast()`: references (FOLL_GET), the legacy behaviour.
pub const MODE_GET: u32 = 0;
/// Acquire by `pin_user_pages_fast()`: pins (FOLL_PIN).
pub const MODE_PIN: u32 = 1;
/// Acquire by `pin_user_pages_fast()` with FOLL_LONGTERM.
pub const MODE_LONGTERM: u32 = 2;
/// Number of modes.
pub const MODES: usize = 3;

/// Acquire without the mmap lock where that is possible.
pub const PATH_FAST: u32 = 0;
/// Acquire under the mmap lock.
pub const PATH_SLOW: u32 = 1;
/// Acquire pages of another process.
pub const PATH_REMOTE: u32 = 2;
/// Number of paths.
pub const PATHS: usize = 3;

/// The device will write into the pages: acquire with FOLL_WRITE.
pub const HOLD_WRITE: u32 = 1 << 0;

/// Holds user pages until [`RELEASE`] or until the file is closed: all of them, or none.
///
/// `EFAULT` where a page cannot be acquired, `EINVAL` for an unaligned address, no page, more than
/// [`HOLD_PAGES_MAX`], an unknown mode or flag, `ENOSPC` beyond [`HOLDS_MAX`] holds of the file, or
/// when it has used up all handles.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hold {
    /// In: user address of the first page, aligned to a page.
    pub address: u64,
    /// In: number of pages.
    pub pages: u32,
    /// In: [`MODE_GET`] or [`MODE_PIN`].
    pub mode: u32,
    /// In: zero or [`HOLD_WRITE`].
    pub flags: u32,
    /// Out: names the hold in later requests on the same open file. Never zero.
    pub handle: u32,
}

/// Writes bytes into held pages from a kernel worker, with no user mapping involved, as a device
/// would by DMA; returns when they are written.
///
/// `ENOENT` for an unknown handle, `EACCES` for a hold without [`HOLD_WRITE`], `ERANGE` beyond the
/// held pages, `EINVAL` for no bytes or more than [`DMA_BYTES_MAX`], `EFAULT` for a bad source.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dma {
    /// In: the hold.
    pub handle: u32,
    /// Zero.
    pub reserved: u32,
    /// In: byte offset into the held pages.
    pub offset: u64,
    /// In: number of bytes.
    pub length: u64,
    /// In: user address of the bytes to write.
    pub source: u64,
}

/// The device wrote the pages: dirty them as they are released.
pub const RELEASE_DIRTY: u32 = 1 << 0;

/// Releases held pages by the call that matches their acquisition.
///
/// `ENOENT` for an unknown handle, `EACCES` for dirtying a hold without [`HOLD_WRITE`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Release {
    /// In: the hold; gone afterwards.
    pub handle: u32,
    /// In: zero or [`RELEASE_DIRTY`].
    pub flags: u32,
}

/// The folio is anonymous memory.
pub const STATE_ANON: u32 = 1 << 0;
/// The folio belongs to a file's page cache.
pub const STATE_FILE: u32 = 1 << 1;
/// PG_dirty.
pub const STATE_DIRTY: u32 = 1 << 2;
/// PG_writeback.
pub const STATE_WRITEBACK: u32 = 1 << 3;
/// PG_locked.
pub const STATE_LOCKED: u32 = 1 << 4;
/// PG_uptodate.
pub const STATE_UPTODATE: u32 = 1 << 5;
/// PG_lru.
pub const STATE_LRU: u32 = 1 << 6;
/// `folio_maybe_dma_pinned()`.
pub const STATE_MAYBE_DMA_PINNED: u32 = 1 << 7;
/// The folio counts its pins exactly: `pincount` holds a value.
pub const STATE_HAS_PINCOUNT: u32 = 1 << 8;

/// What the kernel knows of one page at one moment.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PageState {
    /// Page frame number.
    pub pfn: u64,
    /// Offset in the file or in the anonymous mapping, in pages.
    pub index: u64,
    /// Reference count of the folio.
    pub refcount: i32,
    /// Mappings of the page itself, as on the first line of `dump_page()`.
    pub mapcount: i32,
    /// Mappings of the whole folio.
    pub folio_mapcount: i32,
    /// Pins of the folio, in pages, where [`STATE_HAS_PINCOUNT`] is set; else zero.
    pub pincount: i32,
    /// Order of the folio: 0 for a single page.
    pub order: u32,
    /// `STATE_*` bits.
    pub state: u32,
}

/// Prints one held page to the kernel log by `dump_page()`, and returns the same facts.
///
/// `ENOENT` for an unknown handle, `ERANGE` beyond the held pages.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dump {
    /// In: the hold.
    pub handle: u32,
    /// In: which of its pages, from zero.
    pub page: u32,
    /// Out.
    pub state: PageState,
}

/// What bios of one class and direction carried.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Bios with data.
    pub bios: u64,
    /// Pages of these bios, each bvec counted page by page.
    pub pages: u64,
    /// Bytes of these bios.
    pub bytes: u64,
    /// Of the pages, those for which `folio_maybe_dma_pinned()` answered yes.
    pub pinned_pages: u64,
}

/// Index into [`Statistics::reads`] and [`Statistics::writes`]: pages that the submitter pinned for
/// this bio (BIO_PAGE_PINNED), as O_DIRECT does.
pub const CLASS_USER_PINNED: usize = 0;
/// Page cache of a regular file under writeback, or being read in.
pub const CLASS_PAGE_CACHE: usize = 1;
/// A filesystem's own blocks: REQ_META, or pages of the block device's page cache.
pub const CLASS_METADATA: usize = 2;
/// All else: bounce copies, registered buffers, a filesystem's private memory.
pub const CLASS_OTHER: usize = 3;
/// Number of classes.
pub const CLASSES: usize = 4;

/// Everything counted on one disk since it got its power.
///
/// A snapshot has every bio whole, with all of its pages and bytes, or not at all, and every bio
/// that was completed before it was asked for. A REQ_NOWAIT bio that is refused with `EAGAIN` is not
/// counted: its submitter comes again.
///
/// `ENOENT` where no disk with power has that name.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// In: the name of the disk, ended by a NUL.
    pub disk: [u8; DISK_NAME_BYTES],
    /// By class.
    pub reads: [Traffic; CLASSES],
    /// By class.
    pub writes: [Traffic; CLASSES],
    /// Bios with REQ_PREFLUSH, with data or without.
    pub preflushes: u64,
    /// Bios with REQ_FUA.
    pub fua_writes: u64,
    /// Discards.
    pub discards: u64,
    /// Write-zeroes.
    pub write_zeroes: u64,
    /// Bios of any kind that were completed with an error.
    pub failed: u64,
    /// Pages of the volatile write cache now.
    pub cached_pages: u64,
    /// Pages of the media now.
    pub media_pages: u64,
}

/// The holds of all open files, counted since the module was loaded, in pages. A snapshot has every
/// hold whole or not at all.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HoldStatistics {
    /// Acquired, by mode and path: as many as were asked for. The zero page counts here, but the
    /// kernel does not pin it. A hold that failed half way and was undone moves `/proc/vmstat` but
    /// none of these counters.
    pub acquired: [[u64; PATHS]; MODES],
    /// Released, by the mode and path of their acquisition.
    pub released: [[u64; PATHS]; MODES],
    /// Pages that DMA wrote into.
    pub dma_pages: u64,
}

const IOC_READ: u32 = 2;
const IOC_WRITE: u32 = 1;

/// The number of a request, by the kernel's scheme: direction, size, type and number.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the scheme has 14 bits for the size"
)]
const fn request<T>(direction: u32, number: u32) -> u32 {
    const TYPE: u32 = 0xb1;
    direction << 30 | (size_of::<T>() as u32) << 16 | TYPE << 8 | number
}

/// Takes a [`Hello`].
pub const HELLO: u32 = request::<Hello>(IOC_READ | IOC_WRITE, 0);
/// Takes a [`Statistics`].
pub const STATISTICS: u32 = request::<Statistics>(IOC_READ | IOC_WRITE, 1);
/// Takes a [`Hold`].
pub const HOLD: u32 = request::<Hold>(IOC_READ | IOC_WRITE, 2);
/// Takes a [`Dma`].
pub const DMA: u32 = request::<Dma>(IOC_WRITE, 3);
/// Takes a [`Release`].
pub const RELEASE: u32 = request::<Release>(IOC_WRITE, 4);
/// Takes a [`Dump`].
pub const DUMP: u32 = request::<Dump>(IOC_READ | IOC_WRITE, 5);
/// Takes a [`HoldStatistics`].
pub const HOLD_STATISTICS: u32 = request::<HoldStatistics>(IOC_READ, 6);

// Compiled on both sides: a size that differs between them does not build.
const _: () = {
    assert!(size_of::<Hello>() == 8);
    assert!(size_of::<Hold>() == 24);
    assert!(size_of::<Dma>() == 32);
    assert!(size_of::<Release>() == 8);
    assert!(size_of::<PageState>() == 40);
    assert!(size_of::<Dump>() == 48);
    assert!(size_of::<Traffic>() == 32);
    assert!(size_of::<Statistics>() == DISK_NAME_BYTES + 2 * CLASSES * 32 + 7 * 8);
    assert!(size_of::<HoldStatistics>() == (2 * MODES * PATHS + 1) * 8);
};
