// SPDX-License-Identifier: GPL-2.0

//! A bio that the block layer handed to the driver, and its data page by page.

use super::{
    compat::bytes_done,
    ffi,
    folio::{
        Page,
        Place, //
    }, //
};
use crate::logic::{
    sectors::{
        PAGE_SIZE,
        SECTOR_SIZE, //
    },
    writeback::Marks, //
};
use core::{
    marker::PhantomData,
    mem::{
        forget,
        ManuallyDrop, //
    },
    ops::Range,
    ptr::NonNull, //
};
use kernel::{
    bindings,
    prelude::*, //
};

/// What a bio asks for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    Read,
    /// With no data it is only a flush.
    Write,
    Discard,
    WriteZeroes,
    /// Nothing that this disk offers.
    Unknown,
}

/// A bio that the driver has to complete.
///
/// # Invariants
///
/// The pointer is to a bio that was submitted to us and that nobody has completed yet.
pub(crate) struct Bio {
    pub(super) raw: NonNull<bindings::bio>,
}

// SAFETY: Whoever has the bio may complete it, from any thread.
unsafe impl Send for Bio {}
// SAFETY: By shared reference a bio is only looked at, and so is the plan that may go with it: see `Attached`.
unsafe impl Sync for Bio {}

impl Bio {
    /// Takes a bio over from the block layer.
    ///
    /// # Safety
    ///
    /// The bio must have been submitted to this driver, which takes it only once.
    pub(super) unsafe fn from_raw(bio: NonNull<bindings::bio>) -> Self {
        // INVARIANT: That is the safety requirement.
        Self { raw: bio }
    }

    /// Gives up the bio, which has to be made one again by [`Self::from_raw`].
    pub(super) fn into_raw(self) -> NonNull<bindings::bio> {
        ManuallyDrop::new(self).raw
    }

    /// What it says of itself, as writeback is told by.
    #[inline(always)]
    pub(crate) fn marks(&self) -> Marks {
        let bit = |is_set, bit| if is_set { bit } else { 0 };
        Marks(
            bit(self.operation() == Operation::Write, Marks::WRITE)
                | bit(self.is_page_pinned(), Marks::USER_PINNED)
                | bit(self.is_metadata(), Marks::METADATA)
                | bit(self.is_idle(), Marks::IDLE)
                | bit(self.is_swap(), Marks::SWAP)
                | bit(self.is_preflush(), Marks::PREFLUSH)
                | bit(self.is_fua(), Marks::FUA),
        )
    }

    /// What it asks for.
    pub(crate) fn operation(&self) -> Operation {
        const OP_MASK: u32 = (1 << bindings::REQ_OP_BITS) - 1;
        match self.opf() & OP_MASK {
            bindings::req_op_REQ_OP_READ => Operation::Read,
            bindings::req_op_REQ_OP_WRITE => Operation::Write,
            bindings::req_op_REQ_OP_DISCARD => Operation::Discard,
            bindings::req_op_REQ_OP_WRITE_ZEROES => Operation::WriteZeroes,
            _ => Operation::Unknown,
        }
    }

    /// REQ_PREFLUSH: flush the cache first.
    pub(crate) fn is_preflush(&self) -> bool {
        self.has_flag(bindings::req_flag_bits___REQ_PREFLUSH)
    }

    /// REQ_FUA: complete when the data is on the media.
    pub(crate) fn is_fua(&self) -> bool {
        self.has_flag(bindings::req_flag_bits___REQ_FUA)
    }

    /// REQ_NOWAIT: the submitter must not be put to sleep.
    pub(crate) fn is_nowait(&self) -> bool {
        self.has_flag(bindings::req_flag_bits___REQ_NOWAIT)
    }

    /// REQ_META: a filesystem's metadata.
    pub(crate) fn is_metadata(&self) -> bool {
        self.has_flag(bindings::req_flag_bits___REQ_META)
    }

    /// REQ_SYNC: somebody waits for it.
    pub(crate) fn is_sync(&self) -> bool {
        self.has_flag(bindings::req_flag_bits___REQ_SYNC)
    }

    /// REQ_SWAP: swapping.
    pub(crate) fn is_swap(&self) -> bool {
        self.has_flag(bindings::req_flag_bits___REQ_SWAP)
    }

    /// REQ_BACKGROUND: writeback that nobody waits for.
    pub(crate) fn is_background(&self) -> bool {
        self.has_flag(bindings::req_flag_bits___REQ_BACKGROUND)
    }

