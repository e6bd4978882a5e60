// SPDX-License-Identifier: MIT OR Apache-2.0

//! A page is used by a device while it is being written back: the disk has it, and has not copied it yet.

use fs_harness::cell::{Acquisition, Policy, Setup};
use fs_harness::guest::device::{Bios, Gate, Stage};
use fs_harness::guest::error::Doing;
use fs_harness::guest::held_page::{BEFORE, BY_DEVICE, BY_PROCESSOR, HeldPage};
use fs_harness::guest::in_flight::InFlight;
use fs_harness::guest::io::{self, Interface};
use fs_harness::guest::{Bed, Result, commit};
use fs_harness::record::{Class, Direction};
use nix::errno::Errno;

use crate::catalogue::{LARGE_BLOCK, NotOn, Scenario, Violated, Why};

const NO_FILE: NotOn = (&[Setup::None], "there is no file");
const NO_FILESYSTEM: NotOn = (&[Setup::Bdev], "how a filesystem writes a page back is the question");
const NO_DISK: NotOn = (&[Setup::Tmpfs], "there is no disk to write back to");
const FUSE: NotOn = (Setup::FUSE, "its pages are written back to its daemon, if it has any");
const NO_DIRECT_IO: NotOn =
    (&[Setup::Ext4Journal], "it has no direct I/O, and writes data to its journal: journalled_under_pin");
const MISCOUNTED: NotOn =
    (&[Setup::Vfat], "its direct I/O counts its pins wrongly: dio_write_anon; the writeback is as on ext4");

const CAN_BE_READ: &str = "a direct read gets what the disk was given";

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "dma_under_writeback",
        row: Some(48),
        about: "A pinned page is written by DMA while the disk is still to copy it: the media get what the device wrote, stable pages or not, and where data has a checksum, that does not match.",
        source: "mm/page-writeback.c:3105: folio_wait_stable() is for those who write by the processor; fs/btrfs/bio.c:598: the checksum is made before submission",
        setups: &[
            Setup::Ext4,
            Setup::Ext4Small,
            Setup::Xfs,
            Setup::XfsStable,
            Setup::Btrfs,
            Setup::BtrfsNoDataSum,
            Setup::F2fs,
        ],
        acquisitions: &[Acquisition::Get, Acquisition::Pin],
        not: &[NO_FILE, NO_FILESYSTEM, LARGE_BLOCK, NO_DISK, FUSE, NO_DIRECT_IO, MISCOUNTED],
        known: &[Violated {
            on: &[Setup::Btrfs],
            under: Policy::ALL,
            check: CAN_BE_READ,
            why: Why::Finding("btrfs-checksums-miss-dma"),
        }],
        run: dma_under_writeback,
        ..Scenario::PLAIN
    },
    Scenario {
        name: "dio_write_under_writeback",
        about: "A direct write whose source is a page of another file under writeback: it waits for nobody, and both files get the page.",
        source: "block/bio.c: bio_iov_iter_get_pages(); mm/gup.c: gup_fast_pte_range(): a page under writeback is as good as any",
        setups: &[Setup::Ext4, Setup::Ext4Small, Setup::Xfs, Setup::BtrfsNoDataSum, Setup::F2fs],
        not: &[
            NO_FILE,
            NO_FILESYSTEM,
            LARGE_BLOCK,
            NO_DISK,
            FUSE,
            NO_DIRECT_IO,
            MISCOUNTED,
            (&[Setup::XfsStable, Setup::Btrfs], "it writes a copy of the source: dio_write_stable"),
        ],
        run: dio_write_under_writeback,
        ..Scenario::PLAIN
    },
];

