// SPDX-License-Identifier: MIT OR Apache-2.0

//! DMA that happens when nobody waits for it: after a delay, and after what it was for has gone.

use std::fs::File;
use std::time::{Duration, Instant};

use fs_harness::cell::{Acquisition, Setup};
use fs_harness::guest::child::Child;
use fs_harness::guest::device::{Device, Release, Take};
use fs_harness::guest::error::Doing;
use fs_harness::guest::in_flight::InFlight;
use fs_harness::guest::memory::{Memory, PAGE};
use fs_harness::guest::{Bed, Result};
use fs_harness::pattern::Pattern;
use nix::errno::Errno;
use nix::sys::signal::{SaFlags, SigAction, SigEvent, SigHandler, SigSet, SigevNotify, Signal, sigaction};
use nix::sys::time::TimeSpec;
use nix::sys::timer::{Expiration, Timer, TimerSetTimeFlags};
use nix::time::ClockId;

use crate::catalogue::{NO_FILE, Scenario};

const BEFORE: Pattern = Pattern(1);
const BY_DEVICE: Pattern = Pattern(2);

/// Longer than any cell takes.
const NEVER: u32 = 60_000;

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "dma_later",
        about: "A device writes to held pages after a delay, and not any more once they are released or its file is closed.",
        source: "kmod-blk/abi/src/hold.rs: Dma",
        setups: &[Setup::None],
        acquisitions: &[Acquisition::Get, Acquisition::Pin],
        not: NO_FILE,
        run: dma_later,
        ..Scenario::PLAIN
    },
    Scenario {
        name: "hold_outlives",
        about: "Held pages live on when their memory is unmapped, and are released clean when the file of the holder is closed.",
        source: "mm/gup.c: comment above writable_file_mapping_allowed(); kmod-blk/README.md",
        setups: &[Setup::None],
        acquisitions: &[Acquisition::Get, Acquisition::Pin, Acquisition::LongTerm],
        not: NO_FILE,
        run: hold_outlives,
        ..Scenario::PLAIN
    },
    Scenario {
        name: "hold_interrupted",
        about: "A signal ends a request that would hold pages for minutes, and what was held until then is released.",
        source: "kmod-blk/abi/src/hold.rs: Hold",
        setups: &[Setup::None],
        acquisitions: &[Acquisition::Pin],
        not: NO_FILE,
        run: hold_interrupted,
        ..Scenario::PLAIN
    },
];

fn dma_later(bed: &mut Bed) -> Result<()> {
    const DELAY: Duration = Duration::from_millis(50);
    let memory = bed.anonymous(BEFORE, 2)?;
    let hold = bed.device().hold(&memory, bed.acquisition())?;
    let begun = Instant::now();
    let later = hold.dma_later(50, 0, &BY_DEVICE.bytes(0, memory.length()))?;
    let ended = later.wait()?;
    bed.check("it does not happen before its time", begun.elapsed() >= DELAY)?;
    let is_done = ended.error.is_none() && ended.bytes == memory.length() as u64;
    bed.check_that("it is told to have been done", is_done, || format!("{ended:?}"))?;
    bed.check_data("the memory holds what the device wrote", BY_DEVICE, &memory.bytes())?;
    bed.observe("the device wrote the pages", Some(&hold))?;

    let never = hold.dma_later(NEVER, 0, &BEFORE.bytes(0, PAGE))?;
    bed.check("an operation goes on until it ends", never.try_wait()?.is_none())?;
    // Long enough that whoever is interrupted here still releases them before.
    let late = hold.dma_later(500, 0, &BEFORE.bytes(0, PAGE))?;
    hold.release(Release::Dirty)?;
    let ended = late.wait()?;
    bed.check("into pages that were released meanwhile: ENOENT", ended.error == Some(Errno::ENOENT))?;
    bed.check("and it wrote nothing", ended.bytes == 0)?;
    bed.check_data("the memory is as it was", BY_DEVICE, &memory.bytes())?;
    bed.observe("the pages are released", None).map(drop)
    // What is still to come in a minute does not keep the driver, or this cell, from ending.
}

