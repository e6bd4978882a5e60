// SPDX-License-Identifier: GPL-2.0

//! A bio as a submitter makes it, over memory of its own and for no disk.

use super::bio::{
    Bio,
    Operation, //
};
use crate::logic::sectors::PAGE_SIZE;
use core::{
    ops::Range,
    ptr::{
        null_mut,
        NonNull, //
    }, //
};
use kernel::{
    bindings,
    ffi::{
        c_uint,
        c_ushort,
        c_void, //
    },
    prelude::*,
    types::Opaque, //
};

/// The bytes of each bio's memory: whole pages, one after the other.
pub(crate) const BYTES: usize = 4 * PAGE_SIZE;

/// More segments than any suite adds.
const SEGMENTS: usize = 4;

/// How a bio came back to its submitter.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ended {
    /// As `blk_status_to_errno()` has it: zero or a negative errno.
    pub(crate) errno: i32,
    /// BIO_QUIET: nothing is to be logged.
    pub(crate) quiet: bool,
}

/// What a submitter asks for.
#[derive(Clone, Copy)]
pub(crate) struct Asked {
    pub(crate) operation: Operation,
    pub(crate) sector: u64,
    /// REQ_PREFLUSH.
    pub(crate) preflush: bool,
    /// REQ_FUA.
    pub(crate) fua: bool,
}

impl Asked {
    /// That operation from that sector on, and nothing special.
    pub(crate) fn to(operation: Operation, sector: u64) -> Self {
        Self {
            operation,
            sector,
            preflush: false,
            fua: false,
        }
    }

    fn opf(self) -> bindings::blk_opf_t {
        let operation = match self.operation {
            Operation::Read => bindings::req_op_REQ_OP_READ,
            Operation::Write => bindings::req_op_REQ_OP_WRITE,
            Operation::Discard => bindings::req_op_REQ_OP_DISCARD,
            Operation::WriteZeroes => bindings::req_op_REQ_OP_WRITE_ZEROES,
            Operation::Unknown => bindings::req_op_REQ_OP_SECURE_ERASE,
        };
        operation
            | (u32::from(self.preflush) << bindings::req_flag_bits___REQ_PREFLUSH)
            | (u32::from(self.fua) << bindings::req_flag_bits___REQ_FUA)
    }
}

/// Lets `serve` have a bio whose data are these ranges of `memory`, in order, and tells how it ended.
///
/// Fails with `EBUSY` if `serve` returns before the bio has ended; its memory is lost then, for whoever
/// has the bio still uses it.
pub(crate) fn with_data(
    asked: Asked,
    memory: &mut KVec<u8>,
    ranges: &[Range<usize>],
    serve: impl FnOnce(Bio),
) -> Result<Ended> {
    if ranges.len() > SEGMENTS {
        return Err(EINVAL);
    }
    let mut own = OwnBio::new(asked)?;
    core::mem::swap(&mut own.memory, memory);
    for range in ranges {
        let bio = own.bio.get();
        let part = own.memory.get_mut(range.clone()).ok_or(EINVAL)?;
        let (start, length) = (part.as_mut_ptr().cast::<c_void>(), part.len() as c_uint);
        // SAFETY: The bio has room for as many segments as were checked for above, and the memory was
        // allocated by kmalloc, so that it has pages.
        unsafe { bindings::bio_add_virt_nofail(bio, start, length) };
    }
    own.serve(|own| core::mem::swap(&mut own.memory, memory), serve)
}

/// Lets `serve` have a bio of that many bytes that has no data, and tells how it ended. Fails as
/// [`with_data`] does.
pub(crate) fn without_data(asked: Asked, bytes: u32, serve: impl FnOnce(Bio)) -> Result<Ended> {
    let own = OwnBio::new(asked)?;
    // SAFETY: The bio is ours, and was initialized.
    unsafe { (*own.bio.get()).bi_iter.bi_size = bytes };
    own.serve(|_| (), serve)
}

/// Memory for [`with_data`], full of zeros.
pub(crate) fn memory() -> Result<KVec<u8>> {
    let mut memory = KVec::new();
    memory.resize(BYTES, 0, GFP_KERNEL)?;
    Ok(memory)
}

struct OwnBio {
    bio: Opaque<bindings::bio>,
    table: [bindings::bio_vec; SEGMENTS],
    memory: KVec<u8>,
    ended: Option<Ended>,
}

impl OwnBio {
    fn new(asked: Asked) -> Result<KBox<Self>> {
        let mut own = KBox::new(
            Self {
                bio: Opaque::uninit(),
                table: Default::default(),
                memory: KVec::new(),
                ended: None,
            },
            GFP_KERNEL,
        )?;
        let (bio, table) = (own.bio.get(), own.table.as_mut_ptr());
        // SAFETY: Both are memory for what they are made here, in a box that does not move.
        unsafe {
            bindings::bio_init(bio, null_mut(), table, SEGMENTS as c_ushort, asked.opf());
            (*bio).bi_iter.bi_sector = asked.sector;
            (*bio).bi_end_io = Some(end);
            (*bio).bi_private = (&raw mut own.ended).cast();
        }
        Ok(own)
    }

    /// `done` gets what it needs of a bio that has ended.
    fn serve(
        self: KBox<Self>,
        done: impl FnOnce(&mut Self),
        serve: impl FnOnce(Bio),
    ) -> Result<Ended> {
        let own = KBox::into_raw(self);
        // SAFETY: The pointer comes from a box.
        let bio = NonNull::new(unsafe { (*own).bio.get() }).ok_or(EINVAL)?;
        // SAFETY: Nobody has had the bio before. It stays until it has ended, for ever if need be.
        serve(unsafe { Bio::from_raw(bio) });
        // SAFETY: The pointer comes from a box. `end` writes this from whatever thread.
        let Some(ended) = (unsafe { (&raw const (*own).ended).read_volatile() }) else {
            return Err(EBUSY);
        };
        // SAFETY: It was made of a box above, and nobody has the bio any more.
        let mut own = unsafe { KBox::from_raw(own) };
        // SAFETY: The bio was initialized by `bio_init`, and has ended.
        unsafe { bindings::bio_uninit(own.bio.get()) };
        done(&mut own);
        Ok(ended)
    }
}

/// # Safety
///
/// `bio` must be that of an [`OwnBio`] which is alive.
unsafe extern "C" fn end(bio: *mut bindings::bio) {
    // SAFETY: By the safety requirement.
    let (status, flags, ended) = unsafe {
        (
            (*bio).bi_status,
            (*bio).bi_flags,
            (*bio).bi_private.cast::<Option<Ended>>(),
        )
    };
    // SAFETY: Any status may be asked for.
    let errno = unsafe { bindings::blk_status_to_errno(status) };
    let quiet = u32::from(flags) & (1 << bindings::BIO_QUIET) != 0;
    // SAFETY: It is the field of the bio's owner, which is not borrowed while the bio is out.
    unsafe { ended.write_volatile(Some(Ended { errno, quiet })) };
}