    /// BIO_CLONED: the table of segments belongs to somebody else.
    pub(crate) fn is_cloned(&self) -> bool {
        self.has_bio_flag(bindings::BIO_CLONED)
    }

    /// REQ_IDLE: the submitter waits and expects no more I/O soon.
    pub(crate) fn is_idle(&self) -> bool {
        self.has_flag(bindings::req_flag_bits___REQ_IDLE)
    }

    /// BIO_PAGE_PINNED: the submitter pinned the pages for this bio.
    pub(crate) fn is_page_pinned(&self) -> bool {
        self.has_bio_flag(bindings::BIO_PAGE_PINNED)
    }

    /// The first sector.
    pub(crate) fn sector(&self) -> u64 {
        self.iter().bi_sector
    }

    /// The length in bytes.
    pub(crate) fn size(&self) -> u32 {
        self.iter().bi_size
    }

    /// The sectors, none for a flush.
    pub(crate) fn sectors(&self) -> Range<u64> {
        let count = u64::from(self.size()) / SECTOR_SIZE as u64;
        self.sector()..self.sector() + count
    }

    /// The data of a read or a write, in order, in segments that each lie in one page. Other
    /// operations have a size but no data.
    pub(crate) fn segments(&self) -> Segments<'_> {
        let iter = self.iter();
        // SAFETY: By the type invariant the bio is alive; nobody changes where its table is.
        let table = unsafe { (*self.raw.as_ptr()).bi_io_vec };
        // INVARIANT: The block layer keeps a bio's iterator on an entry of the table, and within it,
        // unless there is no data left.
        Segments {
            entry: table.wrapping_add(iter.bi_idx as usize),
            done: bytes_done(&iter),
            left: if self.has_data() { iter.bi_size } else { 0 },
            is_read: self.operation() == Operation::Read,
            _bio: PhantomData,
        }
    }

    /// How many pages its data has, each segment counted by itself, and how many of them may be
    /// pinned, by the kernel's own test; not those of memory that is not made of folios.
    pub(crate) fn count_pages(&self) -> (u64, u64) {
        if !self.has_data() {
            return (0, 0);
        }
        let mut pinned = 0;
        // SAFETY: By the type invariant the bio is alive, and with it its pages.
        let pages = unsafe { ffi::pinblk_bio_count_pages(self.raw.as_ptr(), &mut pinned) };
        (pages, pinned)
    }

    /// Gives the bio back to its submitter.
    pub(crate) fn complete(self, result: Result) {
        self.end(result);
        forget(self);
    }

    fn end(&self, result: Result) {
        let bio = self.raw.as_ptr();
        // SAFETY: Both callers have the bio for themselves, so that nobody has its plan.
        drop(unsafe { self.restore() });
        if let Err(error) = result {
            // SAFETY: Any errno may be passed.
            let status = unsafe { bindings::errno_to_blk_status(error.to_errno()) };
            // SAFETY: By the type invariant the bio is ours until `bio_endio` below.
            unsafe { (*bio).bi_status = status };
            if error == EAGAIN {
                // The submitter tries again by itself: nothing to be logged, as
                // bio_wouldblock_error() has it.
                // SAFETY: As above.
                unsafe { (*bio).bi_flags |= 1 << bindings::BIO_QUIET };
            }
        }
        // SAFETY: By the type invariant nobody has completed the bio, and both callers give the
        // `Bio` up afterwards.
        unsafe { bindings::bio_endio(bio) };
    }

    fn has_data(&self) -> bool {
        matches!(self.operation(), Operation::Read | Operation::Write)
    }

    fn has_bio_flag(&self, bit: u32) -> bool {
        // SAFETY: By the type invariant the bio is alive, and its flags are ours to read.
        let flags = unsafe { (*self.raw.as_ptr()).bi_flags };
        flags & (1 << bit) != 0
    }

    fn has_flag(&self, bit: bindings::req_flag_bits) -> bool {
        self.opf() & (1 << bit) != 0
    }

    fn opf(&self) -> bindings::blk_opf_t {
        // SAFETY: By the type invariant the bio is alive; nobody changes what it asks for.
        unsafe { (*self.raw.as_ptr()).bi_opf }
    }

    fn iter(&self) -> bindings::bvec_iter {
        // SAFETY: By the type invariant the bio is alive; only its driver moves its iterator.
        unsafe { (*self.raw.as_ptr()).bi_iter }
    }
}