fn hold_outlives(bed: &mut Bed) -> Result<()> {
    let memory = bed.anonymous(BEFORE, 2)?;
    let hold = bed.device().hold(&memory, bed.acquisition())?;
    let held = bed.observe("the pages are held", Some(&hold))?;
    drop(memory);
    let unmapped = bed.observe("their memory is unmapped", Some(&hold))?;
    bed.check("nobody maps them any more", unmapped.pages.iter().all(|page| page.dump.mapcount == 0))?;
    let is_same = (0..2).all(|at| unmapped.pages[at].state.pfn == held.pages[at].state.pfn);
    bed.check("they are the same pages", is_same)?;
    hold.dma(0, &BY_DEVICE.bytes(0, 2 * PAGE))?;
    hold.release(Release::Dirty)?;
    bed.observe("they are released", None)?;

    let memory = bed.anonymous(BEFORE, 2)?;
    let acquisition = bed.acquisition();
    let mut child = Child::fork(|_| {
        // A file of its own: the scenario's stays open.
        let hold = Device::open().and_then(|device| device.hold(&memory, acquisition));
        // What is still to come does not keep the pages from being released.
        let later = hold.as_ref().is_ok_and(|hold| hold.dma_later(NEVER, 0, &[0]).is_ok());
        // It is closed by the end of the process, not by dropping its handle.
        u8::from(hold.map(std::mem::forget).is_ok() && later)
    })?;
    bed.require("a child holds pages", child.ask(0)? == 1)?;
    let held = bed.observe("a child holds pages", None)?;
    child.end()?;
    let gone = bed.observe("the child ended without releasing them", None)?;
    let now = |step: &fs_harness::record::Step| (step.device_pins, step.device_references);
    let sum = |(pins, references): (fs_harness::record::Counted, fs_harness::record::Counted)| {
        (pins.acquired + references.acquired, pins.released + references.released)
    };
    bed.check("two pages were held", sum(now(&held)) == (2, 0))?;
    bed.check("two pages were released", sum(now(&gone)) == (0, 2))
}

fn hold_interrupted(bed: &mut Bed) -> Result<()> {
    /// The most that a huge page can be held as a whole.
    const TIMES: u32 = (1 << 22) - 1;
    /// Long enough for a part, and far from minutes.
    const EVERY: Duration = Duration::from_millis(100);
    extern "C" fn nothing(_: i32) {}
    check_io_uring_is_no_signal(bed)?;
    let memory = Memory::huge()?;
    memory.fill(BEFORE);
    let interrupt = SigAction::new(SigHandler::Handler(nothing), SaFlags::empty(), SigSet::empty());
    // SAFETY: the handler does nothing.
    unsafe { sigaction(Signal::SIGALRM, &interrupt) }.doing("handle SIGALRM")?;
    // It comes again and again: one that comes before the request has begun does not end it.
    let event = SigEvent::new(SigevNotify::SigevSignal { signal: Signal::SIGALRM, si_value: 0 });
    let mut alarm = Timer::new(ClockId::CLOCK_MONOTONIC, event).doing("make a timer")?;
    let every = Expiration::Interval(TimeSpec::from_duration(EVERY));
    alarm.set(every, TimerSetTimeFlags::empty()).doing("set a timer")?;
    let hold = bed.device().hold(&memory, Take::by(bed.acquisition()).times(TIMES));
    bed.check_refused("a signal ends it with EINTR", Errno::EINTR, hold)?;
    alarm.set(every, TimerSetTimeFlags::empty()).doing("set a timer again")?;
    let part = bed.device().hold(&memory, Take::by(bed.acquisition()).times(TIMES).partial())?;
    bed.check("if a part is welcome, it is what was held until then", (1..TIMES).contains(&part.times()))?;
    part.release(Release::Clean)
}

/// A ring that is closed leaves work for the process, at a time of its own, and wakes it as a signal does.
fn check_io_uring_is_no_signal(bed: &mut Bed) -> Result<()> {
    const ROUNDS: usize = 30;
    /// Takes long enough for that work to be left meanwhile.
    const TIMES: u32 = 20_000;
    let (zeros, page) = (File::open("/dev/zero").doing("open /dev/zero")?, bed.anonymous(BEFORE, 1)?);
    let mut error = None;
    for _ in 0..ROUNDS {
        InFlight::read(&zeros, 0, &page, 0..PAGE)?.wait().doing("read")?;
        match bed.device().hold(&page, Take::by(bed.acquisition()).times(TIMES)) {
            Ok(hold) => hold.release(Release::Clean)?,
            Err(refused) => error = Some(refused),
        }
    }
    bed.check_that("work that io_uring leaves behind is no signal", error.is_none(), || format!("{error:?}"))
}
