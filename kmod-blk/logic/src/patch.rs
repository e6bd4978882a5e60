// SPDX-License-Identifier: GPL-2.0

//! What one layer of the store holds of one page.

use super::sectors::{
    SectorMask,
    PAGE_SIZE, //
};
use core::ops::{
    DerefMut,
    Range, //
};

/// The bytes of one page.
pub type PageBytes = [u8; PAGE_SIZE];

/// Zeros, as a page holds them that no frame is spent on.
pub static ZEROES: PageBytes = [0; PAGE_SIZE];

/// Whether an allocation may sleep until memory is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// It may sleep, but must not start I/O.
    MaySleep,
    /// It must not sleep: the bio is REQ_NOWAIT.
    NoWait,
}

/// Memory for the bytes of one page.
pub trait Frame: DerefMut<Target = PageBytes> + Sized {
    /// Why there is no memory.
    type Error;

    /// Allocates a frame full of zeros.
    fn zeroed(patience: Patience) -> Result<Self, Self::Error>;
}

/// The sectors that a layer holds of one page, and their bytes.
#[derive(Debug)]
pub struct Patch<F> {
    held: SectorMask,
    content: Content<F>,
}

/// The bytes of the sectors that are held; the others have none.
#[derive(Debug)]
enum Content<F> {
    /// Every held sector is zeros: no memory is spent on it.
    Zeroes,
    Data(F),
}

impl<F: Frame> Patch<F> {
    /// A patch whose sectors `held` are zeros.
    pub fn zeroes(held: SectorMask) -> Self {
        Self {
            held,
            content: Content::Zeroes,
        }
    }

    /// The same once more.
    pub fn try_clone(&self, patience: Patience) -> Result<Self, F::Error> {
        let content = match &self.content {
            Content::Zeroes => Content::Zeroes,
            Content::Data(frame) => {
                let mut copy = F::zeroed(patience)?;
                copy.copy_from_slice(&**frame);
                Content::Data(copy)
            }
        };
        Ok(Self {
            held: self.held,
            content,
        })
    }

    /// The sectors that are held.
    pub fn held(&self) -> SectorMask {
        self.held
    }

    /// The bytes of a page that holds these sectors. Meaningless outside of them.
    pub fn bytes(&self) -> &PageBytes {
        match &self.content {
            Content::Zeroes => &ZEROES,
            Content::Data(frame) => frame,
        }
    }

    /// Holds the sectors `mask` from now on, with the bytes that `fill` writes into the page.
    ///
    /// A page that is all zeros afterwards gives its memory back. Without memory nothing changes.
    pub fn write(
        &mut self,
        mask: SectorMask,
        patience: Patience,
        fill: impl FnOnce(&mut PageBytes),
    ) -> Result<(), F::Error> {
        if matches!(self.content, Content::Zeroes) {
            self.content = Content::Data(F::zeroed(patience)?);
        }
        self.fill(fill);
        self.held = self.held | mask;
        Ok(())
    }

    /// Holds the whole page from now on, with the bytes that `fill` writes, as [`Self::write`] does,
    /// if that takes no memory; else does nothing and returns false.
    pub fn rewrite(&mut self, fill: impl FnOnce(&mut PageBytes)) -> bool {
        let is_filled = self.fill(fill);
        if is_filled {
            self.held = SectorMask::ALL;
        }
        is_filled
    }

    /// Lets `fill` write into the memory of the page; false if it has none.
    fn fill(&mut self, fill: impl FnOnce(&mut PageBytes)) -> bool {
        let Content::Data(frame) = &mut self.content else {
            return false;
        };
        fill(frame);
        // Of most pages the first byte tells already.
        if frame[0] == 0 && **frame == ZEROES {
            self.content = Content::Zeroes;
        }
        true
    }

    /// Holds the sectors `mask` from now on, as zeros.
    pub fn zero(&mut self, mask: SectorMask) {
        self.cover(Self::zeroes(mask));
    }

    /// Forgets the sectors `mask`.
    pub fn forget(&mut self, mask: SectorMask) {
        self.held = self.held & !mask;
    }

    /// Lays a newer patch of the same page over this one. Needs no memory, so it cannot fail.
    pub fn cover(&mut self, newer: Self) {
        let older = self.held;
        if newer.held.covers(older) {
            self.content = newer.content;
        } else {
            match (&mut self.content, newer.content) {
                (Content::Data(below), Content::Data(above)) => {
                    for range in newer.held.byte_ranges() {
                        below[range.clone()].copy_from_slice(&above[range]);
                    }
                }
                (Content::Data(below), Content::Zeroes) => {
                    zero_ranges(below, newer.held.byte_ranges());
                }
                (Content::Zeroes, Content::Data(mut above)) => {
                    zero_ranges(&mut above, (older & !newer.held).byte_ranges());
                    self.content = Content::Data(above);
                }
                (Content::Zeroes, Content::Zeroes) => {}
            }
        }
        self.held = older | newer.held;
    }
}

fn zero_ranges(page: &mut PageBytes, ranges: impl Iterator<Item = Range<usize>>) {
    for range in ranges {
        page[range].fill(0);
    }
}