impl Drop for Bio {
    /// A bio that was forgotten is an error to its submitter, not a hang.
    fn drop(&mut self) {
        self.end(Err(EIO));
    }
}

/// The segments of a bio: what bio_for_each_segment() goes through, which is a macro.
///
/// # Invariants
///
/// If there are bytes left, `entry` points to an entry of the bio's table, of which the first `done`
/// bytes are not left, and the other entries that have them follow it.
pub(crate) struct Segments<'a> {
    entry: *const bindings::bio_vec,
    done: u32,
    left: u32,
    is_read: bool,
    _bio: PhantomData<&'a Bio>,
}

impl<'a> Iterator for Segments<'a> {
    type Item = Segment<'a>;

    fn next(&mut self) -> Option<Segment<'a>> {
        const PAGE: u32 = PAGE_SIZE as u32;
        if self.left == 0 {
            return None;
        }
        // SAFETY: By the type invariant; the table does not change while the bio is ours.
        let entry = unsafe { &*self.entry };
        // An entry can have pages in a row, and then begins in the first one.
        let start = entry.bv_offset + self.done;
        let offset = start % PAGE;
        let length = (entry.bv_len - self.done).min(self.left).min(PAGE - offset);
        // INVARIANT: They are behind these bytes, in the same entry or at the start of the next one.
        self.left -= length;
        self.done += length;
        if self.done == entry.bv_len {
            self.entry = self.entry.wrapping_add(1);
            self.done = 0;
        }
        // INVARIANT: A bio keeps its pages until it is completed, which `'a` does not outlive; the
        // segment was cut at the end of the page.
        Some(Segment {
            page: NonNull::new(entry.bv_page.wrapping_add((start / PAGE) as usize))?,
            offset: offset as usize,
            length: length as usize,
            is_read: self.is_read,
            _bio: PhantomData,
        })
    }
}

/// A part of a bio's data that lies in one page.
///
/// # Invariants
///
/// The page stays allocated for `'a`, and `offset + length` is at most its size.
#[derive(Clone, Copy)]
pub(crate) struct Segment<'a> {
    page: NonNull<bindings::page>,
    offset: usize,
    length: usize,
    /// The bio is a read: its pages are there to be written to.
    is_read: bool,
    _bio: PhantomData<&'a Bio>,
}

impl<'a> Segment<'a> {
    /// The length in bytes.
    pub(crate) fn len(&self) -> usize {
        self.length
    }

    /// The length in sectors.
    pub(crate) fn sectors(&self) -> u64 {
        (self.length / SECTOR_SIZE) as u64
    }

    /// Where the data begins in the page, in bytes.
    pub(crate) fn offset(&self) -> usize {
        self.offset
    }

    /// The page that the data lies in.
    pub(crate) fn page(&self) -> Page<'a> {
        // SAFETY: By the type invariant the page stays allocated for `'a`.
        unsafe { Page::from_raw(self.page) }
    }

    /// Where the data is in its file.
    pub(crate) fn place(&self) -> Option<Place> {
        let page = self.page();
        page.folio()?.place(page, self.offset)
    }

    /// Copies the bytes from `from` on out of the page.
    pub(crate) fn copy_out(&self, from: usize, to: &mut [u8]) {
        let offset = self.offset_of(from, to.len());
        // SAFETY: `offset_of` checked the range against the page, and `to` is as long. Whoever
        // writes to the page meanwhile races with the C copy, not with a Rust reference.
        unsafe {
            ffi::pinblk_copy_from_page(
                to.as_mut_ptr().cast(),
                self.page.as_ptr(),
                offset,
                to.len(),
            );
        }
    }

    /// Copies bytes into the page of a read, from `to` on.
    pub(crate) fn copy_in(&self, to: usize, from: &[u8]) {
        assert!(self.is_read, "the pages of a write are its submitter's");
        let offset = self.offset_of(to, from.len());
        // SAFETY: As in `copy_out`, and the submitter of a read wants its page written.
        unsafe {
            ffi::pinblk_copy_to_page(self.page.as_ptr(), offset, from.as_ptr().cast(), from.len());
        }
    }

    fn offset_of(&self, start: usize, length: usize) -> usize {
        assert!(
            start <= self.length && length <= self.length - start,
            "beyond the segment"
        );
        self.offset + start
    }
}
