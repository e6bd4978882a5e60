// SPDX-License-Identifier: GPL-2.0

//! The way of a bio through a disk: it arrives, may be held by a gate, its pages are decided about,
//! and it is delivered.

use crate::{
    abi::Statistics,
    deferred::Unpinned,
    delivery::Delivery,
    ending::Ending,
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
    observe::Observation,
    policy::Judge,
    settings::Settings,
    sys::{
        bio::Bio,
        bio_queue::BioQueue,
        gendisk::BioDevice,
        worker::let_others_run,
        workqueue::QueueHandle, //
    },
    waiting::Room, //
};
use kernel::{
    prelude::*,
    sync::Arc, //
};

/// A RAM disk.
pub(crate) struct Disk {
    /// What is behind the gates.
    pub(crate) media: Arc<Media>,
    /// Where bios are held.
    pub(crate) gates: Arc<Gates>,
    /// Who decides about pages that may be pinned.
    pub(crate) judge: Judge,
    /// Bios that wait for their pages not to be pinned any more.
    deferred: Room<Unpinned>,
    delivery: Arc<Delivery>,
}

impl Disk {
    /// A disk on which nothing was ever written. What is late or has to wait is done on `queue`.
    pub(crate) fn new(settings: &Settings, queue: QueueHandle) -> Result<Self> {
        let media = Arc::pin_init(Media::new(settings), GFP_KERNEL)?;
        let gates = Arc::pin_init(Gates::new(), GFP_KERNEL)?;
        let ending = Arc::new(Ending::new(&media, queue)?, GFP_KERNEL)?;
        let late = match settings.late_ms {
            0 => None,
            milliseconds => Some(Late::new(&media, &ending, queue, milliseconds)?),
        };
        let delivery = Arc::new(
            Delivery {
                media: media.clone(),
                gates: gates.clone(),
                late,
                ending,
            },
            GFP_KERNEL,
        )?;
        Ok(Self {
            media,
            gates,
            judge: Judge::new(settings)?,
            deferred: Room::new(Unpinned(delivery.clone()), queue)?,
            delivery,
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
                (Ok(()), Stage::Transfer) => self.delivery.transfer(bio, Patience::MaySleep),
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

    /// Cuts the power. What is in flight fails, and so does all I/O until [`Self::revive`]; what was
    /// written and not flushed is lost.
    pub(crate) fn cut(&self) {
        let _alone = self.media.power.lock();
        self.media.cut();
        while let Some((stage, held)) = self.gates.take_any() {
            self.go_on(stage, held, Err(EIO));
        }
        self.go_on(Stage::Arrival, self.deferred.take_all(), Err(EIO));
        if let Some(late) = &self.delivery.late {
            self.go_on(Stage::Transfer, late.take_all(), Err(EIO));
        }
        let ending = self.delivery.ending.take_all();
        self.go_on(Stage::Transfer, ending, Err(EIO));
    }

    /// The power comes back, once all that was in flight when it was cut has failed: some of that may be
    /// in the hands of a worker. Nothing waits any more while the power is cut.
    pub(crate) fn revive(&self) {
        let _alone = self.media.power.lock();
        if self.media.is_dead() {
            self.media.flights.wait_for_none();
            self.media.revive();
        }
    }

    #[cold]
    fn arrive(&self, bio: Bio, patience: Patience) {
        if let Some(bio) = self.delivery.pass(Stage::Arrival, bio) {
            self.decide(bio, patience);
        }
    }

    #[inline]
    fn decide(&self, mut bio: Bio, patience: Patience) {
        if self.judge.decide(&mut bio, &self.media.counters) {
            self.deferred.take(bio);
        } else {
            self.delivery.deliver(bio, patience);
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
            self.decide(bio, patience);
        }
    }

    fn retire(&self) {
        self.gates.end();
        while let Some((stage, held)) = self.gates.take_any() {
            self.go_on(stage, held, Ok(()));
        }
        self.deferred.end();
        if let Some(late) = &self.delivery.late {
            late.end();
            self.go_on(Stage::Transfer, late.take_all(), Ok(()));
        }
        self.delivery.ending.end();
        self.media.flights.wait_for_none();
    }
}
