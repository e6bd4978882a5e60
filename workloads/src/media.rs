// SPDX-License-Identifier: MIT OR Apache-2.0

//! What the disk under everything else promises: flushes, FUA, power cuts, errors, late transfer,
//! holes. A scenario that trusts the disk is worth no more than these.

use std::fs::File;
use std::io;
use std::os::unix::fs::OpenOptionsExt;

use fs_harness::cell::Setup;
use fs_harness::guest::device::{Bios, Stage};
use fs_harness::guest::disk::{Attributes, Disk};
use fs_harness::guest::error::Doing;
use fs_harness::guest::in_flight::InFlight;
use fs_harness::guest::memory::{Memory, PAGE};
use fs_harness::guest::{Bed, Result};
use fs_harness::pattern::Pattern;
use nix::errno::Errno;
use nix::libc;

use crate::catalogue::{LARGE_BLOCK, NotOn, Scenario};

/// Disks of these scenarios alone.
const SCRATCH: Disk = Disk::of("scratch0");
const OTHER: Disk = Disk::of("scratch1");

/// What was never written reads as this.
const TENANT: [u8; PAGE] = [0xde; PAGE];

pub(crate) const OWN_DISKS: &[NotOn] = &[
    (&[Setup::Bdev], "the scenario makes disks of its own"),
    LARGE_BLOCK,
    (&[Setup::Tmpfs], "no filesystem takes part"),
    (Setup::ON_DISK, "no filesystem takes part"),
    (Setup::FUSE, "no filesystem takes part"),
];

const fn scenario(
    name: &'static str,
    about: &'static str,
    source: &'static str,
    run: fn(&mut Bed) -> Result<()>,
) -> Scenario {
    Scenario { name, about, source, setups: &[Setup::None], not: OWN_DISKS, run, ..Scenario::PLAIN }
}

const CACHE: &str = "Documentation/block/writeback_cache_control.rst";

pub(crate) const SCENARIOS: &[Scenario] = &[
    scenario(
        "power_cut",
        "A power cut loses what was written and not flushed, and nothing else; what is in flight fails.",
        CACHE,
        |bed| power_cut(bed, &small(), &[PLAIN]),
    ),
    scenario(
        "power_cut_without_fua",
        "A disk that cannot write through its cache flushes the whole cache after a FUA write.",
        CACHE,
        |bed| power_cut(bed, &Attributes { fua: false, ..small() }, &[]),
    ),
    scenario(
        "power_cut_without_cache",
        "Without a write cache a power cut loses nothing that was completed.",
        CACHE,
        |bed| power_cut(bed, &Attributes { write_cache: false, ..small() }, &[]),
    ),
    scenario(
        "late_transfer",
        "With late transfer the data of a write is not on the media before the worker came, also after a power cut.",
        "include/linux/blk_types.h: REQ_FUA; block/bio.c: bio_endio()",
        late_transfer,
    ),
    scenario(
        "injected_errors",
        "Errors strike the direction, the sectors and as many bios as was asked for, and userspace sees them.",
        "block/blk-core.c: blk_errors; block/fops.c: blkdev_bio_end_io()",
        injected_errors,
    ),
    scenario(
        "sparse_disks",
        "A disk of 1 TiB takes memory only for what is written, holes read as the previous tenant's, and disks do not share data.",
        "block/blk-lib.c: blkdev_issue_discard(), blkdev_issue_zeroout()",
        sparse_disks,
    ),
];

// Which page of the disk has what.
const FLUSHED: u64 = 0;
const PLAIN: u64 = 1;
const THROUGH: u64 = 2;
const HELD: u64 = 3;

fn small() -> Attributes {
    Attributes { size_mib: 16, ..Attributes::default() }
}

