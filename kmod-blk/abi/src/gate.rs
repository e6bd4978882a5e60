// SPDX-License-Identifier: GPL-2.0 OR MIT OR Apache-2.0

//! Gates: bios held on their way through a disk, so that a scenario can look at an exact moment.

use super::{PageState, CLASSES, DISK_NAME_BYTES};

/// The most gates of one open file at a time; a disk has its own limit.
pub const GATES_MAX: u32 = 64;

/// Hold bios as they arrive, before the disk decides what to do with their pages.
pub const STAGE_ARRIVAL: u32 = 0;
/// Hold bios when that is decided, before their data is copied.
pub const STAGE_TRANSFER: u32 = 1;

/// A read.
pub const KIND_READ: u32 = 0;
/// A write with data.
pub const KIND_WRITE: u32 = 1;
/// A flush without data.
pub const KIND_FLUSH: u32 = 2;
/// A discard.
pub const KIND_DISCARD: u32 = 3;
/// A write-zeroes.
pub const KIND_WRITE_ZEROES: u32 = 4;
/// Number of kinds.
pub const KINDS: u32 = 5;

/// Every class of I/O, in [`CloseGate::classes`].
pub const CLASSES_ALL: u32 = (1 << CLASSES) - 1;

/// Closes a gate of a disk: from now on it takes the bios that are selected and holds them, until it
/// lets them go by [`LET_GO`], or is opened by [`OPEN_GATE`], because the file is closed, or because
/// the process that closed the gate dies. A bio is held once at each stage, by the oldest gate that takes it.
///
/// When the disk is removed all of its gates open; when its power is cut what they hold fails.
///
/// `ENOENT` where no disk with power has that name, `EINVAL` for an unknown stage, kind or class, for
/// none of them, and for no sectors or no bios, `ENOSPC` beyond [`GATES_MAX`] or for too many gates of
/// the disk, `ENODEV` where the disk is being removed.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CloseGate {
    /// In: the name of the disk, ended by a NUL.
    pub disk: [u8; DISK_NAME_BYTES],
    /// In: `STAGE_*`.
    pub stage: u32,
    /// In: which bios: a bit `1 << KIND_*` for each kind.
    pub kinds: u32,
    /// In: of bios with data: a bit `1 << CLASS_*` for each class.
    pub classes: u32,
    /// Out: names the gate in later requests on the same open file. Never zero.
    pub gate: u32,
    /// In: of bios with sectors: those that touch a sector from this one on ...
    pub first_sector: u64,
    /// In: ... and before this one.
    pub end_sector: u64,
    /// In: how many it takes; later ones pass.
    pub most: u64,
}

/// Waits until a gate has taken so many bios.
///
/// `ENOENT` for an unknown gate, or one that is opened meanwhile, `ETIMEDOUT`, `EINTR` if a signal
/// comes first, `ENODEV` if the disk is removed.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WaitGate {
    /// In: the gate.
    pub gate: u32,
    /// In: the longest wait, in milliseconds.
    pub timeout: u32,
    /// In: how many bios; with zero there is no wait. Out: how many it has taken.
    pub bios: u64,
    /// Out: how many of them it still holds.
    pub holding: u64,
}

/// Lets the bios of a gate go that came first; the gate stays closed. When this returns they have
/// gone on as far as they get: unless another gate or a late transfer has them, they are completed.
///
/// `ENOENT` for an unknown gate, `EINVAL` for an errno that is no outcome of a bio.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LetGo {
    /// In: the gate.
    pub gate: u32,
    /// In: zero, and they go on; or the errno that they fail with: `EIO`, `ENODATA`, `ENOSPC`,
    /// `ETIMEDOUT`, `EOPNOTSUPP`, `ENOLINK`, `EREMOTEIO`, `EILSEQ`, `ENOMEM` or `EINVAL`.
    pub errno: u32,
    /// In: at most how many. Out: how many.
    pub bios: u64,
}

/// Opens a gate: all that it holds goes on, and the gate is gone.
///
/// `ENOENT` for an unknown gate.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OpenGate {
    /// In: the gate.
    pub gate: u32,
    /// Zero.
    pub reserved: u32,
}

/// REQ_SYNC.
pub const BIO_SYNC: u32 = 1 << 0;
/// REQ_META.
pub const BIO_META: u32 = 1 << 1;
/// REQ_IDLE.
pub const BIO_IDLE: u32 = 1 << 2;
/// REQ_PREFLUSH.
pub const BIO_PREFLUSH: u32 = 1 << 3;
/// REQ_FUA.
pub const BIO_FUA: u32 = 1 << 4;
/// REQ_NOWAIT.
pub const BIO_NOWAIT: u32 = 1 << 5;
/// REQ_BACKGROUND.
pub const BIO_BACKGROUND: u32 = 1 << 6;
/// REQ_SWAP.
pub const BIO_SWAP: u32 = 1 << 7;
/// BIO_PAGE_PINNED: its submitter pinned its pages for it.
pub const BIO_PINNED: u32 = 1 << 8;
/// BIO_CLONED: its table of segments belongs to somebody else.
pub const BIO_CLONED: u32 = 1 << 9;

/// Tells about a bio that a gate holds.
///
/// `ENOENT` for an unknown gate, `ERANGE` if it does not hold so many.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HeldBio {
    /// In: the gate.
    pub gate: u32,
    /// In: which bio: zero for the one that came first.
    pub bio: u32,
    /// Out: `KIND_*`.
    pub kind: u32,
    /// Out: `CLASS_*`, for a bio with data.
    pub class: u32,
    /// Out: `BIO_*` bits.
    pub flags: u32,
    /// Out: pages with data, each segment counted by itself.
    pub pages: u32,
    /// Out: the first sector.
    pub sector: u64,
    /// Out: the length in bytes.
    pub bytes: u64,
}

/// Print the page to the kernel log by `dump_page()`.
pub const PAGE_DUMP: u32 = 1 << 0;

/// Tells about a page of a bio that a gate holds.
///
/// `ENOENT` for an unknown gate, `ERANGE` without such a bio or page, `EINVAL` for an unknown flag.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HeldPage {
    /// In: the gate.
    pub gate: u32,
    /// In: which bio: zero for the one that came first.
    pub bio: u32,
    /// In: which of its pages: zero for the first.
    pub page: u32,
    /// In: zero or [`PAGE_DUMP`].
    pub flags: u32,
    /// Out: where the data begins in the page, in bytes.
    pub offset: u32,
    /// Out: how many bytes of it are in the page.
    pub length: u32,
    /// Out.
    pub state: PageState,
}

// Compiled on both sides: a size that differs between them does not build.
const _: () = {
    assert!(size_of::<CloseGate>() == DISK_NAME_BYTES + 40);
    assert!(size_of::<WaitGate>() == 24);
    assert!(size_of::<LetGo>() == 16);
    assert!(size_of::<OpenGate>() == 8);
    assert!(size_of::<HeldBio>() == 40);
    assert!(size_of::<HeldPage>() == 64);
};
