// SPDX-License-Identifier: MIT OR Apache-2.0

//! A filesystem that commits what it knows of its files while a page of one of them is deferred, and who holds
//! that page leaves: neither waits for longer than the deadline.

use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use fs_harness::cell::{Acquisition, Policy, Setup};
use fs_harness::guest::device::{Hold, Release, Take};
use fs_harness::guest::error::Doing;
use fs_harness::guest::memory::PAGE;
use fs_harness::guest::{Bed, Result, commit};
use fs_harness::record::{Decision, Purpose};

use crate::catalogue::{LARGE_BLOCK, Scenario};
use crate::pinned_writeback::{BEFORE, BY_DEVICE, BY_PROCESSOR, NOT, SETUPS, not_either};
use crate::while_deferred::{Deferred, LATE_MS, SOON_MS, defer, deferred_page};

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "deferred_holds_commit",
        about: "A filesystem has to wait for a deferred page before it can commit: ext4 that does not write to unwritten blocks, btrfs that is asked for all, F2FS that has moved the page. The commit, and an fsync of another file that needs it, takes until the deadline and no longer.",
        source: "fs/jbd2/commit.c: journal_finish_inode_data_buffers(); fs/ext4/inode.c:850: ext4_jbd2_inode_add_wait(); fs/btrfs/super.c: btrfs_sync_fs(): btrfs_wait_ordered_roots(); fs/f2fs/checkpoint.c:1903: F2FS_WB_CP_DATA",
        setups: &[Setup::Ext4, Setup::Btrfs, Setup::F2fs],
        acquisitions: &[Acquisition::Pin],
        policies: &[Policy::Defer],
        not: not_either!((&[Setup::Xfs], "its log waits for nobody's data: deferred_beside_fsync")),
        run: holds_commit,
        ..Scenario::PLAIN
    },
    Scenario {
        name: "deferred_unmapped",
        about: "Who holds a deferred page unmaps it and closes the file: that waits for nothing, and the page is written when it is released.",
        source: "mm/memory.c: zap_present_folio_ptes(); fs/file_table.c: __fput()",
        setups: SETUPS,
        acquisitions: &[Acquisition::Pin],
        policies: &[Policy::Defer],
        not: NOT,
        run: unmapped,
        ..Scenario::PLAIN
    },
];

fn holds_commit(bed: &mut Bed) -> Result<()> {
    let (hold, begun) = match bed.setup() {
        Setup::Ext4 => ext4_ordered(bed)?,
        Setup::Btrfs => btrfs_ordered(bed)?,
        _ => f2fs_moved(bed)?,
    };
    let took = begun.elapsed();
    let step = bed.observe("the filesystem has committed, the page still held", None)?;
    let expired = |purpose| step.decided(purpose, Decision::Expired);
    let pages = u64::from(hold.pages());
    bed.check("it has when copies were written at the deadline", {
        expired(Purpose::Cleaning) + expired(Purpose::Integrity) == pages
    })?;
    let deadline = Duration::from_millis(SOON_MS.into());
    bed.check_that("which takes that long", took >= deadline, || format!("it took {took:?}"))?;
    hold.release(Release::Clean)
}

/// By itself ext4 writes new data to blocks that count as unwritten until that has ended, and no commit waits for
/// it. Without that the blocks are the file's at once, and their data has to be there before the commit says so.
fn ext4_ordered(bed: &mut Bed) -> Result<(Hold, Instant)> {
    bed.remount("nodioread_nolock")?;
    let other = bed.file("other", BEFORE, 1)?;
    let open = other.buffered()?;
    let file = bed.new_file("data", 1)?;
    file.buffered()?.write_all_at(&BY_PROCESSOR.bytes(0, PAGE), 0).doing("write a new file")?;
    let Deferred { hold, begun, .. } = defer(bed, file, SOON_MS)?;
    open.write_all_at(&BY_PROCESSOR.bytes(0, PAGE), 0).doing("write another file")?;
    open.sync_all().doing("fsync another file")?;
    Ok((hold, begun))
}

fn btrfs_ordered(bed: &mut Bed) -> Result<(Hold, Instant)> {
    let Deferred { file, hold, begun, .. } = deferred_page(bed, "data", SOON_MS)?;
    commit::transaction(&file.buffered()?)?;
    Ok((hold, begun))
}

/// A checkpoint waits for data only that the filesystem itself has moved: what was there before is free then.
fn f2fs_moved(bed: &mut Bed) -> Result<(Hold, Instant)> {
    let file = bed.new_file("data", 2)?;
    let open = file.buffered()?;
    // The second page first, so that they do not lie in order.
    for page in [1, 0] {
        let bytes = BY_PROCESSOR.bytes(page * PAGE, PAGE);
        open.write_all_at(&bytes, (page * PAGE) as u64).doing("write a page of a new file")?;
        file.begin_cleaning()?;
        file.wait_for_writeback()?;
    }
    bed.observe("a new file has two pages, which do not lie in order", None)?;
    let mapping = file.map()?;
    // What a device writes to is dirty, and would be written first.
    let hold = bed.device().hold(&mapping, Take::by(bed.acquisition()).read_only())?;
    bed.write_rule("defer_deadline", SOON_MS)?;
    let begun = Instant::now();
    let moved = commit::defragment(&open, file.length())?;
    bed.require("both are being moved, to lie in order", moved == file.length() as u64)?;
    commit::checkpoint(&open)?;
    Ok((hold, begun))
}

fn unmapped(bed: &mut Bed) -> Result<()> {
    let Deferred { file, mapping, hold, .. } = deferred_page(bed, "data", LATE_MS)?;
    drop(mapping);
    let step = bed.observe("the page is unmapped and its file closed", Some(&hold))?;
    bed.check("nobody maps the page", step.pages[0].dump.mapcount == 0)?;
    bed.check("nobody waited for it: it is under writeback", step.pages[0].dump.has_flag("writeback"))?;
    hold.dma(0, &BY_DEVICE.bytes(0, PAGE))?;
    hold.release(Release::Clean)?;
    file.wait_for_writeback()?;
    let step = bed.observe("the device wrote the page and released it, the writeback ended", None)?;
    let deferred = step.decided(Purpose::Cleaning, Decision::Deferred) == 1;
    bed.check("the page was written when it was released", deferred)
}
