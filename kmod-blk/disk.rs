// SPDX-License-Identifier: GPL-2.0

//! The way of a bio through a disk: it arrives, may be held by a gate, its pages are decided about,
//! it may be held again, and its data is copied, at once or late.

use crate::{
    abi::Statistics,
    gate::Gates,
    late::Late,
    logic::{
        gates::{
            Queue as _,
            Stage, //
        },
        patch::Patience, //
    },
    media::Media,
    observe::{
        target,
        Observation, //
    },
    policy,
    settings::Settings,
    sys::{
        bio::Bio,
        bio_queue::BioQueue,
        gendisk::BioDevice,
        worker::let_others_run,
        workqueue::QueueHandle, //
    }, //
};
use kernel::{
    prelude::*,
    sync::Arc, //
};

/// A RAM disk.
#[pin_data]
pub(crate) struct Disk {
    /// What is behind the gates.
    pub(crate) media: Arc<Media>,
    /// Where bios are held.
    #[pin]
    pub(crate) gates: Gates,
    /// None if data is copied at once.
    late: Option<Late>,
}

impl Disk {
    /// A disk on which nothing was ever written. Late transfers are done on `queue`.
    pub(crate) fn new(settings: &Settings, queue: QueueHandle) -> impl PinInit<Self, Error> + '_ {
        try_pin_init!(Self {
            media: Arc::pin_init(Media::new(settings), GFP_KERNEL)?,
            gates <- Gates::new(),
            late: match settings.late_ms {
                0 => None,
                milliseconds => Some(Late::new(media, queue, milliseconds)?),
            },
        })
    }

    /// Everything counted up to now.
    pub(crate) fn statistics(&self) -> Statistics {
        let (cached_pages, media_pages) = self.media.pages();
        Statistics {
            cached_pages,
            media_pages,
            in_flight: self.media.flights.count(),
            ..self.media.counters.snapshot()
        }
    }

    /// Lets bios go that a gate held. With an error they are completed, else they go on.
    pub(crate) fn go_on(&self, stage: Stage, mut bios: BioQueue, result: Result) -> u64 {
        let mut count = 0;
        while let Some(bio) = bios.pop() {
            match (result, stage) {
                (Err(error), _) => self.media.complete(bio, Err(error)),
                // Whoever submitted it sleeps no more than it wants to, whatever is waited for here.
                (Ok(()), Stage::Arrival) => self.decide(bio, Patience::MaySleep),
                (Ok(()), Stage::Transfer) => self.transfer(bio, Patience::MaySleep),
            }
            self.media.flights.end();
            count += 1;
            let_others_run();
        }
        count
    }

    /// Opens a gate, if that was not done before.
    pub(crate) fn open_gate(&self, id: u64) {
        if let Some((stage, held)) = self.gates.open(id) {
            self.go_on(stage, held, Ok(()));
        }
    }

    /// Cuts the power. What is in flight fails, and so does all I/O until [`Media::revive`]; what was
    /// written and not flushed is lost.
    pub(crate) fn cut(&self) {
        self.media.cut();
        while let Some((stage, held)) = self.gates.take_any() {
            self.go_on(stage, held, Err(EIO));
        }
        if let Some(late) = &self.late {
            self.go_on(Stage::Transfer, late.take_all(), Err(EIO));
        }
    }

    #[cold]
    fn arrive(&self, bio: Bio, patience: Patience) {
        if let Some(bio) = self.pass(Stage::Arrival, bio) {
            self.decide(bio, patience);
        }
    }

    fn decide(&self, bio: Bio, patience: Patience) {
        self.decide_about(&bio);
        if let Some(bio) = self.pass(Stage::Transfer, bio) {
            self.transfer(bio, patience);
        }
    }

    #[inline]
    fn transfer(&self, bio: Bio, patience: Patience) {
        let now = match &self.late {
            Some(late) => late.take(bio),
            None => Some(bio),
        };
        if let Some(bio) = now {
            self.media.finish(bio, patience);
        }
    }

    /// A bio comes to a stage; it is returned if no gate there takes it.
    fn pass(&self, stage: Stage, bio: Bio) -> Option<Bio> {
        match target(&bio) {
            Some(target) => self.gates.arrive(stage, &target, bio, &self.media.flights),
            None => Some(bio),
        }
    }

    #[inline]
    fn decide_about(&self, bio: &Bio) {
        if let Some(decision) = policy::decide(bio) {
            self.media.counters.add_decision(&decision);
        }
    }
}

impl BioDevice for Disk {
    #[inline(always)]
    fn submit(&self, bio: Bio) {
        let seen = Observation::of(&bio);
        // Counted before it is completed: who waits for it finds it in the counters.
        self.media.counters.add(&seen);
        let patience = if bio.is_nowait() {
            Patience::NoWait
        } else {
            Patience::MaySleep
        };
        if self.media.is_dead() {
            self.media.complete(bio, Err(EIO));
        } else if self.gates.is_any_closed() {
            self.arrive(bio, patience);
        } else {
            // The ordinary way: a gate that is closed from now on need not find this bio.
            self.decide_about(&bio);
            self.transfer(bio, patience);
        }
    }

    fn retire(&self) {
        self.gates.end();
        while let Some((stage, held)) = self.gates.take_any() {
            self.go_on(stage, held, Ok(()));
        }
        if let Some(late) = &self.late {
            late.end();
            self.go_on(Stage::Transfer, late.take_all(), Ok(()));
        }
        self.media.flights.wait_for_none();
    }
}
