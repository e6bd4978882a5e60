// SPDX-License-Identifier: MIT OR Apache-2.0

//! A disk to which entries of a log are applied.

use std::fs::File;
use std::os::unix::fs::{FileExt, OpenOptionsExt};

use nix::libc;

use crate::crash::{Entry, What};
use crate::guest::disk::Disk;
use crate::guest::error::{Doing, Error, Result};
use crate::guest::memory::PAGE;

/// Bytes of a sector.
const SECTOR: u64 = 512;

/// Sectors that are compared at once: those of a page.
const AT_ONCE: usize = 8;

/// A disk without a cache, to which entries of a log are applied.
pub(super) struct Target {
    disk: &'static Disk,
    node: File,
}

/// Memory from which direct I/O writes.
#[repr(align(4096))]
struct Aligned([u8; PAGE]);

impl Target {
    pub(super) fn open(disk: &'static Disk) -> Result<Self> {
        let mut options = File::options();
        let node = options.read(true).write(true).custom_flags(libc::O_DIRECT).open(disk.path());
        Ok(Self { disk, node: node.doing(format!("open {}", disk.path()))? })
    }

    /// Does to the disk what the entry did to the recorded one.
    pub(super) fn apply(&self, entry: &Entry) -> Result<()> {
        let bytes = entry.sectors.start * SECTOR..entry.sectors.end * SECTOR;
        match &entry.what {
            What::Write(data) => {
                let mut page = Aligned([0; PAGE]);
                page.0[..data.len()].copy_from_slice(data);
                self.node.write_all_at(&page.0[..data.len()], bytes.start).doing(format!(
                    "replay a write of sector {} to {}",
                    entry.sectors.start,
                    self.disk.path()
                ))
            }
            What::Zeroes => self.disk.write_zeroes(bytes),
            What::Discard => self.disk.discard(bytes),
            What::Flush => Ok(()),
        }
    }
}

/// The first place of those that the entries change at which two disks differ.
pub(super) fn difference(entries: &[Entry], one: &Disk, other: &Disk) -> Result<Option<String>> {
    let open = |disk: &Disk| File::open(disk.path()).doing(format!("open {}", disk.path()));
    let (one, other) = (open(one)?, open(other)?);
    let changes = entries.iter().filter(|entry| entry.what != What::Flush);
    for first in changes.flat_map(|entry| entry.sectors.clone().step_by(AT_ONCE)) {
        let read = |disk: &File| {
            let mut bytes = vec![0; PAGE];
            let length = disk.read_at(&mut bytes, first * SECTOR).doing("read replayed media")?;
            bytes.truncate(length);
            Ok::<_, Error>(bytes)
        };
        if read(&one)? != read(&other)? {
            return Ok(Some(format!("one of the {AT_ONCE} sectors from {first} on differs")));
        }
    }
    Ok(None)
}
