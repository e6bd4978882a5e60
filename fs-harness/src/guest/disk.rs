// SPDX-License-Identifier: MIT OR Apache-2.0

//! Disks of pinblk, made through configfs.

use std::fs;
use std::path::Path;

use super::error::{Doing, Result};

/// Where pinblk has its disks made.
const DIRECTORY: &str = "/sys/kernel/config/pinblk";

/// What a disk is like.
pub struct Attributes {
    /// Size in MiB.
    pub size_mib: u32,
    /// Logical block in bytes: 512 or 4096.
    pub block_size: u32,
    /// Writes land in a volatile cache.
    pub write_cache: bool,
    /// Pages are to stay unchanged while they are written.
    pub stable_writes: bool,
}

impl Default for Attributes {
    fn default() -> Self {
        Self { size_mib: 512, block_size: 512, write_cache: true, stable_writes: false }
    }
}

/// A disk, by its name. It belongs to the guest: it stays when this is dropped.
pub struct Disk {
    name: &'static str,
}

impl Disk {
    /// The disk of that name, which [`Disk::make`] makes, maybe in another process.
    pub const fn of(name: &'static str) -> Self {
        Self { name }
    }

    /// Makes the disk and powers it: when this returns it is in `/dev`.
    pub fn make(&self, attributes: &Attributes) -> Result<()> {
        let directory = Path::new(DIRECTORY).join(self.name);
        fs::create_dir(&directory).doing(format!("make {}", directory.display()))?;
        let values = [
            ("size", attributes.size_mib),
            ("blocksize", attributes.block_size),
            ("write_cache", attributes.write_cache.into()),
            ("stable_writes", attributes.stable_writes.into()),
            // The others can be written only while the power is off.
            ("power", 1),
        ];
        for (attribute, value) in values {
            let path = directory.join(attribute);
            fs::write(&path, value.to_string()).doing(format!("write {value} to {}", path.display()))?;
        }
        Ok(())
    }

    /// Its name, by which pinblk knows it.
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// Its node.
    pub fn path(&self) -> String {
        format!("/dev/{}", self.name)
    }
}
