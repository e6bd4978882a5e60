// SPDX-License-Identifier: MIT OR Apache-2.0

//! Direct I/O between anonymous memory and a file, by system call and by `io_uring`.

use fs_harness::cell::{Policy, Setup};
use fs_harness::guest::io::{self, Interface};
use fs_harness::guest::{Bed, Result};
use fs_harness::pattern::Pattern;
use fs_harness::record::{Class, Counted, Direction, Step, Traffic};

use crate::catalogue::{NotOn, Scenario, Violated, Why};

const PAGES: usize = 16;
const ON_THE_MEDIA: Pattern = Pattern(1);
const IN_THE_BUFFER: Pattern = Pattern(2);

const SOURCE: &str = "block/bio.c: bio_iov_iter_get_pages(), __bio_release_pages(); fs/iomap/direct-io.c";

const BOUNCE: &str = "fs/xfs/xfs_file.c: mapping_stable_writes(); block/bio.c: bio_iov_iter_bounce()";

/// Where the pages of a direct read's buffer are those of the bios.
pub(crate) const READ_DIRECTLY: &[Setup] = &[
    Setup::Bdev,
    Setup::Ext4,
    Setup::Ext4Small,
    Setup::Xfs,
    Setup::Btrfs,
    Setup::BtrfsNoDataSum,
    Setup::F2fs,
    Setup::Vfat,
    Setup::FusePassthroughExt4,
    Setup::FusePassthroughXfs,
];

/// The same for a direct write: btrfs copies what it makes a checksum of.
const WRITTEN_DIRECTLY: &[Setup] = &[
    Setup::Bdev,
    Setup::Ext4,
    Setup::Ext4Small,
    Setup::Xfs,
    Setup::BtrfsNoDataSum,
    Setup::F2fs,
    Setup::Vfat,
    Setup::FusePassthroughExt4,
    Setup::FusePassthroughXfs,
];

const NO_FILE: NotOn = (&[Setup::None], "there is no file to read or write");
const NO_DISK: NotOn = (&[Setup::Tmpfs], "tmpfs accepts O_DIRECT, and copies");
const BLOCKS: NotOn = (Setup::LARGE_BLOCK, "a buffer of whole pages is aligned to any block");
const FUSE_HAS_ITS_OWN: NotOn =
    (Setup::FUSE, "FUSE takes the client's pages itself: fuse_dio_write and fuse_dio_read");
const NOT_READ_DIRECTLY: &[NotOn] = &[
    NO_FILE,
    NO_DISK,
    BLOCKS,
    FUSE_HAS_ITS_OWN,
    (&[Setup::XfsStable], "XFS bounces direct I/O to such a disk: dio_read_stable"),
    (&[Setup::Ext4Journal], "it has no direct I/O: dio_read_buffered"),
];
const NOT_WRITTEN_DIRECTLY: &[NotOn] = &[
    NO_FILE,
    NO_DISK,
    BLOCKS,
    FUSE_HAS_ITS_OWN,
    (&[Setup::XfsStable, Setup::Btrfs], "it writes a copy: dio_write_stable"),
    (&[Setup::Ext4Journal], "it has no direct I/O: dio_write_buffered"),
];
const NO_BOUNCE: &[NotOn] = &[
    NO_FILE,
    NO_DISK,
    BLOCKS,
    (&[Setup::Bdev], "the bare device never bounces"),
    (Setup::ON_DISK, "it does not bounce: dio_write_anon and dio_read_anon, or has no direct I/O"),
    (Setup::FUSE, "what is below does not bounce, or the client's pages never get there"),
];
const HAS_DIRECT_IO: &[NotOn] = &[
    NO_FILE,
    NO_DISK,
    BLOCKS,
    (&[Setup::Bdev], "it has direct I/O"),
    (Setup::ON_DISK, "it has direct I/O"),
    (Setup::FUSE, "it has direct I/O"),
];

/// The legacy direct I/O adds pins of its own to each page by `folio_add_pin()`, which counts none of them.
const COUNTED_WRONGLY: &[Violated] = &[
    miscounted_on_vfat("the kernel and the driver count the same pins"),
    miscounted_on_vfat(PINNED_ONCE),
    miscounted_on_vfat("every pin is released"),
];

