// SPDX-License-Identifier: GPL-2.0 OR MIT OR Apache-2.0

//! Acquiring user pages, holding them, writing into them, looking at them.

/// The longest hold, and the longest I/O: 64 MiB, in pages.
pub const HOLD_PAGES_MAX: u32 = 1 << 14;

/// The most holds of one open file at a time.
pub const HOLDS_MAX: u32 = 4096;

/// The longest DMA of one request, in bytes.
pub const DMA_BYTES_MAX: u64 = 1 << 20;

/// The longest delay of a DMA, in milliseconds.
pub const DMA_DELAY_MAX: u32 = 60_000;

/// The most operations of one open file that go on or have not been waited for: I/O and delayed DMA.
pub const PENDING_MAX: u32 = 1024;

/// Acquire by `get_user_pages*()`: references (FOLL_GET), the legacy behaviour.
pub const MODE_GET: u32 = 0;
/// Acquire by `pin_user_pages*()`: pins (FOLL_PIN).
pub const MODE_PIN: u32 = 1;
/// Acquire by `pin_user_pages*()` with FOLL_LONGTERM. As by RDMA, the pages are counted as pinned
/// memory of their process (VmPin) and limited by its RLIMIT_MEMLOCK, unless the caller has
/// CAP_IPC_LOCK.
pub const MODE_LONGTERM: u32 = 2;
/// Number of modes.
pub const MODES: usize = 3;

/// Acquire by `*_user_pages_fast()`: without the mmap lock wherever that goes.
pub const PATH_FAST: u32 = 0;
/// Acquire by `*_user_pages()`: under the mmap lock.
pub const PATH_SLOW: u32 = 1;
/// Acquire by `*_user_pages_remote()`: pages of the process [`Acquire::pid`].
///
/// `ESRCH` if there is no such process, if it has exited or is a kernel thread; `EPERM` if it is
/// another process than the caller's and the caller lacks CAP_SYS_PTRACE.
pub const PATH_REMOTE: u32 = 2;
/// Number of paths.
pub const PATHS: usize = 3;

/// How user pages are acquired, in every request that does.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Acquire {
    /// In: `MODE_*`.
    pub mode: u32,
    /// In: `PATH_*`.
    pub path: u32,
    /// In: for [`PATH_REMOTE`] the process, as the caller knows it; else zero.
    pub pid: u32,
}

/// The device will write into the pages: acquire with FOLL_WRITE.
pub const HOLD_WRITE: u32 = 1 << 0;
/// Hold what could be acquired, if that is anything, instead of undoing it.
pub const HOLD_PARTIAL: u32 = 1 << 1;
/// Acquire the pages once as they are asked for, and the other times by `folio_add_pins()`, which adds
/// pins to a folio that is pinned already. For pins only. Many of them are added at once: with
/// [`HOLD_PARTIAL`] the last ones that there is room for may be missing.
pub const HOLD_ADD: u32 = 1 << 2;

/// Holds user pages until [`super::RELEASE`] or until the file is closed: all of them, or none unless
/// [`HOLD_PARTIAL`] is set.
///
/// The pages are acquired from the first to the last, and that `times` times over. Every time must
/// find the same pages: `ESTALE` if the process maps others meanwhile. With [`HOLD_PARTIAL`] the
/// first time may end early, and is then the only one; of the later ones those are kept that are whole.
///
/// `EFAULT` where a page cannot be acquired, `ENOMEM` where its count is full, over RLIMIT_MEMLOCK or
/// without memory, `EINTR` if a signal comes first, `EINVAL` for an unaligned address, no page, more
/// than [`HOLD_PAGES_MAX`], no times, an unknown mode, path or flag, `ENOSPC` beyond [`HOLDS_MAX`]
/// holds of the file, or when it has used up all handles.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hold {
    /// In: user address of the first page, aligned to a page.
    pub address: u64,
    /// In: how.
    pub how: Acquire,
    /// In: zero or `HOLD_*`.
    pub flags: u32,
    /// In: number of pages. Out: how many are held.
    pub pages: u32,
    /// In: how many times each page is acquired. Out: how many times it was.
    pub times: u32,
    /// Out: names the hold in later requests on the same open file. Never zero.
    pub handle: u32,
    /// Zero.
    pub reserved: u32,
}

/// [`Dma::source`] is no address but the byte to write `length` times.
pub const DMA_FILL: u32 = 1 << 0;

/// Writes bytes into held pages from a kernel worker, with no user mapping involved, as a device
/// would by DMA. Without a delay it returns when they are written; with one it returns at once, and
/// [`super::WAIT`] tells when and whether they were.
///
/// `ENOENT` for an unknown handle, `EACCES` for a hold without [`HOLD_WRITE`], `ERANGE` beyond the
/// held pages, `EINVAL` for no bytes or more than [`DMA_BYTES_MAX`], for an unknown flag, for more
/// than a byte to fill with, for a delay above [`DMA_DELAY_MAX`], `EFAULT` for a bad source, `ENOSPC`
/// beyond [`PENDING_MAX`] pending operations. A delayed DMA ends with `ENOENT` if the hold is released
/// before it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dma {
    /// In: the hold.
    pub handle: u32,
    /// In: zero or [`DMA_FILL`].
    pub flags: u32,
    /// In: byte offset into the held pages.
    pub offset: u64,
    /// In: number of bytes.
    pub length: u64,
    /// In: user address of the bytes to write; with [`DMA_FILL`] the byte itself.
    pub source: u64,
    /// In: milliseconds to wait before.
    pub delay: u32,
    /// Out: with a delay, the operation to [`super::WAIT`] for; else zero.
    pub pending: u32,
}

/// Do not wait: `EAGAIN` if the operation still goes on.
pub const WAIT_NOT: u32 = 1 << 0;

/// Waits for the end of an operation that went on after its request had returned, and tells how it
/// ended; its handle is gone then.
///
/// `ENOENT` for an unknown handle, `EINTR` if a signal comes first, `EAGAIN` as [`WAIT_NOT`] says,
/// `EINVAL` for an unknown flag. What the operation itself failed with stands in `error`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wait {
    /// In: the operation.
    pub pending: u32,
    /// In: zero or [`WAIT_NOT`].
    pub flags: u32,
    /// Out: zero, or the errno of its failure.
    pub error: u32,
    /// Out: how many bios it took; none for a DMA.
    pub bios: u32,
    /// Out: how many bytes were transferred.
    pub bytes: u64,
}

/// The device wrote the pages: dirty them as they are released.
pub const RELEASE_DIRTY: u32 = 1 << 0;

/// Releases held pages by the call that matches their acquisition.
///
/// `ENOENT` for an unknown handle, `EACCES` for dirtying a hold without [`HOLD_WRITE`], `EINVAL` for
/// an unknown flag.
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

/// Pages that pinblk acquired and released, each time counted, for holds and for I/O of all open
/// files since the module was loaded. A snapshot has every acquisition whole or not at all.
///
/// As the kernel counts them: not the zero page, which it does not pin. An acquisition that failed
/// half way and was undone moves `/proc/vmstat` but none of these.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HoldStatistics {
    /// By mode and path.
    pub acquired: [[u64; PATHS]; MODES],
    /// By mode and path of their acquisition.
    pub released: [[u64; PATHS]; MODES],
    /// Pages that DMA wrote into.
    pub dma_pages: u64,
}
