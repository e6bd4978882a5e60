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
    /// What it is counted as.
    pub(crate) sort: Sort,
    /// REQ_PREFLUSH.
    pub(crate) preflush: bool,
    /// REQ_FUA.
    pub(crate) fua: bool,
    /// Pages of its data, each segment counted by itself.
    pub(crate) pages: u64,
    /// Its size in bytes.
    pub(crate) bytes: u64,
    /// Of the pages, those that may be pinned.
    pub(crate) pinned_pages: u64,
}

/// What a bio is counted as.
#[derive(Clone, Copy)]
pub(crate) enum Sort {
    /// A read or a write with data.
    Traffic(Direction, Class),
    Discard,
    WriteZeroes,
    /// All else: it carries nothing, as a flush.
    Bare,
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
        class: match Sort::of(bio) {
            Sort::Traffic(_, class) => Some(class),
            _ => None,
        },
        sectors: bio.sectors(),
    })
}

impl Observation {
    /// Looks at a bio.
    #[inline(always)]
    pub(crate) fn of(bio: &Bio) -> Self {
        let (pages, pinned_pages) = bio.count_pages();
        Self {
            sort: Sort::of(bio),
            preflush: bio.is_preflush(),
            fua: bio.is_fua(),
            pages,
            bytes: u64::from(bio.size()),
            pinned_pages,
        }
    }
}

impl Sort {
    #[inline(always)]
    fn of(bio: &Bio) -> Self {
        let direction = match bio.operation() {
            Operation::Discard => return Self::Discard,
            Operation::WriteZeroes => return Self::WriteZeroes,
            Operation::Read if bio.size() > 0 => Direction::Read,
            Operation::Write if bio.size() > 0 => Direction::Write,
            _ => return Self::Bare,
        };
        let user_pinned = bio.is_page_pinned();
        let class = classify(&Facts {
            direction,
            user_pinned,
            metadata: bio.is_metadata(),
            idle: bio.is_idle(),
            // Of a user's pages it does not matter, and to look costs time.
            first_page: if user_pinned {
                Owner::Other
            } else {
                owner_of_first_page(bio)
            },
        });
        Self::Traffic(direction, class)
    }
}

#[cold]
fn owner_of_first_page(bio: &Bio) -> Owner {
    let first = bio.segments().next();
    let folio = first.and_then(|segment| segment.page().folio());
    folio.map_or(Owner::Other, Folio::owner)
}