/// `lost`: pages of completed writes that are lost.
fn power_cut(bed: &mut Bed, attributes: &Attributes, lost: &[u64]) -> Result<()> {
    SCRATCH.make(attributes)?;
    let (disk, durable) = (open(&SCRATCH, 0)?, open(&SCRATCH, libc::O_DSYNC)?);
    write(&disk, FLUSHED, pattern(FLUSHED)).doing("write")?;
    disk.sync_data().doing("flush")?;
    write(&disk, PLAIN, pattern(PLAIN)).doing("write")?;
    write(&durable, THROUGH, pattern(THROUGH)).doing("write with O_DSYNC")?;
    let before = bed.device().statistics(&SCRATCH)?;
    let expected = u64::from(attributes.write_cache);
    bed.check("fdatasync and O_DSYNC reached the disk as a flush and a FUA write, if it has a cache", {
        before.preflushes == expected && before.fua_writes == expected
    })?;

    let gate = bed.device().close_gate(&SCRATCH, Stage::Transfer, &Bios::writes())?;
    let memory = page(pattern(HELD))?;
    let held = InFlight::write(&disk, HELD * PAGE as u64, &memory, 0..PAGE)?;
    gate.wait_for(1)?;
    SCRATCH.cut_power()?;
    bed.check("a write that was in flight fails with EIO", errno(held.wait()) == Some(Errno::EIO))?;
    bed.check("a read fails with EIO", errno(read(&disk, FLUSHED)) == Some(Errno::EIO))?;
    bed.check("a write fails with EIO", errno(write(&disk, HELD, pattern(HELD))) == Some(Errno::EIO))?;
    if attributes.write_cache {
        bed.check("a flush fails with EIO", errno(disk.sync_data()) == Some(Errno::EIO))?;
    }
    gate.open()?;
    SCRATCH.restore_power()?;

    for (name, number) in [("flushed", FLUSHED), ("only written", PLAIN), ("written with O_DSYNC", THROUGH)] {
        let found = read(&disk, number).doing("read")?;
        if lost.contains(&number) {
            bed.check(&format!("what was {name} is lost"), found == TENANT)?;
        } else {
            bed.check_data(&format!("what was {name} is there"), pattern(number), &found)?;
        }
    }
    let found = read(&disk, HELD).doing("read")?;
    bed.check("what was in flight is not there", found == TENANT)?;
    let after = bed.device().statistics_with(&SCRATCH, 0)?;
    bed.check("the disk counted the bios that failed", {
        after.failed - before.failed == 3 + u64::from(attributes.write_cache)
    })?;
    bed.check("nothing is in flight", after.in_flight == 0)
}

fn late_transfer(bed: &mut Bed) -> Result<()> {
    // Nobody waits for the worker of this disk.
    SCRATCH.make(&Attributes { late_ms: 60_000, write_cache: false, ..small() })?;
    let disk = open(&SCRATCH, 0)?;
    let memory = page(pattern(0))?;
    let cut = InFlight::write(&disk, 0, &memory, 0..PAGE)?;
    bed.check("a write is in flight", bed.device().statistics(&SCRATCH)?.in_flight == 1)?;
    bed.check("its data is not on the media", on_media()? == TENANT)?;
    SCRATCH.cut_power()?;
    bed.check("it fails when the power is cut", errno(cut.wait()) == Some(Errno::EIO))?;
    SCRATCH.restore_power()?;
    bed.check("nor is it after that", on_media()? == TENANT)?;
    let removed = InFlight::write(&disk, 0, &memory, 0..PAGE)?;
    SCRATCH.remove()?;
    bed.check("another one is completed when the disk is removed", removed.wait().is_ok_and(|n| n == PAGE))?;
    drop(disk);

    SCRATCH.make(&Attributes { late_ms: 60_000, write_cache: false, ..small() })?;
    let disk = open(&SCRATCH, 0)?;
    let gate = bed.device().close_gate(&SCRATCH, Stage::Transfer, &Bios::writes())?;
    let held = InFlight::write(&disk, 0, &memory, 0..PAGE)?;
    gate.wait_for(1)?;
    gate.open()?;
    bed.check(
        "a gate hands its bio to the late transfer",
        bed.device().statistics(&SCRATCH)?.in_flight == 1,
    )?;
    SCRATCH.cut_power()?;
    bed.check("it fails when the power is cut", errno(held.wait()) == Some(Errno::EIO))?;
    SCRATCH.restore_power()?;
    drop(disk);
    SCRATCH.remove()?;

    SCRATCH.make(&Attributes { late_ms: 1000, ..small() })?;
    let disk = open(&SCRATCH, 0)?;
    let late = InFlight::write(&disk, 0, &memory, 0..PAGE)?;
    memory.fill(pattern(1));
    let is_in_time = bed.device().statistics(&SCRATCH)?.in_flight == 1;
    bed.require("the memory changes while the write is in flight", is_in_time)?;
    late.wait().doing("write")?;
    bed.check_data(
        "the worker copies what the memory holds when it comes",
        pattern(1),
        &read(&disk, 0).doing("read")?,
    )?;
    drop(disk);
    SCRATCH.remove()?;

    OTHER.make(&Attributes { late_ms: 1, ..small() })?;
    let disk = open(&OTHER, 0)?;
    for number in 0..4 {
        write(&disk, number, pattern(number)).doing("write")?;
    }
    disk.sync_data().doing("flush")?;
    let mut found = Vec::new();
    for number in 0..4 {
        found.push(pattern(number).difference(0, &read(&disk, number).doing("read")?));
    }
    bed.check("the worker of another disk transfers all data", found.iter().all(Option::is_none))?;
    let after = bed.device().statistics_with(&OTHER, 0)?;
    bed.check("nothing failed, and nothing is in flight", after.failed == 0 && after.in_flight == 0)
}

