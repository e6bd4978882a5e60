// SPDX-License-Identifier: MIT OR Apache-2.0

//! Device-mapper's target `log-writes` over a disk of pinblk: a second log of what reaches it, kept by the kernel's own
//! code on a disk of its own.

use std::fs::File;
use std::io::BufReader;

use super::device_mapper::Mapped;
use super::disk::{Attributes, Disk};
use super::error::{Doing, Error, Result};
use crate::crash::dm_log::{self, Logged};

/// Where the log is kept.
const LOG: Disk = Disk::of("pinblk4");

/// Sectors of a MiB.
const MIB: u64 = 2048;

/// A log of what is written to a disk through its node.
#[derive(Clone, Debug)]
pub struct LogWrites(Mapped);

impl LogWrites {
    /// Begins it. The disk's filesystem must not be mounted: it is to be mounted on [`LogWrites::node`].
    pub fn begin(disk: &Disk) -> Result<Self> {
        LOG.make(&Attributes { write_cache: false, fua: false, ..Attributes::PLAIN })?;
        let size = disk.read("size")?;
        let size: u64 = size
            .parse()
            .map_err(|_| Error::Unexpected(format!("the size of {} is '{size}' MiB", disk.name())))?;
        let parameters = format!("{} {}", disk.path(), LOG.path());
        Mapped::make("logged", size * MIB, "log-writes", &parameters).map(Self)
    }

    /// What is to be written to in place of the disk.
    pub fn node(&self) -> &str {
        &self.0.node
    }

    /// Has the log say this behind all that a power cut at this moment would leave.
    pub fn mark(&self, text: &str) -> Result<()> {
        self.0.message(&format!("mark {text}"))
    }

    /// Ends it, and returns it. What was mounted on its node must not be any more.
    pub fn end(self) -> Result<Vec<Logged>> {
        self.0.remove()?;
        let path = LOG.path();
        let log = File::open(&path).doing(format!("open {path}"))?;
        let logged =
            dm_log::read(BufReader::new(log)).map_err(|error| Error::Unexpected(error.to_string()))?;
        LOG.remove()?;
        Ok(logged)
    }
}
