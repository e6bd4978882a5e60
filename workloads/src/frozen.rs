// SPDX-License-Identifier: MIT OR Apache-2.0

//! A page becomes dirty while its filesystem is frozen, by a device that has held it from before.

use std::time::{Duration, Instant};

use fs_harness::cell::{Acquisition, Policy, Setup};
use fs_harness::guest::child::Child;
use fs_harness::guest::device::Release;
use fs_harness::guest::error::Doing;
use fs_harness::guest::freeze::Frozen;
use fs_harness::guest::held_page::{self, BY_DEVICE, HeldPage};
use fs_harness::guest::in_flight::InFlight;
use fs_harness::guest::processor::{run_by_turns, run_first};
use fs_harness::guest::{Bed, Result};
use fs_harness::record::{Class, Direction, Step};
use nix::unistd::syncfs;

use crate::catalogue::{LARGE_BLOCK, NotOn, Scenario, Violated, Why};

/// How long a page may stay dirty through one sync after another.
const PATIENCE: Duration = Duration::from_secs(10);

const NOTHING_WRITTEN: &str = "nothing is written to the disk of a frozen filesystem";
const THAWS: &str = "the filesystem can be thawed while somebody syncs it";
const NOT_MISSED: &str = "fsync does not return 0 before it has written";

/// What can be frozen and has no journal for data.
const FROZEN: &[Setup] = &[
    Setup::Ext4,
    Setup::Ext4Small,
    Setup::Xfs,
    Setup::XfsStable,
    Setup::Btrfs,
    Setup::BtrfsNoDataSum,
    Setup::F2fs,
];

/// Where writeback of blocks that a file has already begins no transaction, which would wait.
const WRITES_IN_PLACE: &[Setup] = &[Setup::Ext4, Setup::Ext4Small, Setup::Xfs, Setup::XfsStable, Setup::F2fs];

const NO_FILE: NotOn = (&[Setup::None], "there is no file");
const NO_FILESYSTEM: NotOn = (&[Setup::Bdev], "there is no filesystem");
const NO_DISK: NotOn = (&[Setup::Tmpfs], "it cannot be frozen: there is no disk to take a snapshot of");
const FUSE: NotOn = (Setup::FUSE, "what is frozen is the filesystem below it");
const NOT_FROZEN: &[NotOn] = &[
    NO_FILE,
    NO_FILESYSTEM,
    LARGE_BLOCK,
    NO_DISK,
    (&[Setup::Vfat], "it cannot be frozen"),
    (&[Setup::Ext4Journal], "a pinned page is never clean there: late_dirty_while_frozen_journalled"),
    FUSE,
];

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "late_dirty_while_frozen",
        about: "A page is released dirty while its filesystem is frozen, which nothing prevents, and made durable: nothing may be written before the filesystem thaws, and nothing is lost.",
        source: "Documentation/filesystems/locking.rst: freeze_fs; fs/super.c: freeze_super(); sb_start_pagefault() is for page faults alone",
        setups: FROZEN,
        acquisitions: &[Acquisition::Pin],
        not: NOT_FROZEN,
        known: &[
            Violated {
                on: WRITES_IN_PLACE,
                under: Policy::ALL,
                check: NOTHING_WRITTEN,
                why: Why::Finding("frozen-filesystems-are-written-to"),
            },
            Violated {
                on: &[Setup::Btrfs, Setup::BtrfsNoDataSum],
                under: Policy::ALL,
                check: NOT_MISSED,
                why: Why::Finding("btrfs-fsync-misses-late-dirty"),
            },
        ],
        run: late_dirty_while_frozen,
        ..Scenario::PLAIN
    },
    Scenario {
        name: "sync_while_frozen",
        about: "A page is released dirty while its filesystem is frozen, and somebody syncs the filesystem until the page is written: whoever thaws it meanwhile must not wait for the one who syncs, if that one waits for the thaw.",
        source: "fs/super.c: thaw_super(); fs/sync.c: sync_filesystem(); fs/btrfs/super.c: btrfs_sync_fs()",
        setups: FROZEN,
        acquisitions: &[Acquisition::Pin],
        not: NOT_FROZEN,
        known: &[Violated {
            on: &[Setup::Btrfs, Setup::BtrfsNoDataSum],
            under: Policy::ALL,
            check: THAWS,
            why: Why::Finding("btrfs-sync-blocks-thaw"),
        }],
        run: sync_while_frozen,
        ..Scenario::PLAIN
    },
    Scenario {
        name: "late_dirty_while_frozen_journalled",
        about: "A page whose data goes to the journal is held by a reference and released dirty while its filesystem is frozen: writeback begins a transaction on the frozen filesystem, of which the kernel warns.",
        source: "fs/ext4/ext4_jbd2.c:86: ext4_journal_check_start(); fs/ext4/inode.c:2630: mpage_prepare_extent_to_map()",
        setups: &[Setup::Ext4Journal],
        acquisitions: &[Acquisition::Get],
        not: &[
            NO_FILE,
            NO_FILESYSTEM,
            LARGE_BLOCK,
            NO_DISK,
            (Setup::ON_DISK, "its data does not go to a journal: late_dirty_while_frozen"),
            FUSE,
        ],
        run: journalled,
        ..Scenario::PLAIN
    },
];

