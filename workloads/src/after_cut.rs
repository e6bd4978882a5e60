// SPDX-License-Identifier: MIT OR Apache-2.0

//! What is there when the power fails, or the disk goes, at a bad moment.

use fs_harness::cell::{Acquisition, Policy, Setup};
use fs_harness::guest::device::Release;
use fs_harness::guest::disk::Attributes;
use fs_harness::guest::error::Doing;
use fs_harness::guest::memory::PAGE;
use fs_harness::guest::processor::{run_by_turns, run_first};
use fs_harness::guest::{Bed, Result};
use nix::errno::Errno;
use nix::kmod::{DeleteModuleFlags, delete_module};
use nix::unistd::syncfs;

use crate::catalogue::{LARGE_BLOCK, Scenario, Violated, Why};
use crate::pinned_writeback::{BY_DEVICE, NO_CHECKSUMS, NOT, SETUPS, held_dirty_page, not_either};
use crate::unplug::shutdown_lines;

const LATE_DIRTY: &str = "what the device wrote is there after a power cut";
const SYNCED: &str = "what the device wrote before the syncfs is there after a power cut";

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "late_dirty_cut",
        row: Some(42),
        about: "A page is written back while a device holds it, written by DMA, released dirty and made durable by fsync: the power fails right after that.",
        source: "fs/btrfs/extent_io.c:1533: writepage_fixup(); fs/sync.c: vfs_fsync_range()",
        setups: SETUPS,
        acquisitions: &[Acquisition::Pin],
        not: NOT,
        known: &[Violated {
            on: &[Setup::Btrfs],
            under: Policy::ALL,
            check: LATE_DIRTY,
            why: Why::Finding("btrfs-fsync-misses-late-dirty"),
        }],
        run: late_dirty_cut,
        ..Scenario::PLAIN
    },
    Scenario {
        name: "late_dirty_synced_cut",
        about: "A page is made durable by fsync while a device holds it, written by DMA, released dirty and made durable by syncfs, with nothing else to write: the power fails right after that.",
        source: "fs/sync.c: sync_filesystem(); fs/xfs/xfs_super.c:859: xfs_fs_sync_fs()",
        setups: NO_CHECKSUMS,
        acquisitions: &[Acquisition::Pin],
        not: not_either!((
            &[Setup::Btrfs],
            "its workers write what a driver has dirtied when they come, before the syncfs or after it"
        )),
        known: &[Violated {
            on: &[Setup::Xfs],
            under: Policy::ALL,
            check: SYNCED,
            why: Why::Finding("xfs-sync-does-not-flush"),
        }],
        run: late_dirty_synced_cut,
        ..Scenario::PLAIN
    },
    Scenario {
        name: "unplug_over_stash",
        about: "The driver cannot be unloaded and the disk is removed while the data of a pinned page is only in its cache, or waits for the page: nothing is in flight then, the page stays as long as it is held, and the filesystem can be unmounted.",
        source: "block/genhd.c: del_gendisk(); pinbed: kmod-blk/disk.rs",
        setups: SETUPS,
        acquisitions: &[Acquisition::Pin],
        policies: &[Policy::Skip, Policy::Defer],
        not: NOT,
        run: unplug_over_stash,
        ..Scenario::PLAIN
    },
];

fn late_dirty_cut(bed: &mut Bed) -> Result<()> {
    let (file, mapping, hold) = held_dirty_page(bed)?;
    file.fsync()?;
    bed.observe("the page was written back while it is held", Some(&hold))?;
    hold.dma(0, &BY_DEVICE.bytes(0, PAGE))?;
    hold.release(Release::Dirty)?;
    // Before the workers of btrfs, which else may come in the middle of fsync: it looks for dirty pages twice.
    run_first()?;
    file.fsync()?;
    // What the power leaves is what the media have at this moment.
    let found = bed.check_after_power_cut(LATE_DIRTY, BY_DEVICE, &file);
    run_by_turns()?;
    found?;
    drop(mapping);
    Ok(())
}

fn late_dirty_synced_cut(bed: &mut Bed) -> Result<()> {
    let (file, mapping, hold) = held_dirty_page(bed)?;
    file.fsync()?;
    bed.observe("the page was made durable while it is held", Some(&hold))?;
    hold.dma(0, &BY_DEVICE.bytes(0, PAGE))?;
    hold.release(Release::Dirty)?;
    syncfs(file.buffered()?).doing("syncfs")?;
    bed.check_after_power_cut(SYNCED, BY_DEVICE, &file)?;
    drop(mapping);
    Ok(())
}

fn unplug_over_stash(bed: &mut Bed) -> Result<()> {
    let disk = bed.require_disk()?;
    let (file, mapping, hold) = held_dirty_page(bed)?;
    let deferred = bed.policy() == Policy::Defer;
    bed.write_rule("defer_deadline", 60_000)?;
    file.begin_cleaning()?;
    if !deferred {
        file.wait_for_writeback()?;
    }
    bed.observe("the page was to be cleaned", Some(&hold))?;
    let statistics = bed.disk_statistics_with(u64::from(deferred))?;
    bed.check(
        "the bio waits where it is deferred, and else is done",
        statistics.in_flight == u64::from(deferred),
    )?;
    if !deferred {
        bed.check("the disk has data that nobody flushed", statistics.cached_pages > 0)?;
    }
    let unloaded = delete_module(c"pinblk", DeleteModuleFlags::O_NONBLOCK);
    bed.check("the driver cannot be unloaded", unloaded == Err(Errno::EWOULDBLOCK))?;
    say_what_it_says(bed)?;
    disk.remove()?;
    let ended = file.wait_for_writeback();
    // btrfs is read-only by then.
    let is_told = ended
        .as_ref()
        .map_or_else(|error| matches!(error.errno(), Some(Errno::EIO | Errno::EROFS)), |()| true);
    bed.check_that("who waits for the page goes on", is_told, || format!("{ended:?}"))?;
    hold.dma(0, &BY_DEVICE.bytes(0, PAGE))?;
    bed.check_data("the page is there for the device, and for the process", BY_DEVICE, &mapping.bytes())?;
    hold.release(Release::Dirty)?;
    drop(mapping);
    bed.lose_disk();
    let unmounted = bed.unmount();
    bed.check_that("the filesystem can be unmounted", unmounted.is_ok(), || format!("{unmounted:?}"))?;
    disk.make(&Attributes::default())
}

/// Says what the kernel's log will have when the disk goes.
fn say_what_it_says(bed: &mut Bed) -> Result<()> {
    match bed.setup() {
        // A worker of its records that it has stopped, if it still comes to that, and reads its superblock for it.
        Setup::F2fs => [
            "Buffer I/O error on dev pinblk0, logical block 1, async page read",
            "F2FS-fs (pinblk0): f2fs_commit_super fails to record stop_reason",
        ]
        .into_iter()
        .try_for_each(|line| bed.allow_log(line)),
        // How many of its blocks it tries to write before it gives up varies.
        Setup::Btrfs => {
            ["BTRFS error (device pinblk0", "BTRFS: error (device pinblk0", "BTRFS critical (device pinblk0"]
                .into_iter()
                .try_for_each(|line| bed.allow_log(line))
        }
        setup => shutdown_lines(setup).iter().try_for_each(|line| bed.expect_log(line)),
    }
}
