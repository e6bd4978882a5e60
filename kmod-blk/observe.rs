// SPDX-License-Identifier: GPL-2.0

//! What is seen of a bio before it is served: its class, and which of its pages may be pinned.

use crate::{
    logic::classify::{
        classify,
        Class,
        Direction,
        Facts,
        Owner, //
    },
    logic::select::{
        Kind,
        Target, //
    },
    sys::{
        bio::{
            Bio,
            Operation, //
        },
        folio::Folio, //
    }, //
};

/// What is seen of a bio.
pub(crate) struct Observation {
    /// What it asks for.
    pub(crate) operation: Operation,
    /// REQ_PREFLUSH.
    pub(crate) preflush: bool,
    /// REQ_FUA.
    pub(crate) fua: bool,
    /// What it carries, if it is a read or a write with data.
    pub(crate) data: Option<Data>,
}

/// The data of a bio.
pub(crate) struct Data {
    /// From the disk or to it.
    pub(crate) direction: Direction,
    /// The kind of I/O.
    pub(crate) class: Class,
    /// Pages, each segment counted by itself.
    pub(crate) pages: u64,
    /// Bytes.
    pub(crate) bytes: u64,
    /// Of the pages, those that may be pinned.
    pub(crate) pinned_pages: u64,
}

/// What gates and faults ask of a bio; none for one that the disk does not serve.
pub(crate) fn target(bio: &Bio) -> Option<Target> {
    let kind = match bio.operation() {
        Operation::Read => Kind::Read,
        Operation::Write if bio.size() == 0 => Kind::Flush,
        Operation::Write => Kind::Write,
        Operation::Discard => Kind::Discard,
        Operation::WriteZeroes => Kind::WriteZeroes,
        Operation::Unknown => return None,
    };
    Some(Target {
        kind,
        class: Data::of(bio).map(|data| data.class),
        sectors: bio.sectors(),
    })
}

impl Observation {
    /// Looks at a bio.
    pub(crate) fn of(bio: &Bio) -> Self {
        Self {
            operation: bio.operation(),
            preflush: bio.is_preflush(),
            fua: bio.is_fua(),
            data: Data::of(bio),
        }
    }
}

impl Data {
    fn of(bio: &Bio) -> Option<Self> {
        let direction = match bio.operation() {
            Operation::Read => Direction::Read,
            Operation::Write => Direction::Write,
            _ => return None,
        };
        let first = bio.segments().next()?;
        let user_pinned = bio.is_page_pinned();
        let class = classify(&Facts {
            direction,
            user_pinned,
            metadata: bio.is_metadata(),
            idle: bio.is_idle(),
            first_page: if user_pinned {
                // It does not matter then, and to look costs time.
                Owner::Other
            } else {
                first.page().folio().map_or(Owner::Other, Folio::owner)
            },
        });
        let mut data = Self {
            direction,
            class,
            pages: 0,
            bytes: u64::from(bio.size()),
            pinned_pages: 0,
        };
        for segment in bio.segments() {
            data.pages += 1;
            data.pinned_pages += u64::from(segment.page().maybe_dma_pinned());
        }
        Some(data)
    }
}
