// SPDX-License-Identifier: MIT OR Apache-2.0

//! Direct writes to a file whose buffer is a mapping of the same file: what is written to is dropped from the page
//! cache first, and may be what is written from.

use fs_harness::cell::{Policy, Setup};
use fs_harness::guest::error::Doing;
use fs_harness::guest::in_flight::InFlight;
use fs_harness::guest::io::{self, Interface};
use fs_harness::guest::memory::PAGE;
use fs_harness::guest::{Bed, Result};
use fs_harness::pattern::Pattern;
use fs_harness::record::Counted;

use crate::catalogue::{LARGE_BLOCK, MAPPED, NOT_MAPPED, NotOn, Scenario, Violated, Why};
use crate::direct_io::miscounted_on_vfat;

const BEFORE: Pattern = Pattern(1);
const PAGES: usize = 4;

const NOT: &[NotOn] = &[
    (&[Setup::None], "there is no file to write"),
    LARGE_BLOCK,
    (&[Setup::Tmpfs], "tmpfs accepts O_DIRECT, and copies"),
    NOT_MAPPED,
];

const PINNED_ONCE: &str = "each page of the buffer was pinned once and released once";

const SHOWN: &str = "the mapping showed, after the write, what the file holds";

const COUNTED_WRONGLY: &[Violated] = &[
    miscounted_on_vfat(PINNED_ONCE),
    miscounted_on_vfat("the kernel and the driver count the same pins"),
    miscounted_on_vfat("every pin is released"),
];

/// An asynchronous write to a block device ends without looking at the page cache.
const KNOWN_OF_OVERLAPPING: &[Violated] = &[
    miscounted_on_vfat(PINNED_ONCE),
    miscounted_on_vfat("the kernel and the driver count the same pins"),
    miscounted_on_vfat("every pin is released"),
    Violated {
        on: &[Setup::Bdev],
        under: Policy::ALL,
        check: SHOWN,
        why: Why::Finding("block-device-keeps-stale-pages"),
    },
];

const OWN: Scenario = Scenario {
    row: Some(21),
    source: "fs/iomap/direct-io.c: __iomap_dio_rw(); mm/filemap.c: kiocb_invalidate_pages(); fs/btrfs/direct-io.c: btrfs_direct_write()",
    setups: MAPPED,
    not: NOT,
    known: COUNTED_WRONGLY,
    ..Scenario::PLAIN
};

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "dio_own_pages",
        about: "A direct write of one page of a file from a mapping of another page of it: the page arrives, and the mapping shows it.",
        run: |bed| write_from_mapping(bed, Interface::IoUring, 2, 1),
        ..OWN
    },
    Scenario {
        name: "dio_own_pages_overlapping",
        about: "A direct write of two pages of a file, from a mapping of it, one page further: nothing deadlocks, and what arrives depends on when the filesystem takes the pages.",
        known: KNOWN_OF_OVERLAPPING,
        run: |bed| write_from_mapping(bed, Interface::IoUring, 1, 2),
        ..OWN
    },
    Scenario {
        name: "dio_own_pages_synchronous",
        about: "A direct write of two pages of a block device from a mapping of it, one page further, by a system call: the device drops its old pages once more after the write, and the mapping shows what was written.",
        source: "block/fops.c: blkdev_direct_write(): kiocb_invalidate_post_direct_write()",
        setups: &[Setup::Bdev],
        not: &[
            (&[Setup::None], "there is no file to write"),
            LARGE_BLOCK,
            (&[Setup::Tmpfs], "tmpfs accepts O_DIRECT, and copies"),
            (Setup::ON_DISK, "its pages are dropped after either: dio_own_pages_overlapping"),
            (Setup::FUSE, "its pages are dropped after either: dio_own_pages_overlapping"),
        ],
        known: &[],
        run: |bed| write_from_mapping(bed, Interface::Syscall, 1, 2),
        ..OWN
    },
];

/// Writes the first `count` pages of the file to its page `to` and those after it.
fn write_from_mapping(bed: &mut Bed, interface: Interface, to: usize, count: usize) -> Result<()> {
    let file = bed.file("data", BEFORE, PAGES)?;
    let mapping = file.map()?;
    mapping.bytes();
    let direct = file.direct()?;
    bed.observe("the file is mapped, and all of it was read", None)?;
    let (offset, bytes) = ((to * PAGE) as u64, 0..count * PAGE);
    let written = match interface {
        Interface::Syscall => io::write_part(&direct, offset, &mapping, bytes)?,
        Interface::IoUring => {
            InFlight::write(&direct, offset, &mapping, bytes)?.wait().doing("wait for the write")?
        }
    };
    bed.check("the write wrote all of it", written == count * PAGE)?;
    let step = bed.observe("the direct write returned", None)?;
    if is_copied(bed.setup()) {
        bed.check("no page was pinned: it was copied", step.pins == Counted::default())?;
    } else {
        let pages = count as u64;
        bed.check(PINNED_ONCE, step.pins == Counted { acquired: pages, released: pages })?;
    }
    let expected = expected(bed.setup(), to, count);
    let shown = mapping.bytes();
    drop(mapping);
    file.fsync()?;
    bed.observe("fsync returned", None)?;
    let found = bed.read_back(&file)?;
    let words = match (count, takes_all_pages_first(bed.setup())) {
        (1, _) => "the file holds what was in its first page",
        (_, true) => {
            "the file holds what was in its first two pages: both were taken before anything was written"
        }
        (_, false) => "the file holds its first page twice: the second was taken when it had been written to",
    };
    bed.check(words, found == expected)?;
    bed.check(SHOWN, shown == found)
}

fn expected(setup: Setup, to: usize, count: usize) -> Vec<u8> {
    let mut bytes = BEFORE.bytes(0, PAGES * PAGE);
    if takes_all_pages_first(setup) {
        bytes.copy_within(0..count * PAGE, to * PAGE);
    } else {
        for page in 0..count {
            bytes.copy_within(page * PAGE..(page + 1) * PAGE, (to + page) * PAGE);
        }
    }
    bytes
}

/// Whether the bios carry copies, or there is no direct I/O.
fn is_copied(setup: Setup) -> bool {
    matches!(setup, Setup::Ext4Journal | Setup::XfsStable | Setup::Btrfs)
}

/// Where a page fault of the write itself is served at once. btrfs would wait for itself: it writes what is there,
/// and has the rest brought in afterwards. Who copies to the page cache copies page by page.
fn takes_all_pages_first(setup: Setup) -> bool {
    !matches!(setup, Setup::Ext4Journal | Setup::Btrfs | Setup::BtrfsNoDataSum)
}
