// SPDX-License-Identifier: MIT OR Apache-2.0

//! Direct I/O from and into a registered buffer: no page is taken for it.

use fs_harness::cell::Setup;
use fs_harness::guest::memory::Memory;
use fs_harness::guest::uring::Ring;
use fs_harness::guest::{Bed, Result};
use fs_harness::pattern::Pattern;
use fs_harness::record::{Class, Counted, Direction, Step};

use crate::catalogue::{LARGE_BLOCK, NotOn, Scenario};

const PAGES: usize = 16;
const ON_THE_MEDIA: Pattern = Pattern(1);
const IN_THE_BUFFER: Pattern = Pattern(2);

/// Where there is direct I/O.
const DIRECT: &[Setup] = &[
    Setup::Bdev,
    Setup::Ext4,
    Setup::Ext4Small,
    Setup::Xfs,
    Setup::XfsStable,
    Setup::Btrfs,
    Setup::BtrfsNoDataSum,
    Setup::F2fs,
    Setup::Vfat,
    Setup::FuseDirectExt4,
    Setup::FuseDirectXfs,
    Setup::FuseWritebackExt4,
    Setup::FuseWritebackXfs,
    Setup::FusePassthroughExt4,
    Setup::FusePassthroughXfs,
    Setup::FuseRingExt4,
    Setup::FuseRingXfs,
    Setup::FuseZeroCopyExt4,
    Setup::FuseZeroCopyXfs,
];

const NOT: &[NotOn] = &[
    (&[Setup::None], "there is no file to read or write"),
    LARGE_BLOCK,
    (&[Setup::Tmpfs], "tmpfs accepts O_DIRECT, and copies"),
    (&[Setup::Ext4Journal], "it has no direct I/O: dio_write_buffered and dio_read_buffered"),
];

const SOURCE: &str =
    "block/bio.c: bio_iov_iter_set(), bio_iov_iter_bounce(); io_uring/rsrc.c: io_import_reg_buf()";

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "uring_write_fixed",
        row: Some(32),
        about: "A direct write from a registered buffer takes no page: the bios carry those that are pinned already, or copies where such are made.",
        source: SOURCE,
        setups: DIRECT,
        not: NOT,
        run: write,
        ..Scenario::PLAIN
    },
    Scenario {
        name: "uring_read_fixed",
        row: Some(32),
        about: "A direct read into a registered buffer takes no page: the bios carry those that are pinned already, or pages of the kernel.",
        source: SOURCE,
        setups: DIRECT,
        not: NOT,
        run: read,
        ..Scenario::PLAIN
    },
];

fn write(bed: &mut Bed) -> Result<()> {
    let file = bed.file("data", ON_THE_MEDIA, PAGES)?;
    let buffer = bed.anonymous(IN_THE_BUFFER, PAGES)?;
    let direct = file.direct()?;
    let mut ring = register(bed, &buffer)?;
    let count = ring.write_fixed(&direct, &buffer)?;
    bed.check("the write wrote all of the buffer", count == buffer.length())?;
    let step = bed.observe("the direct write is complete", None)?;
    let bounces = matches!(bed.setup(), Setup::XfsStable | Setup::Btrfs);
    check_taken(bed, &step, Direction::Write, bounces)?;
    unregister(bed, ring)?;
    file.fsync()?;
    bed.observe("fsync returned", None)?;
    let found = bed.read_back(&file)?;
    bed.check_data("the file holds what was in the buffer", IN_THE_BUFFER, &found)
}

fn read(bed: &mut Bed) -> Result<()> {
    let file = bed.file("data", ON_THE_MEDIA, PAGES)?;
    let buffer = bed.anonymous(IN_THE_BUFFER, PAGES)?;
    let direct = file.direct()?;
    let mut ring = register(bed, &buffer)?;
    let count = ring.read_fixed(&direct, &buffer)?;
    bed.check("the read filled all of the buffer", count == buffer.length())?;
    let step = bed.observe("the direct read is complete", None)?;
    let bounces = bed.setup() == Setup::XfsStable;
    check_taken(bed, &step, Direction::Read, bounces)?;
    bed.check_data("the buffer holds what was on the media", ON_THE_MEDIA, &buffer.bytes())?;
    unregister(bed, ring)
}

fn register<'a>(bed: &mut Bed, buffer: &'a Memory) -> Result<Ring<'a>> {
    let ring = Ring::with(buffer)?;
    bed.kernel_holds(PAGES);
    let step = bed.observe("the buffer is registered", None)?;
    bed.check("each page was pinned once", step.pins == Counted { acquired: PAGES as u64, released: 0 })?;
    Ok(ring)
}

fn unregister(bed: &mut Bed, ring: Ring<'_>) -> Result<()> {
    ring.unregister()?;
    bed.kernel_holds(0);
    let step = bed.observe("the buffer is given up", None)?;
    bed.check("each pin was released", step.pins == Counted { acquired: 0, released: PAGES as u64 })
}

fn check_taken(bed: &mut Bed, step: &Step, direction: Direction, bounces: bool) -> Result<()> {
    let pages = PAGES as u64;
    bed.check("no page was pinned for it", step.pins == Counted::default())?;
    let pinned_for_it = step.traffic_of(direction, Class::UserPinned);
    bed.check("no bio says that its pages were", pinned_for_it.bios == 0)?;
    let carried = step.traffic_of(direction, Class::Other);
    if is_served_by_daemon(bed.setup()) {
        bed.check("no page of the client reached the device", carried.pages == 0)
    } else if bounces {
        bed.check(
            "the bios carried pages of the kernel, since the data must not change while it is under way",
            carried.pages == pages && carried.pinned_pages == 0,
        )
    } else {
        bed.check(
            "the bios carried the registered pages",
            carried.pages == pages && carried.pinned_pages == pages,
        )
    }
}

/// Whether the daemon does the I/O, with pages of its own.
fn is_served_by_daemon(setup: Setup) -> bool {
    use Setup::{
        FuseDirectExt4, FuseDirectXfs, FuseRingExt4, FuseRingXfs, FuseWritebackExt4, FuseWritebackXfs,
    };
    [FuseDirectExt4, FuseDirectXfs, FuseRingExt4, FuseRingXfs, FuseWritebackExt4, FuseWritebackXfs]
        .contains(&setup)
}
