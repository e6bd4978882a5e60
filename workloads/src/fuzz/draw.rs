// SPDX-License-Identifier: MIT OR Apache-2.0

//! Numbers drawn by a seed: the same seed draws the same.

/// What is worth a try wherever a number is asked for.
const EDGES: &[u64] =
    &[0, 1, 2, 3, 7, 511, 512, 4095, 4096, 4097, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff, 1 << 32, 1 << 63];

/// A source of numbers.
pub(super) struct Draw(fastrand::Rng);

impl Draw {
    /// A source for one purpose of many: for each of `places` another.
    pub(super) fn new(seed: u64, places: &[u64]) -> Self {
        let mixed = places.iter().fold(seed, |seed, place| {
            fastrand::Rng::with_seed(seed.rotate_left(17) ^ place.wrapping_mul(0x9e37_79b9_7f4a_7c15)).u64(..)
        });
        Self(fastrand::Rng::with_seed(mixed))
    }

    /// A number below `end`.
    pub(super) fn below(&mut self, end: u64) -> u64 {
        self.0.u64(..end)
    }

    /// A number below `end`, for what has 32 bits.
    pub(super) fn below32(&mut self, end: u32) -> u32 {
        self.0.u32(..end)
    }

    /// An index of something that has `count` elements.
    pub(super) fn index(&mut self, count: usize) -> usize {
        self.0.usize(..count)
    }

    /// True in one of so many cases.
    pub(super) fn one_in(&mut self, cases: u32) -> bool {
        self.below32(cases) == 0
    }

    /// One of these.
    pub(super) fn of<T: Copy>(&mut self, things: &[T]) -> T {
        things[self.index(things.len())]
    }

    /// An index, each as often as its weight says.
    pub(super) fn weighed(&mut self, weights: &[u32]) -> usize {
        let mut left = self.below32(weights.iter().sum());
        for (index, weight) in weights.iter().enumerate() {
            match left.checked_sub(*weight) {
                Some(rest) => left = rest,
                None => return index,
            }
        }
        weights.len() - 1
    }

    /// A small number mostly, and up to `most` now and then.
    pub(super) fn small(&mut self, most: u64) -> u64 {
        let end = if self.one_in(100) { most } else { most.min(6) };
        1 + self.below(end)
    }

    /// Another number in the place of this one.
    pub(super) fn spoilt(&mut self, number: u64) -> u64 {
        match self.below32(5) {
            0 => self.of(EDGES),
            1 => self.of(EDGES).wrapping_neg(),
            2 => number ^ 1 << self.below32(64),
            3 => number.wrapping_add(1),
            _ => number.wrapping_sub(1),
        }
    }
}
