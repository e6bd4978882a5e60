// SPDX-License-Identifier: GPL-2.0 OR MIT OR Apache-2.0

//! Requests and structures that cross between userspace and pinblk.
//!
//! An open file of `/dev/pinblk-control` first says [`HELLO`] with the [`VERSION`] that it was
//! built for; until then, and after a wrong one, every other request fails with `EPROTO`.
//! Reserved fields must be zero and unknown flags are refused with `EINVAL`.

use core::mem::size_of;

#[path = "gate.rs"]
mod gate;
#[path = "hold.rs"]
mod hold;
#[path = "io.rs"]
mod io;
#[path = "log.rs"]
mod log;

pub use gate::*;
pub use hold::*;
pub use io::*;
pub use log::*;

/// Version of everything in this file: raised by any change of a number, a size or a meaning.
pub const VERSION: u32 = 5;

/// The size in bytes of the pages that requests count in.
pub const PAGE_SIZE: u64 = 4096;

/// The size in bytes of the name of a disk, with the NUL that ends it: the kernel's DISK_NAME_LEN.
pub const DISK_NAME_BYTES: usize = 32;

/// First request on an open file.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hello {
    /// In: the version that userspace was built for. Out: the version of the module.
    pub version: u32,
    /// Zero.
    pub reserved: u32,
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

/// Index into [`Statistics::cleaning`] and [`Statistics::integrity`]: the page was written as it was
/// when its data was copied. The policy `observe` has nothing else, and any other has it where there is
/// no memory to do better.
pub const DECISION_WRITTEN: usize = 0;
/// What the page held as it arrived is in the cache, and the page is dirty again.
pub const DECISION_STASHED: usize = 1;
/// What the page held as it arrived was written.
pub const DECISION_BOUNCED: usize = 2;
/// The page waited until it was not pinned any more, and was written then.
pub const DECISION_DEFERRED: usize = 3;
/// The page was not written, and is dirty again: data is lost, on purpose.
pub const DECISION_DROPPED: usize = 4;
/// The page waited and stayed pinned until the deadline. What it held then was written.
pub const DECISION_EXPIRED: usize = 5;
/// Number of decisions.
pub const DECISIONS: usize = 6;

/// Everything counted on one disk since it got its power.
///
/// Bios are counted as they arrive. A snapshot has every bio whole, with all of its pages and bytes,
/// or not at all, and every bio that was completed before it was asked for.
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
    /// REQ_NOWAIT bios that were completed with `EAGAIN`: their submitter comes again.
    pub refused: u64,
    /// Bios that are held by gates or wait for a late transfer now.
    pub in_flight: u64,
    /// Pages of regular files under writeback that may be pinned, by what became of them, where nobody
    /// waits for the data: memory is cleaned. Each is counted once that is known.
    pub cleaning: [u64; DECISIONS],
    /// The same where somebody waits (REQ_SYNC), as fsync does.
    pub integrity: [u64; DECISIONS],
    /// Pages of the volatile write cache now.
    pub cached_pages: u64,
    /// Pages of the media now.
    pub media_pages: u64,
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
pub const DMA: u32 = request::<Dma>(IOC_READ | IOC_WRITE, 3);
/// Takes a [`Release`].
pub const RELEASE: u32 = request::<Release>(IOC_WRITE, 4);
/// Takes a [`Dump`].
pub const DUMP: u32 = request::<Dump>(IOC_READ | IOC_WRITE, 5);
/// Takes a [`HoldStatistics`].
pub const HOLD_STATISTICS: u32 = request::<HoldStatistics>(IOC_READ, 6);
/// Takes a [`Wait`].
pub const WAIT: u32 = request::<Wait>(IOC_READ | IOC_WRITE, 7);
/// Takes an [`OpenDisk`].
pub const OPEN_DISK: u32 = request::<OpenDisk>(IOC_READ | IOC_WRITE, 8);
/// Takes a [`CloseDisk`].
pub const CLOSE_DISK: u32 = request::<CloseDisk>(IOC_WRITE, 9);
/// Takes an [`Io`].
pub const IO: u32 = request::<Io>(IOC_READ | IOC_WRITE, 10);
/// Takes a [`CloseGate`].
pub const CLOSE_GATE: u32 = request::<CloseGate>(IOC_READ | IOC_WRITE, 16);
/// Takes a [`WaitGate`].
pub const WAIT_GATE: u32 = request::<WaitGate>(IOC_READ | IOC_WRITE, 17);
/// Takes a [`LetGo`].
pub const LET_GO: u32 = request::<LetGo>(IOC_READ | IOC_WRITE, 18);
/// Takes an [`OpenGate`].
pub const OPEN_GATE: u32 = request::<OpenGate>(IOC_WRITE, 19);
/// Takes a [`HeldBio`].
pub const HELD_BIO: u32 = request::<HeldBio>(IOC_READ | IOC_WRITE, 20);
/// Takes a [`HeldPage`].
pub const HELD_PAGE: u32 = request::<HeldPage>(IOC_READ | IOC_WRITE, 21);
/// Takes a [`LogState`].
pub const LOG_STATE: u32 = request::<LogState>(IOC_READ | IOC_WRITE, 24);
/// Takes a [`LogEntry`].
pub const LOG_ENTRY: u32 = request::<LogEntry>(IOC_READ | IOC_WRITE, 25);

// Compiled on both sides: a size that differs between them does not build.
const _: () = {
    assert!(size_of::<Hello>() == 8);
    assert!(size_of::<Acquire>() == 12);
    assert!(size_of::<Hold>() == 40);
    assert!(size_of::<Dma>() == 40);
    assert!(size_of::<Wait>() == 24);
    assert!(size_of::<OpenDisk>() == DISK_NAME_BYTES + 8);
    assert!(size_of::<CloseDisk>() == 8);
    assert!(size_of::<IoSegment>() == 16);
    assert!(size_of::<Io>() == 48);
    assert!(size_of::<Release>() == 8);
    assert!(size_of::<PageState>() == 40);
    assert!(size_of::<Dump>() == 48);
    assert!(size_of::<Traffic>() == 32);
    assert!(
        size_of::<Statistics>() == DISK_NAME_BYTES + 2 * CLASSES * 32 + (9 + 2 * DECISIONS) * 8
    );
    assert!(size_of::<HoldStatistics>() == (2 * MODES * PATHS + 1) * 8);
};
