// SPDX-License-Identifier: MIT OR Apache-2.0

//! A FUSE client's pages: who takes them, and what of them the device below the daemon sees.

use fs_harness::cell::Setup;
use fs_harness::guest::device::{Bios, Gate, Stage, abi};
use fs_harness::guest::error::Doing;
use fs_harness::guest::in_flight::InFlight;
use fs_harness::guest::io::{self, Interface};
use fs_harness::guest::memory::Memory;
use fs_harness::guest::{Bed, Result, pagemap};
use fs_harness::page::PIN_BIAS;
use fs_harness::pattern::Pattern;
use fs_harness::record::{Class, Counted, Direction, Step};

use crate::catalogue::{LARGE_BLOCK, NotOn, Scenario};

const PAGES: usize = 16;
/// What each page of the buffer loses when a direct request of the client ends.
const RELEASED: Counted = Counted { acquired: 0, released: PAGES as u64 };
const IN_THE_FILE: Pattern = Pattern(1);
const IN_THE_BUFFER: Pattern = Pattern(2);

/// Where a direct request of the client takes the client's pages, which the daemon gets a copy of.
const DIRECT: &[Setup] = &[
    Setup::FuseDirectExt4,
    Setup::FuseDirectXfs,
    Setup::FuseWritebackExt4,
    Setup::FuseWritebackXfs,
    Setup::FuseRingExt4,
    Setup::FuseRingXfs,
];

const ZERO_COPY: &[Setup] = &[Setup::FuseZeroCopyExt4, Setup::FuseZeroCopyXfs];

const PASSTHROUGH: &[Setup] = &[Setup::FusePassthroughExt4, Setup::FusePassthroughXfs];

const NO_FILE: NotOn = (&[Setup::None], "there is no file to read or write");
const NO_FUSE: &str = "not a FUSE filesystem";
const BARE: NotOn = (&[Setup::Bdev, Setup::Tmpfs], NO_FUSE);
const NOT_ABOVE: NotOn = (Setup::ON_DISK, NO_FUSE);
const BY_THE_ONE_BELOW: NotOn =
    (PASSTHROUGH, "the filesystem below takes the client's pages: dio_write_anon and dio_read_anon");

const NOT_COPIED: &[NotOn] = &[
    NO_FILE,
    BARE,
    LARGE_BLOCK,
    NOT_ABOVE,
    BY_THE_ONE_BELOW,
    (ZERO_COPY, "the client's pages reach the device: fuse_zerocopy_write and fuse_zerocopy_read"),
];

const NOT_WITHOUT_COPIES: &[NotOn] = &[
    NO_FILE,
    BARE,
    LARGE_BLOCK,
    NOT_ABOVE,
    BY_THE_ONE_BELOW,
    (DIRECT, "the daemon gets a copy: fuse_dio_write and fuse_dio_read"),
];

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "fuse_dio_write",
        row: Some(64),
        about: "A write to a FUSE file with direct I/O pins the client's buffer, whose pages never reach the device.",
        source: "fs/fuse/file.c: fuse_get_user_pages(), fuse_release_user_pages()",
        setups: DIRECT,
        not: NOT_COPIED,
        run: write,
        ..Scenario::PLAIN
    },
    Scenario {
        name: "fuse_dio_read",
        row: Some(64),
        about: "A read of a FUSE file with direct I/O pins the client's buffer, whose pages never reach the device.",
        source: "fs/fuse/file.c: fuse_get_user_pages(), fuse_release_user_pages()",
        setups: DIRECT,
        not: NOT_COPIED,
        run: read,
        ..Scenario::PLAIN
    },
    Scenario {
        name: "fuse_zerocopy_write",
        row: Some(67),
        about: "A write to a FUSE file whose daemon has the client's pages as a buffer of its ring: the daemon's own direct write takes these pages to the device. The client's pin is their only pin.",
        source: "fs/fuse/dev_uring.c: fuse_uring_set_up_zero_copy(), fuse_zero_copy_release()",
        setups: ZERO_COPY,
        not: NOT_WITHOUT_COPIES,
        run: write_without_copies,
        ..Scenario::PLAIN
    },
    Scenario {
        name: "fuse_zerocopy_read",
        row: Some(67),
        about: "A read of a FUSE file whose daemon has the client's pages as a buffer of its ring: the device fills these pages by the daemon's own direct read.",
        source: "fs/fuse/dev_uring.c: fuse_uring_set_up_zero_copy(), fuse_zero_copy_release()",
        setups: ZERO_COPY,
        not: NOT_WITHOUT_COPIES,
        run: read_without_copies,
        ..Scenario::PLAIN
    },
];

