// SPDX-License-Identifier: GPL-2.0

//! What becomes of the pages of a write that a device may still be writing to.

use crate::sys::{
    bio::{
        Bio,
        Operation, //
    },
    folio::Folio, //
};

/// What was decided about the pages of a bio.
pub(crate) struct Decision {
    /// Somebody waits for the data to be durable (REQ_SYNC); else it is written to clean memory.
    pub(crate) integrity: bool,
    /// Pages that are written as they are when their data is copied.
    pub(crate) written: u64,
}

/// Decides about a bio; none if it has no page to decide about.
///
/// These are pages of a regular file under writeback that may be pinned. Direct I/O is left out, with
/// REQ_IDLE or by BIO_PAGE_PINNED: it can have a mapped file as its source, pinned by this very write.
/// So are a filesystem's own blocks and swap.
#[inline(always)]
pub(crate) fn decide(bio: &Bio) -> Option<Decision> {
    let is_writeback = bio.operation() == Operation::Write
        && !bio.is_page_pinned()
        && !bio.is_metadata()
        && !bio.is_idle()
        && !bio.is_swap()
        && !bio.is_preflush()
        && !bio.is_fua();
    is_writeback.then(|| candidates(bio)).flatten()
}

/// Decides about a bio of writeback.
fn candidates(bio: &Bio) -> Option<Decision> {
    let is_candidate = |folio: Folio<'_>| folio.maybe_dma_pinned() && folio.is_file_writeback();
    let candidates = bio
        .segments()
        .filter(|segment| segment.page().folio().is_some_and(is_candidate))
        .count();
    (candidates > 0).then(|| Decision {
        integrity: bio.is_sync(),
        written: candidates as u64,
    })
}
