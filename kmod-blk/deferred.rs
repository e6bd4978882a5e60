// SPDX-License-Identifier: GPL-2.0

//! Bios that wait until none of their pages is pinned any more.

use crate::{
    abi::{
        DECISION_DEFERRED,
        DECISION_EXPIRED,
        DECISION_WRITTEN, //
    },
    delivery::Delivery,
    logic::{
        patch::Patience,
        writeback::Treatment, //
    },
    media::Media,
    plan::Plan,
    sys::bio::Bio,
    waiting::Condition, //
};
use kernel::sync::Arc;

/// No page that was planned for is pinned any more. Then the bio is delivered.
pub(crate) struct Unpinned(pub(crate) Arc<Delivery>);

impl Condition for Unpinned {
    fn look(&self, mut bio: Bio) -> Option<Bio> {
        if bio.plan().is_some_and(|plan| plan.is_any_pinned(&bio)) {
            return Some(bio);
        }
        if let Some(plan) = bio.detach() {
            let counters = &self.0.media.counters;
            counters.add_decision(bio.is_sync(), DECISION_DEFERRED, plan.len());
        }
        self.0.deliver(bio, Patience::MaySleep);
        None
    }

    /// What the pages hold now is written, whatever happens to them from now on.
    fn give_up(&self, mut bio: Bio) {
        if let Some(deferred) = bio.detach() {
            let copied = Plan::of(&bio, |position, _| match deferred.of_segment(position) {
                Some(_) => Treatment::Bounce,
                None => Treatment::Write,
            });
            let expired = copied.len();
            // Without memory the pages are written as they are when their data is copied.
            let expired = bio.attach(copied).map_or(0, |()| expired);
            let counters = &self.0.media.counters;
            counters.add_decision(bio.is_sync(), DECISION_EXPIRED, expired);
            let written = deferred.len() - expired;
            counters.add_decision(bio.is_sync(), DECISION_WRITTEN, written);
        }
        self.0.deliver(bio, Patience::MaySleep);
    }

    fn media(&self) -> &Media {
        &self.0.media
    }
}
