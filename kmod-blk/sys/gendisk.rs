// SPDX-License-Identifier: GPL-2.0

//! A bio-based disk: registration with the block layer, and the way in for bios.

use super::{
    bio::Bio,
    compat::this_module,
    ffi, //
};
use crate::logic::sectors::SECTOR_SIZE;
use core::{
    marker::PhantomData,
    ptr::{
        null_mut,
        NonNull, //
    }, //
};
use kernel::{
    bindings,
    error::{
        from_err_ptr,
        to_result, //
    },
    ffi::c_int,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        static_lock_class,
        Arc, //
    },
    types::ScopeGuard, //
};

/// The size in bytes of a disk's name, with the NUL that ends it.
const NAME_BYTES: usize = bindings::DISK_NAME_LEN as usize;

/// The longest write-zeroes of one bio, in sectors: 64 MiB. It has no data that would bound it, and
/// its submitter cannot be killed before it is served.
const WRITE_ZEROES_SECTORS_MAX: u32 = 1 << 17;

/// What serves the bios of a disk.
pub(crate) trait BioDevice: Send + Sync + 'static {
    /// Takes a bio, and completes it at once or later. May sleep unless the bio is REQ_NOWAIT.
    fn submit(&self, bio: Bio);

    /// The disk is about to be removed: from now on each bio is completed before [`Self::submit`]
    /// returns, and none that came before is left when this returns. The block layer does not wait
    /// for bios that were submitted and are not completed.
    fn retire(&self);
}

/// What the block layer is told of a disk.
pub(crate) struct Limits {
    /// Size in sectors of 512 bytes.
    pub(crate) sectors: u64,
    /// Logical block size in bytes.
    pub(crate) logical_block: u32,
    /// Physical block size in bytes, and the granularity of discards.
    pub(crate) physical_block: u32,
    /// The disk has a volatile write cache.
    pub(crate) write_cache: bool,
    /// With a write cache: the disk can write through it.
    pub(crate) fua: bool,
    /// The disk wants pages unchanged while it writes them.
    pub(crate) stable_writes: bool,
    /// The disk takes bios whose submitter must not sleep.
    pub(crate) nowait: bool,
}

/// A disk that userspace sees. It offers discard and write-zeroes.
///
/// # Invariants
///
/// `disk` was added to the block layer, and its private data is what `served` points to.
pub(crate) struct GenDisk<T: BioDevice> {
    disk: NonNull<bindings::gendisk>,
    /// Kept for the block layer: it goes when the disk is removed.
    served: Arc<Served<T>>,
}

/// The private data of a disk.
struct Served<T> {
    device: Arc<T>,
    /// Nobody may open the disk any more. Written and read under the disk's `open_mutex`.
    barred: Atomic<bool>,
}

// SAFETY: A gendisk may be removed from any thread, and the device is `Send` and `Sync`.
unsafe impl<T: BioDevice> Send for GenDisk<T> {}
// SAFETY: `&GenDisk` allows only `bar`, which takes the disk's own lock.
unsafe impl<T: BioDevice> Sync for GenDisk<T> {}

impl<T: BioDevice> GenDisk<T> {
    /// Adds a disk named `name`, whose bios `device` serves from now on.
    ///
    /// Fails with `EEXIST` if another disk has that name.
    pub(crate) fn add(name: &[u8; NAME_BYTES], limits: &Limits, device: Arc<T>) -> Result<Self> {
        let served = Arc::new(
            Served {
                device,
                barred: Atomic::new(false),
            },
            GFP_KERNEL,
        )?;
        let sectors = limits.sectors;
        let mut limits = queue_limits(limits);
        // SAFETY: `limits` is ours for the call, and the lock class is static.
        let disk = from_err_ptr(unsafe {
            bindings::__blk_alloc_disk(
                &mut limits,
                bindings::NUMA_NO_NODE,
                static_lock_class!().as_ptr(),
            )
        })?;
        let undo = ScopeGuard::new(move || {
            // SAFETY: The disk was allocated above, and this runs only if it was not added.
            unsafe { bindings::put_disk(disk) };
        });

        // SAFETY: The disk was allocated above and nobody else knows it yet.
        let fields = unsafe { &mut *disk };
        fields.disk_name = *name;
        // Nothing reads a partition table, so that a fresh disk has seen no bio.
        fields.flags |= bindings::GENHD_FL_NO_PART as i32;
        fields.fops = BlockOperations::<T>::TABLE;
        fields.private_data = Arc::as_ptr(&served).cast_mut().cast();
        // SAFETY: The disk was allocated above.
        unsafe { bindings::set_capacity(disk, sectors) };
        // SAFETY: The disk is ready; it has neither parent nor further attributes.
        to_result(unsafe { bindings::device_add_disk(null_mut(), disk, null_mut()) })?;
        undo.dismiss();

        // INVARIANT: The disk was just added, with `served` as its private data.
        Ok(Self {
            disk: NonNull::new(disk).ok_or(EINVAL)?,
            served,
        })
    }

