// SPDX-License-Identifier: GPL-2.0

//! What becomes of the pages of a write that a device may still be writing to.

use crate::{
    abi::{
        DECISION_BOUNCED,
        DECISION_WRITTEN, //
    },
    budget::Budget,
    counters::Counters,
    logic::writeback::{
        treat,
        Policy,
        Treatment, //
    },
    plan::Plan,
    settings::{
        Rules,
        Settings, //
    },
    sys::{
        bio::{
            Bio,
            Segment, //
        },
        folio::Folio, //
    }, //
};
use kernel::{
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc, //
    }, //
};

/// Who decides on a disk. The rules can change at any time: they hold for the bios that come afterwards.
pub(crate) struct Judge {
    policy: Atomic<u32>,
    skip_budget: Atomic<u32>,
    defer_ms: Atomic<u32>,
    budget: Arc<Budget>,
    /// Without a cache nothing can be put there.
    has_cache: bool,
}

impl Judge {
    /// Who decides by the rules of a disk.
    pub(crate) fn new(settings: &Settings) -> Result<Self> {
        let rules = &settings.rules;
        Ok(Self {
            policy: Atomic::new(rules.policy as u32),
            skip_budget: Atomic::new(rules.skip_budget),
            defer_ms: Atomic::new(rules.defer_ms),
            budget: Arc::pin_init(Budget::new(), GFP_KERNEL)?,
            has_cache: settings.write_cache,
        })
    }

    /// From now on by other rules.
    pub(crate) fn follow(&self, rules: &Rules) {
        self.policy.store(rules.policy as u32, Relaxed);
        self.skip_budget.store(rules.skip_budget, Relaxed);
        self.defer_ms.store(rules.defer_ms, Relaxed);
        self.budget.restore_all();
    }

    /// Decides what becomes of the pages of a bio, attaches that to it if there is anything but writing
    /// them as they are, and counts those pages of which it is known then what becomes of them.
    ///
    /// Returns whether the bio is to wait.
    #[inline(always)]
    pub(crate) fn decide(&self, bio: &mut Bio, counters: &Counters) -> bool {
        if !bio.marks().allow_writeback() {
            return false;
        }
        let candidates = bio.segments().filter(is_candidate).count() as u64;
        (candidates > 0 || self.budget.is_used()) && self.judge(bio, candidates, counters)
    }

    #[cold]
    fn judge(&self, bio: &mut Bio, candidates: u64, counters: &Counters) -> bool {
        let integrity = bio.is_sync();
        let mut plan = self.plan(bio);
        plan.set_deadline(self.defer_ms.load(Relaxed));
        let (planned, bounced) = (plan.len(), plan.count(Treatment::Bounce));
        let waits = plan.count(Treatment::Defer) > 0;
        if planned > 0 && bio.attach(plan).is_ok() {
            counters.add_decision(integrity, DECISION_BOUNCED, bounced);
            // A page that was pinned after the candidates were counted may have been planned for.
            let written = candidates.saturating_sub(planned);
            counters.add_decision(integrity, DECISION_WRITTEN, written);
            waits
        } else {
            // Also without memory for the plan.
            counters.add_decision(integrity, DECISION_WRITTEN, candidates);
            false
        }
    }

    /// What the policy has for the pages of a bio: for all those of a folio the same.
    fn plan(&self, bio: &Bio) -> Plan {
        let policy = Policy::ALL[self.policy.load(Relaxed) as usize];
        let integrity = bio.is_sync();
        let mut last = None;
        Plan::of(bio, |_, segment| {
            let folio = segment.page().folio();
            let treatment = match last {
                Some((of, treatment)) if folio == Some(of) => treatment,
                _ if is_candidate(segment) => treat(policy, integrity, || self.may_stash(segment)),
                _ => Treatment::Write,
            };
            // Of every page: a bio that began elsewhere in the folio was charged for another one.
            if treatment != Treatment::Stash {
                if let Some(place) = segment.place() {
                    self.budget.restore(place);
                }
            }
            last = folio.map(|folio| (folio, treatment));
            treatment
        })
    }

    fn may_stash(&self, segment: &Segment<'_>) -> bool {
        let most = self.skip_budget.load(Relaxed);
        let charge = |place| self.budget.charge(place, most);
        self.has_cache && segment.place().is_some_and(charge)
    }
}

/// Whether a page of writeback may be pinned.
fn is_candidate(segment: &Segment<'_>) -> bool {
    let may_be_pinned = |folio: Folio<'_>| folio.maybe_dma_pinned() && folio.is_file_writeback();
    segment.page().folio().is_some_and(may_be_pinned)
}
