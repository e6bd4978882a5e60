// SPDX-License-Identifier: MIT OR Apache-2.0

//! A FUSE client's pages: who takes them, and what of them the device below the daemon sees.

use fs_harness::cell::Setup;
use fs_harness::guest::io::{self, Interface};
use fs_harness::guest::{Bed, Result};
use fs_harness::pattern::Pattern;
use fs_harness::record::{Class, Counted, Direction, Step};

use crate::catalogue::{LARGE_BLOCK, NotOn, Scenario};

const PAGES: usize = 16;
const IN_THE_FILE: Pattern = Pattern(1);
const IN_THE_BUFFER: Pattern = Pattern(2);

const NOT_FUSE: &[NotOn] = &[
    (&[Setup::None], "there is no file to read or write"),
    (&[Setup::Bdev], "not a FUSE filesystem"),
    LARGE_BLOCK,
    (&[Setup::Tmpfs], "not a FUSE filesystem"),
    (Setup::ON_DISK, "not a FUSE filesystem"),
    (Setup::FUSE, "the client's pages are not taken by FUSE, or stay in a page cache of their own"),
];

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "fuse_dio_write",
        row: Some(64),
        about: "A write to a FUSE file with direct I/O pins the client's buffer, whose pages never reach the device.",
        source: "fs/fuse/file.c: fuse_get_user_pages(), fuse_release_user_pages()",
        setups: &[Setup::FuseDirectExt4, Setup::FuseDirectXfs],
        not: NOT_FUSE,
        run: write,
        ..Scenario::PLAIN
    },
    Scenario {
        name: "fuse_dio_read",
        row: Some(64),
        about: "A read of a FUSE file with direct I/O pins the client's buffer, whose pages never reach the device.",
        source: "fs/fuse/file.c: fuse_get_user_pages(), fuse_release_user_pages()",
        setups: &[Setup::FuseDirectExt4, Setup::FuseDirectXfs],
        not: NOT_FUSE,
        run: read,
        ..Scenario::PLAIN
    },
];

fn write(bed: &mut Bed) -> Result<()> {
    let file = bed.file("data", IN_THE_FILE, PAGES)?;
    let buffer = bed.anonymous(IN_THE_BUFFER, PAGES)?;
    let client = file.buffered()?;
    io::write(Interface::Syscall, &client, &buffer)?;
    let written = bed.observe("the client's write returned", None)?;
    check_client_pinned_once(bed, &written)?;
    bed.check(
        "nothing was written to the device yet",
        written.traffic_of(Direction::Write, Class::PageCache).pages == 0,
    )?;
    file.fsync()?;
    let synced = bed.observe("the client's fsync returned", None)?;
    let writeback = synced.traffic_of(Direction::Write, Class::PageCache);
    bed.check(
        "the daemon's own page cache was written, and none of it was pinned",
        writeback.pages == PAGES as u64 && writeback.pinned_pages == 0,
    )?;
    let found = bed.read_back(&file)?;
    bed.check_data("the file holds what was in the buffer", IN_THE_BUFFER, &found)
}

fn read(bed: &mut Bed) -> Result<()> {
    let file = bed.file("data", IN_THE_FILE, PAGES)?;
    let buffer = bed.anonymous(IN_THE_BUFFER, PAGES)?;
    let client = file.buffered()?;
    io::read(Interface::Syscall, &client, &buffer)?;
    let step = bed.observe("the client's read returned", None)?;
    check_client_pinned_once(bed, &step)?;
    let reads = step.traffic_of(Direction::Read, Class::PageCache);
    bed.check(
        "the device filled the daemon's own page cache",
        reads.pages == PAGES as u64 && reads.pinned_pages == 0,
    )?;
    bed.check_data("the buffer holds what is in the file", IN_THE_FILE, &buffer.bytes())
}

fn check_client_pinned_once(bed: &mut Bed, step: &Step) -> Result<()> {
    let pages = PAGES as u64;
    bed.check(
        "each page of the client's buffer was pinned once and released once",
        step.pins == Counted { acquired: pages, released: pages },
    )?;
    let reached =
        [Direction::Read, Direction::Write].map(|way| step.traffic_of(way, Class::UserPinned).pages);
    bed.check("no page of the client reached the device", reached == [0, 0])
}
