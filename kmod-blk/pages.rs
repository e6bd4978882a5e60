// SPDX-License-Identifier: GPL-2.0

//! One layer of the store: a tree of leaves, each of which holds the patches of pages in a row.

use crate::{
    logic::{
        layers::Layer,
        patch::{
            Frame as _,
            Patch,
            Patience, //
        },
        sectors::SectorMask, //
    },
    sys::memory::Frame,
};
use core::ops::Range;
use kernel::{
    alloc::flags::GFP_NOWAIT,
    prelude::*,
    rbtree::{
        RBTree,
        RBTreeNodeReservation, //
    }, //
};

/// The pages of a leaf.
pub(crate) const LEAF_PAGES: u64 = 64;

/// Patches by page, and how many there are.
#[derive(Default)]
pub(crate) struct PageTree {
    leaves: RBTree<u64, Leaf>,
    pages: u64,
}

/// The patches of pages in a row. One that holds no sector stands for none.
struct Leaf([Patch<Frame>; LEAF_PAGES as usize]);

impl PageTree {
    /// The number of pages of which sectors are held.
    pub(crate) fn pages(&self) -> u64 {
        self.pages
    }

    /// The same patches once more. Fails with `ENOMEM`.
    pub(crate) fn try_clone(&self) -> Result<Self> {
        let mut clone = Self::default();
        for (index, leaf) in self.leaves.iter() {
            let mut copy = Leaf::default();
            for (to, from) in copy.0.iter_mut().zip(&leaf.0) {
                *to = from.try_clone(Patience::MaySleep)?;
            }
            let node = reserve_node(Patience::MaySleep)?.into_node(*index, copy);
            clone.leaves.insert(node);
        }
        clone.pages = self.pages;
        Ok(clone)
    }
}

impl Layer for PageTree {
    type Frame = Frame;

    fn get(&self, page: u64) -> Option<&Patch<Frame>> {
        let patch = self.leaves.get(&leaf_of(page))?.get(page);
        (!patch.held().is_empty()).then_some(patch)
    }

    fn get_mut(&mut self, page: u64) -> Option<&mut Patch<Frame>> {
        let patch = self.leaves.get_mut(&leaf_of(page))?.get_mut(page);
        (!patch.held().is_empty()).then_some(patch)
    }

    fn insert(&mut self, page: u64, patch: Patch<Frame>, patience: Patience) -> Result {
        let index = leaf_of(page);
        if self.leaves.get(&index).is_none() {
            let node = reserve_node(patience)?.into_node(index, Leaf::default());
            self.leaves.insert(node);
        }
        if let Some(leaf) = self.leaves.get_mut(&index) {
            *leaf.get_mut(page) = patch;
            self.pages += 1;
        }
        Ok(())
    }

    fn remove(&mut self, pages: Range<u64>) {
        let mut next = leaf_of(pages.start);
        while let Some(mut cursor) = self.leaves.cursor_lower_bound_mut(&next) {
            let (&index, leaf) = cursor.current_mut();
            if index * LEAF_PAGES >= pages.end {
                break;
            }
            next = index + 1;
            self.pages -= leaf.remove(index, &pages);
            if leaf.pages() == 0 {
                cursor.remove_current();
            }
        }
    }

    fn drain_into(&mut self, below: &mut Self) {
        let mut cursor = self.leaves.cursor_front_mut();
        while let Some(current) = cursor {
            let (&index, leaf) = current.current();
            let pages = leaf.pages();
            let (next, node) = current.remove_current();
            if let Some(older) = below.leaves.get_mut(&index) {
                let (_, newer) = node.to_key_value();
                below.pages += older.cover(newer);
            } else {
                below.pages += pages;
                below.leaves.insert(node);
            }
            cursor = next;
        }
        self.pages = 0;
    }
}

impl Leaf {
    fn get(&self, page: u64) -> &Patch<Frame> {
        &self.0[(page % LEAF_PAGES) as usize]
    }

    fn get_mut(&mut self, page: u64) -> &mut Patch<Frame> {
        &mut self.0[(page % LEAF_PAGES) as usize]
    }

    /// The number of pages of which sectors are held.
    fn pages(&self) -> u64 {
        self.0
            .iter()
            .filter(|patch| !patch.held().is_empty())
            .count() as u64
    }

    /// Drops those of `pages` that are in this leaf, which is the one of that index; returns how many
    /// were there.
    fn remove(&mut self, index: u64, pages: &Range<u64>) -> u64 {
        let before = self.pages();
        for (page, patch) in (index * LEAF_PAGES..).zip(&mut self.0) {
            if pages.contains(&page) {
                *patch = Patch::zeroes(SectorMask::NONE);
            }
        }
        before - self.pages()
    }

    /// Lays newer patches over these; returns how many pages there are now that were not.
    fn cover(&mut self, newer: Self) -> u64 {
        let before = self.pages();
        for (older, newer) in self.0.iter_mut().zip(newer.0) {
            if !newer.held().is_empty() {
                older.cover(newer);
            }
        }
        self.pages() - before
    }
}

impl Default for Leaf {
    fn default() -> Self {
        Self(core::array::from_fn(|_| Patch::zeroes(SectorMask::NONE)))
    }
}

fn leaf_of(page: u64) -> u64 {
    page / LEAF_PAGES
}

/// Memory for a node.
///
/// An allocation as small as a node that may sleep never fails: when memory is full the kernel
/// retries it for ever. That of a frame may fail after it has reclaimed memory, so a frame is what
/// waits, and its memory is given back for the node.
fn reserve_node(patience: Patience) -> Result<RBTreeNodeReservation<u64, Leaf>> {
    RBTreeNodeReservation::new(GFP_NOWAIT).or_else(|_| {
        drop(Frame::zeroed(patience)?);
        RBTreeNodeReservation::new(GFP_NOWAIT)
    })
}
