// SPDX-License-Identifier: MIT OR Apache-2.0

//! A safe handle to `/dev/pinblk-control`.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::rc::Rc;

use nix::errno::Errno;
use nix::libc;
use pinblk_abi as abi;

use super::disk::Disk;
use super::error::{Doing, Error, Result};
use super::memory::Memory;
use crate::cell::Acquisition;

const CONTROL: &str = "/dev/pinblk-control";

/// pinblk, opened.
#[derive(Clone)]
pub struct Device(Rc<File>);

impl Device {
    /// Opens the control device and agrees on the version of the interface.
    pub fn open() -> Result<Self> {
        let file = File::options().read(true).write(true).open(CONTROL).doing(format!("open {CONTROL}"))?;
        let device = Self(Rc::new(file));
        let mut hello = abi::Hello { version: abi::VERSION, reserved: 0 };
        device.call(abi::HELLO, &mut hello).doing("greet pinblk")?;
        if hello.version != abi::VERSION {
            return Err(Error::Unexpected(format!(
                "pinblk speaks version {} of its interface and the guest's /init version {}: rebuild both together",
                hello.version,
                abi::VERSION
            )));
        }
        Ok(device)
    }

    /// Everything that pinblk counted on a disk since it got its power.
    pub fn statistics(&self, disk: &Disk) -> Result<abi::Statistics> {
        let doing = || format!("read the statistics of {}", disk.name());
        let name = disk.name().as_bytes();
        let mut statistics = abi::Statistics::default();
        let place = statistics.disk.get_mut(..name.len()).ok_or(Errno::ENAMETOOLONG).doing(doing())?;
        place.copy_from_slice(name);
        self.call(abi::STATISTICS, &mut statistics).doing(doing())?;
        Ok(statistics)
    }

    /// The holds that pinblk counted since it was loaded.
    pub fn hold_statistics(&self) -> Result<abi::HoldStatistics> {
        let mut statistics = abi::HoldStatistics::default();
        self.call(abi::HOLD_STATISTICS, &mut statistics).doing("read the statistics of holds")?;
        Ok(statistics)
    }

    /// Holds all pages of `memory`, as a device does that will write into them.
    pub fn hold(&self, memory: &Memory, acquisition: Acquisition) -> Result<Hold> {
        let mode = match acquisition {
            Acquisition::Get => abi::MODE_GET,
            Acquisition::Pin => abi::MODE_PIN,
            Acquisition::Kernel => {
                return Err(Error::Unexpected("pinblk holds pages by get or by pin".to_owned()));
            }
        };
        let pages = memory.pages();
        let mut hold =
            abi::Hold { address: memory.address(), pages, mode, flags: abi::HOLD_WRITE, handle: 0 };
        self.call(abi::HOLD, &mut hold).doing(format!("hold {pages} pages by {acquisition}"))?;
        Ok(Hold { device: self.clone(), handle: hold.handle, pages })
    }

    fn call<T>(&self, request: u32, argument: &mut T) -> io::Result<()> {
        // SAFETY: every request of the interface takes the structure that its number was made
        // from, and the callers in this file pair the two; the kernel writes no more than its size.
        let returned =
            unsafe { libc::ioctl(self.0.as_raw_fd(), request.into(), std::ptr::from_mut(argument)) };
        if returned < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}

/// Pages that pinblk holds until [`Hold::release`], or until the process ends.
pub struct Hold {
    device: Device,
    handle: u32,
    pages: u32,
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
    /// Number of pages.
    pub fn pages(&self) -> u32 {
        self.pages
    }

    /// Writes into the held pages from the kernel, with no user mapping involved.
    pub fn dma(&self, offset: usize, bytes: &[u8]) -> Result<()> {
        let mut dma = abi::Dma {
            handle: self.handle,
            reserved: 0,
            offset: offset as u64,
            length: bytes.len() as u64,
            source: bytes.as_ptr() as u64,
        };
        self.device.call(abi::DMA, &mut dma).doing(format!("write {} bytes by DMA", bytes.len()))
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
}
