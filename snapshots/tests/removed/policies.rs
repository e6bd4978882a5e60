// SPDX-License-Identifier: MIT OR Apache-2.0

//! What a policy may not leave out: each of these loses data, or has somebody wait for ever.

use crate::Removal;

/// What each page of a plan has copied, by its treatment.
const COPIES: &str = "Treatment::Stash | Treatment::Bounce => Some(copy_of(segment)?),\n                Treatment::Write | Treatment::Defer | Treatment::Drop => None,";

pub(crate) const POLICIES: &[Removal] = &[
    Removal {
        name: "stash_lost",
        file: "plan.rs",
        item: "impl Plan {",
        code: COPIES,
        instead: "Treatment::Bounce => Some(copy_of(segment)?),\n                _ => None,",
        cell: "fsync_races_cleaning::ext4::pin::skip",
        noticed: "what fsync promised is there after a power cut",
    },
    Removal {
        name: "bounce_late",
        file: "plan.rs",
        item: "impl Plan {",
        code: "if treatment != Treatment::Write {",
        instead: "if treatment != Treatment::Write && treatment != Treatment::Bounce {",
        cell: "dma_during_cleaning::ext4::pin::bounce",
        noticed: "the media hold what the page held when it came",
    },
    Removal {
        name: "defer_deadline",
        file: "plan.rs",
        item: "impl Plan {",
        code: ".is_some_and(|deadline| (deadline - Instant::now()).is_negative())",
        instead: ".is_none()",
        cell: "defer_self_fsync::ext4::pin::defer",
        noticed: "fsync returns, though the page is still held",
    },
    Removal {
        name: "redirty_forgotten",
        file: "plan.rs",
        item: "impl Plan {",
        code: "if folio.is_some_and(|folio| !folio.try_dirty()) {",
        instead: "if false {",
        cell: "dma_after_cleaning::xfs::pin::skip",
        noticed: "what the device wrote last is saved",
    },
];
