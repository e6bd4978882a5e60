// SPDX-License-Identifier: GPL-2.0

//! The way of a bio from the decision about its pages on: a gate may hold it, and its data is copied,
//! at once or late.

use crate::{
    ending::Ending,
    gate::Gates,
    late::Late,
    logic::{
        gates::Stage,
        patch::Patience, //
    },
    media::Media,
    observe::target,
    sys::bio::Bio, //
};
use kernel::sync::Arc;

/// What is behind the decision.
pub(crate) struct Delivery {
    pub(crate) media: Arc<Media>,
    pub(crate) gates: Arc<Gates>,
    /// None if data is copied at once.
    pub(crate) late: Option<Late>,
    pub(crate) ending: Arc<Ending>,
}

impl Delivery {
    /// A bio about whose pages it is decided.
    #[inline]
    pub(crate) fn deliver(&self, bio: Bio, patience: Patience) {
        let passed = if self.gates.is_any_closed() {
            self.pass(Stage::Transfer, bio)
        } else {
            // The ordinary way: a gate that is closed from now on need not find this bio.
            Some(bio)
        };
        if let Some(bio) = passed {
            self.transfer(bio, patience);
        }
    }

    /// A bio that has passed all gates.
    #[inline]
    pub(crate) fn transfer(&self, bio: Bio, patience: Patience) {
        let now = match &self.late {
            Some(late) => late.take(bio),
            None => Some(bio),
        };
        if let Some(bio) = now {
            self.ending.finish(bio, patience);
        }
    }

    /// A bio comes to a stage; it is returned if no gate there takes it.
    #[cold]
    pub(crate) fn pass(&self, stage: Stage, bio: Bio) -> Option<Bio> {
        match target(&bio) {
            Some(target) => self.gates.arrive(stage, &target, bio, &self.media),
            None => Some(bio),
        }
    }
}
