// SPDX-License-Identifier: MIT OR Apache-2.0

//! ext4 with data in its journal: a page that is dirty behind its back is journalled only if it is seen to be pinned.

use fs_harness::cell::{Acquisition, Policy, Setup};
use fs_harness::guest::device::{Bios, Release, Stage};
use fs_harness::guest::error::Doing;
use fs_harness::guest::held_page::{BY_DEVICE, BY_PROCESSOR, HeldPage};
use fs_harness::guest::in_flight::InFlight;
use fs_harness::guest::site::Site;
use fs_harness::guest::{Bed, Result, freeze};
use fs_harness::record::{Class, Direction};

use crate::catalogue::{LARGE_BLOCK, NotOn, Scenario, Violated, Why};

const CAN_BE_MOUNTED: &str = "the filesystem can be mounted again";

const SHUT_DOWN: &[&str] =
    &["EXT4-fs (pinblk0): shut down requested (2)", "Aborting journal on device pinblk0-8."];
const UNPOWERED: &[&str] =
    &["Buffer I/O error on dev pinblk0", "JBD2: I/O error when updating journal superblock for pinblk0-8"];
const REFUSED: &[&str] = &[
    "JBD2: Invalid checksum recovering data block",
    "JBD2: journal recovery failed",
    "EXT4-fs (pinblk0): error loading journal",
];

const SOURCE: &str = "fs/ext4/inode.c:3925: ext4_journalled_dirty_folio(), :2733: mpage_prepare_extent_to_map(), :3038: ext4_writepages()";

const NOT: &[NotOn] = &[
    (&[Setup::None], "there is no file"),
    (&[Setup::Bdev], "there is no journal"),
    LARGE_BLOCK,
    (&[Setup::Tmpfs], "there is no journal"),
    (Setup::ON_DISK, "data does not go to its journal, if it has one: hold_sync_dma_unhold"),
    (Setup::FUSE, "the journal is that of the filesystem below it"),
];

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "journalled_under_pin",
        row: Some(46),
        about: "Each fsync journals a pinned page once more and leaves it dirty: what a device writes meanwhile is saved.",
        source: SOURCE,
        setups: &[Setup::Ext4Journal],
        acquisitions: &[Acquisition::Pin],
        not: NOT,
        run: |bed| under_pin(bed, Release::Dirty),
        ..Scenario::PLAIN
    },
    Scenario {
        name: "journalled_under_pin_clean",
        row: Some(46),
        about: "For the same reason it is saved where a careless driver releases the page clean, which loses it elsewhere.",
        source: SOURCE,
        setups: &[Setup::Ext4Journal],
        acquisitions: &[Acquisition::Pin],
        not: NOT,
        run: |bed| under_pin(bed, Release::Clean),
        ..Scenario::PLAIN
    },
    Scenario {
        name: "journalled_under_reference",
        row: Some(46),
        about: "A page whose data goes to the journal is held by a reference: it is clean when fsync returns, nobody can see that the device wrote it when it is released dirty, and the data is lost.",
        source: SOURCE,
        setups: &[Setup::Ext4Journal],
        acquisitions: &[Acquisition::Get],
        not: NOT,
        run: under_reference,
        ..Scenario::PLAIN
    },
    Scenario {
        name: "journal_checksum_race",
        row: Some(47),
        about: "The device writes a page while its copy in the journal is on its way to the disk, and the power fails after fsync: the checksum of that block does not match, and the filesystem cannot be mounted.",
        source: "fs/jbd2/commit.c:705: jbd2_block_tag_csum_set() before the block is submitted; fs/jbd2/recovery.c:541: jbd2_do_replay()",
        setups: &[Setup::Ext4Journal],
        acquisitions: &[Acquisition::Get, Acquisition::Pin],
        not: NOT,
        known: &[Violated {
            on: &[Setup::Ext4Journal],
            under: Policy::ALL,
            check: CAN_BE_MOUNTED,
            why: Why::Finding("ext4-journal-checksums-miss-dma"),
        }],
        run: checksum_race,
        ..Scenario::PLAIN
    },
];

fn under_pin(bed: &mut Bed, how: Release) -> Result<()> {
    let page = HeldPage::written_back(bed)?;
    page.write_by_device()?;
    let HeldPage { file, mapping, hold, .. } = page;
    hold.release(how)?;
    file.fsync()?;
    let step = bed.observe("the page is released, fsync returned", None)?;
    bed.check("the page was written", step.traffic_of(Direction::Write, Class::PageCache).pages > 0)?;
    drop(mapping);
    let found = bed.read_back(&file)?;
    bed.check_data("the media hold what the device wrote last", BY_DEVICE, &found)
}

fn checksum_race(bed: &mut Bed) -> Result<()> {
    let page = HeldPage::dirty(bed)?;
    let gate = bed.close_gate(Stage::Transfer, &Bios::writes().class(Class::Metadata))?;
    let fsync = InFlight::fsync(&page.open)?;
    // All checksums of a commit are made before its first block is submitted.
    gate.wait_for(1)?;
    page.write_by_device()?;
    gate.open()?;
    fsync.wait().doing("fsync")?;
    let step = "the device wrote the page before the disk copied its block of the journal; fsync returned 0";
    bed.observe(step, Some(&page.hold))?;
    for line in SHUT_DOWN {
        bed.expect_log(line)?;
    }
    let disk = bed.require_disk()?;
    // How much the kernel says of what it cannot write depends on what it still had to.
    for line in UNPOWERED {
        bed.allow_log(line)?;
    }
    disk.cut_power()?;
    freeze::shut_down(&page.open)?;
    page.hold.release(Release::Dirty)?;
    drop((page.open, page.mapping));
    bed.unmount()?;
    disk.restore_power()?;
    for line in REFUSED {
        bed.expect_log(line)?;
    }
    let site = Site::of(bed.setup());
    let mounted = site.mount();
    if mounted.is_ok() {
        site.unmount()?;
    }
    bed.observe("the power failed and is back, and the filesystem is to be mounted again", None)?;
    let found = mounted.err().map(|error| error.to_string());
    bed.check_that(CAN_BE_MOUNTED, found.is_none(), || found.unwrap_or_default())
}

fn under_reference(bed: &mut Bed) -> Result<()> {
    let page = HeldPage::written_back(bed)?;
    page.write_by_device()?;
    let HeldPage { file, mapping, hold, .. } = page;
    hold.release(Release::Dirty)?;
    file.fsync()?;
    let step = bed.observe("the page is released dirty, fsync returned", None)?;
    bed.check("nothing was written", step.traffic_of(Direction::Write, Class::PageCache).pages == 0)?;
    bed.check_data("until it is evicted, the page shows what the device wrote", BY_DEVICE, &mapping.bytes())?;
    drop(mapping);
    let found = bed.read_back(&file)?;
    bed.check_data(
        "what the device wrote is lost: the media hold what was there before",
        BY_PROCESSOR,
        &found,
    )
}
