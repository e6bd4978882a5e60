// SPDX-License-Identifier: GPL-2.0

//! Bios that wait for a condition of their pages of which nobody tells the driver: a worker looks again
//! and again, until the deadline of the bio's plan, or until the power fails.

use crate::{
    logic::gates::Queue as _,
    media::Media,
    sys::{
        bio::Bio,
        bio_queue::BioQueue,
        delayed::{
            Delayed,
            Task, //
        },
        workqueue::QueueHandle, //
    }, //
};
use core::mem::take;
use kernel::{
    new_spinlock,
    prelude::*,
    sync::{
        Arc,
        SpinLock, //
    }, //
};

/// How often the worker looks, in milliseconds.
const LOOK_EVERY_MS: u32 = 5;

/// What is waited for.
pub(crate) trait Condition: Send + Sync + 'static {
    /// Lets a bio go on for which the condition holds; else returns it.
    fn look(&self, bio: Bio) -> Option<Bio>;

    /// Lets a bio go on that waits no longer.
    fn give_up(&self, bio: Bio);

    /// The media that the bios are for, where it is counted who waits.
    fn media(&self) -> &Media;
}

/// The bios that wait, and the worker that looks after them.
pub(crate) struct Room<C: Condition> {
    worker: Delayed<Arc<Inside<C>>>,
    inside: Arc<Inside<C>>,
}

#[pin_data]
struct Inside<C> {
    condition: C,
    #[pin]
    waiting: SpinLock<Waiting>,
}

#[derive(Default)]
struct Waiting {
    bios: BioQueue,
    /// The worker was asked to come, and has not gone again.
    asked: bool,
    /// No bio waits any more.
    ended: bool,
}

impl<C: Condition> Room<C> {
    /// A room without bios. The queue must get on when memory is full: reclaim may wait for them.
    pub(crate) fn new(condition: C, queue: QueueHandle) -> Result<Self> {
        let inside = Arc::pin_init(
            pin_init!(Inside {
                condition,
                waiting <- new_spinlock!(Waiting::default()),
            }),
            GFP_KERNEL,
        )?;
        Ok(Self {
            worker: Delayed::new(queue, LOOK_EVERY_MS, inside.clone())?,
            inside,
        })
    }

    /// What is waited for.
    pub(crate) fn condition(&self) -> &C {
        &self.inside.condition
    }

    /// Has the bio wait, and counts it as in flight. It fails if the power is cut, after which nobody
    /// looks for bios here.
    pub(crate) fn take(&self, bio: Bio) {
        let mut waiting = self.inside.waiting.lock();
        if self.inside.condition.media().is_dead() {
            drop(waiting);
            return self.inside.condition.media().complete(bio, Err(EIO));
        }
        if waiting.ended {
            drop(waiting);
            return self.inside.condition.give_up(bio);
        }
        self.inside.condition.media().flights.begin();
        waiting.bios.push(bio);
        if !waiting.asked {
            waiting.asked = true;
            self.worker.ask();
        }
    }

    /// All that wait, for somebody else to let them go on; the worker may have some at this moment.
    pub(crate) fn take_all(&self) -> BioQueue {
        take(&mut self.inside.waiting.lock().bios)
    }

    /// From now on no bio waits; those that do go on, also with those that the worker has.
    pub(crate) fn end(&self) {
        self.inside.waiting.lock().ended = true;
        self.inside.give_up_all(self.take_all());
    }
}

impl<C: Condition> Inside<C> {
    fn give_up_all(&self, mut bios: BioQueue) {
        while let Some(bio) = bios.pop() {
            self.condition.give_up(bio);
            self.condition.media().flights.end();
        }
    }

    /// Lets a bio go on that need not wait any longer; else returns it.
    fn go_on(&self, bio: Bio) -> Option<Bio> {
        let media = self.condition.media();
        if media.is_dead() {
            media.complete(bio, Err(EIO));
            return None;
        }
        let bio = self.condition.look(bio)?;
        if bio.plan().is_some_and(|plan| !plan.is_overdue()) {
            return Some(bio);
        }
        self.condition.give_up(bio);
        None
    }
}

impl<C: Condition> Task for Arc<Inside<C>> {
    fn run(&self) -> bool {
        let mut bios = take(&mut self.waiting.lock().bios);
        let mut waiting_on = BioQueue::default();
        while let Some(bio) = bios.pop() {
            match self.go_on(bio) {
                Some(bio) => waiting_on.push(bio),
                None => self.condition.media().flights.end(),
            }
        }
        let mut waiting = self.waiting.lock();
        if waiting.ended {
            drop(waiting);
            self.give_up_all(waiting_on);
            return false;
        }
        waiting_on.append(&mut waiting.bios);
        waiting.bios = waiting_on;
        waiting.asked = !waiting.bios.is_empty();
        waiting.asked
    }
}
