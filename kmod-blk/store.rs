// SPDX-License-Identifier: GPL-2.0

//! What the disk keeps: the media and the volatile cache before it, as trees of sparse pages.

use crate::{
    logic::{
        layers::{
            Layer,
            Layers, //
        },
        patch::{
            Frame as _,
            Patch,
            Patience, //
        }, //
    },
    sys::memory::Frame,
};
use core::ops::Range;
use kernel::{
    alloc::flags::GFP_NOWAIT,
    prelude::*,
    rbtree::{
        RBTree,
        RBTreeNode,
        RBTreeNodeReservation, //
    }, //
};

/// The media and the volatile cache.
pub(crate) type Store = Layers<PageTree>;

/// Patches by page, and how many there are.
#[derive(Default)]
pub(crate) struct PageTree {
    tree: RBTree<u64, Patch<Frame>>,
    pages: u64,
}

impl PageTree {
    /// The number of pages of which sectors are held.
    pub(crate) fn pages(&self) -> u64 {
        self.pages
    }

    fn insert_node(&mut self, node: RBTreeNode<u64, Patch<Frame>>) {
        if self.tree.insert(node).is_none() {
            self.pages += 1;
        }
    }
}

impl Layer for PageTree {
    type Frame = Frame;

    fn get(&self, page: u64) -> Option<&Patch<Frame>> {
        self.tree.get(&page)
    }

    fn get_mut(&mut self, page: u64) -> Option<&mut Patch<Frame>> {
        self.tree.get_mut(&page)
    }

    fn insert(&mut self, page: u64, patch: Patch<Frame>, patience: Patience) -> Result {
        self.insert_node(reserve_node(patience)?.into_node(page, patch));
        Ok(())
    }

    fn remove(&mut self, pages: Range<u64>) {
        while let Some(cursor) = self.tree.cursor_lower_bound_mut(&pages.start) {
            if *cursor.current().0 >= pages.end {
                break;
            }
            cursor.remove_current();
            self.pages -= 1;
        }
    }

    fn drain_into(&mut self, below: &mut Self) {
        let mut cursor = self.tree.cursor_front_mut();
        while let Some(current) = cursor {
            let page = *current.current().0;
            let (next, node) = current.remove_current();
            if let Some(older) = below.tree.get_mut(&page) {
                let (_, newer) = node.to_key_value();
                older.cover(newer);
            } else {
                below.insert_node(node);
            }
            cursor = next;
        }
        self.pages = 0;
    }
}

/// Memory for a node.
///
/// An allocation as small as a node that may sleep never fails: when memory is full the kernel
/// retries it for ever. That of a frame may fail after it has reclaimed memory, so a frame is what
/// waits, and its memory is given back for the node.
fn reserve_node(patience: Patience) -> Result<RBTreeNodeReservation<u64, Patch<Frame>>> {
    RBTreeNodeReservation::new(GFP_NOWAIT).or_else(|_| {
        drop(Frame::zeroed(patience)?);
        RBTreeNodeReservation::new(GFP_NOWAIT)
    })
}
