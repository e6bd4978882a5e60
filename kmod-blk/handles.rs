// SPDX-License-Identifier: GPL-2.0

//! What an open file has, by the numbers that userspace knows it by.

use kernel::{
    alloc::flags::GFP_KERNEL_ACCOUNT,
    prelude::*,
    rbtree::RBTree, //
};

/// Things by number. Numbers are never used again, so that a stale one is seen as such.
pub(crate) struct Handles<T> {
    things: RBTree<u32, T>,
    count: u32,
    most: u32,
    last: u32,
}

impl<T> Handles<T> {
    /// None yet, and never more than `most` at a time.
    pub(crate) fn at_most(most: u32) -> Self {
        Self {
            things: RBTree::new(),
            count: 0,
            most,
            last: 0,
        }
    }

    /// Fails with `ENOSPC` if there are too many, or if the numbers are used up.
    pub(crate) fn insert(&mut self, thing: T) -> Result<u32> {
        if self.count == self.most {
            return Err(ENOSPC);
        }
        let number = self.last.checked_add(1).ok_or(ENOSPC)?;
        self.things
            .try_create_and_insert(number, thing, GFP_KERNEL_ACCOUNT)?;
        self.count += 1;
        self.last = number;
        Ok(number)
    }

    /// Fails with `ENOENT` if there is none of that number.
    pub(crate) fn get(&self, number: u32) -> Result<&T> {
        self.things.get(&number).ok_or(ENOENT)
    }

    /// Fails with `ENOENT` if there is none of that number.
    pub(crate) fn remove(&mut self, number: u32) -> Result<T> {
        let thing = self.things.remove(&number).ok_or(ENOENT)?;
        self.count -= 1;
        Ok(thing)
    }

    /// All of them.
    pub(crate) fn values(&self) -> impl Iterator<Item = &T> {
        self.things.values()
    }
}
