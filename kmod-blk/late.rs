// SPDX-License-Identifier: GPL-2.0

//! Late transfer: a worker copies the data of a bio a while after it came, as a device does whose DMA
//! has yet to begin. What happens to the pages in between is seen.

use crate::{
    ending::Ending,
    logic::{
        gates::Queue as _,
        patch::Patience, //
    },
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

/// The bios that wait for the worker, and the worker.
pub(crate) struct Late {
    worker: Delayed<Arc<Transfer>>,
    transfer: Arc<Transfer>,
}

/// What the worker does.
#[pin_data]
struct Transfer {
    media: Arc<Media>,
    ending: Arc<Ending>,
    #[pin]
    waiting: SpinLock<Waiting>,
}

#[derive(Default)]
struct Waiting {
    /// Those that the worker finds when it comes next.
    due: BioQueue,
    /// Those that came after it was asked to come: they wait for its next time, so that none waits
    /// less than the while. None waits more than twice as long.
    young: BioQueue,
    /// The worker was asked to come, and has not been there.
    asked: bool,
    /// No bio waits any more.
    ended: bool,
}

impl Late {
    /// A worker that comes after that many milliseconds. The queue must get on when memory is full:
    /// reclaim may wait for what is transferred.
    pub(crate) fn new(
        media: &Arc<Media>,
        ending: &Arc<Ending>,
        queue: QueueHandle,
        milliseconds: u32,
    ) -> Result<Self> {
        let transfer = Arc::pin_init(
            pin_init!(Transfer {
                media: media.clone(),
                ending: ending.clone(),
                waiting <- new_spinlock!(Waiting::default()),
            }),
            GFP_KERNEL,
        )?;
        Ok(Self {
            worker: Delayed::new(queue, milliseconds, transfer.clone())?,
            transfer,
        })
    }

    /// Has the bio wait for the worker, which completes it. Returns it if none waits any more, or the
    /// power is cut, after which nobody looks for bios here.
    pub(crate) fn take(&self, bio: Bio) -> Option<Bio> {
        let mut waiting = self.transfer.waiting.lock();
        if waiting.ended || self.transfer.media.is_dead() {
            return Some(bio);
        }
        self.transfer.media.flights.begin();
        if waiting.asked {
            waiting.young.push(bio);
        } else {
            waiting.due.push(bio);
            waiting.asked = true;
            self.worker.ask();
        }
        None
    }

    /// All that wait, for somebody else to complete them.
    pub(crate) fn take_all(&self) -> BioQueue {
        let mut waiting = self.transfer.waiting.lock();
        let mut all = take(&mut waiting.due);
        all.append(&mut waiting.young);
        all
    }

    /// From now on no bio waits.
    pub(crate) fn end(&self) {
        self.transfer.waiting.lock().ended = true;
    }
}

impl Task for Arc<Transfer> {
    fn run(&self) -> bool {
        let mut due = take(&mut self.waiting.lock().due);
        while let Some(bio) = due.pop() {
            self.ending.finish(bio, Patience::MaySleep);
            self.media.flights.end();
        }
        let mut waiting = self.waiting.lock();
        waiting.due = take(&mut waiting.young);
        waiting.asked = !waiting.due.is_empty();
        waiting.asked
    }
}
