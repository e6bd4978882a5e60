// SPDX-License-Identifier: MIT OR Apache-2.0

//! The states in which a power cut could leave the filesystem of a cell, visited one by one: each is made on
//! a disk of its own from the log of what reached the disk, mounted, looked at and checked.

mod both;
mod target;

use std::fs::File;
use std::path::Path;

pub use self::both::Both;
use self::target::Target;
use super::device::Device;
use super::disk::Disk;
use super::dm_log_writes::LogWrites;
use super::error::{Doing, Error, Result};
use super::filesystem::{self, Filesystem};
use crate::crash::log::What;
use crate::crash::{Log, State};

/// What the media had at the last flush before the state that is visited.
const BASE: Disk = Disk::of("pinblk1");
/// The state that is visited.
const VISITED: Disk = Disk::of("pinblk2");
/// What the recorded disk had on its media in the end.
const END: Disk = Disk::of("pinblk3");
const FOLDER: &str = "/mnt/after-cut";

/// Marks of a second log where the driver's begins and ends.
const BEGIN: &str = "begin";
const END_OF_LOG: &str = "end";

/// A disk whose log is being written.
pub struct Recording {
    device: Device,
    disk: &'static Disk,
    filesystem: &'static Filesystem,
    /// Keeps a log of its own, where the filesystem is mounted on it.
    second: Option<LogWrites>,
}

impl Recording {
    /// Begins it, on a filesystem of which nothing is dirty.
    pub(super) fn begin(
        device: &Device,
        disk: &'static Disk,
        filesystem: &'static Filesystem,
        second: Option<LogWrites>,
    ) -> Result<Self> {
        let recording = Self { device: device.clone(), disk, filesystem, second };
        recording.flush()?;
        disk.write("log", "1")?;
        disk.copy_media_uncached(&BASE)?;
        // What changes the disk is in the log then, or makes it incomplete, as who reads it notices.
        if device.statistics(disk)?.cached_pages != 0 || device.log_position(disk)? != 0 {
            let text = format!("{} was written to when its log began: it cannot be replayed", disk.name());
            return Err(Error::Unexpected(text));
        }
        recording.mark(BEGIN)?;
        Ok(recording)
    }

    /// The position in the log behind all that has ended. A second log is marked with it.
    pub fn position(&self) -> Result<usize> {
        let position = self.device.log_position(self.disk)?;
        self.mark(&position.to_string())?;
        Ok(position)
    }

    /// Ends it, after a flush.
    pub fn end(self) -> Result<Recorded> {
        self.flush()?;
        self.mark(END_OF_LOG)?;
        let log = self.device.read_log(self.disk)?;
        self.disk.copy_media_uncached(&END)?;
        self.disk.write("log", "0")?;
        Ok(Recorded { device: self.device, filesystem: self.filesystem, log })
    }

    /// Has the disk move what its cache has to the media, so that each log knows of it.
    fn flush(&self) -> Result<()> {
        let path = self.second.as_ref().map_or_else(|| self.disk.path(), |second| second.node().to_owned());
        File::open(&path).and_then(|disk| disk.sync_all()).doing(format!("flush {path}"))
    }

    fn mark(&self, text: &str) -> Result<()> {
        self.second.as_ref().map_or(Ok(()), |second| second.mark(text))
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

    /// Has the filesystem of the state that was made mounted and recovered, and calls `look` with its folder.
    fn inspect<T>(&self, look: impl FnOnce(&Path) -> Result<T>) -> Result<Visited<T>> {
        let seen = self.filesystem.mount_copy(&VISITED, FOLDER).and_then(|()| {
            let seen = look(Path::new(FOLDER));
            filesystem::unmount(FOLDER)?;
            seen
        });
        let complaint = self.filesystem.check(&VISITED)?.complaint;
        VISITED.remove()?;
        Ok(Visited { seen, complaint })
    }

    /// How the media that a replay led to differ from those that the recorded disk had. Removes them.
    fn leads_to_end(&self, replayed: &Disk, target: Target) -> Result<Option<String>> {
        drop(target);
        let pages = |disk| self.device.statistics(disk).map(|statistics| statistics.media_pages);
        let counts = (pages(replayed)?, pages(&END)?);
        let difference = if counts.0 == counts.1 {
            target::difference(self.log.entries(), replayed, &END)?
        } else {
            Some(format!("the media have {} pages, and {} by the log", counts.1, counts.0))
        };
        replayed.remove()?;
        Ok(difference)
    }

    /// The writes that are not on the media in a state though they had ended, each of them a page or a part.
    pub fn lost(&self, state: &State) -> Vec<&[u8]> {
        let lost = state.lost(&self.log).filter_map(|entry| match &entry.what {
            What::Write(bytes) => Some(bytes.as_slice()),
            _ => None,
        });
        lost.collect()
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
        self.make(state)?;
        self.recorded.inspect(look)
    }

    /// Makes a state.
    fn make(&mut self, state: &State) -> Result<()> {
        let log = &self.recorded.log;
        state.check(log).map_err(Error::Unexpected)?;
        self.go_to(log.open_at(state.position).start)?;
        BASE.copy_media_uncached(&VISITED)?;
        let target = Target::open(&VISITED)?;
        state.survivors(log).into_iter().try_for_each(|index| target.apply(&log.entries()[index]))
    }

    /// Ends the visits. Replays the rest of the log, and tells how the media that it leads to differ from
    /// those that the recorded disk had: not at all, if the log has everything as it was.
    pub fn end(mut self) -> Result<Option<String>> {
        self.go_to(self.recorded.log.end())?;
        let difference = self.recorded.leads_to_end(&BASE, self.base)?;
        END.remove()?;
        Ok(difference)
    }

    fn go_to(&mut self, position: usize) -> Result<()> {
        if position < self.done {
            return Err(Error::Unexpected("states are visited in the order of their positions".to_owned()));
        }
        let entries = &self.recorded.log.entries()[self.done..position];
        self.done = position;
        entries.iter().try_for_each(|entry| self.base.apply(entry))
    }
}
