// SPDX-License-Identifier: GPL-2.0

//! Numbers that only grow, counted on each processor by itself and read as one.
//!
//! What is added at once is read at once: a reader sees all of it or nothing. It sees everything
//! that was added before it began. What is added meanwhile, by other processors, it may see or not.

use crate::sys::{
    compat::read_barrier,
    percpu::{
        Numbers,
        PerCpu, //
    }, //
};
use kernel::{
    prelude::*,
    processor::cpu_relax,
    sync::atomic::{
        Acquire,
        Relaxed, //
    }, //
};

/// `N` numbers.
pub(crate) struct Tally<const N: usize>(PerCpu<N>);

impl<const N: usize> Tally<N> {
    /// `N` zeros.
    pub(crate) fn new() -> Result<Self> {
        PerCpu::new().map(Self)
    }

    /// Adds to the numbers from the one of index `first` on, as one. Not for interrupt handlers.
    pub(crate) fn add(&self, first: usize, more: &[u64]) {
        self.0.add(first, more);
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
            read_barrier();
            if local.sequence.load(Relaxed) == before {
                return numbers;
            }
        }
        cpu_relax();
    }
}
