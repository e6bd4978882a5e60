// SPDX-License-Identifier: MIT OR Apache-2.0

//! Gates of a disk: bios held on their way, so that a scenario can look at an exact moment.

use std::ops::Range;
use std::time::Duration;

use nix::errno::Errno;
use pinblk_abi as abi;

use super::{Device, name_of};
use crate::guest::disk::Disk;
use crate::guest::error::{Doing, Result};
use crate::record::Class;

/// How long a scenario waits for a bio: much longer than it takes, also on a busy host.
const PATIENCE: Duration = Duration::from_secs(20);

/// Where on its way a bio is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// As it arrives, before the disk decides what to do with its pages.
    Arrival,
    /// When that is decided, before its data is copied.
    Transfer,
}

/// Bios that a gate takes.
#[derive(Clone, Debug)]
pub struct Bios {
    kinds: u32,
    classes: u32,
    sectors: Range<u64>,
    most: u64,
}

impl Bios {
    /// All reads.
    pub fn reads() -> Self {
        Self::of_kinds(1 << abi::KIND_READ)
    }

    /// All writes with data.
    pub fn writes() -> Self {
        Self::of_kinds(1 << abi::KIND_WRITE)
    }

    /// All bios.
    pub fn all() -> Self {
        Self::of_kinds((1 << abi::KINDS) - 1)
    }

    /// Those of one class.
    #[must_use]
    pub fn class(self, class: Class) -> Self {
        let index = match class {
            Class::UserPinned => abi::CLASS_USER_PINNED,
            Class::PageCache => abi::CLASS_PAGE_CACHE,
            Class::Metadata => abi::CLASS_METADATA,
            Class::Other => abi::CLASS_OTHER,
        };
        Self { classes: 1 << index, ..self }
    }

    /// Those that touch one of these sectors.
    #[must_use]
    pub fn sectors(self, sectors: Range<u64>) -> Self {
        Self { sectors, ..self }
    }

    /// The first ones, so many of them.
    #[must_use]
    pub fn first(self, most: u64) -> Self {
        Self { most, ..self }
    }

    fn of_kinds(kinds: u32) -> Self {
        Self { kinds, classes: abi::CLASSES_ALL, sectors: 0..u64::MAX, most: u64::MAX }
    }
}

impl Device {
    /// Closes a gate of the disk: from now on it holds these bios. It opens when it is dropped.
    pub fn close_gate(&self, disk: &Disk, stage: Stage, bios: &Bios) -> Result<Gate> {
        let stage = match stage {
            Stage::Arrival => abi::STAGE_ARRIVAL,
            Stage::Transfer => abi::STAGE_TRANSFER,
        };
        let doing = || format!("close a gate of {}", disk.name());
        let mut close = abi::CloseGate {
            disk: name_of(disk).doing(doing())?,
            stage,
            kinds: bios.kinds,
            classes: bios.classes,
            gate: 0,
            first_sector: bios.sectors.start,
            end_sector: bios.sectors.end,
            most: bios.most,
        };
        self.call(abi::CLOSE_GATE, &mut close).doing(doing())?;
        Ok(Gate { device: self.clone(), handle: close.gate })
    }
}

/// A closed gate.
pub struct Gate {
    device: Device,
    handle: u32,
}

impl Gate {
    /// Waits until it has taken so many bios.
    pub fn wait_for(&self, bios: u64) -> Result<()> {
        self.progress(bios, PATIENCE).map(drop)
    }

    /// How many bios it has taken, and how many of them it holds: once it has taken `bios`, or within
    /// `patience`.
    pub fn progress(&self, bios: u64, patience: Duration) -> Result<(u64, u64)> {
        let timeout = u32::try_from(patience.as_millis()).unwrap_or(u32::MAX);
        let mut wait = abi::WaitGate { gate: self.handle, timeout, bios, holding: 0 };
        self.device.call(abi::WAIT_GATE, &mut wait).doing(format!("wait for {bios} bios at a gate"))?;
        Ok((wait.bios, wait.holding))
    }

    /// Lets go what it holds, and stays closed; returns how many bios that were.
    pub fn let_go(&self) -> Result<u64> {
        self.end(u64::MAX, 0)
    }

    /// Lets the oldest bio go, and stays closed.
    pub fn let_one_go(&self) -> Result<u64> {
        self.end(1, 0)
    }

    /// Fails what it holds, and stays closed; returns how many bios that were.
    pub fn fail(&self, errno: Errno) -> Result<u64> {
        self.end(u64::MAX, errno as u32)
    }

    /// Opens the gate: what it holds goes on.
    pub fn open(self) -> Result<()> {
        // Dropped then, it opens the gate once more, which is refused and does no harm.
        self.open_now().doing("open a gate")
    }

    /// What one of the held bios is; zero is the one that came first.
    pub fn bio(&self, bio: u32) -> Result<abi::HeldBio> {
        let mut held = abi::HeldBio { gate: self.handle, bio, ..abi::HeldBio::default() };
        self.device.call(abi::HELD_BIO, &mut held).doing(format!("look at held bio {bio}"))?;
        Ok(held)
    }

    /// What one page of a held bio is, at this moment.
    pub fn page(&self, bio: u32, page: u32) -> Result<abi::HeldPage> {
        self.look(bio, page, 0)
    }

    /// The same, and has the kernel print the page to its log.
    pub fn dump(&self, bio: u32, page: u32) -> Result<abi::HeldPage> {
        self.look(bio, page, abi::PAGE_DUMP)
    }

    fn look(&self, bio: u32, page: u32, flags: u32) -> Result<abi::HeldPage> {
        let mut held = abi::HeldPage { gate: self.handle, bio, page, flags, ..abi::HeldPage::default() };
        self.device
            .call(abi::HELD_PAGE, &mut held)
            .doing(format!("look at page {page} of held bio {bio}"))?;
        Ok(held)
    }

    fn end(&self, most: u64, errno: u32) -> Result<u64> {
        let mut let_go = abi::LetGo { gate: self.handle, errno, bios: most };
        self.device.call(abi::LET_GO, &mut let_go).doing("let go what a gate holds")?;
        Ok(let_go.bios)
    }

    fn open_now(&self) -> std::io::Result<()> {
        let mut open = abi::OpenGate { gate: self.handle, reserved: 0 };
        self.device.call(abi::OPEN_GATE, &mut open)
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        // A gate that cannot be opened opens with the end of the process.
        let _ = self.open_now();
    }
}
