// SPDX-License-Identifier: MIT OR Apache-2.0

//! The calls of pinblk that allocate in the thread that makes them.

use std::cell::RefCell;
use std::ffi::CString;
use std::fs::File;
use std::time::Duration;

use fs_harness::cell::Acquisition;
use fs_harness::crash::{Entry, What};
use fs_harness::guest::child::Child;
use fs_harness::guest::device::{Bios, Device, Gate, Hold, OpenDisk, Path, Pending, Release, Stage, Take};
use fs_harness::guest::disk::{Attributes, Disk};
use fs_harness::guest::error::{Doing, Error};
use fs_harness::guest::memory::{Memory, PAGE};
use fs_harness::guest::{Bed, Result};
use fs_harness::pattern::Pattern;
use fs_harness::record::Direction;
use nix::errno::Errno;
use nix::kmod::{DeleteModuleFlags, ModuleInitFlags, delete_module, finit_module};
use nix::sys::eventfd::EventFd;

use super::faults::Faults;
use super::walk;

/// The disk that the calls are about.
const DISK: Disk = Disk::of("short0");

/// Another one, which is made and removed.
const OTHER: Disk = Disk::of("short1");

/// The pages of a hold, and of an I/O: their pointers take more than a page.
const PAGES: usize = 600;

/// How often a hold finds pages that are not there yet: more often than it can fail.
const FRESH: usize = 200;

const MODES: [Acquisition; 3] = [Acquisition::Get, Acquisition::Pin, Acquisition::LongTerm];

pub(super) fn run(bed: &mut Bed, faults: &Faults) -> Result<()> {
    walk(bed, faults, "opening the device", Device::open, |_| Ok(()))?;
    holds(bed, faults)?;
    dma(bed, faults)?;
    disks(bed, faults)?;
    DISK.make(&Attributes::default())?;
    transfers(bed, faults)?;
    gates(bed, faults)?;
    log(bed, faults)?;
    DISK.remove()
}

/// Loads the module.
pub(super) fn load() -> Result<()> {
    let module = File::open("/pinblk.ko").doing("open /pinblk.ko")?;
    finit_module(&module, &CString::default(), ModuleInitFlags::empty()).doing("load pinblk")
}

/// Unloads it.
pub(super) fn unload(_loaded: ()) -> Result<()> {
    delete_module(c"pinblk", DeleteModuleFlags::O_NONBLOCK).doing("unload pinblk")
}

fn holds(bed: &mut Bed, faults: &Faults) -> Result<()> {
    let device = bed.device().clone();
    let memory = bed.anonymous(Pattern(1), PAGES)?;
    let clean = |hold: Hold| hold.release(Release::Clean);
    let child = Child::fork(|_| 0)?;
    for mode in MODES {
        for path in [Path::Fast, Path::Slow, Path::Remote(child.pid())] {
            let take = Take::by(mode).path(path);
            let what = format!("holding {PAGES} pages by {mode}, {path:?}");
            // A process id is another in each run.
            let what = what.split('(').next().unwrap_or_default();
            walk(bed, faults, what, || device.hold(&memory, take), clean)?;
        }
        let untouched = Memory::anonymous(3 * FRESH)?;
        let mut places = (0..FRESH).cycle();
        let fresh = || device.hold(untouched.pages_of(3 * places.next().unwrap_or(0), 3), mode);
        walk(bed, faults, &format!("holding pages by {mode} that are not there yet"), fresh, clean)?;
        let thrice = || device.hold(&memory, Take::by(mode).times(3));
        walk(bed, faults, &format!("holding {PAGES} pages by {mode} three times"), thrice, clean)?;
    }
    let added = || device.hold(&memory, Take::by(Acquisition::Pin).times(3).adding());
    walk(bed, faults, "adding pins", added, clean)?;
    let hold = || device.hold(&memory, Acquisition::Pin);
    // The hold is made inside too: a release that fails in part must be seen as a leak.
    walk(bed, faults, "holding and releasing dirty", || hold()?.release(Release::Dirty), Ok)?;
    let held = hold()?;
    walk(bed, faults, "dumping a page", || held.dump(0), |_| Ok(()))?;
    walk(bed, faults, "the statistics of holds", || device.hold_statistics(), |_| Ok(()))?;
    held.release(Release::Clean)
}

fn dma(bed: &mut Bed, faults: &Faults) -> Result<()> {
    let memory = bed.anonymous(Pattern(1), 2)?;
    let hold = bed.device().hold(&memory, Acquisition::Pin)?;
    let bytes = vec![7; PAGE + 1];
    walk(bed, faults, "DMA of bytes", || hold.dma(0, &bytes), Ok)?;
    walk(bed, faults, "DMA of one byte many times", || hold.dma_fill(0, 2 * PAGE, 9), Ok)?;
    walk(bed, faults, "delayed DMA", || hold.dma_later(1, 0, &bytes), ended)?;
    hold.release(Release::Dirty)
}

