// SPDX-License-Identifier: MIT OR Apache-2.0

//! A signal that comes while pinblk submits the bios of a large I/O of its own.
//!
//! The scenario waits at a gate with a priority in real time: when so many bios have come it runs at once,
//! in the middle of the submission, and sends the signal. For that both are on one processor: on two, all could
//! be submitted before the signal is sent.

use std::time::Duration;

use fs_harness::cell::{Acquisition, Setup};
use fs_harness::guest::child::Child;
use fs_harness::guest::device::{Bios, Device, Ended, OpenDisk, Stage};
use fs_harness::guest::disk::Disk;
use fs_harness::guest::error::{Doing, Error};
use fs_harness::guest::memory::{Memory, PAGE};
use fs_harness::guest::processor::{run_by_turns, run_first, stay_on_one_processor};
use fs_harness::guest::range::Range;
use fs_harness::guest::{Bed, Result};
use fs_harness::record::Direction;
use nix::errno::Errno;
use nix::sys::signal::{
    SaFlags, SigAction, SigEvent, SigHandler, SigSet, SigevNotify, Signal, kill, sigaction,
};
use nix::sys::time::TimeSpec;
use nix::sys::timer::{Expiration, Timer, TimerSetTimeFlags};
use nix::time::ClockId;

use crate::catalogue::Scenario;
use crate::transfer::{EVERY_MODE, ONLY_BDEV};
use crate::transfer_in_flight::open_when_free;

/// As many bytes as one call takes, and the pieces that they come in.
const MOST: usize = 64 << 20;
const PIECES: usize = 16;
/// After so many bios the signal comes: far fewer than carry all of it.
const BIOS: u64 = 8;

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "transfer_interrupted",
        about: "A signal comes while the driver submits 64 MiB: no more is submitted, what was submitted ends, and EINTR is told.",
        source: "kmod-blk/abi/src/io.rs: Io",
        setups: &[Setup::Bdev],
        acquisitions: EVERY_MODE,
        not: ONLY_BDEV,
        run: interrupted,
        ..Scenario::PLAIN
    },
    Scenario {
        name: "transfer_killed",
        about: "A process is killed while the driver submits 64 MiB for it: it dies though its bios have not ended, and nothing is left of them when they have.",
        source: "kmod-blk/sys/transfer.rs",
        setups: &[Setup::Bdev],
        acquisitions: EVERY_MODE,
        not: ONLY_BDEV,
        run: killed,
        ..Scenario::PLAIN
    },
];

fn interrupted(bed: &mut Bed) -> Result<()> {
    let (memory, place) = (Memory::anonymous(MOST / PAGE)?, bed.require_disk()?);
    let acquisition = bed.acquisition();
    stay_on_one_processor()?;
    let mut reader = Child::fork(|_| match read(&memory, place, acquisition) {
        Ok(ended) if ended.error == Some(Errno::EINTR) && is_part(ended) => {
            u8::try_from(ended.bios).unwrap_or(0)
        }
        _ => 0,
    })?;
    let gate = bed.close_gate(Stage::Arrival, &Bios::reads())?;
    run_first()?;
    reader.tell(0)?;
    gate.wait_for(BIOS)?;
    kill(reader.pid(), Signal::SIGINT).doing("interrupt the child")?;
    run_by_turns()?;
    gate.open()?;
    let bios = u64::from(reader.hear()?);
    bed.check("it ends with EINTR, and with a part of the bytes", bios > 0)?;
    let statistics = bed.device().statistics_with(place, 0)?;
    let seen: u64 = statistics.reads.iter().map(|traffic| traffic.bios).sum();
    bed.check_that("as many bios are told as the disk has seen", seen == bios, || format!("{seen}, {bios}"))?;
    let all = (MOST / PAGE / 256) as u64;
    bed.check_that("those came that the gate held, and not all", (BIOS..all).contains(&bios), || {
        format!("{bios} of {all}")
    })?;
    bed.check("nothing is in flight", statistics.in_flight == 0)?;
    reader.end()?;
    works_still(bed)?;
    check_whole_is_not_interrupted(bed)
}