fn write(bed: &mut Bed) -> Result<()> {
    let file = bed.file("data", IN_THE_FILE, PAGES)?;
    let buffer = bed.anonymous(IN_THE_BUFFER, PAGES)?;
    let client = file.direct()?;
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
    let client = file.direct()?;
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

fn write_without_copies(bed: &mut Bed) -> Result<()> {
    let file = bed.file("data", IN_THE_FILE, PAGES)?;
    let buffer = bed.anonymous(IN_THE_BUFFER, PAGES)?;
    let client = file.buffered()?;
    let gate = bed.close_gate(Stage::Transfer, &Bios::writes().class(Class::Other))?;
    let write = InFlight::write(&client, 0, &buffer, 0..buffer.length())?;
    gate.wait_for(1)?;
    check_only_client_pins(bed, &gate, &buffer, "the daemon's write is in flight")?;
    gate.open()?;
    let count = write.wait().doing("wait for the write")?;
    bed.kernel_holds(0);
    bed.check("the write wrote what it was asked to", count == buffer.length())?;
    let written = bed.observe("the client's write returned", None)?;
    bed.check("each pin was released", written.pins == RELEASED)?;
    let found = bed.read_back(&file)?;
    bed.check_data("the file holds what was in the buffer", IN_THE_BUFFER, &found)
}

fn read_without_copies(bed: &mut Bed) -> Result<()> {
    let file = bed.file("data", IN_THE_FILE, PAGES)?;
    let buffer = bed.anonymous(IN_THE_BUFFER, PAGES)?;
    let client = file.buffered()?;
    let gate = bed.close_gate(Stage::Transfer, &Bios::reads().class(Class::Other))?;
    let read = InFlight::read_by_worker(&client, 0, &buffer, 0..buffer.length())?;
    gate.wait_for(1)?;
    check_only_client_pins(bed, &gate, &buffer, "the daemon's read is in flight")?;
    gate.open()?;
    let count = read.wait().doing("wait for the read")?;
    bed.kernel_holds(0);
    bed.check("the read read what it was asked to", count == buffer.length())?;
    let done = bed.observe("the client's read returned", None)?;
    bed.check("each pin was released", done.pins == RELEASED)?;
    bed.check_data("the buffer holds what is in the file", IN_THE_FILE, &buffer.bytes())
}

/// The bio does not say that its pages are pinned: they are the client's.
fn check_only_client_pins(bed: &mut Bed, gate: &Gate, buffer: &Memory, step: &str) -> Result<()> {
    bed.kernel_holds(PAGES);
    let held = bed.observe_gate(step, gate)?;
    let flags = gate.bio(0)?.flags;
    bed.check("the bio does not say that its pages are pinned", flags & abi::BIO_PINNED == 0)?;
    let (page, frame) = (gate.page(0, 0)?.state, pagemap::frame_of(buffer, 0)?);
    bed.check("the daemon's bio carries the client's page", page.pfn == frame)?;
    bed.check(
        "the page is mapped, pinned by the client, and referred to by the daemon's ring",
        held.pages[0].dump.refcount == 1 + PIN_BIAS + 1,
    )
}

fn check_client_pinned_once(bed: &mut Bed, step: &Step) -> Result<()> {
    let pages = PAGES as u64;
    bed.check(
        "each page of the client's buffer was pinned once and released once",
        step.pins == Counted { acquired: pages, released: pages },
    )?;
    let reached = [Direction::Read, Direction::Write].map(|way| {
        // Where the daemon passes them on, its bios do not say that they are pinned.
        step.traffic_of(way, Class::UserPinned).pages + step.traffic_of(way, Class::Other).pages
    });
    bed.check("no page of the client reached the device", reached == [0, 0])
}
