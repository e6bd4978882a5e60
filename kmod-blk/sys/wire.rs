// SPDX-License-Identifier: GPL-2.0

//! The structures of the ioctl interface, as bytes that userspace sends and sees.
//!
//! Their fields are integers, and the interface asserts that the sizes of the fields add up to the
//! size of the structure: there is no padding.

use crate::abi::{
    CloseDisk,
    CloseGate,
    Dma,
    Dump,
    HeldBio,
    HeldPage,
    Hello,
    Hold,
    HoldStatistics,
    Io,
    IoSegment,
    LetGo,
    LogEntry,
    LogState,
    OpenDisk,
    OpenGate,
    Release,
    Statistics,
    Wait,
    WaitGate, //
};
use kernel::transmute::{
    AsBytes,
    FromBytes, //
};

// SAFETY: Integers only, for which every bit pattern is valid.
unsafe impl FromBytes for Hello {}
// SAFETY: Integers only, for which every bit pattern is valid.
unsafe impl FromBytes for Hold {}
// SAFETY: Integers only, for which every bit pattern is valid.
unsafe impl FromBytes for Dma {}
// SAFETY: Integers only, for which every bit pattern is valid.
unsafe impl FromBytes for Release {}
// SAFETY: Integers only, for which every bit pattern is valid.
unsafe impl FromBytes for Dump {}
// SAFETY: Integers only, for which every bit pattern is valid.
unsafe impl FromBytes for Wait {}
// SAFETY: Integers only, for which every bit pattern is valid.
unsafe impl FromBytes for OpenDisk {}
// SAFETY: Integers only, for which every bit pattern is valid.
unsafe impl FromBytes for CloseDisk {}
// SAFETY: Integers only, for which every bit pattern is valid.
unsafe impl FromBytes for IoSegment {}
// SAFETY: Integers only, for which every bit pattern is valid.
unsafe impl FromBytes for Io {}
// SAFETY: Integers only, for which every bit pattern is valid.
unsafe impl FromBytes for Statistics {}
// SAFETY: Integers only and no padding: every byte is initialized.
unsafe impl AsBytes for Hello {}
// SAFETY: Integers only and no padding: every byte is initialized.
unsafe impl AsBytes for Hold {}
// SAFETY: Integers only and no padding: every byte is initialized.
unsafe impl AsBytes for Dma {}
// SAFETY: Integers only and no padding: every byte is initialized.
unsafe impl AsBytes for Wait {}
// SAFETY: Integers only and no padding: every byte is initialized.
unsafe impl AsBytes for OpenDisk {}
// SAFETY: Integers only and no padding: every byte is initialized.
unsafe impl AsBytes for Io {}
// SAFETY: Integers only and no padding: every byte is initialized.
unsafe impl AsBytes for Dump {}
// SAFETY: Integers only and no padding: every byte is initialized.
unsafe impl AsBytes for Statistics {}
// SAFETY: Integers only and no padding: every byte is initialized.
unsafe impl AsBytes for HoldStatistics {}
// SAFETY: Integers only, for which every bit pattern is valid.
unsafe impl FromBytes for CloseGate {}
// SAFETY: Integers only and no padding: every byte is initialized.
unsafe impl AsBytes for CloseGate {}
// SAFETY: Integers only, for which every bit pattern is valid.
unsafe impl FromBytes for WaitGate {}
// SAFETY: Integers only and no padding: every byte is initialized.
unsafe impl AsBytes for WaitGate {}
// SAFETY: Integers only, for which every bit pattern is valid.
unsafe impl FromBytes for LetGo {}
// SAFETY: Integers only and no padding: every byte is initialized.
unsafe impl AsBytes for LetGo {}
// SAFETY: Integers only, for which every bit pattern is valid.
unsafe impl FromBytes for OpenGate {}
// SAFETY: Integers only, for which every bit pattern is valid.
unsafe impl FromBytes for HeldBio {}
// SAFETY: Integers only and no padding: every byte is initialized.
unsafe impl AsBytes for HeldBio {}
// SAFETY: Integers only, for which every bit pattern is valid.
unsafe impl FromBytes for HeldPage {}
// SAFETY: Integers only and no padding: every byte is initialized.
unsafe impl AsBytes for HeldPage {}
// SAFETY: Integers only, for which every bit pattern is valid.
unsafe impl FromBytes for LogState {}
// SAFETY: Integers only and no padding: every byte is initialized.
unsafe impl AsBytes for LogState {}
// SAFETY: Integers only, for which every bit pattern is valid.
unsafe impl FromBytes for LogEntry {}
// SAFETY: Integers only and no padding: every byte is initialized.
unsafe impl AsBytes for LogEntry {}
