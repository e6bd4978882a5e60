// SPDX-License-Identifier: MIT OR Apache-2.0

//! pinblk's own I/O, held at a gate while its process forks, unmaps the memory, or dies.

use std::time::{Duration, Instant};

use fs_harness::cell::{Acquisition, Setup};
use fs_harness::guest::child::Child;
use fs_harness::guest::device::{Bios, Device, OpenDisk, Stage};
use fs_harness::guest::memory::PAGE;
use fs_harness::guest::range::Range;
use fs_harness::guest::{Bed, Result, pagemap};
use fs_harness::pattern::Pattern;
use fs_harness::record::{Counted, Direction};
use nix::errno::Errno;

use crate::catalogue::Scenario;
use crate::media::OWN_DISKS;
use crate::removal::{SCRATCH, make};
use crate::transfer::{EVERY_MODE, ONLY_BDEV};

const ON_THE_MEDIA: Pattern = Pattern(1);
const IN_THE_BUFFER: Pattern = Pattern(2);
const BY_PARENT: Pattern = Pattern(3);
const HALF: usize = PAGE / 2;

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "transfer_fork",
        row: Some(33),
        about: "A process forks while the driver reads into its page, and writes to the page: what is read by a pin reaches the process, what is read by a reference reaches its child.",
        source: "mm/memory.c: copy_present_page(), wp_can_reuse_anon_folio()",
        setups: &[Setup::Bdev],
        acquisitions: EVERY_MODE,
        not: ONLY_BDEV,
        run: fork_while_in_flight,
        ..Scenario::PLAIN
    },
    Scenario {
        name: "transfer_outlives",
        about: "A process dies while the driver writes its memory: the pages live until the bios have ended, and nothing is left behind.",
        source: "kmod-blk/sys/transfer.rs",
        setups: &[Setup::Bdev],
        acquisitions: EVERY_MODE,
        not: ONLY_BDEV,
        run: killed_while_in_flight,
        ..Scenario::PLAIN
    },
    Scenario {
        name: "transfer_closed",
        about: "A disk is closed while the driver writes to it: I/O that goes on keeps it open, and once that has ended the power can be turned off.",
        source: "kmod-blk/README.md; fs/file_table.c: __fput_sync()",
        setups: &[Setup::None],
        acquisitions: EVERY_MODE,
        not: OWN_DISKS,
        run: closed_while_in_flight,
        ..Scenario::PLAIN
    },
];

fn fork_while_in_flight(bed: &mut Bed) -> Result<()> {
    let _ = bed.file("data", ON_THE_MEDIA, 1)?;
    let buffer = bed.anonymous(IN_THE_BUFFER, 1)?;
    let disk = open(bed)?;
    let half = Range::from(&buffer).part(0, HALF as u64);
    let half = half.expect("half a page lies in a page");
    let gate = bed.close_gate(Stage::Transfer, &Bios::reads())?;
    let begun = disk.begin(Direction::Read, 0, &[half], bed.acquisition())?;
    gate.wait_for(1)?;
    bed.observe("the read is in flight", None)?;
    let is_own = |buffer| -> Result<bool> { Ok(gate.page(0, 0)?.state.pfn == pagemap::frame_of(buffer, 0)?) };
    bed.check("the bio carries the page of the process", is_own(&buffer)?)?;
    let mut child = Child::fork(|_| u8::from(ON_THE_MEDIA.difference(0, &buffer.bytes()[..HALF]).is_none()))?;
    buffer.fill_part(BY_PARENT, HALF..PAGE);
    let stays = is_own(&buffer)?;
    gate.open()?;
    let ended = begun.wait()?;
    bed.check_that("the read succeeds", ended.error.is_none() && ended.bytes == HALF as u64, || {
        format!("{ended:?}")
    })?;
    bed.observe("the read is complete", None)?;
    let parent_sees = ON_THE_MEDIA.difference(0, &buffer.bytes()[..HALF]).is_none();
    let child_sees = child.ask(0)? == 1;
    if bed.acquisition() == Acquisition::Get {
        bed.check("the parent was parted from its page when it wrote to it", !stays)?;
        bed.check(
            "what was read is not in the parent's memory but in the child's",
            !parent_sees && child_sees,
        )?;
    } else {
        bed.check("the parent kept its page when it wrote to it", stays)?;
        bed.check("what was read is in the parent's memory alone", parent_sees && !child_sees)?;
    }
    child.end()
}