/// A check of pins that direct I/O on vfat violates.
pub(crate) const fn miscounted_on_vfat(check: &'static str) -> Violated {
    Violated {
        on: &[Setup::Vfat],
        under: Policy::ALL,
        check,
        why: Why::Finding("folio-add-pin-is-not-counted"),
    }
}

const PINNED_ONCE: &str = "each page of the buffer was pinned once and released once";

const WRITE: Scenario = Scenario {
    row: Some(15),
    source: SOURCE,
    setups: WRITTEN_DIRECTLY,
    not: NOT_WRITTEN_DIRECTLY,
    known: COUNTED_WRONGLY,
    ..Scenario::PLAIN
};

const READ: Scenario = Scenario {
    row: Some(19),
    source: SOURCE,
    setups: READ_DIRECTLY,
    not: NOT_READ_DIRECTLY,
    known: COUNTED_WRONGLY,
    ..Scenario::PLAIN
};

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "dio_write_anon",
        about: "A direct write pins each page of its buffer once, the device gets exactly these pages, and all are released.",
        run: |bed| write(bed, Interface::Syscall),
        ..WRITE
    },
    Scenario {
        name: "dio_read_anon",
        about: "A direct read pins each page of its buffer once, the device writes into exactly these pages, and all are released.",
        run: |bed| read(bed, Interface::Syscall),
        ..READ
    },
    Scenario {
        name: "uring_dio_write",
        about: "A direct write by io_uring with a plain buffer pins and releases as the system call does.",
        run: |bed| write(bed, Interface::IoUring),
        ..WRITE
    },
    Scenario {
        name: "uring_dio_read",
        about: "A direct read by io_uring with a plain buffer pins and releases as the system call does.",
        run: |bed| read(bed, Interface::IoUring),
        ..READ
    },
    Scenario {
        name: "dio_write_stable",
        row: Some(18),
        about: "Where the data must not change while it is written, it is a copy of the buffer: no page of it is pinned.",
        source: BOUNCE,
        setups: &[Setup::XfsStable, Setup::Btrfs],
        not: NO_BOUNCE,
        run: write_bounced,
        ..Scenario::PLAIN
    },
    Scenario {
        name: "dio_read_stable",
        row: Some(18),
        about: "From a disk that wants stable pages XFS reads into pages of the kernel, and pins those of the buffer meanwhile.",
        source: BOUNCE,
        setups: &[Setup::XfsStable],
        not: NO_BOUNCE,
        run: read_bounced,
        ..Scenario::PLAIN
    },
    Scenario {
        name: "dio_write_buffered",
        about: "A filesystem without direct I/O accepts it and copies to its page cache: no page is pinned, no bio is waited for.",
        source: "fs/ext4/file.c: ext4_should_use_dio(), ext4_dio_write_iter()",
        setups: &[Setup::Ext4Journal],
        not: HAS_DIRECT_IO,
        run: write_buffered,
        ..Scenario::PLAIN
    },
    Scenario {
        name: "dio_read_buffered",
        about: "A filesystem without direct I/O accepts it and copies from its page cache: no page is pinned.",
        source: "fs/ext4/file.c: ext4_dio_read_iter()",
        setups: &[Setup::Ext4Journal],
        not: HAS_DIRECT_IO,
        run: read_buffered,
        ..Scenario::PLAIN
    },
];

fn write_buffered(bed: &mut Bed) -> Result<()> {
    let file = bed.file("data", ON_THE_MEDIA, PAGES)?;
    let buffer = bed.anonymous(IN_THE_BUFFER, PAGES)?;
    io::write(Interface::Syscall, &file.direct()?, &buffer)?;
    let step = bed.observe("the direct write returned", None)?;
    bed.check("no page was pinned", step.pins == Counted::default())?;
    bed.check("nothing of the data was written to the device", is_quiet(bed, &step, Direction::Write))?;
    file.fsync()?;
    bed.observe("fsync returned", None)?;
    let found = bed.read_back(&file)?;
    bed.check_data("the file holds what was in the buffer", IN_THE_BUFFER, &found)
}

