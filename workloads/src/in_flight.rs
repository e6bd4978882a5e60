// SPDX-License-Identifier: MIT OR Apache-2.0

//! What happens to a page between the submission of a bio and the copying of its data: a gate of the
//! disk holds the bio there.

use fs_harness::cell::{Acquisition, Setup};
use fs_harness::guest::child::Child;
use fs_harness::guest::device::{Bios, Gate, Release, Stage};
use fs_harness::guest::error::Doing;
use fs_harness::guest::in_flight::InFlight;
use fs_harness::guest::memory::{Memory, PAGE};
use fs_harness::guest::range::Range;
use fs_harness::guest::{Bed, Result, pagemap};
use fs_harness::pattern::Pattern;
use fs_harness::record::{Class, Direction};

use crate::catalogue::{LARGE_BLOCK, NotOn, Scenario, Violated};
use crate::direct_io::{READ_DIRECTLY, miscounted_on_vfat};

const ON_THE_MEDIA: Pattern = Pattern(1);
const IN_THE_BUFFER: Pattern = Pattern(2);
const BY_PARENT: Pattern = Pattern(3);
const BY_DEVICE: Pattern = Pattern(4);

/// The read fills the first half of the page, and the parent writes the other.
const HALF: usize = PAGE / 2;

const COUNTED_WRONGLY: &[Violated] = &[
    miscounted_on_vfat("the kernel and the driver count the same pins"),
    miscounted_on_vfat("every pin is released"),
];

const NO_FILE: NotOn = (&[Setup::None], "there is no file to read or write");
const NO_WRITEBACK: &[NotOn] = &[
    NO_FILE,
    (&[Setup::Bdev], "what a filesystem writes back is the question"),
    LARGE_BLOCK,
    (&[Setup::Tmpfs], "there is no disk to write back to"),
    (
        Setup::ON_DISK,
        "what the disk is given late is asked there by dma_under_writeback and journal_checksum_race",
    ),
    (Setup::FUSE, "the page cache of a FUSE file is written back to its daemon, if it has one"),
];

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "uring_dio_async_fork",
        row: Some(33),
        about: "A process forks while a direct read into its page is in flight, and writes to the page: it sees what the device wrote, since the page was pinned.",
        source: "mm/memory.c: copy_present_page(); include/linux/rmap.h: folio_try_dup_anon_rmap_pte()",
        setups: READ_DIRECTLY,
        not: &[
            NO_FILE,
            (&[Setup::XfsStable], "the bio carries a copy: dio_read_stable"),
            (&[Setup::Ext4Journal], "it has no direct I/O: dio_read_buffered"),
            LARGE_BLOCK,
            (&[Setup::Tmpfs], "there is no disk to read from"),
            (
                Setup::FUSE,
                "the client's pages are in no bio of the client's: fuse_dio_read and fuse_zerocopy_read",
            ),
        ],
        known: COUNTED_WRONGLY,
        run: fork_while_read_in_flight,
        ..Scenario::PLAIN
    },
    Scenario {
        name: "pinblk_read_fork",
        row: Some(33),
        about: "A process forks while a read of the driver's own is in flight, and writes to the page: a page that it took by get_user_pages becomes the child's, and the parent misses what the device wrote.",
        source: "mm/memory.c: copy_present_page(), wp_can_reuse_anon_folio(); Documentation/core-api/pin_user_pages.rst",
        setups: &[Setup::Bdev],
        acquisitions: &[Acquisition::Get, Acquisition::Pin],
        not: &[
            NO_FILE,
            LARGE_BLOCK,
            (&[Setup::Tmpfs], "there is no disk"),
            (Setup::ON_DISK, "the driver's own I/O is on a disk that nobody has mounted"),
            (Setup::FUSE, "the driver's own I/O is on a disk that nobody has mounted"),
        ],
        run: fork_while_own_read_in_flight,
        ..Scenario::PLAIN
    },
    Scenario {
        name: "dma_before_transfer",
        about: "A device writes to a page that is under writeback, after the bio was submitted and before the disk copies its data: the data on the media is what the device wrote.",
        source: "mm/gup.c: comment above writable_file_mapping_allowed(); Documentation/core-api/pin_user_pages.rst, case 5",
        setups: &[Setup::Ext4, Setup::Xfs],
        acquisitions: &[Acquisition::Pin],
        not: NO_WRITEBACK,
        run: dma_before_transfer,
        ..Scenario::PLAIN
    },
];

fn fork_while_read_in_flight(bed: &mut Bed) -> Result<()> {
    let length = shortest_read(bed.setup());
    let file = bed.file("data", ON_THE_MEDIA, 1)?;
    let buffer = bed.anonymous(IN_THE_BUFFER, 1)?;
    let direct = file.direct()?;
    let gate = bed.close_gate(Stage::Transfer, &Bios::reads().class(Class::UserPinned))?;
    let read = InFlight::read(&direct, 0, &buffer, 0..length)?;
    gate.wait_for(1)?;
    bed.observe_gate("the read is in flight", &gate)?;
    check_same_frame(bed, &gate, &buffer)?;
    let is_as_it_was = |_| u8::from(IN_THE_BUFFER.difference(0, &buffer.bytes()).is_none());
    let mut child = Child::fork(is_as_it_was)?;
    buffer.fill_part(BY_PARENT, HALF..PAGE);
    bed.observe_gate("the process forked, and the parent wrote to its page", &gate)?;
    check_same_frame(bed, &gate, &buffer)?;
    gate.open()?;
    let count = read.wait().doing("wait for the read")?;
    bed.check("the read read what it was asked for", count == length)?;
    bed.observe("the read is complete", None)?;
    let bytes = buffer.bytes();
    bed.check_data("the parent sees what the device wrote", ON_THE_MEDIA, &bytes[..length])?;
    if length < PAGE {
        bed.check("the parent sees what it wrote itself", bytes[length..] == BY_PARENT.bytes(length, HALF))?;
    }
    bed.check("the child has the page as it was when it was forked", child.ask(0)? == 1)?;
    child.end()
}