    /// Its device number.
    pub(crate) fn number(&self) -> bindings::dev_t {
        // SAFETY: By the type invariant the disk was added, which gave its device a number.
        unsafe { (*(*self.disk.as_ptr()).part0).bd_dev }
    }

    /// Lets nobody open the disk any more: it is about to be removed.
    ///
    /// Fails with `EBUSY` if somebody has it open: a process, a mount, swap, a disk stacked on it.
    /// The block layer counts openers under `open_mutex` and calls [`BlockOperations::open`] under
    /// it, so that nobody slips in between the look here and the removal.
    pub(crate) fn bar(&self) -> Result {
        let disk = self.disk.as_ptr();
        // SAFETY: By the type invariant the disk is there, with its mutex.
        let open_mutex = unsafe { &raw mut (*disk).open_mutex };
        // SAFETY: The mutex is initialized, and this context may sleep.
        unsafe { bindings::mutex_lock(open_mutex) };
        // SAFETY: By the type invariant the disk is there.
        let openers = unsafe { ffi::pinblk_disk_openers(disk) };
        if openers == 0 {
            self.served.barred.store(true, Relaxed);
        }
        // SAFETY: It was locked above.
        unsafe { bindings::mutex_unlock(open_mutex) };
        if openers == 0 {
            Ok(())
        } else {
            Err(EBUSY)
        }
    }
}

fn queue_limits(limits: &Limits) -> bindings::queue_limits {
    bindings::queue_limits {
        // SAFETY: The shim has no requirement.
        features: unsafe {
            ffi::pinblk_disk_features(
                limits.write_cache,
                limits.fua,
                limits.stable_writes,
                limits.nowait,
            )
        },
        logical_block_size: limits.logical_block,
        physical_block_size: limits.physical_block,
        discard_granularity: limits.physical_block,
        // A smaller number would promise what is not kept: the block layer does not cut a discard
        // for a disk that takes bios.
        max_hw_discard_sectors: u32::MAX,
        max_write_zeroes_sectors: WRITE_ZEROES_SECTORS_MAX,
        // The store keeps sectors: user memory is refused for direct I/O if a segment of it would
        // end within one. Bios of submitters inside the kernel are not held to this.
        dma_alignment: SECTOR_SIZE as u32 - 1,
        // Memory of whatever shape is copied.
        max_hw_sectors: u32::MAX,
        max_segments: u16::MAX,
        max_segment_size: u32::MAX,
        ..pin_init::zeroed()
    }
}

impl<T: BioDevice> Drop for GenDisk<T> {
    fn drop(&mut self) {
        self.served.device.retire();
        // After this no `submit` runs and none begins, also for those who still have the disk open:
        // del_gendisk() fails new bios and waits for those that are being submitted.
        // SAFETY: By the type invariant the disk was added, and this is the only removal.
        unsafe { bindings::del_gendisk(self.disk.as_ptr()) };
        // SAFETY: The reference that the allocation gave us; the disk is not used afterwards.
        unsafe { bindings::put_disk(self.disk.as_ptr()) };
    }
}

/// The operations of disks whose bios a `T` serves.
struct BlockOperations<T>(PhantomData<T>);

impl<T: BioDevice> BlockOperations<T> {
    const TABLE: &'static bindings::block_device_operations = &bindings::block_device_operations {
        submit_bio: Some(Self::submit_bio),
        open: Some(Self::open),
        // While the disk is open or mounted the module cannot be unloaded, not even when the disk
        // has been removed.
        owner: this_module().as_ptr(),
        ..pin_init::zeroed()
    };

    /// # Safety
    ///
    /// Only for the block layer, under the `open_mutex` of a disk of [`GenDisk<T>`] that is there.
    unsafe extern "C" fn open(disk: *mut bindings::gendisk, _mode: bindings::blk_mode_t) -> c_int {
        // SAFETY: The disk is one of `GenDisk<T>`, whose private data is a `Served<T>`. It is kept
        // until del_gendisk() has returned, which takes the `open_mutex` to end all opening.
        let served = unsafe { &*(*disk).private_data.cast::<Served<T>>() };
        if served.barred.load(Relaxed) {
            ENXIO.to_errno()
        } else {
            0
        }
    }

    /// # Safety
    ///
    /// Only for the block layer, with a bio for a disk of [`GenDisk<T>`].
    unsafe extern "C" fn submit_bio(bio: *mut bindings::bio) {
        let Some(bio) = NonNull::new(bio) else {
            return;
        };
        // SAFETY: The bio is for a disk of `GenDisk<T>`, whose private data is a `Served<T>`. The
        // block layer counts this submission until it returns, and del_gendisk() waits for the
        // count before `GenDisk` lets go of the private data.
        let served = unsafe {
            let disk = (*(*bio.as_ptr()).bi_bdev).bd_disk;
            &*(*disk).private_data.cast::<Served<T>>()
        };
        // SAFETY: The block layer hands every bio over once.
        served.device.submit(unsafe { Bio::from_raw(bio) });
    }
}
