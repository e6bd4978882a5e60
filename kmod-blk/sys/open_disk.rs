// SPDX-License-Identifier: GPL-2.0

//! A disk of ours, opened by ourselves to do I/O on it.

use super::ffi;
use crate::logic::split;
use core::ptr::{
    read_volatile,
    NonNull, //
};
use kernel::{
    bindings,
    error::from_err_ptr,
    prelude::*, //
};

/// A disk, open for writing, that nobody else has claimed: no mount, no swap, no other of these.
///
/// # Invariants
///
/// `file` is an open file of `bdev` that is ours, and `holder` is what claims it.
pub(crate) struct OpenDisk {
    file: NonNull<bindings::file>,
    bdev: NonNull<bindings::block_device>,
    // Its address tells this claim from every other. Freed after the file is closed.
    _holder: KBox<u8>,
}

// SAFETY: Open files may be used and closed by any thread.
unsafe impl Send for OpenDisk {}
// SAFETY: As above.
unsafe impl Sync for OpenDisk {}

impl OpenDisk {
    /// Opens the disk of that device number.
    ///
    /// Fails with `EBUSY` if somebody has claimed it, with `ENXIO` if there is none any more.
    pub(crate) fn open(number: bindings::dev_t) -> Result<Self> {
        let mut holder = KBox::new(0, GFP_KERNEL)?;
        // SAFETY: Any number may be asked for. The holder stays where it is until the file is closed.
        let file = from_err_ptr(unsafe {
            ffi::pinblk_open_exclusively(number, (&raw mut *holder).cast())
        })?;
        // SAFETY: The file was just opened, and is one of a block device.
        let bdev = unsafe { bindings::file_bdev(file) };
        // INVARIANT: See above.
        Ok(Self {
            file: NonNull::new(file).ok_or(ENXIO)?,
            bdev: NonNull::new(bdev).ok_or(ENXIO)?,
            _holder: holder,
        })
    }

    /// The block device.
    pub(super) fn bdev(&self) -> *mut bindings::block_device {
        self.bdev.as_ptr()
    }

    /// Its size in bytes.
    pub(crate) fn bytes(&self) -> u64 {
        // SAFETY: By the type invariant the device is open, and so is there.
        unsafe { (*self.bdev()).bd_nr_sectors << bindings::SECTOR_SHIFT }
    }

    /// The bits that must not be set in the address and in the length of user memory.
    pub(crate) fn misaligned_memory(&self) -> u32 {
        // SAFETY: See `Self::limits`.
        unsafe { read_volatile(&raw const (*self.limits()).dma_alignment) }
    }

    /// What one bio may carry.
    pub(crate) fn bio_limits(&self) -> split::Limits {
        let limits = self.limits();
        // SAFETY: See `Self::limits`.
        let (segments, segment_bytes, sectors, block) = unsafe {
            (
                read_volatile(&raw const (*limits).max_segments),
                read_volatile(&raw const (*limits).max_segment_size),
                read_volatile(&raw const (*limits).max_sectors),
                read_volatile(&raw const (*limits).logical_block_size),
            )
        };
        split::Limits {
            segments: usize::from(segments).min(bindings::BIO_MAX_VECS as usize),
            segment_bytes: segment_bytes as usize,
            bytes: (sectors as usize) << bindings::SECTOR_SHIFT,
            block: block as usize,
        }
    }

    /// The limits, which are there as long as the device is open. Whoever writes to an attribute of the
    /// queue in sysfs changes them at any time: they are no place for a reference, and each is read by
    /// itself, once, as the kernel's own READ_ONCE() does.
    fn limits(&self) -> *const bindings::queue_limits {
        // SAFETY: By the type invariant the device is open, and so is its queue there.
        unsafe { &raw const (*(*self.bdev()).bd_queue).limits }
    }
}

impl Drop for OpenDisk {
    fn drop(&mut self) {
        // SAFETY: By the type invariant the file is ours; it is given up.
        unsafe { ffi::pinblk_close_now(self.file.as_ptr()) };
    }
}
