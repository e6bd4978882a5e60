// SPDX-License-Identifier: GPL-2.0

//! Sectors of 512 bytes, and the pages of 4 KiB that they lie in.

use core::ops::{
    BitAnd,
    BitOr,
    Not,
    Range, //
};

/// Bytes of a sector: the unit in which the block layer counts, and the device's logical block.
pub const SECTOR_SIZE: usize = 512;

/// Bytes of a page of the store.
pub const PAGE_SIZE: usize = 4096;

/// Sectors of a page.
pub const PAGE_SECTORS: usize = PAGE_SIZE / SECTOR_SIZE;

/// A set of the sectors of one page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SectorMask(u8);

impl SectorMask {
    /// No sector.
    pub const NONE: Self = Self(0);

    /// Every sector of the page.
    pub const ALL: Self = Self(u8::MAX);

    /// Whether the set has no sector.
    pub fn is_empty(self) -> bool {
        self == Self::NONE
    }

    /// Whether every sector of `other` is in this set.
    pub fn covers(self, other: Self) -> bool {
        other & !self == Self::NONE
    }

    /// The sectors as ranges of bytes within the page, adjacent sectors in one range, in order.
    pub fn byte_ranges(self) -> impl Iterator<Item = Range<usize>> {
        let mut from = 0;
        core::iter::from_fn(move || {
            let first = (from..PAGE_SECTORS).find(|sector| self.has(*sector))?;
            let end = (first..PAGE_SECTORS)
                .find(|sector| !self.has(*sector))
                .unwrap_or(PAGE_SECTORS);
            from = end;
            Some(first * SECTOR_SIZE..end * SECTOR_SIZE)
        })
    }

    fn has(self, sector: usize) -> bool {
        self.0 & (1 << sector) != 0
    }
}

impl BitAnd for SectorMask {
    type Output = Self;

    fn bitand(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

impl BitOr for SectorMask {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl Not for SectorMask {
    type Output = Self;

    fn not(self) -> Self {
        Self(!self.0)
    }
}

/// The part of a range of sectors that lies in one page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Index of the page on the device.
    pub page: u64,
    /// First sector within the page, less than [`PAGE_SECTORS`].
    pub first: usize,
    /// Number of sectors, not zero; the last of them lies in the same page.
    pub count: usize,
}

impl Piece {
    /// The sectors of the piece as a set.
    pub fn mask(&self) -> SectorMask {
        let upto = |sector: usize| (1_u16 << sector) - 1;
        let bits = upto(self.first + self.count) & !upto(self.first);
        // `first + count` is at most eight, so the high byte is empty.
        SectorMask(bits.to_le_bytes()[0])
    }

    /// Where the piece lies in its page, in bytes.
    pub fn bytes(&self) -> Range<usize> {
        self.first * SECTOR_SIZE..(self.first + self.count) * SECTOR_SIZE
    }
}

/// Splits `count` sectors from `sector` on into the pages that they lie in, in order.
pub fn pieces(sector: u64, count: u64) -> impl Iterator<Item = Piece> {
    const PAGE: u64 = PAGE_SECTORS as u64;
    let end = sector + count;
    let mut at = sector;
    core::iter::from_fn(move || {
        if at == end {
            return None;
        }
        let page = at / PAGE;
        let first = (at % PAGE) as usize;
        let rest_of_page = PAGE_SECTORS - first;
        let count = usize::try_from(end - at).map_or(rest_of_page, |left| left.min(rest_of_page));
        at += count as u64;
        Some(Piece { page, first, count })
    })
}
