// SPDX-License-Identifier: GPL-2.0

//! What a disk keeps, in the kernel's own pages, as bios reach it.

use crate::{
    abi::{
        LOG_INCOMPLETE,
        LOG_ON, //
    },
    logic::{
        layers::Reach,
        patch::Patience,
        sectors::{
            pieces,
            SECTOR_SIZE, //
        }, //
    },
    media::Media,
    settings::Settings,
    store::Store,
    sys::{
        bio::{
            Bio,
            Operation, //
        },
        compat::EILSEQ,
        own_bio::{
            memory,
            with_data,
            without_data,
            Asked, //
        }, //
    }, //
};
use core::slice::from_ref;
use kernel::prelude::*;

/// What was never written reads as this.
const TENANT: u8 = 0xDE;

/// The sectors of a leaf of the store: 64 pages.
const LEAF: u64 = 64 * 8;

/// A disk's media, asked by bios.
struct Asker(Pin<KBox<Media>>);

/// Serves a bio and ends it.
fn finish(media: &Media, bio: Bio) {
    let result = media.serve(&bio, Patience::MaySleep);
    media.complete(bio, result);
}

impl Asker {
    fn new(settings: &Settings) -> Result<Self> {
        KBox::pin_init(Media::new(settings), GFP_KERNEL).map(Self)
    }

    /// Writes a byte into each of these sectors: zero or a negative errno.
    fn write(&self, asked: Asked, sectors: usize, byte: u8) -> Result<i32> {
        let mut memory = memory()?;
        memory.fill(byte);
        let ended = with_data(
            asked,
            &mut memory,
            from_ref(&(0..sectors * SECTOR_SIZE)),
            |bio| finish(&self.0, bio),
        )?;
        Ok(ended.errno)
    }

    /// An ordinary write of sectors that succeeds.
    fn put(&self, sector: u64, sectors: usize, byte: u8) -> Result {
        to_result(self.write(Asked::to(Operation::Write, sector), sectors, byte)?)
    }

    /// A bio without data.
    fn ask(&self, asked: Asked, sectors: u32) -> Result {
        let ended = without_data(asked, sectors * SECTOR_SIZE as u32, |bio| {
            finish(&self.0, bio)
        })?;
        to_result(ended.errno)
    }

    /// PREFLUSH without data.
    fn flush(&self) -> Result {
        let flush = Asked {
            preflush: true,
            ..Asked::to(Operation::Write, 0)
        };
        self.ask(flush, 0)
    }

    /// The first byte of each of these sectors; fails if a sector has other bytes too.
    fn read(&self, sector: u64, sectors: usize) -> Result<KVec<u8>> {
        let mut memory = memory()?;
        let asked = Asked::to(Operation::Read, sector);
        let ended = with_data(
            asked,
            &mut memory,
            from_ref(&(0..sectors * SECTOR_SIZE)),
            |bio| finish(&self.0, bio),
        )?;
        to_result(ended.errno)?;
        let mut bytes = KVec::new();
        for sector in memory.chunks(SECTOR_SIZE).take(sectors) {
            if sector.iter().any(|byte| *byte != sector[0]) {
                return Err(EILSEQ);
            }
            bytes.push(sector[0], GFP_KERNEL)?;
        }
        Ok(bytes)
    }

    fn cut_and_revive(&self) {
        self.0.cut();
        self.0.revive();
    }
}

fn to_result(errno: i32) -> Result {
    kernel::error::to_result(errno)
}

/// Writes to a store directly, a page of it at a time.
fn fill(store: &Store, sector: u64, sectors: u64) -> Result {
    let mut visit = store.visit(Patience::MaySleep);
    for piece in pieces(sector, sectors) {
        visit.write(piece, Reach::Cache, |bytes| bytes.fill(1))?;
    }
    Ok(())
}

