// SPDX-License-Identifier: GPL-2.0

//! Numbers that only grow, counted on each processor by itself and read as one.
//!
//! What is added at once is read at once: a reader sees all of it or nothing. It sees everything
//! that was added before it began. What is added meanwhile, by other processors, it may see or not.

use crate::sys::percpu::{
    Numbers,
    PerCpu, //
};
use kernel::{
    prelude::*,
    processor::cpu_relax,
    sync::{
        atomic::{
            Acquire,
            Relaxed,
            Release, //
        },
        barrier::{
            smp_mb,
            Read,
            Write, //
        }, //
    }, //
};

/// `N` numbers.
pub(crate) struct Tally<const N: usize>(PerCpu<Numbers<N>>);

impl<const N: usize> Tally<N> {
    /// `N` zeros.
    pub(crate) fn new() -> Result<Self> {
        PerCpu::new().map(Self)
    }

    /// Lets `add` add to some of the numbers, as one. Not for interrupt handlers.
    ///
    /// Only threads of one processor write its numbers, with preemption off, one at a time. Their
    /// stores need no locked instruction, only an order: the sequence is odd while they write.
    pub(crate) fn add(&self, add: impl FnOnce(&Numbers<N>)) {
        self.0.with_local(|local| {
            let sequence = local.sequence.load(Relaxed);
            local.sequence.store(sequence + 1, Relaxed);
            smp_mb(Write);
            add(local);
            local.sequence.store(sequence + 2, Release);
        });
    }

    /// The sums over all processors.
    pub(crate) fn sums(&self) -> [u64; N] {
        let mut sums = [0; N];
        for local in self.0.each() {
            for (sum, number) in sums.iter_mut().zip(read(local)) {
                *sum += number;
            }
        }
        sums
    }
}

/// The numbers of one processor between two additions. A writer is never preempted, so the wait is
/// short.
fn read<const N: usize>(local: &Numbers<N>) -> [u64; N] {
    loop {
        let before = local.sequence.load(Acquire);
        if before % 2 == 0 {
            let numbers = core::array::from_fn(|index| local.numbers[index].load(Relaxed));
            smp_mb(Read);
            if local.sequence.load(Relaxed) == before {
                return numbers;
            }
        }
        cpu_relax();
    }
}

impl<const N: usize> Numbers<N> {
    /// Adds to the number of that index. Only within [`Tally::add`].
    pub(crate) fn add(&self, index: usize, more: u64) {
        let number = &self.numbers[index];
        number.store(number.load(Relaxed) + more, Relaxed);
    }
}