fn read_buffered(bed: &mut Bed) -> Result<()> {
    let file = bed.file("data", ON_THE_MEDIA, PAGES)?;
    let buffer = bed.anonymous(IN_THE_BUFFER, PAGES)?;
    io::read(Interface::Syscall, &file.direct()?, &buffer)?;
    let step = bed.observe("the direct read returned", None)?;
    bed.check("no page was pinned", step.pins == Counted::default())?;
    let cached = step.traffic_of(Direction::Read, Class::PageCache);
    bed.check("the device filled the page cache", cached.pages == PAGES as u64)?;
    bed.check_data("the buffer holds what was on the media", ON_THE_MEDIA, &buffer.bytes())
}

fn is_quiet(bed: &Bed, step: &Step, direction: Direction) -> bool {
    step.traffic.iter().all(|traffic| traffic.direction != direction || !bed.is_data(traffic.class))
}

fn write_bounced(bed: &mut Bed) -> Result<()> {
    let file = bed.file("data", ON_THE_MEDIA, PAGES)?;
    let buffer = bed.anonymous(IN_THE_BUFFER, PAGES)?;
    let direct = file.direct()?;
    io::write(Interface::Syscall, &direct, &buffer)?;
    let step = bed.observe("the direct write returned", None)?;
    bed.check("no page was pinned", step.pins == Counted::default())?;
    let copies = step.traffic_of(Direction::Write, Class::Other);
    bed.check("the bios carried copies", copies.pages == PAGES as u64 && copies.pinned_pages == 0)?;
    let found = bed.read_back(&file)?;
    bed.check_data("the file holds what was in the buffer", IN_THE_BUFFER, &found)
}

fn read_bounced(bed: &mut Bed) -> Result<()> {
    let pages = PAGES as u64;
    let file = bed.file("data", ON_THE_MEDIA, PAGES)?;
    let buffer = bed.anonymous(IN_THE_BUFFER, PAGES)?;
    let direct = file.direct()?;
    io::read(Interface::Syscall, &direct, &buffer)?;
    let step = bed.observe("the direct read returned", None)?;
    bed.check(PINNED_ONCE, step.pins == Counted { acquired: pages, released: pages })?;
    let carried = step.traffic_of(Direction::Read, Class::UserPinned);
    bed.check(
        "the bios said that their pages are pinned, but carried others",
        carried.pages == pages && carried.pinned_pages == 0,
    )?;
    bed.check_data("the buffer holds what was on the media", ON_THE_MEDIA, &buffer.bytes())
}

fn write(bed: &mut Bed, interface: Interface) -> Result<()> {
    let file = bed.file("data", ON_THE_MEDIA, PAGES)?;
    let buffer = bed.anonymous(IN_THE_BUFFER, PAGES)?;
    let direct = file.direct()?;
    io::write(interface, &direct, &buffer)?;
    let step = bed.observe("the direct write returned", None)?;
    check_pinned_once(bed, &step, Direction::Write)?;
    let found = bed.read_back(&file)?;
    bed.check_data("the file holds what was in the buffer", IN_THE_BUFFER, &found)
}

fn read(bed: &mut Bed, interface: Interface) -> Result<()> {
    let file = bed.file("data", ON_THE_MEDIA, PAGES)?;
    let buffer = bed.anonymous(IN_THE_BUFFER, PAGES)?;
    let direct = file.direct()?;
    io::read(interface, &direct, &buffer)?;
    let step = bed.observe("the direct read returned", None)?;
    check_pinned_once(bed, &step, Direction::Read)?;
    bed.check_data("the buffer holds what was on the media", ON_THE_MEDIA, &buffer.bytes())?;
    let found = bed.read_back(&file)?;
    bed.check_data("the media are as they were", ON_THE_MEDIA, &found)
}

fn check_pinned_once(bed: &mut Bed, step: &Step, direction: Direction) -> Result<()> {
    let pages = PAGES as u64;
    bed.check(PINNED_ONCE, step.pins == Counted { acquired: pages, released: pages })?;
    let pinned = step.traffic_of(direction, Class::UserPinned);
    bed.check(
        "the bios carried the buffer's own pages, pinned",
        pinned.pages == pages && pinned.pinned_pages == pages,
    )?;
    let is_other_data = |traffic: &&Traffic| {
        traffic.direction == direction && traffic.class != Class::UserPinned && bed.is_data(traffic.class)
    };
    let others = step.traffic.iter().filter(is_other_data).count();
    bed.check("the page cache was not used", others == 0)
}
