// SPDX-License-Identifier: GPL-2.0

//! What becomes of those pages of a write that are not just written as they are. A plan stays with its
//! bio until that ends.

use crate::{
    logic::{
        patch::{
            Frame as _,
            Patience, //
        },
        writeback::Treatment, //
    },
    sys::{
        bio::{
            Bio,
            Segment, //
        },
        folio::Folio,
        memory::Frame, //
    }, //
};
use kernel::{
    prelude::*,
    time::{
        Delta,
        Instant,
        Monotonic, //
    }, //
};

/// What becomes of some pages of a bio.
pub(crate) struct Plan {
    /// In the order of the bio's segments.
    pages: KVec<Planned>,
    /// When whatever the bio waits for has taken too long.
    deadline: Option<Instant<Monotonic>>,
}

/// What becomes of one page: of a segment of the bio.
pub(crate) struct Planned {
    /// The position of the segment.
    segment: usize,
    treatment: Treatment,
    /// What the segment held, from the first byte on; none for a page of which nothing is written.
    copy: Option<Frame>,
}

impl Plan {
    /// What `treat` has for the segments of a bio, by their position. What is stashed or bounced is
    /// copied now. A page for which there is no memory is left out: it is written as it is.
    pub(crate) fn of<'a>(
        bio: &'a Bio,
        mut treat: impl FnMut(usize, &Segment<'a>) -> Treatment,
    ) -> Self {
        let mut plan = Self {
            pages: KVec::new(),
            deadline: None,
        };
        for (position, segment) in bio.segments().enumerate() {
            let treatment = treat(position, &segment);
            if treatment != Treatment::Write {
                let _ = plan.add(position, &segment, treatment);
            }
        }
        plan
    }

    fn add(&mut self, position: usize, segment: &Segment<'_>, treatment: Treatment) -> Result {
        let planned = Planned {
            segment: position,
            treatment,
            copy: match treatment {
                Treatment::Stash | Treatment::Bounce => Some(copy_of(segment)?),
                Treatment::Write | Treatment::Defer | Treatment::Drop => None,
            },
        };
        // Without waiting: memory may be full because of what is to be written here.
        Ok(self.pages.push(planned, GFP_NOWAIT)?)
    }

    /// The plan for the segment of that position.
    pub(crate) fn of_segment(&self, position: usize) -> Option<&Planned> {
        let found = self
            .pages
            .binary_search_by_key(&position, |planned| planned.segment);
        found.ok().map(|index| &self.pages[index])
    }

    /// How many pages are treated so.
    pub(crate) fn count(&self, treatment: Treatment) -> u64 {
        let is_it = |planned: &&Planned| planned.treatment == treatment;
        self.pages.iter().filter(is_it).count() as u64
    }

    /// How many pages there are.
    pub(crate) fn len(&self) -> u64 {
        self.pages.len() as u64
    }

    /// Whatever the bio waits for from now on has that many milliseconds.
    pub(crate) fn set_deadline(&mut self, milliseconds: u32) {
        self.deadline = Some(Instant::now() + Delta::from_millis(milliseconds.into()));
    }

    /// Whether the deadline has passed.
    pub(crate) fn is_overdue(&self) -> bool {
        self.deadline
            .is_some_and(|deadline| (deadline - Instant::now()).is_negative())
    }

    /// Whether one of the pages may still be pinned.
    pub(crate) fn is_any_pinned(&self, bio: &Bio) -> bool {
        let is_pinned = |(position, segment): (usize, Segment<'_>)| {
            let folio = segment.page().folio();
            self.of_segment(position).is_some() && folio.is_some_and(Folio::maybe_dma_pinned)
        };
        bio.segments().enumerate().any(is_pinned)
    }

    /// Dirties again, before the bio ends, the folios of the pages that are to be so. False if one of
    /// them is locked: then this is to be called again.
    ///
    /// Until the bio ends the folios are under writeback, so that they stay in the file. A lock is not
    /// waited for: whoever has it may itself wait for the end of the writeback.
    pub(crate) fn redirty(&self, bio: &Bio) -> bool {
        let is_dirty_again =
            |planned: &&Planned| matches!(planned.treatment, Treatment::Stash | Treatment::Drop);
        let mut wanted = self.pages.iter().filter(is_dirty_again).peekable();
        let mut last = None;
        for (position, segment) in bio.segments().enumerate() {
            if wanted
                .next_if(|planned| planned.segment == position)
                .is_none()
            {
                continue;
            }
            let folio = segment.page().folio();
            if folio.is_some() && folio == last {
                continue;
            }
            if folio.is_some_and(|folio| !folio.try_dirty()) {
                return false;
            }
            last = folio;
        }
        true
    }
}

impl Planned {
    /// Whether anything is written.
    pub(crate) fn is_written(&self) -> bool {
        self.copy.is_some()
    }

    /// Copies what is written, from that byte of the segment on.
    pub(crate) fn copy_out(&self, start: usize, to: &mut [u8]) {
        if let Some(copy) = &self.copy {
            to.copy_from_slice(&copy[start..start + to.len()]);
        }
    }
}

fn copy_of(segment: &Segment<'_>) -> Result<Frame> {
    let mut copy = Frame::zeroed(Patience::MaySleep)?;
    segment.copy_out(0, &mut copy[..segment.len()]);
    Ok(copy)
}
