// SPDX-License-Identifier: MIT OR Apache-2.0

//! A device releases a page as dirty, and its filesystem is made read-only.

use fs_harness::cell::{Acquisition, Policy, Setup};
use fs_harness::guest::device::Release;
use fs_harness::guest::held_page::{BY_DEVICE, HeldPage};
use fs_harness::guest::processor::{run_by_turns, run_first, workers_run_by_turns, workers_run_first};
use fs_harness::guest::{Bed, Result};
use fs_harness::record::{Class, Direction};

use crate::catalogue::{LARGE_BLOCK, Scenario, Violated, Why};

const WRITTEN: &str = "the page is written before that";
const THERE: &str = "what the device wrote is there when the filesystem is mounted again";

/// Nobody waits for the workers that reserve space for such a page.
const fn missed(check: &'static str) -> Violated {
    Violated {
        on: &[Setup::Btrfs, Setup::BtrfsNoDataSum],
        under: Policy::ALL,
        check,
        why: Why::Finding("btrfs-sync-misses-late-dirty"),
    }
}

pub(crate) const SCENARIOS: &[Scenario] = &[Scenario {
    name: "late_dirty_read_only",
    about: "A page is made durable by fsync while a device holds it, written by DMA and released dirty, and the filesystem made read-only: that writes the page, for it is the last time that it can be written.",
    source: "fs/super.c: reconfigure_super(): sync_filesystem(); fs/btrfs/extent_io.c:1533: writepage_fixup()",
    setups: &[
        Setup::Ext4,
        Setup::Ext4Small,
        Setup::Ext4Journal,
        Setup::Xfs,
        Setup::XfsStable,
        Setup::Btrfs,
        Setup::BtrfsNoDataSum,
        Setup::F2fs,
        Setup::Vfat,
    ],
    acquisitions: &[Acquisition::Pin],
    not: &[
        (&[Setup::None, Setup::Bdev], "there is no filesystem"),
        LARGE_BLOCK,
        (&[Setup::Tmpfs], "there is no disk to write back to"),
        (Setup::FUSE, "what is made read-only is the mount: the filesystem is its daemon's"),
    ],
    known: &[missed(WRITTEN), missed(THERE)],
    run: late_dirty_read_only,
    ..Scenario::PLAIN
}];

fn late_dirty_read_only(bed: &mut Bed) -> Result<()> {
    let page = HeldPage::written_back(bed)?;
    page.write_by_device()?;
    let HeldPage { file, open, mapping, hold } = page;
    hold.release(Release::Dirty)?;
    drop((mapping, open));
    // A filesystem is synced twice, without waiting and then waiting, by the flusher. The workers of btrfs for whom the
    // first leaves the page come after the second, as they do at times anyway.
    workers_run_first()?;
    run_first()?;
    let made = bed.make_read_only();
    run_by_turns()?;
    workers_run_by_turns()?;
    made?;
    let step = bed.observe("the page is released dirty, and the filesystem made read-only", None)?;
    bed.check(WRITTEN, step.traffic_of(Direction::Write, Class::PageCache).pages == 1)?;
    bed.unmount()?;
    bed.mount()?;
    let found = file.bytes()?;
    bed.check_data(THERE, BY_DEVICE, &found)
}
