// SPDX-License-Identifier: MIT OR Apache-2.0

//! Direct I/O between anonymous memory and a file, by system call and by `io_uring`.

use fs_harness::cell::Setup;
use fs_harness::guest::io::{self, Interface};
use fs_harness::guest::{Bed, Result};
use fs_harness::pattern::Pattern;
use fs_harness::record::{Class, Counted, Direction, Step, Traffic};

use crate::catalogue::{NotOn, Scenario};

const PAGES: usize = 16;
const ON_THE_MEDIA: Pattern = Pattern(1);
const IN_THE_BUFFER: Pattern = Pattern(2);

const SOURCE: &str = "block/bio.c: bio_iov_iter_get_pages(), __bio_release_pages(); fs/iomap/direct-io.c";

const BOUNCE: &str = "fs/xfs/xfs_file.c: mapping_stable_writes(); block/bio.c: bio_iov_iter_bounce()";

const NO_FILE: NotOn = (&[Setup::None], "there is no file to read or write");
const FUSE_HAS_ITS_OWN: NotOn =
    (&[Setup::FuseDirectExt4], "FUSE takes the client's pages itself: fuse_dio_write and fuse_dio_read");
const STABLE_HAS_ITS_OWN: NotOn =
    (&[Setup::XfsStable], "XFS bounces direct I/O to such a disk: dio_write_stable and dio_read_stable");
const NO_BOUNCE: &[NotOn] = &[
    NO_FILE,
    (&[Setup::Bdev], "the bare device never bounces"),
    (&[Setup::Ext4], "ext4 never bounces"),
    (&[Setup::Xfs], "the disk does not ask for it: dio_write_anon and dio_read_anon"),
    FUSE_HAS_ITS_OWN,
];
const SAME_AS_EXT4: &str =
    "the io_uring side is the same; the filesystem's is shown by dio_write_anon and dio_read_anon";

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "dio_write_anon",
        row: Some(15),
        about: "A direct write pins each page of its buffer once, the device gets exactly these pages, and all are released.",
        source: SOURCE,
        setups: &[Setup::Bdev, Setup::Ext4, Setup::Xfs],
        not: &[NO_FILE, STABLE_HAS_ITS_OWN, FUSE_HAS_ITS_OWN],
        run: |bed| write(bed, Interface::Syscall),
        ..Scenario::PLAIN
    },
    Scenario {
        name: "dio_read_anon",
        row: Some(19),
        about: "A direct read pins each page of its buffer once, the device writes into exactly these pages, and all are released.",
        source: SOURCE,
        setups: &[Setup::Bdev, Setup::Ext4, Setup::Xfs],
        not: &[NO_FILE, STABLE_HAS_ITS_OWN, FUSE_HAS_ITS_OWN],
        run: |bed| read(bed, Interface::Syscall),
        ..Scenario::PLAIN
    },
    Scenario {
        name: "uring_dio_write",
        row: Some(15),
        about: "A direct write by io_uring with a plain buffer pins and releases as the system call does.",
        source: SOURCE,
        setups: &[Setup::Ext4],
        not: &[
            NO_FILE,
            FUSE_HAS_ITS_OWN,
            (&[Setup::Bdev], SAME_AS_EXT4),
            (&[Setup::Xfs], SAME_AS_EXT4),
            (&[Setup::XfsStable], SAME_AS_EXT4),
        ],
        run: |bed| write(bed, Interface::IoUring),
        ..Scenario::PLAIN
    },
    Scenario {
        name: "uring_dio_read",
        row: Some(19),
        about: "A direct read by io_uring with a plain buffer pins and releases as the system call does.",
        source: SOURCE,
        setups: &[Setup::Ext4],
        not: &[
            NO_FILE,
            FUSE_HAS_ITS_OWN,
            (&[Setup::Bdev], SAME_AS_EXT4),
            (&[Setup::Xfs], SAME_AS_EXT4),
            (&[Setup::XfsStable], SAME_AS_EXT4),
        ],
        run: |bed| read(bed, Interface::IoUring),
        ..Scenario::PLAIN
    },
    Scenario {
        name: "dio_write_stable",
        row: Some(18),
        about: "To a disk that wants stable pages XFS writes a copy of the buffer: no page of it is pinned.",
        source: BOUNCE,
        setups: &[Setup::XfsStable],
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
];

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
    bed.check(
        "each page of the buffer was pinned once and released once",
        step.pins == Counted { acquired: pages, released: pages },
    )?;
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
    bed.check(
        "each page of the buffer was pinned once and released once",
        step.pins == Counted { acquired: pages, released: pages },
    )?;
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
