// SPDX-License-Identifier: GPL-2.0

//! The store's two layers: the media, and the volatile write cache before it.
//!
//! The rules are those of `Documentation/block/writeback_cache_control.rst`: a write lands in the
//! cache, a flush moves the whole cache to the media, and a FUA write reaches the media before it
//! completes, alone. They hold by the sector, not by the page.

use super::{
    patch::{
        Frame,
        PageBytes,
        Patch,
        Patience, //
    },
    sectors::{
        pieces,
        Piece,
        SectorMask,
        PAGE_SECTORS,
        PAGE_SIZE, //
    }, //
};
use core::ops::Range;

/// What was never written and what was discarded reads as this: the previous tenant's data, so
/// that a filesystem that exposes a stale block is seen to do so. Zeros would hide it.
pub static TENANT: PageBytes = [0xDE; PAGE_SIZE];

/// How far a write gets before it completes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// To the volatile cache: an ordinary write.
    Cache,
    /// To the media: REQ_FUA, or any write to a disk without a cache.
    Media,
}

/// Patches by the index of their page.
pub trait Layer {
    /// The memory of a page.
    type Frame: Frame;

    /// The patch of a page.
    fn get(&self, page: u64) -> Option<&Patch<Self::Frame>>;

    /// The patch of a page, to be changed.
    fn get_mut(&mut self, page: u64) -> Option<&mut Patch<Self::Frame>>;

    /// Puts a patch where there is none.
    fn insert(
        &mut self,
        page: u64,
        patch: Patch<Self::Frame>,
        patience: Patience,
    ) -> Result<(), Error<Self>>;

    /// Drops the patches of all these pages.
    fn remove(&mut self, pages: Range<u64>);

    /// Lays all patches over those of `below`, and is empty afterwards. Needs no memory.
    fn drain_into(&mut self, below: &mut Self);
}

/// Why a layer has no memory.
pub type Error<L> = <<L as Layer>::Frame as Frame>::Error;

/// The media and the volatile cache before it.
#[derive(Default)]
pub struct Layers<L> {
    /// What a power cut loses.
    pub cache: L,
    /// What a power cut leaves.
    pub media: L,
}

impl<L: Layer> Layers<L> {
    /// The bytes of a page if one layer has all of it, and none above that has anything of it.
    pub fn page(&self, page: u64) -> Option<&PageBytes> {
        let uppermost = self.cache.get(page).or_else(|| self.media.get(page))?;
        (uppermost.held() == SectorMask::ALL).then(|| uppermost.bytes())
    }

    /// Reads a piece: `copy` gets each part of it as bytes within the page, and where they lie.
    pub fn read(&self, piece: Piece, mut copy: impl FnMut(Range<usize>, &[u8])) {
        let mut wanted = piece.mask();
        for layer in [&self.cache, &self.media] {
            if let Some(patch) = layer.get(piece.page) {
                copy_ranges(wanted & patch.held(), patch.bytes(), &mut copy);
                wanted = wanted & !patch.held();
            }
            if wanted.is_empty() {
                return;
            }
        }
        copy_ranges(wanted, &TENANT, &mut copy);
    }

    /// Writes a piece: `fill` puts its bytes where the piece lies in the page.
    ///
    /// Without memory nothing changes.
    pub fn write(
        &mut self,
        piece: Piece,
        reach: Reach,
        patience: Patience,
        fill: impl FnOnce(&mut [u8]),
    ) -> Result<(), Error<L>> {
        let fill = |page: &mut PageBytes| fill(&mut page[piece.bytes()]);
        let layer = self.layer(reach);
        if let Some(patch) = layer.get_mut(piece.page) {
            patch.write(piece.mask(), patience, fill)?;
        } else {
            let mut patch = Patch::zeroes(SectorMask::NONE);
            patch.write(piece.mask(), patience, fill)?;
            layer.insert(piece.page, patch, patience)?;
        }
        self.uncover(piece, reach);
        Ok(())
    }

    /// Writes a whole page, if the layer that it is for has memory for it and no other hides it; else
    /// does nothing and returns false.
    pub fn rewrite(&mut self, page: u64, reach: Reach, fill: impl FnOnce(&mut PageBytes)) -> bool {
        let is_hidden = reach == Reach::Media && self.cache.get(page).is_some();
        let patch = self.layer(reach).get_mut(page);
        !is_hidden && patch.is_some_and(|patch| patch.rewrite(fill))
    }

    /// Writes zeros, without spending memory on their bytes. They have no FUA: the block layer passes
    /// that on with data only.
    pub fn write_zeroes(
        &mut self,
        sectors: Range<u64>,
        reach: Reach,
        patience: Patience,
    ) -> Result<(), Error<L>> {
        for piece in pieces(sectors.start, sectors.end - sectors.start) {
            let layer = self.layer(reach);
            if let Some(patch) = layer.get_mut(piece.page) {
                patch.zero(piece.mask());
            } else {
                layer.insert(piece.page, Patch::zeroes(piece.mask()), patience)?;
            }
            self.uncover(piece, reach);
        }
        Ok(())
    }

    /// Moves the whole cache to the media. Needs no memory, so it cannot fail.
    pub fn flush(&mut self) {
        self.cache.drain_into(&mut self.media);
    }

    /// Forgets sectors: they read as the previous tenant's data again.
    pub fn discard(&mut self, sectors: Range<u64>) {
        const PAGE: u64 = PAGE_SECTORS as u64;
        let whole_pages = sectors.start.div_ceil(PAGE)..sectors.end / PAGE;
        if whole_pages.is_empty() {
            self.discard_parts(sectors);
        } else {
            self.discard_parts(sectors.start..whole_pages.start * PAGE);
            self.cache.remove(whole_pages.clone());
            self.media.remove(whole_pages.clone());
            self.discard_parts(whole_pages.end * PAGE..sectors.end);
        }
    }

    fn layer(&mut self, reach: Reach) -> &mut L {
        match reach {
            Reach::Cache => &mut self.cache,
            Reach::Media => &mut self.media,
        }
    }

    /// Older bytes in the cache must not hide what was written below it.
    fn uncover(&mut self, piece: Piece, reach: Reach) {
        if reach == Reach::Media {
            forget(&mut self.cache, piece);
        }
    }

    fn discard_parts(&mut self, sectors: Range<u64>) {
        for piece in pieces(sectors.start, sectors.end - sectors.start) {
            forget(&mut self.cache, piece);
            forget(&mut self.media, piece);
        }
    }
}

fn copy_ranges(mask: SectorMask, page: &PageBytes, mut copy: impl FnMut(Range<usize>, &[u8])) {
    // The ordinary case, which need not look at each sector.
    if mask == SectorMask::ALL {
        copy(0..PAGE_SIZE, page);
        return;
    }
    for range in mask.byte_ranges() {
        copy(range.clone(), &page[range]);
    }
}

fn forget<L: Layer>(layer: &mut L, piece: Piece) {
    if let Some(patch) = layer.get_mut(piece.page) {
        // A layer may count the pages of which it has something: none of them is emptied on the way.
        if piece.mask().covers(patch.held()) {
            layer.remove(piece.page..piece.page + 1);
        } else {
            patch.forget(piece.mask());
        }
    }
}
