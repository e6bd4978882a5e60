// SPDX-License-Identifier: MIT OR Apache-2.0

//! The log of a disk: what reached its store, in order.

use pinblk_abi as abi;

use super::{Device, name_of};
use crate::crash::{Entry, Log, What};
use crate::guest::disk::Disk;
use crate::guest::error::{Doing, Error, Result};
use crate::guest::memory::{Memory, PAGE};

/// Bytes of a sector.
const SECTOR: usize = 512;

impl Device {
    /// The number of entries of a disk's log now: the position up to which everything has happened that has
    /// ended. Fails where the log lacks something.
    pub fn log_position(&self, disk: &Disk) -> Result<usize> {
        let doing = || format!("look at the log of {}", disk.name());
        let mut state = abi::LogState { disk: name_of(disk).doing(doing())?, ..abi::LogState::default() };
        self.call(abi::LOG_STATE, &mut state).doing(doing())?;
        if state.flags != abi::LOG_ON {
            return Err(Error::Unexpected(format!(
                "the log of {} is not on, or lacks what came after {} entries",
                disk.name(),
                state.entries
            )));
        }
        Ok(usize::try_from(state.entries).expect("a log has few entries"))
    }

    /// The whole log of a disk as it is now.
    pub fn read_log(&self, disk: &Disk) -> Result<Log> {
        let data = Memory::anonymous(1)?;
        let entries = 0..self.log_position(disk)?;
        entries.map(|index| self.log_entry(disk, index, &data)).collect::<Result<_>>().map(Log::new)
    }

    /// One entry of the log of a disk. What it has written comes by way of `data`, a page.
    pub fn log_entry(&self, disk: &Disk, index: usize, data: &Memory) -> Result<Entry> {
        let doing = || format!("read entry {index} of the log of {}", disk.name());
        let mut entry = abi::LogEntry {
            disk: name_of(disk).doing(doing())?,
            index: index as u64,
            address: data.address(),
            ..abi::LogEntry::default()
        };
        self.call(abi::LOG_ENTRY, &mut entry).doing(doing())?;
        let length = usize::try_from(entry.end_sector - entry.first_sector).unwrap_or(usize::MAX);
        let what = match entry.kind {
            abi::KIND_WRITE if length <= PAGE / SECTOR => What::Write(data.bytes_of(0..length * SECTOR)),
            abi::KIND_WRITE_ZEROES => What::Zeroes,
            abi::KIND_DISCARD => What::Discard,
            abi::KIND_FLUSH => What::Flush,
            kind => return Err(Error::Unexpected(format!("a log has an entry of the kind {kind}"))),
        };
        Ok(Entry {
            bio: entry.bio,
            sectors: entry.first_sector..entry.end_sector,
            through: entry.flags & abi::LOG_THROUGH != 0,
            what,
        })
    }
}