/// A signal may come as the last bio is submitted, when nothing is left that it could interrupt.
fn check_whole_is_not_interrupted(bed: &mut Bed) -> Result<()> {
    /// As much as one bio carries.
    const ONE_BIO: usize = 256;
    const ROUNDS: u32 = 100;
    let (memory, disk) = (Memory::anonymous(ONE_BIO)?, open_when_free(bed)?);
    handle(Signal::SIGALRM)?;
    let event = SigEvent::new(SigevNotify::SigevSignal { signal: Signal::SIGALRM, si_value: 0 });
    let mut alarm = Timer::new(ClockId::CLOCK_MONOTONIC, event).doing("make a timer")?;
    let (mut whole, mut wrong) = (0, None);
    for round in 1..=ROUNDS {
        let soon = Expiration::OneShot(TimeSpec::from_duration(Duration::from_micros(20) * round));
        alarm.set(soon, TimerSetTimeFlags::empty()).doing("set a timer")?;
        let begun = disk.begin(Direction::Read, 0, &[Range::from(&memory)], bed.acquisition());
        while alarm.get().doing("look at a timer")?.is_some() {
            std::thread::yield_now();
        }
        let ended = match begun {
            Ok(begun) => begun.wait()?,
            // One that comes while pages are acquired ends the request.
            Err(error) if error.errno() == Some(Errno::EINTR) => continue,
            Err(error) => return Err(error),
        };
        whole += 1;
        if ended.error.is_some() {
            wrong = Some(ended);
        }
    }
    bed.check_that("what was submitted as a whole is not interrupted", whole > 0 && wrong.is_none(), || {
        format!("{whole} of {ROUNDS} were submitted, {wrong:?}")
    })
}

fn killed(bed: &mut Bed) -> Result<()> {
    let (memory, place) = (Memory::anonymous(MOST / PAGE)?, bed.require_disk()?);
    let acquisition = bed.acquisition();
    stay_on_one_processor()?;
    let mut reader = Child::fork(|_| u8::from(read(&memory, place, acquisition).is_ok()))?;
    let gate = bed.close_gate(Stage::Arrival, &Bios::reads())?;
    run_first()?;
    reader.tell(0)?;
    gate.wait_for(BIOS)?;
    reader.kill()?;
    run_by_turns()?;
    let (arrived, holding) = gate.progress(0, Duration::ZERO)?;
    bed.check("it is dead, and its bios are still held", arrived >= BIOS && arrived == holding)?;
    bed.check_that("no more were submitted", arrived < (MOST / PAGE / 256) as u64, || arrived.to_string())?;
    gate.open()?;
    works_still(bed)?;
    let statistics = bed.device().statistics_with(place, 0)?;
    bed.check("nothing is in flight", statistics.in_flight == 0)
}

fn works_still(bed: &mut Bed) -> Result<()> {
    let disk = open_when_free(bed)?;
    let memory = Memory::anonymous(1)?;
    let written = begin(&disk, Direction::Write, &[Range::from(&memory)], bed.acquisition())?;
    bed.check("the disk can be had, and takes a write", written.error.is_none())
}

fn read(memory: &Memory, place: &Disk, acquisition: Acquisition) -> Result<Ended> {
    handle(Signal::SIGINT)?;
    let whole = Range::from(memory);
    let length = (MOST / PIECES) as u64;
    let pieces: Option<Vec<Range>> = (0..PIECES as u64).map(|at| whole.part(at * length, length)).collect();
    let pieces = pieces.ok_or_else(|| Error::Unexpected("the memory is too short".to_owned()))?;
    begin(&Device::open()?.open_disk(place)?, Direction::Read, &pieces, acquisition)
}

/// Has a signal interrupt what it comes to, and do no more.
fn handle(signal: Signal) -> Result<()> {
    extern "C" fn nothing(_: i32) {}
    let action = SigAction::new(SigHandler::Handler(nothing), SaFlags::empty(), SigSet::empty());
    // SAFETY: the handler does nothing.
    unsafe { sigaction(signal, &action) }.doing(format!("handle {signal}")).map(drop)
}

fn begin(disk: &OpenDisk, direction: Direction, memory: &[Range], acquisition: Acquisition) -> Result<Ended> {
    disk.begin(direction, 0, memory, acquisition)?.wait()
}

fn is_part(ended: Ended) -> bool {
    (1..MOST as u64).contains(&ended.bytes)
}
