// SPDX-License-Identifier: MIT OR Apache-2.0

//! A page of a file that a device holds over its writeback, and writes afterwards: how many scenarios go.

use std::fs::File;
use std::time::{Duration, Instant};

use super::bed::Bed;
use super::device::{Hold, Release};
use super::error::{Doing, Result};
use super::file::TestFile;
use super::memory::Memory;
use crate::cell::{Acquisition, Setup};
use crate::pattern::Pattern;
use crate::record::{Class, Direction};

/// What is in the file at first.
pub const BEFORE: Pattern = Pattern(1);
/// What the processor writes to the page by its mapping.
pub const BY_PROCESSOR: Pattern = Pattern(2);
/// What the device writes to the page by DMA.
pub const BY_DEVICE: Pattern = Pattern(3);

/// How long a page may stay dirty through one fsync after another.
const PATIENCE: Duration = Duration::from_secs(10);

/// The page, mapped and held.
pub struct HeldPage {
    /// A file of this one page.
    pub file: TestFile,
    /// The file, open from before the page was read: a FUSE file that is opened forgets its page cache.
    pub open: File,
    /// Its mapping.
    pub mapping: Memory,
    /// By which the device holds it.
    pub hold: Hold,
}

impl HeldPage {
    /// The processor has written to the page, which makes it dirty; it is held as the cell says.
    pub fn dirty(bed: &mut Bed) -> Result<Self> {
        let file = bed.file("data", BEFORE, 1)?;
        let open = file.buffered()?;
        let mapping = file.map()?;
        mapping.fill(BY_PROCESSOR);
        let hold = bed.device().hold(&mapping, bed.acquisition())?;
        Ok(Self { file, open, mapping, hold })
    }

    /// The same, and fsync has written the page back, so that nobody expects it to change. Ends a step.
    ///
    /// ext4 with data in its journal is the exception: what it writes and sees to be pinned it journals again,
    /// and again, so that it stays dirty.
    pub fn written_back(bed: &mut Bed) -> Result<Self> {
        let page = Self::dirty(bed)?;
        fsync(&page.open)?;
        let step = bed.observe("the page is held, and written back", Some(&page.hold))?;
        let dirty = step.pages[0].dump.has_flag("dirty");
        if bed.setup() == Setup::Ext4Journal && bed.acquisition() == Acquisition::Pin {
            bed.require("the page is dirty again, to be journalled as long as it is pinned", dirty)?;
        } else {
            bed.require("the page is clean", !dirty)?;
        }
        Ok(page)
    }

    /// The device writes all of it by DMA.
    pub fn write_by_device(&self) -> Result<()> {
        self.hold.dma(0, &BY_DEVICE.bytes(0, self.mapping.length()))
    }

    /// It is released as dirty, and written back for that. Ends a step.
    ///
    /// On btrfs that takes more than one fsync: see the finding `btrfs-fsync-misses-late-dirty`.
    pub fn release_dirty_and_write_back(self, bed: &mut Bed) -> Result<(TestFile, Memory)> {
        self.hold.release(Release::Dirty)?;
        let written = fsync_until_written(bed, &self.open)?;
        bed.observe("the page is released dirty, and the file made durable", None)?;
        bed.check("the page was written back for that", written)?;
        Ok((self.file, self.mapping))
    }
}

/// Makes the file durable again and again, until a page of it is written; whether one was.
pub fn fsync_until_written(bed: &Bed, file: &File) -> Result<bool> {
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        fsync(file)?;
        if is_data_written(bed)? {
            // Who wrote it may be somebody else, who is not done yet: this waits for that.
            fsync(file)?;
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether a page of a file was written to the disk since the last step.
pub fn is_data_written(bed: &Bed) -> Result<bool> {
    let traffic = bed.traffic()?;
    Ok(traffic.iter().any(|bios| bios.direction == Direction::Write && bios.class == class(bed)))
}

/// The class of the bios that carry the page: the page cache of a bare disk is that of the device.
pub fn class(bed: &Bed) -> Class {
    if bed.setup().is_bare_disk() { Class::Metadata } else { Class::PageCache }
}

fn fsync(file: &File) -> Result<()> {
    file.sync_all().doing("fsync the file of the held page")
}