fn late_dirty_while_frozen(bed: &mut Bed) -> Result<()> {
    let page = HeldPage::written_back(bed)?;
    let HeldPage { file, open, mapping, hold } = page;
    let frozen = Frozen::freeze(&open)?;
    // What freezing writes is the filesystem's own. F2FS does so in as many bios as it comes to.
    bed.restart_counting()?;
    bed.observe("the filesystem is frozen", Some(&hold))?;
    hold.dma(0, &BY_DEVICE.bytes(0, mapping.length()))?;
    hold.release(Release::Dirty)?;
    // Before the workers of btrfs, which else may come in the middle of fsync: it looks for dirty pages twice. The
    // kernel's thread that does it is made here, and has the priority of who asks for it.
    run_first()?;
    let mut fsync = InFlight::fsync(&open)?;
    run_by_turns()?;
    let over = fsync.wait_until_over_or_asleep_in("percpu_rwsem_wait")?;
    let step = bed.observe("the page is released dirty, and fsync was asked for", None)?;
    let written = step.traffic_of(Direction::Write, Class::PageCache).bytes;
    bed.check_that(NOTHING_WRITTEN, is_untouched(&step), || format!("{written} bytes were written"))?;
    bed.check(NOT_MISSED, !over || written > 0)?;
    frozen.thaw()?;
    fsync.wait().doing("fsync")?;
    if written == 0 {
        held_page::fsync_until_written(bed, &open)?;
    }
    bed.observe("the filesystem is thawed, and the file made durable", None)?;
    drop(mapping);
    let found = bed.read_back(&file)?;
    bed.check_data("the media hold what the device wrote last", BY_DEVICE, &found)
}

fn sync_while_frozen(bed: &mut Bed) -> Result<()> {
    let page = HeldPage::written_back(bed)?;
    let HeldPage { file, open, mapping, hold } = page;
    let frozen = Frozen::freeze(&open)?;
    bed.restart_counting()?;
    let mut syncer = Child::fork(|_| syncfs(&open).is_ok().into())?;
    let mut thawer = Child::fork(|_| frozen.thaw_by_ref().is_ok().into())?;
    hold.dma(0, &BY_DEVICE.bytes(0, mapping.length()))?;
    hold.release(Release::Dirty)?;
    // btrfs writes the page once its workers have come, which may be in the middle of a sync. A kernel may also leave
    // it dirty until the thaw.
    let deadline = Instant::now() + PATIENCE;
    let mut synced = Some(1);
    while synced.is_some() && !held_page::is_data_written(bed)? && Instant::now() < deadline {
        syncer.tell(0)?;
        synced = syncer.hear_unless_stuck()?;
    }
    bed.observe("the page is released dirty, and the filesystem synced until it was written", None)?;
    thawer.tell(0)?;
    let thawed = thawer.hear_unless_stuck()?;
    bed.check_that(THAWS, thawed == Some(1), || {
        format!("the thaw {}, the sync {}", end_of(thawed), end_of(synced))
    })?;
    frozen.leave();
    if thawed.is_none() {
        syncer.abandon();
        thawer.abandon();
        bed.lose_filesystem();
        return Ok(());
    }
    // The later one first: it has a copy of the pipe by which the other is told to end.
    thawer.end()?;
    syncer.end()?;
    open.sync_all().doing("fsync")?;
    bed.observe("the filesystem is thawed, and the file made durable", None)?;
    drop(mapping);
    let found = bed.read_back(&file)?;
    bed.check_data("the media hold what the device wrote last", BY_DEVICE, &found)
}

fn journalled(bed: &mut Bed) -> Result<()> {
    let HeldPage { open, mapping, hold, .. } = HeldPage::written_back(bed)?;
    let frozen = Frozen::freeze(&open)?;
    bed.observe("the filesystem is frozen", Some(&hold))?;
    hold.dma(0, &BY_DEVICE.bytes(0, mapping.length()))?;
    hold.release(Release::Dirty)?;
    bed.expect_log("WARNING: fs/ext4/ext4_jbd2.c at ext4_journal_check_start")?;
    open.sync_all().doing("fsync")?;
    let step = bed.observe("the page is released dirty, fsync returned", None)?;
    bed.check(NOTHING_WRITTEN, is_untouched(&step))?;
    frozen.thaw()
}

/// Whether no bio wrote to the disk, of whatever kind.
fn is_untouched(step: &Step) -> bool {
    step.traffic.iter().all(|traffic| traffic.direction != Direction::Write)
}

/// How a call ended, by what its child answered.
fn end_of(answer: Option<u8>) -> &'static str {
    match answer {
        None => "sleeps for ever",
        Some(0) => "failed",
        Some(_) => "returned",
    }
}
