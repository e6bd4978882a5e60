// SPDX-License-Identifier: GPL-2.0

//! The gates of a disk, and those who wait for bios to arrive there.

use crate::{
    logic::{
        gates::{
            Gate,
            Gates as Table,
            Refusal,
            Stage, //
        },
        select::{
            Selection,
            Target, //
        }, //
    },
    media::Media,
    sys::{
        bio::Bio,
        bio_queue::BioQueue, //
    }, //
};
use kernel::{
    new_condvar,
    new_spinlock,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        CondVar,
        CondVarTimeoutResult,
        SpinLock, //
    },
    time::Jiffies, //
};

/// The gates of a disk.
#[pin_data]
pub(crate) struct Gates {
    #[pin]
    table: SpinLock<Table<BioQueue>>,
    /// Some gate took a bio, or there will be none any more.
    #[pin]
    changed: CondVar,
    /// Some gate is closed. A bio that is submitted after that finds it so.
    closed: Atomic<bool>,
}

/// How far the arrival of bios at a gate is.
#[derive(Clone, Copy)]
pub(crate) struct Progress {
    /// Bios that the gate took, also those that it let go.
    pub(crate) arrived: u64,
    /// Bios that it holds.
    pub(crate) holding: u64,
}

impl Gates {
    /// No gate.
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            table <- new_spinlock!(Table::new()),
            changed <- new_condvar!(),
            closed: Atomic::new(false),
        })
    }

    /// Closes a gate that takes `most` of the bios that are selected; returns its id.
    ///
    /// Fails with `ENOSPC` if there are too many gates, with `ENODEV` if the disk is going away.
    pub(crate) fn close(&self, stage: Stage, selection: Selection, most: u64) -> Result<u64> {
        let mut table = self.table.lock();
        let id = table
            .close(stage, selection, most)
            .map_err(|refusal| match refusal {
                Refusal::Full => ENOSPC,
                Refusal::Ended => ENODEV,
            })?;
        self.closed.store(true, Relaxed);
        Ok(id)
    }

    /// Whether a bio has to ask at all: not on the ordinary way.
    pub(crate) fn is_any_closed(&self) -> bool {
        self.closed.load(Relaxed)
    }

    /// A bio comes to a stage. A gate takes it and counts it as in flight, or it is returned: always if
    /// the power is cut, after which nobody looks for bios here.
    pub(crate) fn arrive(
        &self,
        stage: Stage,
        target: &Target,
        bio: Bio,
        media: &Media,
    ) -> Option<Bio> {
        let mut table = self.table.lock();
        if media.is_dead() {
            return Some(bio);
        }
        media.flights.begin();
        let passed = table.arrive(stage, target, bio);
        if passed.is_some() {
            media.flights.end();
        } else {
            self.changed.notify_all();
        }
        passed
    }

    /// Waits until so many bios have arrived at a gate.
    ///
    /// Fails with `ETIMEDOUT`, with `EINTR` if a signal comes, with `ENODEV` if the disk goes away,
    /// and with `ENOENT` if the gate is opened meanwhile.
    pub(crate) fn wait(&self, id: u64, bios: u64, timeout: Jiffies) -> Result<Progress> {
        let mut left = timeout;
        let mut table = self.table.lock();
        loop {
            let progress = Progress::of(table.get(id).ok_or(ENOENT)?);
            if progress.arrived >= bios {
                return Ok(progress);
            }
            if table.has_ended() {
                return Err(ENODEV);
            }
            left = match self.changed.wait_interruptible_timeout(&mut table, left) {
                CondVarTimeoutResult::Woken { jiffies } => jiffies,
                CondVarTimeoutResult::Timeout => return Err(ETIMEDOUT),
                // What woke us may be work that io_uring has left: then the request begins anew.
                CondVarTimeoutResult::Signal { .. } => return Err(ERESTARTSYS),
            };
        }
    }

    /// Calls `look` with a bio that a gate holds, by its position from the one that came first.
    ///
    /// Under a spinlock: `look` must not sleep. Fails with `ENOENT` without such a gate, with `ERANGE`
    /// without such a bio.
    pub(crate) fn with_held<R>(
        &self,
        id: u64,
        position: u32,
        look: impl FnOnce(&Bio) -> R,
    ) -> Result<R> {
        let table = self.table.lock();
        let held = table.get(id).ok_or(ENOENT)?.held();
        held.with(position as usize, look).ok_or(ERANGE)
    }

    /// Takes those out of a gate that came first, at most `most` of them. They stay in flight.
    pub(crate) fn let_go(&self, id: u64, most: u64) -> Result<(Stage, BioQueue)> {
        self.table.lock().let_go(id, most).ok_or(ENOENT)
    }

    /// Opens a gate and takes out what it held; none if it was opened before.
    pub(crate) fn open(&self, id: u64) -> Option<(Stage, BioQueue)> {
        let mut table = self.table.lock();
        let opened = table.open(id);
        self.closed.store(!table.is_empty(), Relaxed);
        self.changed.notify_all();
        opened
    }

    /// Takes the bios out of some gate that holds any; it stays closed.
    pub(crate) fn take_any(&self) -> Option<(Stage, BioQueue)> {
        self.table.lock().take_any()
    }

    /// From now on no gate takes a bio.
    pub(crate) fn end(&self) {
        self.table.lock().end();
        self.changed.notify_all();
    }
}

impl Progress {
    fn of(gate: &Gate<BioQueue>) -> Self {
        Self {
            arrived: gate.arrived(),
            holding: gate.holding(),
        }
    }
}
