// SPDX-License-Identifier: GPL-2.0

//! How many bios are in flight: taken from their submitters and neither completed nor being served by
//! the call that submitted them. The block layer does not wait for these when a disk is removed.

use kernel::{
    new_condvar,
    new_spinlock,
    prelude::*,
    sync::{
        CondVar,
        SpinLock, //
    }, //
};

/// The bios of a disk that are in flight.
#[pin_data]
pub(crate) struct Flights {
    #[pin]
    count: SpinLock<u64>,
    #[pin]
    none: CondVar,
}

impl Flights {
    /// None.
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            count <- new_spinlock!(0),
            none <- new_condvar!(),
        })
    }

    /// One more: before it is put where others find it.
    pub(crate) fn begin(&self) {
        *self.count.lock() += 1;
    }

    /// One less: after it was completed, or has begun again.
    pub(crate) fn end(&self) {
        let mut count = self.count.lock();
        *count -= 1;
        if *count == 0 {
            self.none.notify_all();
        }
    }

    /// How many there are now.
    pub(crate) fn count(&self) -> u64 {
        *self.count.lock()
    }

    /// Waits until there is none.
    pub(crate) fn wait_for_none(&self) {
        let mut count = self.count.lock();
        while *count > 0 {
            self.none.wait(&mut count);
        }
    }
}