/// How much of a page is read directly where that is possible: btrfs and F2FS read whole blocks, and less by copies.
fn shortest_read(setup: Setup) -> usize {
    match setup {
        Setup::Btrfs | Setup::BtrfsNoDataSum | Setup::F2fs => PAGE,
        _ => HALF,
    }
}

fn fork_while_own_read_in_flight(bed: &mut Bed) -> Result<()> {
    bed.file("data", ON_THE_MEDIA, 1)?;
    let buffer = bed.anonymous(IN_THE_BUFFER, 1)?;
    let half = Range::from(&buffer).part(0, HALF as u64).expect("half a page lies in a page");
    let disk = bed.device().open_disk(bed.require_disk()?)?;
    let gate = bed.close_gate(Stage::Transfer, &Bios::reads())?;
    let read = disk.begin(Direction::Read, 0, &[half], bed.acquisition())?;
    gate.wait_for(1)?;
    bed.observe_gate("the read is in flight", &gate)?;
    check_same_frame(bed, &gate, &buffer)?;
    let matches = |_| {
        let bytes = buffer.bytes();
        let first =
            [ON_THE_MEDIA, IN_THE_BUFFER].iter().position(|of| of.difference(0, &bytes[..HALF]).is_none());
        first.map_or(u8::MAX, |of| u8::from(of == 0))
    };
    let mut child = Child::fork(matches)?;
    buffer.fill_part(BY_PARENT, HALF..PAGE);
    bed.observe_gate("the process forked, and the parent wrote to its page", &gate)?;
    let is_parents = gate.page(0, 0)?.state.pfn == pagemap::frame_of(&buffer, 0)?;
    gate.open()?;
    let ended = read.wait()?;
    bed.check("the read read what it was asked for", ended.error.is_none() && ended.bytes == HALF as u64)?;
    bed.observe("the read is complete", None)?;
    let (parent, of_child) = (buffer.bytes(), child.ask(0)?);
    bed.check("the parent sees what it wrote itself", parent[HALF..] == BY_PARENT.bytes(HALF, HALF))?;
    if bed.acquisition() == Acquisition::Pin {
        bed.check("the bio carries the page that the parent has", is_parents)?;
        bed.check_data("the parent sees what the device wrote", ON_THE_MEDIA, &parent[..HALF])?;
        bed.check("the child has the page as it was when it was forked", of_child == 0)?;
    } else {
        bed.check("the bio carries a page that the parent has no more", !is_parents)?;
        bed.check_data("the parent does not see what the device wrote", IN_THE_BUFFER, &parent[..HALF])?;
        bed.check("the child sees it", of_child == 1)?;
    }
    child.end()
}

/// What userspace and pinblk say about one page.
fn check_same_frame(bed: &mut Bed, gate: &Gate, buffer: &Memory) -> Result<()> {
    let held = gate.page(0, 0)?;
    let frame = pagemap::frame_of(buffer, 0)?;
    bed.check("the bio carries the page that the process has", held.state.pfn == frame)
}

fn dma_before_transfer(bed: &mut Bed) -> Result<()> {
    let file = bed.file("data", ON_THE_MEDIA, 1)?;
    let mapping = file.map()?;
    mapping.fill(IN_THE_BUFFER);
    let hold = bed.device().hold(&mapping, bed.acquisition())?;
    let buffered = file.buffered()?;
    let gate = bed.close_gate(Stage::Transfer, &Bios::writes().class(Class::PageCache))?;
    let mut fsync = InFlight::fsync(&buffered)?;
    gate.wait_for(1)?;
    fsync.wait_until_asleep_in("folio_wait_writeback")?;
    let held = bed.observe_gate("fsync has submitted the page", &gate)?;
    bed.check("the page is under writeback", held.pages[0].dump.has_flag("writeback"))?;
    bed.check("the page may be DMA-pinned", held.pages[0].state.maybe_dma_pinned)?;
    let carried = gate.page(0, 0)?.state.pfn;
    bed.check("the bio carries the held page", carried == hold.dump(0)?.pfn)?;
    hold.dma(0, &BY_DEVICE.bytes(0, mapping.length()))?;
    bed.check("fsync has not returned", !fsync.is_complete())?;
    gate.open()?;
    fsync.wait().doing("wait for fsync")?;
    let step = bed.observe("the device wrote the page, its data was copied, fsync returned", None)?;
    let again = step.traffic_of(Direction::Write, Class::PageCache);
    bed.check("nothing was written again", again.bios == 0)?;
    hold.release(Release::Clean)?;
    drop(mapping);
    let found = bed.read_back(&file)?;
    bed.check_data("the media hold what the device wrote, though nobody dirtied the page", BY_DEVICE, &found)
}
