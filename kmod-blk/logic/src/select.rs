// SPDX-License-Identifier: GPL-2.0

//! Which bios are meant, by what they ask for, the kind of I/O, and where they go.

use super::classify::Class;
use core::ops::Range;

/// What a bio asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Data from the disk.
    Read,
    /// Data to the disk.
    Write,
    /// Only a flush of the cache: no data, no sectors.
    Flush,
    /// A discard.
    Discard,
    /// Zeros to the disk, without their bytes.
    WriteZeroes,
}

/// A set of kinds, and one of classes: the bit of each is its position in its type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selection {
    /// What the bio asks for.
    pub kinds: u32,
    /// Of bios with data: the kind of I/O.
    pub classes: u32,
    /// One of these sectors is touched. A flush has none, and is selected by its kind alone.
    pub sectors: Range<u64>,
}

/// What is asked of a bio.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// What it asks for.
    pub kind: Kind,
    /// The kind of I/O, if it has data.
    pub class: Option<Class>,
    /// Where it goes; empty for a flush.
    pub sectors: Range<u64>,
}

impl Selection {
    /// Whether the bio is meant.
    pub fn takes(&self, bio: &Target) -> bool {
        let kind = self.kinds & (1 << bio.kind as u32) != 0;
        let class = bio
            .class
            .is_none_or(|class| self.classes & (1 << class as u32) != 0);
        kind && class && (bio.kind == Kind::Flush || self.touches(&bio.sectors))
    }

    fn touches(&self, sectors: &Range<u64>) -> bool {
        sectors.start < self.sectors.end && self.sectors.start < sectors.end
    }
}