#[kunit_tests(pinblk_store)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_back_by_the_sector() -> Result {
        let disk = Asker::new(&Settings::default())?;
        disk.put(5, 6, 1)?;
        disk.put(7, 1, 2)?;
        let (old, new) = (TENANT, 2);
        assert_eq!(disk.read(4, 8)?.as_slice(), &[old, 1, 1, new, 1, 1, 1, old]);
        Ok(())
    }

    #[test]
    fn discarded_sectors_read_as_the_previous_tenants_and_zeroed_ones_as_zeros() -> Result {
        let disk = Asker::new(&Settings::default())?;
        disk.put(0, 24, 3)?;
        disk.ask(Asked::to(Operation::Discard, 1), 2)?;
        disk.ask(Asked::to(Operation::WriteZeroes, 5), 2)?;
        let gone = TENANT;
        assert_eq!(disk.read(0, 8)?.as_slice(), &[3, gone, gone, 3, 3, 0, 0, 3]);
        disk.ask(Asked::to(Operation::Discard, 0), 24)?;
        assert_eq!(disk.0.pages(), (0, 0));
        Ok(())
    }

    #[test]
    fn a_power_cut_tears_a_page_between_what_was_flushed_and_what_was_not() -> Result {
        let disk = Asker::new(&Settings::default())?;
        disk.put(0, 8, 1)?;
        disk.flush()?;
        disk.put(2, 3, 2)?;
        let fua = Asked {
            fua: true,
            ..Asked::to(Operation::Write, 3)
        };
        assert_eq!(disk.write(fua, 1, 3)?, 0);
        assert_eq!(disk.read(0, 8)?.as_slice(), &[1, 1, 2, 3, 2, 1, 1, 1]);
        disk.cut_and_revive();
        assert_eq!(disk.read(0, 8)?.as_slice(), &[1, 1, 1, 3, 1, 1, 1, 1]);
        Ok(())
    }

    #[test]
    fn a_page_that_a_layer_has_nothing_of_any_more_is_not_counted() -> Result {
        let disk = Asker::new(&Settings::default())?;
        disk.put(0, 8, 1)?;
        assert_eq!(disk.0.pages(), (1, 0));
        let fua = Asked {
            fua: true,
            ..Asked::to(Operation::Write, 0)
        };
        assert_eq!(disk.write(fua, 8, 2)?, 0);
        assert_eq!(disk.0.pages(), (0, 1));
        disk.ask(Asked::to(Operation::Discard, 0), 3)?;
        assert_eq!(disk.0.pages(), (0, 1));
        disk.ask(Asked::to(Operation::Discard, 3), 5)?;
        assert_eq!(disk.0.pages(), (0, 0));
        Ok(())
    }

    #[test]
    fn a_log_does_not_tell_of_media_after_a_power_cut() -> Result {
        let disk = Asker::new(&Settings::default())?;
        disk.0.log.start()?;
        disk.put(0, 8, 1)?;
        assert_eq!(disk.0.log.state(), (1, LOG_ON));
        disk.cut_and_revive();
        disk.put(0, 8, 2)?;
        assert_eq!(disk.0.log.state(), (1, LOG_ON | LOG_INCOMPLETE));
        Ok(())
    }

    #[test]
    fn zeros_and_discards_are_cut_as_writes_are() -> Result {
        let disk = Asker::new(&Settings::default())?;
        disk.put(0, 8, 1)?;
        disk.flush()?;
        disk.ask(Asked::to(Operation::WriteZeroes, 0), 2)?;
        disk.ask(Asked::to(Operation::Discard, 6), 2)?;
        disk.cut_and_revive();
        let gone = TENANT;
        assert_eq!(disk.read(0, 8)?.as_slice(), &[1, 1, 1, 1, 1, 1, gone, gone]);
        Ok(())
    }

    #[test]
    fn without_a_cache_a_power_cut_loses_nothing() -> Result {
        let disk = Asker::new(&Settings {
            write_cache: false,
            ..Settings::default()
        })?;
        disk.put(0, 8, 4)?;
        disk.cut_and_revive();
        assert_eq!(disk.read(0, 8)?.as_slice(), &[4; 8]);
        Ok(())
    }

    #[test]
    fn while_the_power_is_cut_all_fails() -> Result {
        let disk = Asker::new(&Settings::default())?;
        disk.put(0, 8, 1)?;
        disk.0.cut();
        let eio = Err(EIO.to_errno());
        assert_eq!(disk.put(0, 8, 2).map_err(Error::to_errno), eio);
        assert_eq!(disk.flush().map_err(Error::to_errno), eio);
        assert_eq!(disk.read(0, 8).map(drop).map_err(Error::to_errno), eio);
        disk.0.revive();
        assert_eq!(disk.read(0, 1)?.as_slice(), &[TENANT]);
        Ok(())
    }

    #[test]
    fn half_a_logical_block_is_refused() -> Result {
        let disk = Asker::new(&Settings {
            block_size: 4096,
            ..Settings::default()
        })?;
        disk.put(8, 8, 1)?;
        let einval = EINVAL.to_errno();
        assert_eq!(disk.write(Asked::to(Operation::Write, 8), 7, 2)?, einval);
        assert_eq!(disk.write(Asked::to(Operation::Write, 9), 8, 2)?, einval);
        assert_eq!(disk.read(8, 8)?.as_slice(), &[1; 8]);
        Ok(())
    }

    #[test]
    fn memory_is_given_back_over_all_shards() -> Result {
        let store = KBox::pin_init(Store::new(), GFP_KERNEL)?;
        // Two pages at the border of each of the first hundred leaves, more than there are shards.
        for leaf in 1..=100 {
            fill(&store, leaf * LEAF - 8, 16)?;
        }
        assert_eq!(store.pages(), (200, 0));
        store.visit(Patience::MaySleep).flush()?;
        assert_eq!(store.pages(), (0, 200));
        store.visit(Patience::MaySleep).discard(0..50 * LEAF)?;
        assert_eq!(store.pages(), (0, 101));
        store.visit(Patience::MaySleep).discard(0..200 * LEAF)?;
        assert_eq!(store.pages(), (0, 0));
        Ok(())
    }

    #[test]
    fn pages_of_zeros_take_no_frames_and_are_remembered() -> Result {
        let store = KBox::pin_init(Store::new(), GFP_KERNEL)?;
        let mut visit = store.visit(Patience::MaySleep);
        visit.write_zeroes(0..2 * LEAF, Reach::Cache)?;
        let mut zeros = 0;
        for piece in pieces(LEAF - 16, 32) {
            visit.read(piece, |range, bytes| {
                zeros += range.len() - bytes.iter().filter(|byte| **byte != 0).count();
            })?;
        }
        assert_eq!(zeros, 32 * SECTOR_SIZE);
        Ok(())
    }
}
