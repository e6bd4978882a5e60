// SPDX-License-Identifier: GPL-2.0

//! Whether bindgen lays the kernel's structures out as the C compiler does.
//!
//! It does not always: it was seen to get `task_struct` wrong, without a word. What is read through
//! `kernel::bindings` is therefore compared when the module is loaded.

use core::mem::offset_of;
use kernel::{
    bindings::{
        address_space,
        bio,
        bio_vec,
        block_device,
        bvec_iter,
        gendisk,
        inode,
        page,
        queue_limits,
        request_queue, //
    },
    prelude::*, //
};

const COUNT: usize = 39;

unsafe extern "C" {
    /// The same as [`OURS`], by the C compiler.
    safe static pinblk_layout: [usize; COUNT];
}

macro_rules! offsets {
    ($($structure:ident: $($field:ident)*;)*) => {
        [$(
            (stringify!($structure), size_of::<$structure>()),
            $((concat!(stringify!($structure), ".", stringify!($field)), offset_of!($structure, $field)),)*
        )*]
    };
}

/// The size of each structure, then the offsets of its fields.
const OURS: [(&str, usize); COUNT] = offsets! {
    bio: bi_next bi_bdev bi_opf bi_flags bi_status bi_iter bi_end_io bi_private bi_vcnt bi_io_vec;
    bio_vec: bv_page bv_len bv_offset;
    bvec_iter: bi_sector bi_size bi_idx;
    block_device: bd_disk bd_queue bd_dev bd_nr_sectors;
    gendisk: disk_name flags fops private_data part0 open_mutex;
    queue_limits: ;
    request_queue: limits;
    address_space: host;
    inode: i_mode;
    page: ;
};

/// Fails with `EINVAL` for a layout that is not the C compiler's, and tells which.
pub(crate) fn check() -> Result {
    for ((name, ours), theirs) in OURS.iter().zip(pinblk_layout.iter()) {
        if ours != theirs {
            pr_err!(
                "bindgen has {} at {}, the C compiler at {}: rebuild the kernel with another bindgen or libclang\n",
                name, ours, theirs
            );
            return Err(EINVAL);
        }
    }
    Ok(())
}
