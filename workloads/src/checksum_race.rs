// SPDX-License-Identifier: MIT OR Apache-2.0

//! A device writes a part of a page that is on its way to the disk: which of its data the media get, and whether a
//! checksum that was made before still is that of the data.

use fs_harness::cell::{Acquisition, Policy, Setup};
use fs_harness::guest::commit;
use fs_harness::guest::device::{Bios, Release, Stage};
use fs_harness::guest::error::Doing;
use fs_harness::guest::in_flight::InFlight;
use fs_harness::guest::io::{self, Interface};
use fs_harness::guest::memory::PAGE;
use fs_harness::guest::{Bed, Result};
use fs_harness::record::Class;

use crate::catalogue::{LARGE_BLOCK, Scenario, Violated, Why};
use crate::pinned_writeback::{BY_DEVICE, BY_PROCESSOR, held_dirty_page};

const POLICIES: &[Policy] = &[Policy::Observe, Policy::Bounce, Policy::Defer];

const READ_IF_EARLY: &str = "what fsync wrote can be read, if the device wrote before the disk decided";
const READ_IF_LATE: &str = "what fsync wrote can be read, if the device wrote after that";

const WHY: Why = Why::Finding("btrfs-checksums-miss-dma");

pub(crate) const SCENARIOS: &[Scenario] = &[Scenario {
    name: "btrfs_csum_race",
    row: Some(48),
    about: "A device writes half of a page between its submission and the copying of its data: the checksum does not match unless the disk made its copy before that; without a checksum a page of two halves is read, and nobody is told.",
    source: "fs/btrfs/bio.c:598: the checksum is made before submission",
    setups: &[Setup::Btrfs, Setup::BtrfsNoDataSum],
    acquisitions: &[Acquisition::Pin],
    policies: POLICIES,
    not: &[
        (&[Setup::None], "there is no file to write back"),
        (&[Setup::Bdev], "there are no checksums"),
        LARGE_BLOCK,
        (
            &[
                Setup::Ext4,
                Setup::Ext4Small,
                Setup::Ext4Journal,
                Setup::Xfs,
                Setup::XfsStable,
                Setup::F2fs,
                Setup::Vfat,
            ],
            "its data has no checksums: dma_under_writeback, dma_during_cleaning",
        ),
        (&[Setup::Tmpfs], "there is no disk to write back to"),
        (Setup::FUSE, "its pages are written back to its daemon, if it has any"),
    ],
    known: &[
        Violated { on: &[Setup::Btrfs], under: POLICIES, check: READ_IF_EARLY, why: WHY },
        Violated { on: &[Setup::Btrfs], under: &[Policy::Observe], check: READ_IF_LATE, why: WHY },
    ],
    run: checksum_race,
}];

fn checksum_race(bed: &mut Bed) -> Result<()> {
    write_meanwhile(bed, Stage::Arrival, READ_IF_EARLY, 1)?;
    write_meanwhile(bed, Stage::Transfer, READ_IF_LATE, 2)
}

/// The device writes half of the page while fsync has it at that stage. What is read then, directly, is checked;
/// `bad` of all reads have failed if this one does.
fn write_meanwhile(bed: &mut Bed, stage: Stage, can_be_read: &str, bad: u32) -> Result<()> {
    let (file, mapping, hold) = held_dirty_page(bed)?;
    let open = file.buffered()?;
    let gate = bed.close_gate(stage, &Bios::writes().class(Class::PageCache))?;
    let fsync = InFlight::fsync(&open)?;
    gate.wait_for(1)?;
    fsync.wait_until_asleep_in("folio_wait_writeback")?;
    hold.dma(0, &BY_DEVICE.bytes(0, PAGE / 2))?;
    bed.observe_gate("the device wrote half of the page, which fsync has written back", &gate)?;
    gate.open()?;
    fsync.wait().doing("fsync")?;
    // Until then the read that follows would be answered from the page cache.
    commit::extents(&open)?;
    bed.observe_at_rest("fsync returned 0", &hold)?;
    hold.release(Release::Clean)?;
    drop(mapping);

    let copied_before = stage == Stage::Transfer && bed.policy() != Policy::Observe;
    let is_bad = bed.setup() == Setup::Btrfs && !copied_before;
    if is_bad {
        bed.expect_log("BTRFS warning (device pinblk0): csum failed")?;
        bed.expect_log(&format!("flush 0, corrupt {bad}"))?;
    }
    let buffer = bed.anonymous(BY_DEVICE, 1)?;
    let read = io::read(Interface::Syscall, &file.direct()?, &buffer);
    bed.observe("the page is released clean, and was read directly", None)?;
    let error = read.err().map(|error| error.to_string());
    bed.check_that(can_be_read, error.is_none(), || error.clone().unwrap_or_default())?;
    if error.is_some() {
        return Ok(());
    }
    let found = buffer.bytes();
    let half = if copied_before { BY_PROCESSOR } else { BY_DEVICE };
    let text = if copied_before {
        "its first half is what the disk had copied before"
    } else {
        "its first half is what the device wrote, and nobody is told"
    };
    bed.check(text, half.difference(0, &found[..PAGE / 2]).is_none())?;
    bed.check(
        "its other half is what the processor wrote",
        BY_PROCESSOR.difference(PAGE / 2, &found[PAGE / 2..]).is_none(),
    )
}