fn disks(bed: &mut Bed, faults: &Faults) -> Result<()> {
    let off = |()| OTHER.write("power", "0");
    let remove = |()| OTHER.remove();
    let device = bed.device().clone();
    walk(bed, faults, "making a disk", || OTHER.make_unpowered(), remove)?;
    OTHER.make_unpowered()?;
    walk(bed, faults, "writing a setting", || OTHER.write("late_transfer", "1"), Ok)?;
    walk(bed, faults, "power on", power_on, off)?;
    OTHER.write("power", "1")?;
    walk(bed, faults, "the statistics of a disk", || device.statistics(&OTHER), |_| Ok(()))?;
    let plant = || OTHER.write("errors", "read 8-8 1");
    walk(bed, faults, "planting an error", plant, |()| OTHER.write("errors", "none"))?;
    walk(bed, faults, "cutting the power", || OTHER.cut_power(), |()| OTHER.restore_power())?;
    walk(bed, faults, "reading a setting", || OTHER.read("errors"), |_| Ok(()))?;
    walk(bed, faults, "power off", || OTHER.write("power", "0"), |()| OTHER.write("power", "1"))?;
    let make = |()| OTHER.make(&Attributes::default());
    walk(bed, faults, "removing a disk with power", || OTHER.remove(), make)?;
    OTHER.remove()
}

/// Where the name of a new disk finds no memory, the block layer goes on without it, and then calls the disk
/// invalid.
fn power_on() -> Result<()> {
    match OTHER.write("power", "1") {
        Err(error) if error.errno() == Some(Errno::EINVAL) => Err(Errno::ENOMEM).doing("turn the power on"),
        written => written,
    }
}

fn transfers(bed: &mut Bed, faults: &Faults) -> Result<()> {
    let device = bed.device().clone();
    walk(bed, faults, "opening a disk", || device.open_disk(&DISK), |_| Ok(()))?;
    let disk = device.open_disk(&DISK)?;
    let event = EventFd::new().doing("make an eventfd")?;
    for mode in MODES {
        let few = bed.anonymous(Pattern(1), 3)?;
        let writes = RefCell::new(Writes::new(&disk, &few, mode as u64 * (64 << 20), mode));
        let write = || writes.borrow_mut().begin();
        walk(bed, faults, &format!("writing by {mode}"), write, |pending| writes.borrow().check(pending))?;
        let memory = bed.anonymous(Pattern(2), PAGES)?;
        let scattered: Vec<_> = (0..PAGES).step_by(3).map(|page| memory.pages_of(page, 1)).collect();
        let read = || disk.begin_with_event(Direction::Read, 0, &scattered, mode, &event);
        walk(bed, faults, &format!("reading by {mode} into many segments"), read, ended)?;
    }
    Ok(())
}

/// Writes of a few pages, each to where nothing was written yet, so that the disk allocates.
pub(super) struct Writes<'a> {
    disk: &'a OpenDisk,
    memory: &'a Memory,
    place: u64,
    mode: Acquisition,
}

impl<'a> Writes<'a> {
    pub(super) fn new(disk: &'a OpenDisk, memory: &'a Memory, place: u64, mode: Acquisition) -> Self {
        Self { disk, memory, place, mode }
    }

    /// Begins the next one.
    pub(super) fn begin(&mut self) -> Result<Pending> {
        self.place += 64 * PAGE as u64;
        self.disk.begin(Direction::Write, self.place, &[self.memory.into()], self.mode)
    }

    /// Waits for it. What is told to have succeeded has: the data is on the disk.
    pub(super) fn check(&self, pending: Pending) -> Result<()> {
        ended(pending)?;
        let back = Memory::anonymous(self.memory.length() / PAGE)?;
        ended(self.disk.begin(Direction::Read, self.place, &[(&back).into()], Acquisition::Pin)?)?;
        if back.bytes() == self.memory.bytes() {
            return Ok(());
        }
        Err(Error::Unexpected(format!(
            "a write at {} succeeded, and its data is not on the disk",
            self.place
        )))
    }
}

fn gates(bed: &mut Bed, faults: &Faults) -> Result<()> {
    let device = bed.device().clone();
    let close = || device.close_gate(&DISK, Stage::Arrival, &Bios::writes());
    walk(bed, faults, "closing a gate", close, Gate::open)?;
    let disk = device.open_disk(&DISK)?;
    let memory = bed.anonymous(Pattern(3), 1)?;
    let pass = || {
        let gate = close()?;
        let pending = disk.begin(Direction::Write, 0, &[(&memory).into()], Acquisition::Pin)?;
        gate.progress(1, Duration::from_secs(10))?;
        gate.bio(0)?;
        gate.dump(0, 0)?;
        gate.open()?;
        Ok(pending)
    };
    walk(bed, faults, "a write through a gate", pass, ended)
}

fn log(bed: &mut Bed, faults: &Faults) -> Result<()> {
    let device = bed.device().clone();
    let off = |()| DISK.write("log", "0");
    walk(bed, faults, "beginning a log", || DISK.write("log", "1"), off)?;
    DISK.write("log", "1")?;
    let disk = device.open_disk(&DISK)?;
    let memory = bed.anonymous(Pattern(4), 1)?;
    ended(disk.begin(Direction::Write, 0, &[(&memory).into()], Acquisition::Pin)?)?;
    walk(bed, faults, "the state of a log", || device.log_position(&DISK), |_| Ok(()))?;
    // Memory that is there: without any for it the driver could only say EFAULT.
    let data = bed.anonymous(Pattern(5), 1)?;
    let is_written = |entry: Entry| match entry.what {
        What::Write(bytes) if bytes == memory.bytes() => Ok(()),
        what => Err(Error::Unexpected(format!("the log has not what was written, but {what:?}"))),
    };
    walk(bed, faults, "an entry of a log", || device.log_entry(&DISK, 0, &data), is_written)?;
    DISK.write("log", "0")
}

/// Waits for the end of an operation; an error if that was one.
fn ended(pending: Pending) -> Result<()> {
    let ended = pending.wait()?;
    ended.error.map_or(Ok(()), |error| Err(error).doing("do what pinblk was told to do"))
}