/// The first page of the disk's media: a read of the disk itself would be late as well.
fn on_media() -> Result<Vec<u8>> {
    SCRATCH.copy_media(&OTHER)?;
    let found = read(&open(&OTHER, 0)?, 0).doing("read the media")?;
    OTHER.remove()?;
    Ok(found)
}

fn injected_errors(bed: &mut Bed) -> Result<()> {
    SCRATCH.make(&small())?;
    let disk = open(&SCRATCH, 0)?;
    // Page 1 has the sectors 8 to 15.
    SCRATCH.write("errors", "write 15-100 2")?;
    bed.check("a write to other sectors succeeds", write(&disk, 0, pattern(0)).is_ok())?;
    bed.check("a write to the sectors fails", errno(write(&disk, 1, pattern(1))) == Some(Errno::EIO))?;
    bed.check("what failed was not written", read(&disk, 1).is_ok_and(|found| found == TENANT))?;
    bed.check("one more is left", SCRATCH.read("errors")? == "write 15-100 1")?;
    bed.check("it fails", errno(write(&disk, 2, pattern(2))) == Some(Errno::EIO))?;
    bed.check("none is left", SCRATCH.read("errors")? == "none")?;
    write(&disk, 1, pattern(1)).doing("write after the fault")?;

    SCRATCH.write("errors", "read 8-8")?;
    SCRATCH.write("errors", "any 16-16")?;
    for _ in 0..3 {
        bed.check("a read of the sector fails each time", errno(read(&disk, 1)) == Some(Errno::EIO))?;
    }
    bed.check("a write to it does not", write(&disk, 1, pattern(1)).is_ok())?;
    let both = (errno(read(&disk, 2)), errno(write(&disk, 2, pattern(2))));
    bed.check("a fault can be of both directions", both == (Some(Errno::EIO), Some(Errno::EIO)))?;
    SCRATCH.write("errors", "none")?;
    let found = read(&disk, 1).doing("read")?;
    bed.check_data("without faults the data is read", pattern(1), &found)?;
    let failed = bed.device().statistics(&SCRATCH)?.failed;
    bed.check_that("the disk counted the bios that failed", failed == 7, || format!("it counted {failed}"))?;

    let gate = bed.device().close_gate(&SCRATCH, Stage::Arrival, &Bios::writes().sectors(0..8))?;
    for (number, outcome) in [Errno::ENOSPC, Errno::ENODATA, Errno::ETIMEDOUT].into_iter().enumerate() {
        let memory = page(pattern(9))?;
        let held = InFlight::write(&disk, 0, &memory, 0..PAGE)?;
        gate.wait_for(number as u64 + 1)?;
        bed.check("a gate fails one bio", gate.fail(outcome)? == 1)?;
        let found = errno(held.wait());
        bed.check_that(&format!("userspace sees {outcome}"), found == Some(outcome), || {
            format!("{found:?}")
        })?;
    }
    gate.open()?;
    let found = read(&disk, 0).doing("read")?;
    bed.check_data("what a gate failed was not written", pattern(0), &found)
}

