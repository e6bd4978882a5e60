// SPDX-License-Identifier: MIT OR Apache-2.0

//! A safe handle to `/dev/pinblk-control`: the open file, and what pinblk counted.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::rc::Rc;
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::libc;
pub use pinblk_abi as abi;

use super::disk::Disk;
use super::error::{Doing, Error, Result};

mod gate;
mod hold;
mod log;
mod pending;
mod transfer;

pub use gate::{Bios, Gate, Stage};
pub use hold::{Hold, Path, Release, Take};
pub use pending::{Ended, Pending};
pub use transfer::OpenDisk;

const CONTROL: &str = "/dev/pinblk-control";

/// How long a bio that has ended may be counted as in flight.
const PATIENCE: Duration = Duration::from_secs(2);

/// pinblk, opened.
#[derive(Clone)]
pub struct Device(Rc<File>);

impl Device {
    /// Opens the control device and says nothing, as no careful program does.
    pub fn open_mute() -> Result<Self> {
        let file = File::options().read(true).write(true).open(CONTROL).doing(format!("open {CONTROL}"))?;
        Ok(Self(Rc::new(file)))
    }

    /// Opens the control device and agrees on the version of the interface.
    pub fn open() -> Result<Self> {
        let device = Self::open_mute()?;
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

    /// A file that stands in for pinblk's while pinblk is unloaded, which an open file of its own would prevent.
    pub(super) fn nowhere() -> Result<Self> {
        Ok(Self(Rc::new(File::open("/dev/null").doing("open /dev/null")?)))
    }

    /// Everything that pinblk counted on a disk since it got its power.
    pub fn statistics(&self, disk: &Disk) -> Result<abi::Statistics> {
        let doing = || format!("read the statistics of {}", disk.name());
        let mut statistics =
            abi::Statistics { disk: name_of(disk).doing(doing())?, ..abi::Statistics::default() };
        self.call(abi::STATISTICS, &mut statistics).doing(doing())?;
        Ok(statistics)
    }

    /// The same once so many bios are in flight, or else as they are after [`PATIENCE`]: who has waited for a bio
    /// may go on a moment before that is counted as ended.
    pub fn statistics_with(&self, disk: &Disk, in_flight: u64) -> Result<abi::Statistics> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let statistics = self.statistics(disk)?;
            if statistics.in_flight == in_flight || Instant::now() > deadline {
                return Ok(statistics);
            }
            thread::yield_now();
        }
    }

    /// The pages that pinblk acquired and released since it was loaded.
    pub fn hold_statistics(&self) -> Result<abi::HoldStatistics> {
        let mut statistics = abi::HoldStatistics::default();
        self.call(abi::HOLD_STATISTICS, &mut statistics).doing("read the statistics of holds")?;
        Ok(statistics)
    }

    /// Any request with any structure, for the driver to find fault with.
    ///
    /// # Safety
    ///
    /// Whatever the request writes to must be there for it: `argument`, if the number says that it is
    /// as large, and every address in it, unless the request is refused.
    pub unsafe fn request<T>(&self, number: u32, argument: &mut T) -> Result<()> {
        self.call(number, argument).doing(format!("make the request {number:#x}"))
    }

    /// The number of the open file.
    pub(super) fn descriptor(&self) -> RawFd {
        self.0.as_raw_fd()
    }

    pub(super) fn call<T>(&self, request: u32, argument: &mut T) -> io::Result<()> {
        // SAFETY: every request of the interface takes the structure that its number was made
        // from, and the callers in this module pair the two; the kernel writes no more than its size.
        let returned =
            unsafe { libc::ioctl(self.0.as_raw_fd(), request.into(), std::ptr::from_mut(argument)) };
        if returned < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}

/// The name of a disk as requests have it: ended by a NUL.
fn name_of(disk: &Disk) -> nix::Result<[u8; abi::DISK_NAME_BYTES]> {
    let mut name = [0; abi::DISK_NAME_BYTES];
    let bytes = disk.name().as_bytes();
    let (place, rest) = name.split_at_mut_checked(bytes.len()).ok_or(Errno::ENAMETOOLONG)?;
    if rest.is_empty() {
        return Err(Errno::ENAMETOOLONG);
    }
    place.copy_from_slice(bytes);
    Ok(name)
}
