// SPDX-License-Identifier: GPL-2.0

//! What a disk keeps: the media, and the volatile cache before it.
//!
//! Both are cut into shards, each with a lock of its own, so that bios to different places do not
//! wait for each other. A shard has the pages of every so many leaves. A bio goes through its shards
//! one after the other and is not atomic over them, as on any disk.

use crate::{
    logic::{
        layers::{
            Layers,
            Reach, //
        },
        patch::{
            PageBytes,
            Patience, //
        },
        sectors::{
            Piece,
            PAGE_SECTORS, //
        }, //
    },
    pages::{
        PageTree,
        LEAF_PAGES, //
    },
    sys::worker::let_others_run, //
};
use core::ops::Range;
use kernel::{
    new_mutex,
    prelude::*,
    sync::{
        lock::{
            mutex::MutexBackend,
            Guard, //
        },
        Mutex, //
    }, //
};
use pin_init::pin_init_array_from_fn;

const SHARDS: usize = 64;

/// How often a store is copied that is changed meanwhile.
const COPIES: usize = 100;
const LEAF_SECTORS: u64 = LEAF_PAGES * PAGE_SECTORS as u64;

/// The media and the volatile cache.
#[pin_data]
pub(crate) struct Store {
    #[pin]
    shards: [Mutex<Shard>; SHARDS],
}

/// A part of both.
#[derive(Default)]
pub(crate) struct Shard {
    layers: Layers<PageTree>,
    /// The power is cut: nothing is read or written.
    dead: bool,
    /// How often somebody came to change it.
    changes: u64,
}

/// The way through the store of one bio: it keeps the shard locked that it was in last.
pub(crate) struct Visit<'a> {
    store: &'a Store,
    patience: Patience,
    is_to_change: bool,
    here: Option<(usize, Guard<'a, Shard, MutexBackend>)>,
}

impl Store {
    /// A store into which nothing was ever written.
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            shards <- pin_init_array_from_fn(|_| new_mutex!(Shard::default())),
        })
    }

    /// Enters the store. With [`Patience::NoWait`] whatever would wait fails with `EAGAIN`.
    pub(crate) fn visit(&self, patience: Patience) -> Visit<'_> {
        Visit {
            store: self,
            patience,
            is_to_change: true,
            here: None,
        }
    }

    /// The same for who changes nothing.
    pub(crate) fn visit_to_read(&self, patience: Patience) -> Visit<'_> {
        Visit {
            is_to_change: false,
            ..self.visit(patience)
        }
    }

    /// The power is cut: what only the cache has is lost, and everything fails with `EIO` until
    /// [`Self::revive`]. When this returns no bio is at work on the store any more.
    pub(crate) fn cut(&self) {
        for shard in &self.shards {
            let mut shard = shard.lock();
            shard.dead = true;
            shard.layers.cache = PageTree::default();
        }
    }

    /// The power is back.
    pub(crate) fn revive(&self) {
        for shard in &self.shards {
            shard.lock().dead = false;
        }
    }

    /// Has what the media of the other store hold at some moment, and nothing in the cache. Fails with
    /// `EAGAIN` if the other was changed each time that it was copied, and with `ENOMEM`.
    pub(crate) fn copy_from(&self, other: &Self) -> Result {
        for _ in 0..COPIES {
            let mut changes = [0; SHARDS];
            for (index, (ours, theirs)) in self.shards.iter().zip(&other.shards).enumerate() {
                let theirs = theirs.lock();
                changes[index] = theirs.changes;
                let media = theirs.layers.media.try_clone()?;
                drop(theirs);
                ours.lock().layers = Layers {
                    cache: PageTree::default(),
                    media,
                };
                let_others_run();
            }
            // No shard was changed between its copy and this look at it. So when the last copy was
            // made and none was looked at, all were as they were copied.
            let now = other.shards.iter().map(|shard| shard.lock().changes);
            if now.eq(changes) {
                return Ok(());
            }
        }
        Err(EAGAIN)
    }

    /// How many pages the cache and the media have.
    pub(crate) fn pages(&self) -> (u64, u64) {
        self.shards.iter().fold((0, 0), |(cache, media), shard| {
            let layers = &shard.lock().layers;
            (cache + layers.cache.pages(), media + layers.media.pages())
        })
    }
}

