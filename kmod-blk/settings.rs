// SPDX-License-Identifier: GPL-2.0

//! What a disk is to be like.

use crate::{
    logic::{
        sectors::{
            PAGE_SIZE,
            SECTOR_SIZE, //
        },
        writeback::Policy, //
    },
    sys::gendisk::Limits, //
};

const SECTORS_PER_MIB: u64 = (1 << 20) / SECTOR_SIZE as u64;

/// What userspace sets up while the disk has no power.
pub(crate) struct Settings {
    /// Size in MiB.
    pub(crate) size_mib: u32,
    /// The logical block in bytes.
    pub(crate) block_size: u32,
    /// The disk has a volatile write cache.
    pub(crate) write_cache: bool,
    /// With a write cache: the disk can write through it.
    pub(crate) fua: bool,
    /// The disk wants pages unchanged while it writes them.
    pub(crate) stable_writes: bool,
    /// The disk takes bios whose submitter must not sleep.
    pub(crate) nowait: bool,
    /// Milliseconds after which data is copied; zero: as the bio comes.
    pub(crate) late_ms: u32,
    /// What is done about pages that may be pinned.
    pub(crate) rules: Rules,
}

/// What userspace can also change while the disk has power.
pub(crate) struct Rules {
    /// What becomes of pages under writeback that may be pinned.
    pub(crate) policy: Policy,
    /// How often a page is put into the cache before it is cleaned after all.
    pub(crate) skip_budget: u32,
    /// Milliseconds that a bio waits for its pages not to be pinned.
    pub(crate) defer_ms: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            size_mib: 512,
            block_size: SECTOR_SIZE as u32,
            write_cache: true,
            fua: true,
            stable_writes: false,
            nowait: true,
            late_ms: 0,
            rules: Rules {
                policy: Policy::Observe,
                skip_budget: 8,
                defer_ms: 2000,
            },
        }
    }
}

impl Settings {
    /// What follows for the block layer.
    pub(crate) fn limits(&self) -> Limits {
        Limits {
            sectors: u64::from(self.size_mib) * SECTORS_PER_MIB,
            logical_block: self.block_size,
            physical_block: PAGE_SIZE as u32,
            write_cache: self.write_cache,
            fua: self.fua,
            stable_writes: self.stable_writes,
            nowait: self.nowait,
        }
    }
}
