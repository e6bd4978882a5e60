// SPDX-License-Identifier: GPL-2.0

//! The end of a bio: it is served, and the folios that are to be dirty again are so before it ends.
//!
//! Before and not after: once it has ended a folio may leave its file, and an fsync that has waited for
//! the bio would miss it.

use crate::{
    abi::{
        DECISION_BOUNCED,
        DECISION_DROPPED,
        DECISION_STASHED, //
    },
    logic::{
        patch::Patience,
        writeback::Treatment, //
    },
    media::Media,
    sys::{
        bio::Bio,
        bio_queue::BioQueue,
        workqueue::QueueHandle, //
    },
    waiting::{
        Condition,
        Room, //
    }, //
};
use kernel::{
    prelude::*,
    sync::Arc, //
};

/// How long a bio waits for others to unlock its folios. Its submitter does so soon; who waits for the
/// end of this bio never does.
const PATIENCE_MS: u32 = 1000;

/// Where bios end.
pub(crate) struct Ending {
    media: Arc<Media>,
    /// Bios with a folio that somebody else has locked.
    locked: Room<Redirtied>,
}

/// Folios are dirty again.
struct Redirtied(Arc<Media>);

impl Ending {
    /// Bios for these media. Those that wait are looked after on `queue`.
    pub(crate) fn new(media: &Arc<Media>, queue: QueueHandle) -> Result<Self> {
        Ok(Self {
            media: media.clone(),
            locked: Room::new(Redirtied(media.clone()), queue)?,
        })
    }

    /// Serves a bio and ends it.
    #[inline]
    pub(crate) fn finish(&self, bio: Bio, patience: Patience) {
        let result = self.media.serve(&bio, patience);
        if result.is_ok() && bio.plan().is_some() {
            self.end_with_plan(bio);
        } else {
            self.media.complete(bio, result);
        }
    }

    /// All that wait, for somebody else to complete them; the worker may have some at this moment.
    pub(crate) fn take_all(&self) -> BioQueue {
        self.locked.take_all()
    }

    /// No bio waits any more, and none will.
    pub(crate) fn end(&self) {
        self.locked.end();
    }

    #[cold]
    fn end_with_plan(&self, mut bio: Bio) {
        if let Some(plan) = bio.plan_mut() {
            plan.set_deadline(PATIENCE_MS);
        }
        if let Some(bio) = self.locked.condition().look(bio) {
            self.locked.take(bio);
        }
    }
}

impl Redirtied {
    /// Ends a bio that was served. `stashed`: what became of the pages of which a copy is in the cache.
    fn complete(&self, bio: Bio, stashed: usize) {
        if let Some(plan) = bio.plan() {
            let counters = &self.0.counters;
            for (treatment, decision) in [
                (Treatment::Stash, stashed),
                (Treatment::Drop, DECISION_DROPPED),
            ] {
                counters.add_decision(bio.is_sync(), decision, plan.count(treatment));
            }
        }
        self.0.complete(bio, Ok(()));
    }
}

impl Condition for Redirtied {
    fn look(&self, bio: Bio) -> Option<Bio> {
        if bio.plan().is_none_or(|plan| plan.redirty(&bio)) {
            self.complete(bio, DECISION_STASHED);
            None
        } else {
            Some(bio)
        }
    }

    /// What was stashed is as good as bounced: it is in the cache, and the page stays clean.
    fn give_up(&self, bio: Bio) {
        self.complete(bio, DECISION_BOUNCED);
    }

    fn media(&self) -> &Media {
        &self.0
    }
}
