// SPDX-License-Identifier: GPL-2.0

//! A bio-based disk: registration with the block layer, and the way in for bios.

use super::{
    bio::Bio,
    ffi, //
};
use crate::{
    logic::sectors::SECTOR_SIZE,
    LocalModule, //
};
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
    module::this_module,
    prelude::*,
    sync::{
        static_lock_class,
        Arc, //
    },
    types::ScopeGuard, //
};

/// The longest write-zeroes of one bio, in sectors: 64 MiB. It has no data that would bound it, and
/// its submitter cannot be killed before it is served.
const WRITE_ZEROES_SECTORS_MAX: u32 = 1 << 17;

/// What serves the bios of a disk.
pub(crate) trait BioDevice: Send + Sync + 'static {
    /// Takes a bio, and completes it at once or later. May sleep unless the bio is REQ_NOWAIT.
    fn submit(&self, bio: Bio);
}

/// What the block layer is told of a disk.
pub(crate) struct Geometry {
    /// Size in sectors of 512 bytes.
    pub(crate) sectors: u64,
    /// Logical block size in bytes.
    pub(crate) logical_block: u32,
    /// Physical block size in bytes, and the granularity of discards.
    pub(crate) physical_block: u32,
}

/// A disk that userspace sees. It offers a volatile write cache, FUA, NOWAIT, discard and
/// write-zeroes.
///
/// # Invariants
///
/// `disk` was added to the block layer, and its private data is what `_device` points to.
pub(crate) struct GenDisk<T: BioDevice> {
    disk: NonNull<bindings::gendisk>,
    /// Kept for the bios: it goes when the disk is removed.
    _device: Arc<T>,
}

// SAFETY: A gendisk may be removed from any thread, and the device is `Send` and `Sync`.
unsafe impl<T: BioDevice> Send for GenDisk<T> {}
// SAFETY: There is nothing to be done through `&GenDisk`.
unsafe impl<T: BioDevice> Sync for GenDisk<T> {}

impl<T: BioDevice> GenDisk<T> {
    /// Adds a disk named `name`, whose bios `device` serves from now on.
    pub(crate) fn add(name: &CStr, geometry: &Geometry, device: Arc<T>) -> Result<Self> {
        if name.to_bytes_with_nul().len() > bindings::DISK_NAME_LEN as usize {
            return Err(EINVAL);
        }
        let mut limits = Self::limits(geometry);
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
        for (to, from) in fields.disk_name.iter_mut().zip(name.to_bytes_with_nul()) {
            *to = *from;
        }
        // Nothing reads a partition table, so that a fresh disk has seen no bio.
        fields.flags |= bindings::GENHD_FL_NO_PART as i32;
        fields.fops = BlockOperations::<T>::TABLE;
        fields.private_data = Arc::as_ptr(&device).cast_mut().cast();
        // SAFETY: The disk was allocated above.
        unsafe { bindings::set_capacity(disk, geometry.sectors) };
        // SAFETY: The disk is ready; it has neither parent nor further attributes.
        to_result(unsafe { bindings::device_add_disk(null_mut(), disk, null_mut()) })?;
        undo.dismiss();

        // INVARIANT: The disk was just added, with the device as its private data.
        Ok(Self {
            disk: NonNull::new(disk).ok_or(EINVAL)?,
            _device: device,
        })
    }

    fn limits(geometry: &Geometry) -> bindings::queue_limits {
        bindings::queue_limits {
            // SAFETY: A constant of the shims.
            features: unsafe { ffi::pinblk_features },
            logical_block_size: geometry.logical_block,
            physical_block_size: geometry.physical_block,
            discard_granularity: geometry.physical_block,
            // A smaller number would promise what is not kept: the block layer does not cut a
            // discard for a disk that takes bios.
            max_hw_discard_sectors: u32::MAX,
            max_write_zeroes_sectors: WRITE_ZEROES_SECTORS_MAX,
            // The store keeps sectors: user memory is refused for direct I/O if a segment of it
            // would end within one. Bios of submitters inside the kernel are not held to this.
            dma_alignment: SECTOR_SIZE as u32 - 1,
            ..pin_init::zeroed()
        }
    }
}

impl<T: BioDevice> Drop for GenDisk<T> {
    fn drop(&mut self) {
        // After this no `submit` runs and none begins: del_gendisk() fails new bios and waits for
        // those that are being submitted.
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
        // While the disk is open or mounted the module cannot be unloaded.
        owner: this_module::<LocalModule>().as_ptr(),
        ..pin_init::zeroed()
    };

    /// # Safety
    ///
    /// Only for the block layer, with a bio for a disk of [`GenDisk<T>`].
    unsafe extern "C" fn submit_bio(bio: *mut bindings::bio) {
        let Some(bio) = NonNull::new(bio) else {
            return;
        };
        // SAFETY: The bio is for a disk of `GenDisk<T>`, whose private data is a `T`. The block
        // layer counts this submission until it returns, and del_gendisk() waits for the count
        // before `GenDisk` lets go of the device.
        let device = unsafe {
            let disk = (*(*bio.as_ptr()).bi_bdev).bd_disk;
            &*(*disk).private_data.cast::<T>()
        };
        // SAFETY: The block layer hands every bio over once.
        device.submit(unsafe { Bio::from_raw(bio) });
    }
}
