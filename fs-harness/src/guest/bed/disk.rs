// SPDX-License-Identifier: MIT OR Apache-2.0

//! What a scenario does with the disk below its setup.

use std::fs::File;

use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, fallocate};
use pinblk_abi as abi;

use super::Bed;
use crate::cell::Policy;
use crate::guest::crash::Recording;
use crate::guest::device::{Bios, Gate, Stage};
use crate::guest::disk::Disk;
use crate::guest::dm_log_writes::LogWrites;
use crate::guest::error::{Doing, Error, Result};
use crate::guest::file::TestFile;
use crate::pattern::Pattern;
use crate::record::Decision;

/// The parts in which all space is taken, from large to small, in bytes.
const FILE_SIZE_LOG2_MOST: u32 = 26;
const FILE_SIZE_LOG2_LEAST: u32 = 12;

impl Bed {
    /// The disk below the setup, where there is one.
    pub fn disk(&self) -> Option<&'static Disk> {
        self.site.disk()
    }

    /// The disk below the setup, which the scenario needs.
    pub fn require_disk(&self) -> Result<&'static Disk> {
        let none = || Error::Unexpected(format!("the setup '{}' has no disk", self.cell.setup));
        self.disk().ok_or_else(none)
    }

    /// What the disk has counted since it has its power.
    pub fn disk_statistics(&self) -> Result<abi::Statistics> {
        self.device.statistics(self.require_disk()?)
    }

    /// The same once so many bios are in flight, if that comes soon.
    pub fn disk_statistics_with(&self, in_flight: u64) -> Result<abi::Statistics> {
        self.device.statistics_with(self.require_disk()?, in_flight)
    }

    /// How many pages came to that end in the cleaning of memory, since the disk has its power.
    pub fn decided_about_cleaning(&self, decision: Decision) -> Result<u64> {
        let index = Decision::ALL.iter().position(|&one| one == decision).expect("it is one of them");
        Ok(self.disk_statistics()?.cleaning[index])
    }

    /// What the disk does about writeback of pages that may be pinned.
    pub fn policy(&self) -> Policy {
        self.cell.policy
    }

    /// Closes a gate of the cell's disk.
    pub fn close_gate(&self, stage: Stage, bios: &Bios) -> Result<Gate> {
        self.device.close_gate(self.require_disk()?, stage, bios)
    }

    /// Changes a number that the policy of the cell's disk goes by.
    pub fn write_rule(&self, attribute: &str, value: u32) -> Result<()> {
        self.require_disk()?.write(attribute, &value.to_string())
    }

    /// Has the disk move what its cache has to the media.
    pub fn flush_disk(&self) -> Result<()> {
        let path = self.require_disk()?.path();
        File::open(&path).and_then(|disk| disk.sync_all()).doing(format!("flush {path}"))
    }

    /// Begins to record what reaches the disk, with nothing dirty; beside a second log, where the filesystem is mounted
    /// on one.
    pub fn record(&self, second: Option<LogWrites>) -> Result<Recording> {
        let none =
            || Error::Unexpected(format!("the setup '{}' has no filesystem of its own", self.cell.setup));
        let filesystem = self.site.filesystem().ok_or_else(none)?;
        nix::unistd::sync();
        Recording::begin(&self.device, self.require_disk()?, filesystem, second)
    }

    /// Mounts the filesystem anew on dm-log-writes, which logs from now on what it writes to the disk.
    pub fn log_writes(&mut self) -> Result<LogWrites> {
        self.unmount()?;
        let second = LogWrites::begin(self.require_disk()?)?;
        self.site.mount_on(second.node())?;
        self.is_mounted = true;
        Ok(second)
    }

    /// Leaves the filesystem no space: a file has all that there is. What that takes belongs to no step.
    pub fn fill_up(&mut self) -> Result<()> {
        let path = self.site.path("full")?;
        let file = File::create(&path).doing(format!("make {}", path.display()))?;
        let mut length = 0;
        for size in (FILE_SIZE_LOG2_LEAST..=FILE_SIZE_LOG2_MOST).rev().map(|log2| 1 << log2) {
            loop {
                match fallocate(&file, FallocateFlags::empty(), length, size) {
                    Ok(()) => length += size,
                    Err(Errno::ENOSPC) => break,
                    Err(error) => return Err(error).doing(format!("reserve space for {}", path.display())),
                }
            }
        }
        self.restart_counting()
    }

    /// The bytes of a file as they would be after a power cut at this moment. The filesystem goes on: what
    /// its disk has on the media is mounted once more, which recovers it, and is checked.
    pub fn after_power_cut(&mut self, file: &TestFile) -> Result<Vec<u8>> {
        self.try_after_power_cut(file)?
    }

    /// Records whether a file would hold the pattern after a power cut at this moment.
    pub fn check_after_power_cut(&mut self, text: &str, pattern: Pattern, file: &TestFile) -> Result<()> {
        let found = self.try_after_power_cut(file)?;
        self.check_found(text, pattern, found)
    }

    /// Records whether a file could be read, and held the pattern.
    pub fn check_found(&mut self, text: &str, pattern: Pattern, found: Result<Vec<u8>>) -> Result<()> {
        match found {
            Ok(found) => self.check_data(text, pattern, &found),
            Err(error) => self.check_that(text, false, || error.to_string()),
        }
    }

    /// Like [`Bed::after_power_cut`]. Fails where nothing can be said of the file; what reading it fails with is
    /// within.
    pub fn try_after_power_cut(&mut self, file: &TestFile) -> Result<Result<Vec<u8>>> {
        let survivor = self.site.after_power_cut()?;
        let bytes = survivor.read(file.name(), file.length());
        let checked = survivor.unmount()?;
        let text = format!("{} finds what a power cut leaves clean, once it is recovered", checked.program);
        self.check_that(&text, checked.complaint.is_none(), || checked.complaint.unwrap_or_default())?;
        // What mounting and checking it took belongs to no step.
        self.restart_counting()?;
        Ok(bytes)
    }
}