fn killed_while_in_flight(bed: &mut Bed) -> Result<()> {
    const PAGES: usize = 16;
    let file = bed.file("data", ON_THE_MEDIA, PAGES)?;
    let gate = bed.close_gate(Stage::Transfer, &Bios::writes())?;
    let buffer = bed.anonymous(IN_THE_BUFFER, PAGES)?;
    let acquisition = bed.acquisition();
    let place = bed.require_disk()?;
    let mut child = Child::fork(|_| {
        let begin = || -> Result<()> {
            let device = Device::open()?;
            let disk = device.open_disk(place)?;
            let begun = disk.begin(Direction::Write, 0, &[Range::from(&buffer)], acquisition)?;
            // It is closed by the end of the process.
            std::mem::forget((disk, begun));
            Ok(())
        };
        u8::from(begin().is_ok())
    })?;
    bed.require("a child writes its memory", child.ask(0)? == 1)?;
    gate.wait_for(1)?;
    drop(buffer);
    // The fast path finds that the child shares its pages with its parent, gives back the pin that it
    // took, and leaves them to the slow path: both count in /proc/vmstat.
    bed.observe("the write is in flight", None)?;
    child.kill()?;
    let dead = bed.observe("the child was killed", None)?;
    let none = Counted::default();
    let is_held = dead.device_pins == none && dead.device_references == none;
    bed.check("the pages are not released before the bio has ended", is_held)?;
    gate.open()?;
    drop(open_when_free(bed)?);
    let done = bed.observe("the gate is open, and the write has ended", None)?;
    let released = done.device_pins.released + done.device_references.released;
    bed.check("all pages are released", released == PAGES as u64)?;
    let found = bed.read_back(&file)?;
    bed.check_data("the media hold what the dead process wrote", IN_THE_BUFFER, &found)
}

fn closed_while_in_flight(bed: &mut Bed) -> Result<()> {
    make(&SCRATCH)?;
    let buffer = bed.anonymous(IN_THE_BUFFER, 1)?;
    let disk = bed.device().open_disk(&SCRATCH)?;
    let gate = bed.device().close_gate(&SCRATCH, Stage::Transfer, &Bios::writes())?;
    let write = disk.begin(Direction::Write, 0, &[Range::from(&buffer)], bed.acquisition())?;
    gate.wait_for(1)?;
    drop(disk);
    let off = || SCRATCH.write("power", "0");
    bed.check_refused("turning the power off is refused with EBUSY", Errno::EBUSY, off())?;
    gate.open()?;
    let ended = write.wait()?;
    bed.check("the write ends well", ended.error.is_none() && ended.bytes == PAGE as u64)?;
    let off = off().err();
    bed.check_that("then the power can be turned off", off.is_none(), || format!("{off:?}"))?;
    SCRATCH.remove()
}

/// The disk of a process that has gone: when its last bio has ended, the disk can be had again.
pub(crate) fn open_when_free(bed: &Bed) -> Result<OpenDisk> {
    let deadline = Instant::now() + Duration::from_secs(10);
    let mut again = open(bed);
    while again.as_ref().is_err_and(|error| error.errno() == Some(Errno::EBUSY)) && Instant::now() < deadline
    {
        std::thread::yield_now();
        again = open(bed);
    }
    again
}

fn open(bed: &Bed) -> Result<OpenDisk> {
    bed.device().open_disk(bed.require_disk()?)
}