fn sparse_disks(bed: &mut Bed) -> Result<()> {
    const TEBIBYTE: u64 = 1 << 40;
    let last = TEBIBYTE / PAGE as u64 - 1;
    SCRATCH.make(&Attributes { size_mib: 1 << 20, ..Attributes::default() })?;
    OTHER.make(&Attributes { block_size: 4096, ..small() })?;
    let (disk, other) = (open(&SCRATCH, 0)?, open(&OTHER, 0)?);
    bed.check("a page that was never written reads as the previous tenant's", {
        read(&disk, last).is_ok_and(|found| found == TENANT)
    })?;
    for number in [last, 5, 6, 7] {
        write(&disk, number, pattern(number)).doing("write")?;
    }
    write(&other, 5, pattern(1)).doing("write")?;
    let found = read(&disk, last).doing("read")?;
    bed.check_data("the last page of a disk of 1 TiB holds what was written", pattern(last), &found)?;
    bed.check(
        "beyond it there is nothing",
        errno(write(&disk, last + 1, pattern(0))) == Some(Errno::ENOSPC),
    )?;
    let pages = bed.device().statistics(&SCRATCH)?;
    bed.check("the disk keeps four pages, in its cache", (pages.cached_pages, pages.media_pages) == (4, 0))?;
    disk.sync_data().doing("flush")?;
    let pages = bed.device().statistics(&SCRATCH)?;
    bed.check("a flush moves them to the media", (pages.cached_pages, pages.media_pages) == (0, 4))?;
    let of_other = read(&other, 5).doing("read")?;
    bed.check_data("another disk has data of its own", pattern(1), &of_other)?;

    SCRATCH.discard(5 * PAGE as u64..6 * PAGE as u64)?;
    bed.check(
        "a discarded page reads as the previous tenant's",
        read(&disk, 5).is_ok_and(|found| found == TENANT),
    )?;
    SCRATCH.write_zeroes(6 * PAGE as u64 + 512..8 * PAGE as u64)?;
    let expected = [&pattern(6).bytes(0, 512)[..], &[0; PAGE - 512]].concat();
    bed.check("zeros are written by the sector", read(&disk, 6).is_ok_and(|found| found == expected))?;
    bed.check("and over whole pages", read(&disk, 7).is_ok_and(|found| found == [0; PAGE]))?;
    SCRATCH.discard(0..TEBIBYTE)?;
    let pages = bed.device().statistics(&SCRATCH)?;
    bed.check("nothing is left after all is discarded", (pages.cached_pages, pages.media_pages) == (0, 0))?;
    let sub_block = InFlight::write(&other, 512, &page(pattern(0))?, 0..512)?.wait();
    bed.check(
        "a disk with blocks of 4096 bytes takes no direct write of 512",
        errno(sub_block) == Some(Errno::EINVAL),
    )
}

fn pattern(number: u64) -> Pattern {
    Pattern(u8::try_from(number % 200).expect("it is less than 200"))
}

fn page(pattern: Pattern) -> Result<Memory> {
    let memory = Memory::anonymous(1)?;
    memory.fill(pattern);
    Ok(memory)
}

fn open(disk: &Disk, flags: i32) -> Result<File> {
    let path = disk.path();
    let mut options = File::options();
    options
        .read(true)
        .write(true)
        .custom_flags(libc::O_DIRECT | flags)
        .open(&path)
        .doing(format!("open {path}"))
}

/// Writes a page.
fn write(disk: &File, number: u64, pattern: Pattern) -> io::Result<()> {
    let memory = page(pattern).map_err(io::Error::other)?;
    let flight = InFlight::write(disk, number * PAGE as u64, &memory, 0..PAGE).map_err(io::Error::other)?;
    whole(flight.wait()?)
}

/// Reads a page.
fn read(disk: &File, number: u64) -> io::Result<Vec<u8>> {
    let memory = Memory::anonymous(1).map_err(io::Error::other)?;
    let flight = InFlight::read(disk, number * PAGE as u64, &memory, 0..PAGE).map_err(io::Error::other)?;
    whole(flight.wait()?)?;
    Ok(memory.bytes())
}

fn whole(count: usize) -> io::Result<()> {
    if count == PAGE { Ok(()) } else { Err(io::Error::other(format!("{count} bytes were transferred"))) }
}

fn errno<T>(result: io::Result<T>) -> Option<Errno> {
    result.err().and_then(|error| error.raw_os_error()).map(Errno::from_raw)
}
