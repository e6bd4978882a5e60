// SPDX-License-Identifier: GPL-2.0

//! How often a page was put into the cache instead of being cleaned.
//!
//! A page that is dirty again at once counts as written for who cleans memory, who would therefore go on
//! for ever. So it is cleaned after all when its budget is spent.

use crate::sys::folio::Place;
use kernel::{
    new_mutex,
    prelude::*,
    rbtree::RBTree,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Mutex, //
    }, //
};

/// The most pages that have spent anything. Beyond, a page has no budget.
const PAGES_MAX: usize = 1 << 16;

/// What pages have spent.
#[pin_data]
pub(crate) struct Budget {
    #[pin]
    spent: Mutex<Spent>,
    /// Some page has spent something.
    is_used: Atomic<bool>,
}

#[derive(Default)]
struct Spent {
    /// By place, how often.
    times: RBTree<Place, u32>,
    pages: usize,
}

impl Budget {
    /// Nothing was spent.
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            spent <- new_mutex!(Spent::default()),
            is_used: Atomic::new(false),
        })
    }

    /// Charges a page, which may do so `most` times. When it is spent this is false once, and then the
    /// budget is whole again: the page is cleaned.
    pub(crate) fn charge(&self, place: Place, most: u32) -> bool {
        let mut spent = self.spent.lock();
        let charged = match spent.times.get_mut(&place) {
            Some(times) if *times < most => {
                *times += 1;
                true
            }
            Some(_) => {
                spent.remove(place);
                false
            }
            // Without memory it has none: the page is cleaned.
            None => most > 0 && spent.pages < PAGES_MAX && spent.insert(place).is_ok(),
        };
        self.is_used.store(spent.pages > 0, Relaxed);
        charged
    }

    /// The page is written without being put into the cache: its budget is whole again.
    pub(crate) fn restore(&self, place: Place) {
        if self.is_used() {
            let mut spent = self.spent.lock();
            spent.remove(place);
            self.is_used.store(spent.pages > 0, Relaxed);
        }
    }

    /// Whether any page has spent something.
    pub(crate) fn is_used(&self) -> bool {
        self.is_used.load(Relaxed)
    }

    /// Every budget is whole again.
    pub(crate) fn restore_all(&self) {
        let mut spent = self.spent.lock();
        *spent = Spent::default();
        self.is_used.store(false, Relaxed);
    }
}

impl Spent {
    fn insert(&mut self, place: Place) -> Result {
        self.times.try_create_and_insert(place, 1, GFP_NOWAIT)?;
        self.pages += 1;
        Ok(())
    }

    fn remove(&mut self, place: Place) {
        if self.times.remove(&place).is_some() {
            self.pages -= 1;
        }
    }
}
