// SPDX-License-Identifier: MIT OR Apache-2.0

//! User pages that pinblk holds as a device does with which they were registered.

use nix::unistd::Pid;
use pinblk_abi as abi;

use super::{Device, Pending};
use crate::cell::Acquisition;
use crate::guest::error::{Doing, Error, Result};
use crate::guest::range::Range;

/// How pinblk takes pages.
#[derive(Clone, Copy, Debug)]
pub struct Take {
    acquisition: Acquisition,
    path: Path,
    times: u32,
    writable: bool,
    partial: bool,
    add: bool,
}

/// How the kernel gets at the pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Path {
    /// Of the process itself, without its mmap lock wherever that goes.
    Fast,
    /// Of the process itself, under its mmap lock.
    Slow,
    /// Of another process.
    Remote(Pid),
}

impl Take {
    /// Once, by the fast path, to be written to by the device, all or nothing.
    pub fn by(acquisition: Acquisition) -> Self {
        Self { acquisition, path: Path::Fast, times: 1, writable: true, partial: false, add: false }
    }

    /// By another path.
    #[must_use]
    pub fn path(self, path: Path) -> Self {
        Self { path, ..self }
    }

    /// Each page that many times.
    #[must_use]
    pub fn times(self, times: u32) -> Self {
        Self { times, ..self }
    }

    /// All times but the first are pins that the kernel adds to pinned folios, many at once.
    #[must_use]
    pub fn adding(self) -> Self {
        Self { add: true, ..self }
    }

    /// The device will only read the pages.
    #[must_use]
    pub fn read_only(self) -> Self {
        Self { writable: false, ..self }
    }

    /// What can be had is kept.
    #[must_use]
    pub fn partial(self) -> Self {
        Self { partial: true, ..self }
    }

    /// The same in the words of the interface.
    pub(super) fn how(self) -> Result<abi::Acquire> {
        let mode = match self.acquisition {
            Acquisition::Get => abi::MODE_GET,
            Acquisition::Pin => abi::MODE_PIN,
            Acquisition::LongTerm => abi::MODE_LONGTERM,
            Acquisition::Kernel => {
                return Err(Error::Unexpected("pinblk takes pages by get, pin or longterm".to_owned()));
            }
        };
        let (path, pid) = match self.path {
            Path::Fast => (abi::PATH_FAST, 0),
            Path::Slow => (abi::PATH_SLOW, 0),
            Path::Remote(pid) => (abi::PATH_REMOTE, pid.as_raw().cast_unsigned()),
        };
        Ok(abi::Acquire { mode, path, pid })
    }

    fn flags(self) -> u32 {
        let flag = |is_set, flag| if is_set { flag } else { 0 };
        flag(self.writable, abi::HOLD_WRITE)
            | flag(self.partial, abi::HOLD_PARTIAL)
            | flag(self.add, abi::HOLD_ADD)
    }
}

impl From<Acquisition> for Take {
    fn from(acquisition: Acquisition) -> Self {
        Self::by(acquisition)
    }
}

impl Device {
    /// Holds pages.
    pub fn hold(&self, range: impl Into<Range>, take: impl Into<Take>) -> Result<Hold> {
        let (range, take) = (range.into(), take.into());
        let mut hold = abi::Hold {
            address: range.address(),
            how: take.how()?,
            flags: take.flags(),
            pages: range.pages(),
            times: take.times,
            handle: 0,
            reserved: 0,
        };
        let doing = || format!("hold {} pages at {:#x} by {take:?}", range.pages(), range.address());
        self.call(abi::HOLD, &mut hold).doing(doing())?;
        Ok(Hold { device: self.clone(), handle: hold.handle, pages: hold.pages, times: hold.times })
    }
}

/// Pages that pinblk holds until [`Hold::release`], or until the process ends.
pub struct Hold {
    device: Device,
    handle: u32,
    pages: u32,
    times: u32,
}

/// How held pages are released.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Release {
    /// As by a driver that knows that its device wrote them.
    Dirty,
    /// As by a driver that forgets it.
    Clean,
}

impl Hold {
    /// Its number in the interface.
    pub fn handle(&self) -> u32 {
        self.handle
    }

    /// Number of pages.
    pub fn pages(&self) -> u32 {
        self.pages
    }

    /// How many times each page was acquired.
    pub fn times(&self) -> u32 {
        self.times
    }

    /// Writes into the held pages from the kernel, with no user mapping involved.
    pub fn dma(&self, offset: usize, bytes: &[u8]) -> Result<()> {
        let mut dma = self.dma_of(offset, bytes.len());
        dma.source = bytes.as_ptr() as u64;
        self.device.call(abi::DMA, &mut dma).doing(format!("write {} bytes by DMA", bytes.len()))
    }

    /// Writes one byte `length` times, as [`Hold::dma`] does.
    pub fn dma_fill(&self, offset: usize, length: usize, byte: u8) -> Result<()> {
        let mut dma = self.dma_of(offset, length);
        dma.flags = abi::DMA_FILL;
        dma.source = byte.into();
        self.device.call(abi::DMA, &mut dma).doing(format!("fill {length} bytes by DMA"))
    }

    /// Has [`Hold::dma`] happen `milliseconds` from now.
    pub fn dma_later(&self, milliseconds: u32, offset: usize, bytes: &[u8]) -> Result<Pending> {
        let mut dma = self.dma_of(offset, bytes.len());
        dma.source = bytes.as_ptr() as u64;
        dma.delay = milliseconds;
        let doing = || format!("write {} bytes by DMA in {milliseconds} ms", bytes.len());
        self.device.call(abi::DMA, &mut dma).doing(doing())?;
        Ok(Pending::new(self.device.clone(), dma.pending))
    }

    /// Has the kernel print one page to its log, and returns the same facts.
    pub fn dump(&self, page: u32) -> Result<abi::PageState> {
        let mut dump = abi::Dump { handle: self.handle, page, state: abi::PageState::default() };
        self.device.call(abi::DUMP, &mut dump).doing(format!("dump held page {page}"))?;
        Ok(dump.state)
    }

    /// Releases the pages by the call that matches how they were acquired.
    pub fn release(self, how: Release) -> Result<()> {
        let flags = match how {
            Release::Dirty => abi::RELEASE_DIRTY,
            Release::Clean => 0,
        };
        let mut release = abi::Release { handle: self.handle, flags };
        self.device.call(abi::RELEASE, &mut release).doing("release held pages")
    }

    fn dma_of(&self, offset: usize, length: usize) -> abi::Dma {
        abi::Dma { handle: self.handle, offset: offset as u64, length: length as u64, ..abi::Dma::default() }
    }
}
