// SPDX-License-Identifier: MIT OR Apache-2.0

//! Disks of pinblk, made through configfs.

use std::fs::{self, File};
use std::io;
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use nix::libc;

use super::error::{Doing, Result};
use crate::cell::Policy;

/// Where pinblk has its disks made.
const DIRECTORY: &str = "/sys/kernel/config/pinblk";

/// Requests of `linux/fs.h`, as `_IO(0x12, number)` makes them.
const BLKDISCARD: u64 = 0x1277;
const BLKZEROOUT: u64 = 0x127f;

/// What a disk is like.
#[expect(clippy::struct_excessive_bools, reason = "a disk has that many switches")]
pub struct Attributes {
    /// Size in MiB.
    pub size_mib: u32,
    /// Logical block in bytes: 512 or 4096.
    pub block_size: u32,
    /// Writes land in a volatile cache.
    pub write_cache: bool,
    /// With a write cache: the disk can write through it.
    pub fua: bool,
    /// Pages are to stay unchanged while they are written.
    pub stable_writes: bool,
    /// The disk takes requests whose submitter must not sleep.
    pub nowait: bool,
    /// Data is copied that many milliseconds after a bio came; zero: as it comes.
    pub late_ms: u32,
}

impl Attributes {
    /// What the disk of a setup is like that says nothing else.
    pub const PLAIN: Self = Self {
        size_mib: 512,
        block_size: 512,
        write_cache: true,
        fua: true,
        stable_writes: false,
        nowait: true,
        late_ms: 0,
    };
}

impl Default for Attributes {
    fn default() -> Self {
        Self::PLAIN
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
        self.make_unpowered()?;
        let values = [
            ("size", attributes.size_mib),
            ("blocksize", attributes.block_size),
            ("write_cache", attributes.write_cache.into()),
            ("fua", attributes.fua.into()),
            ("stable_writes", attributes.stable_writes.into()),
            ("nowait", attributes.nowait.into()),
            ("late_transfer", attributes.late_ms),
            // The others can be written only while the power is off.
            ("power", 1),
        ];
        for (attribute, value) in values {
            self.write(attribute, &value.to_string())?;
        }
        Ok(())
    }

    /// Makes the disk as it is by itself, without power: it is not yet in `/dev`.
    pub fn make_unpowered(&self) -> Result<()> {
        let directory = self.directory();
        fs::create_dir(&directory).doing(format!("make {}", directory.display()))
    }

    /// Writes an attribute.
    pub fn write(&self, attribute: &str, value: &str) -> Result<()> {
        let path = self.directory().join(attribute);
        fs::write(&path, value).doing(format!("write {value} to {}", path.display()))
    }

    /// Reads an attribute, without the end of its line.
    pub fn read(&self, attribute: &str) -> Result<String> {
        let path = self.directory().join(attribute);
        let text = fs::read_to_string(&path).doing(format!("read {}", path.display()))?;
        Ok(text.trim_end().to_owned())
    }

    /// What is done from now on about writeback of pages that may be pinned.
    pub fn set_policy(&self, policy: Policy) -> Result<()> {
        self.write("policy", policy.name())
    }

    /// Makes a disk like this one that begins with what its media hold: what a power cut at this moment
    /// would leave. This one goes on.
    pub fn copy_media(&self, copy: &Self) -> Result<()> {
        self.copy(copy, true)
    }

    /// The same, and what is written to the copy is on its media at once.
    pub fn copy_media_uncached(&self, copy: &Self) -> Result<()> {
        self.copy(copy, false)
    }

    fn copy(&self, copy: &Self, write_cache: bool) -> Result<()> {
        copy.make_unpowered()?;
        copy.write("write_cache", if write_cache { "1" } else { "0" })?;
        for attribute in ["size", "blocksize"] {
            copy.write(attribute, &self.read(attribute)?)?;
        }
        copy.write("copy_of", self.name)?;
        copy.write("power", "1")
    }

    /// Cuts the power: what was not flushed is lost, and I/O fails until [`Disk::restore_power`].
    pub fn cut_power(&self) -> Result<()> {
        self.write("power_cut", "1")
    }

    /// Brings the power back.
    pub fn restore_power(&self) -> Result<()> {
        self.write("power_cut", "0")
    }

    /// Removes the disk, also while it is in use.
    pub fn remove(&self) -> Result<()> {
        let directory = self.directory();
        fs::remove_dir(&directory).doing(format!("remove {}", directory.display()))
    }

    /// Discards bytes of the disk: whole sectors.
    pub fn discard(&self, bytes: Range<u64>) -> Result<()> {
        self.change(BLKDISCARD, bytes).doing(format!("discard a part of {}", self.name))
    }

    /// Writes zeros to bytes of the disk, whole sectors, without sending them.
    pub fn write_zeroes(&self, bytes: Range<u64>) -> Result<()> {
        self.change(BLKZEROOUT, bytes).doing(format!("write zeros to a part of {}", self.name))
    }

    fn change(&self, request: u64, bytes: Range<u64>) -> io::Result<()> {
        let node = File::options().write(true).open(self.path())?;
        let range = [bytes.start, bytes.end - bytes.start];
        // SAFETY: both requests read two numbers from there and write nothing.
        let returned = unsafe { libc::ioctl(node.as_raw_fd(), request, range.as_ptr()) };
        if returned < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    fn directory(&self) -> PathBuf {
        Path::new(DIRECTORY).join(self.name)
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
