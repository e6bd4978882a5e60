// SPDX-License-Identifier: GPL-2.0

//! Operations that go on after the request that began them has returned.

use crate::sys::event::EventFd;
use kernel::{
    new_condvar,
    new_mutex,
    prelude::*,
    sync::{
        CondVar,
        CondVarTimeoutResult,
        Mutex, //
    },
    time::{
        msecs_to_jiffies,
        Msecs, //
    }, //
};

/// An operation as seen by who waits for it and by who carries it out.
#[pin_data]
pub(crate) struct Pending {
    #[pin]
    state: Mutex<State>,
    #[pin]
    changed: CondVar,
    /// Signalled at its end.
    event: Option<EventFd>,
}

#[derive(Default)]
struct State {
    outcome: Option<Outcome>,
    abandoned: bool,
}

/// How an operation ended.
#[derive(Clone, Copy)]
pub(crate) struct Outcome {
    /// Whether it succeeded.
    pub(crate) result: Result,
    /// How many bios it took.
    pub(crate) bios: u32,
    /// How many bytes were transferred.
    pub(crate) bytes: u64,
}

impl Pending {
    /// An operation that has not ended.
    pub(crate) fn new(event: Option<EventFd>) -> impl PinInit<Self> {
        pin_init!(Self {
            state <- new_mutex!(State::default()),
            changed <- new_condvar!(),
            event,
        })
    }

    /// It has ended: all who wait are told.
    pub(crate) fn finish(&self, outcome: Outcome) {
        self.state.lock().outcome = Some(outcome);
        self.changed.notify_all();
        if let Some(event) = &self.event {
            event.signal();
        }
    }

    /// How it ended; none if it still goes on.
    pub(crate) fn outcome(&self) -> Option<Outcome> {
        self.state.lock().outcome
    }

    /// Waits for its end. Fails with `EINTR` if a signal comes first, and with `ENOENT` if it was
    /// abandoned: it may never have begun.
    pub(crate) fn wait(&self) -> Result<Outcome> {
        let mut state = self.state.lock();
        loop {
            if let Some(outcome) = state.outcome {
                return Ok(outcome);
            }
            if state.abandoned {
                return Err(ENOENT);
            }
            if self.changed.wait_interruptible(&mut state) {
                // What woke us may be work that io_uring has left: then the request begins anew.
                return Err(ERESTARTSYS);
            }
        }
    }

    /// Nobody is interested any more.
    pub(crate) fn abandon(&self) {
        self.state.lock().abandoned = true;
        self.changed.notify_all();
    }

    /// Lets time pass; returns early, and true, if it is abandoned. For who carries it out.
    pub(crate) fn is_abandoned_within(&self, delay: Msecs) -> bool {
        let mut left = msecs_to_jiffies(delay);
        let mut state = self.state.lock();
        while !state.abandoned {
            match self.changed.wait_interruptible_timeout(&mut state, left) {
                CondVarTimeoutResult::Timeout => break,
                CondVarTimeoutResult::Woken { jiffies }
                | CondVarTimeoutResult::Signal { jiffies } => left = jiffies,
            }
        }
        state.abandoned
    }
}