impl Visit<'_> {
    /// The bytes of a page if they lie in a row, as they mostly do.
    pub(crate) fn page(&mut self, page: u64) -> Result<Option<&PageBytes>> {
        Ok(self.layers(page / LEAF_PAGES)?.page(page))
    }

    /// Reads a piece: `copy` gets each part of it as bytes within the page, and where they lie.
    pub(crate) fn read(&mut self, piece: Piece, copy: impl FnMut(Range<usize>, &[u8])) -> Result {
        self.layers(piece.page / LEAF_PAGES)?.read(piece, copy);
        Ok(())
    }

    /// Writes a whole page if memory for it is there, as it mostly is; else returns false.
    pub(crate) fn rewrite(
        &mut self,
        page: u64,
        reach: Reach,
        fill: impl FnOnce(&mut PageBytes),
    ) -> Result<bool> {
        Ok(self.layers(page / LEAF_PAGES)?.rewrite(page, reach, fill))
    }

    /// Writes a piece: `fill` puts its bytes where the piece lies in the page.
    pub(crate) fn write(
        &mut self,
        piece: Piece,
        reach: Reach,
        fill: impl FnOnce(&mut [u8]),
    ) -> Result {
        let patience = self.patience;
        self.layers(piece.page / LEAF_PAGES)?
            .write(piece, reach, patience, fill)
    }

    /// Writes zeros, without spending memory on their bytes.
    pub(crate) fn write_zeroes(&mut self, sectors: Range<u64>, reach: Reach) -> Result {
        let patience = self.patience;
        for (leaf, part) in by_leaf(sectors) {
            self.layers(leaf)?.write_zeroes(part, reach, patience)?;
        }
        Ok(())
    }

    /// Forgets sectors: they read as the previous tenant's data again.
    pub(crate) fn discard(&mut self, sectors: Range<u64>) -> Result {
        if (sectors.end - sectors.start) / LEAF_SECTORS < SHARDS as u64 {
            for (leaf, part) in by_leaf(sectors) {
                self.layers(leaf)?.discard(part);
            }
        } else {
            // A shard does not mind being asked for what it does not have.
            for shard in 0..SHARDS {
                self.layers(shard as u64)?.discard(sectors.clone());
            }
        }
        Ok(())
    }

    /// Moves the whole cache to the media.
    pub(crate) fn flush(&mut self) -> Result {
        for shard in 0..SHARDS {
            self.layers(shard as u64)?.flush();
        }
        Ok(())
    }

    /// The shard that has this leaf.
    fn layers(&mut self, leaf: u64) -> Result<&mut Layers<PageTree>> {
        let index = (leaf % SHARDS as u64) as usize;
        if self.here.as_ref().is_none_or(|(at, _)| *at != index) {
            // One at a time: nobody waits for a shard while holding another.
            self.here = None;
            let shard = &self.store.shards[index];
            let mut shard = match self.patience {
                Patience::NoWait => shard.try_lock().ok_or(EAGAIN)?,
                Patience::MaySleep => shard.lock(),
            };
            shard.changes += u64::from(self.is_to_change);
            self.here = Some((index, shard));
        }
        match &mut self.here {
            Some((_, shard)) if !shard.dead => Ok(&mut shard.layers),
            _ => Err(EIO),
        }
    }
}

/// Cuts sectors at the ends of leaves: the index of each leaf, and what lies in it.
fn by_leaf(sectors: Range<u64>) -> impl Iterator<Item = (u64, Range<u64>)> {
    let mut at = sectors.start;
    core::iter::from_fn(move || {
        if at >= sectors.end {
            return None;
        }
        let leaf = at / LEAF_SECTORS;
        let part = at..sectors.end.min((leaf + 1) * LEAF_SECTORS);
        at = part.end;
        Some((leaf, part))
    })
}
