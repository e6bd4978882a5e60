// SPDX-License-Identifier: MIT OR Apache-2.0

//! The states in which a power cut could leave the filesystem of a cell, visited one by one: each is made on
//! a disk of its own from the log of what reached the disk, mounted, looked at and checked.

use std::fs::File;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use nix::libc;

use super::device::Device;
use super::disk::Disk;
use super::error::{Doing, Error, Result};
use super::filesystem::{self, Filesystem};
use super::memory::PAGE;
use crate::crash::{Log, State, What};

/// What the media had at the last flush before the state that is visited.
const BASE: Disk = Disk::of("pinblk1");
/// The state that is visited.
const VISITED: Disk = Disk::of("pinblk2");
/// What the recorded disk had on its media in the end.
const END: Disk = Disk::of("pinblk3");
const FOLDER: &str = "/mnt/after-cut";

/// Bytes of a sector.
const SECTOR: u64 = 512;

/// A disk whose log is being written.
pub struct Recording {
    device: Device,
    disk: &'static Disk,
    filesystem: &'static Filesystem,
}

impl Recording {
    /// Begins it, on a filesystem of which nothing is dirty.
    pub(super) fn begin(
        device: &Device,
        disk: &'static Disk,
        filesystem: &'static Filesystem,
    ) -> Result<Self> {
        let before = device.statistics(disk)?;
        disk.copy_media_uncached(&BASE)?;
        disk.write("log", "1")?;
        let after = device.statistics(disk)?;
        if after.cached_pages != 0 || after.writes != before.writes {
            let text = format!("{} was written to when its log began: it cannot be replayed", disk.name());
            return Err(Error::Unexpected(text));
        }
        Ok(Self { device: device.clone(), disk, filesystem })
    }

    /// The position in the log behind all that has ended.
    pub fn position(&self) -> Result<usize> {
        self.device.log_position(self.disk)
    }

    /// Ends it, after a flush.
    pub fn end(self) -> Result<Recorded> {
        let path = self.disk.path();
        File::open(&path).and_then(|disk| disk.sync_all()).doing(format!("flush {path}"))?;
        let log = self.device.read_log(self.disk)?;
        self.disk.copy_media_uncached(&END)?;
        self.disk.write("log", "0")?;
        Ok(Recorded { device: self.device, filesystem: self.filesystem, log })
    }
}

/// What was recorded.
pub struct Recorded {
    device: Device,
    filesystem: &'static Filesystem,
    /// The log.
    pub log: Log,
}

impl Recorded {
    /// The disk of the beginning, to be brought from state to state. The filesystem that was recorded must
    /// not be mounted any more: it has the same identity.
    pub fn replay(&self) -> Result<Replay<'_>> {
        let base = Target::open(&BASE)?;
        Ok(Replay { recorded: self, base, done: 0 })
    }
}

/// A visit of states, in the order of their positions.
pub struct Replay<'a> {
    recorded: &'a Recorded,
    base: Target,
    /// The entries before this position are on the base.
    done: usize,
}

/// How a state was found.
pub struct Visited<T> {
    /// What looking at the mounted filesystem gave, or why it could not be mounted.
    pub seen: Result<T>,
    /// The filesystem's own checker, and what it complains of.
    pub complaint: Option<String>,
}

impl Replay<'_> {
    /// Makes a state, has the filesystem mounted and recovered, and calls `look` with its folder.
    pub fn visit<T>(&mut self, state: &State, look: impl FnOnce(&Path) -> Result<T>) -> Result<Visited<T>> {
        let Recorded { filesystem, log, .. } = self.recorded;
        state.check(log).map_err(Error::Unexpected)?;
        self.go_to(log.open_at(state.position).start)?;
        BASE.copy_media_uncached(&VISITED)?;
        let target = Target::open(&VISITED)?;
        for index in state.survivors(log) {
            target.apply(log, index)?;
        }
        drop(target);
        let seen = filesystem.mount_copy(&VISITED, FOLDER).and_then(|()| {
            let seen = look(Path::new(FOLDER));
            filesystem::unmount(FOLDER)?;
            seen
        });
        let complaint = filesystem.check(&VISITED)?.complaint;
        VISITED.remove()?;
        Ok(Visited { seen, complaint })
    }

    /// Ends the visits. Replays the rest of the log, and tells how the media that it leads to differ from
    /// those that the recorded disk had: not at all, if the log has everything as it was.
    pub fn end(mut self) -> Result<Option<String>> {
        let log = &self.recorded.log;
        self.go_to(log.end())?;
        drop(self.base);
        let pages = |disk| self.recorded.device.statistics(disk).map(|statistics| statistics.media_pages);
        let counts = (pages(&BASE)?, pages(&END)?);
        let difference = if counts.0 == counts.1 {
            first_difference(log)?
        } else {
            Some(format!("the media have {} pages, and {} by the log", counts.1, counts.0))
        };
        BASE.remove()?;
        END.remove()?;
        Ok(difference)
    }

    fn go_to(&mut self, position: usize) -> Result<()> {
        if position < self.done {
            return Err(Error::Unexpected("states are visited in the order of their positions".to_owned()));
        }
        for index in self.done..position {
            self.base.apply(&self.recorded.log, index)?;
        }
        self.done = position;
        Ok(())
    }
}

/// A disk without a cache, to which entries of a log are applied.
struct Target {
    disk: &'static Disk,
    node: File,
}

/// Memory from which direct I/O writes.
#[repr(align(4096))]
struct Aligned([u8; PAGE]);

impl Target {
    fn open(disk: &'static Disk) -> Result<Self> {
        let mut options = File::options();
        let node = options.read(true).write(true).custom_flags(libc::O_DIRECT).open(disk.path());
        Ok(Self { disk, node: node.doing(format!("open {}", disk.path()))? })
    }

    fn apply(&self, log: &Log, index: usize) -> Result<()> {
        let entry = &log.entries()[index];
        let bytes = entry.sectors.start * SECTOR..entry.sectors.end * SECTOR;
        match &entry.what {
            What::Write(data) => {
                let mut page = Aligned([0; PAGE]);
                page.0[..data.len()].copy_from_slice(data);
                self.node
                    .write_all_at(&page.0[..data.len()], bytes.start)
                    .doing(format!("replay entry {index} of the log to {}", self.disk.path()))
            }
            What::Zeroes => self.disk.write_zeroes(bytes),
            What::Discard => self.disk.discard(bytes),
            What::Flush => Ok(()),
        }
    }
}

/// The first place of those that the log names at which the replayed media and the recorded ones differ.
fn first_difference(log: &Log) -> Result<Option<String>> {
    let open = |disk: &Disk| File::open(disk.path()).doing(format!("open {}", disk.path()));
    let (replayed, recorded) = (open(&BASE)?, open(&END)?);
    for entry in log.entries() {
        let What::Write(data) = &entry.what else { continue };
        let read = |disk: &File| {
            let mut bytes = vec![0; data.len()];
            let read = disk.read_exact_at(&mut bytes, entry.sectors.start * SECTOR);
            read.doing("read replayed media").map(|()| bytes)
        };
        if read(&replayed)? != read(&recorded)? {
            return Ok(Some(format!("sector {} differs", entry.sectors.start)));
        }
    }
    Ok(None)
}
