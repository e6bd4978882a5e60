// SPDX-License-Identifier: MIT OR Apache-2.0

//! What a power cut leaves by the log of dm-log-writes, beside what it leaves by the driver's own.

use std::path::Path;

use super::target::{self, Target};
use super::{BASE, BEGIN, END_OF_LOG, Recorded, Replay, VISITED, Visited};
use crate::crash::agreement::{self, Moment};
use crate::crash::dm_log::Logged;
use crate::crash::{Entry, State};
use crate::guest::disk::Disk;
use crate::guest::error::{Error, Result};

/// What the media have by the log of dm-log-writes.
const SECOND: Disk = Disk::of("pinblk5");

/// Both logs of a recorded disk, replayed side by side, each by its own rules.
pub struct Both<'a> {
    recorded: &'a Recorded,
    first: Replay<'a>,
    second: Target,
    /// What dm-log-writes has logged meanwhile.
    logged: &'a [Logged],
    /// What is before this place is on the second disk.
    done: usize,
}

/// A moment, as it was found by both.
pub struct Pair<T> {
    /// Where the media differ.
    pub difference: Option<String>,
    /// By the driver's log.
    pub first: Visited<T>,
    /// By that of dm-log-writes.
    pub second: Visited<T>,
}

impl<'a> Both<'a> {
    /// The disk of the beginning, twice. The filesystem that was recorded must not be mounted any more.
    pub fn begin(recorded: &'a Recorded, logged: &'a [Logged]) -> Result<Self> {
        let missing =
            || Error::Unexpected("the log of dm-log-writes lacks the marks of this recording".to_owned());
        let logged = agreement::between(logged, BEGIN, END_OF_LOG).ok_or_else(missing)?;
        BASE.copy_media_uncached(&SECOND)?;
        Ok(Self { recorded, first: recorded.replay()?, second: Target::open(&SECOND)?, logged, done: 0 })
    }

    /// The moments that both logs know, or in what they do not agree.
    pub fn moments(&self) -> std::result::Result<Vec<Moment>, String> {
        agreement::moments(&self.recorded.log, self.logged)
    }

    /// Makes the media of a moment by each log, compares them, and has each mounted for `look`. Moments are
    /// visited in their order.
    pub fn visit<T>(&mut self, moment: &Moment, look: impl Fn(&Path) -> Result<T>) -> Result<Pair<T>> {
        let log = &self.recorded.log;
        self.first.make(&State { position: moment.position, kept: [].into(), of: log.end() })?;
        self.go_to(moment.durable)?;
        let difference = target::difference(log.entries(), &VISITED, &SECOND)?;
        let first = self.recorded.inspect(&look)?;
        SECOND.copy_media_uncached(&VISITED)?;
        let second = self.recorded.inspect(&look)?;
        Ok(Pair { difference, first, second })
    }

    /// Ends the visits: how the media that the driver's log and that of dm-log-writes lead to differ from those that the disk
    /// had in the end.
    pub fn end(mut self) -> Result<[Option<String>; 2]> {
        self.go_to(self.logged.len())?;
        let second = self.recorded.leads_to_end(&SECOND, self.second)?;
        Ok([self.first.end()?, second])
    }

    fn go_to(&mut self, place: usize) -> Result<()> {
        let logged = &self.logged[self.done..place];
        self.done = place;
        let entries = logged.iter().filter_map(|logged| match logged {
            Logged::Entry(entry) => Some(entry),
            Logged::Mark(_) => None,
        });
        entries.into_iter().try_for_each(|entry: &Entry| self.second.apply(entry))
    }
}