fn dma_under_writeback(bed: &mut Bed) -> Result<()> {
    let page = HeldPage::dirty(bed)?;
    let gate = close_before_copying(bed)?;
    let fsync = InFlight::fsync(&page.open)?;
    gate.wait_for(1)?;
    fsync.wait_until_asleep_in("folio_wait_writeback")?;
    let step = bed.observe("fsync is writing the page, which the disk has not copied", Some(&page.hold))?;
    bed.require("the page is under writeback", step.pages[0].dump.has_flag("writeback"))?;
    page.write_by_device()?;
    gate.open()?;
    fsync.wait().doing("fsync")?;
    if matches!(bed.setup(), Setup::Btrfs | Setup::BtrfsNoDataSum) {
        commit::extents(&page.open)?;
    }
    let step =
        bed.observe_at_rest("the device wrote the page before it was copied; fsync returned 0", &page.hold)?;
    bed.check("the page is clean", !step.pages[0].dump.has_flag("dirty"))?;
    read_directly(bed, &page)?;
    let (file, mapping) = page.release_dirty_and_write_back(bed)?;
    drop(mapping);
    let found = bed.read_back(&file)?;
    bed.check_data(
        "released dirty, it is written again, and the media hold what the device wrote",
        BY_DEVICE,
        &found,
    )
}

/// Reads what is on the media past the page cache, which has the page.
fn read_directly(bed: &mut Bed, page: &HeldPage) -> Result<()> {
    let buffer = bed.anonymous(BEFORE, 1)?;
    if bed.setup() == Setup::Btrfs {
        bed.expect_log("BTRFS warning (device pinblk0): csum failed")?;
        bed.expect_log(
            "BTRFS error (device pinblk0): bdev /dev/pinblk0 errs: wr 0, rd 0, flush 0, corrupt 1",
        )?;
    }
    let read = io::read(Interface::Syscall, &page.file.direct()?, &buffer);
    bed.observe("the file was read directly", Some(&page.hold))?;
    let found = match &read {
        Ok(()) => BY_DEVICE.difference(0, &buffer.bytes()).map(|difference| difference.to_string()),
        Err(error) => Some(error.to_string()),
    };
    bed.check_that(CAN_BE_READ, found.is_none(), || found.unwrap_or_default())?;
    if bed.setup() == Setup::Btrfs {
        bed.check_refused("it fails with EIO", Errno::EIO, read)?;
    }
    Ok(())
}

fn dio_write_under_writeback(bed: &mut Bed) -> Result<()> {
    let target = bed.file("target", BEFORE, 1)?;
    let source = bed.file("source", BEFORE, 1)?;
    let mapping = source.map()?;
    mapping.fill(BY_PROCESSOR);
    let (open, direct) = (source.buffered()?, target.direct()?);
    let gate = close_before_copying(bed)?;
    let fsync = InFlight::fsync(&open)?;
    gate.wait_for(1)?;
    fsync.wait_until_asleep_in("folio_wait_writeback")?;
    let step = bed.observe_gate("fsync is writing the source, which the disk has not copied", &gate)?;
    bed.require("the source is under writeback", step.pages[0].dump.has_flag("writeback"))?;
    let write = io::write(Interface::Syscall, &direct, &mapping);
    let step = bed.observe_gate("the direct write returned", &gate)?;
    bed.check("it did not wait for the writeback", write.is_ok() && step.pages.len() == 1)?;
    let written = step.traffic_of(Direction::Write, Class::UserPinned);
    bed.check(
        "the disk got a page that was pinned for this write",
        written.pages == 1 && written.pinned_pages == 1,
    )?;
    bed.check("the source is still under writeback", step.pages[0].dump.has_flag("writeback"))?;
    gate.open()?;
    fsync.wait().doing("fsync")?;
    bed.observe("fsync returned", None)?;
    drop(mapping);
    let found = bed.read_back(&target)?;
    bed.check_data("the target holds what was in the source", BY_PROCESSOR, &found)?;
    let found = source.bytes()?;
    bed.check_data("so does the source", BY_PROCESSOR, &found)
}

fn close_before_copying(bed: &Bed) -> Result<Gate> {
    bed.close_gate(Stage::Transfer, &Bios::writes().class(Class::PageCache))
}
