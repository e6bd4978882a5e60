// SPDX-License-Identifier: MIT OR Apache-2.0

//! The policy `defer`: writeback that waits for the device, and what keeps it from waiting for ever.

use std::time::{Duration, Instant};

use fs_harness::cell::{Acquisition, Policy, Setup};
use fs_harness::guest::device::Release;
use fs_harness::guest::error::Doing;
use fs_harness::guest::in_flight::InFlight;
use fs_harness::guest::{Bed, Result};
use fs_harness::record::{Decision, Purpose};

use crate::catalogue::{LARGE_BLOCK, Scenario};
use crate::pinned_writeback::{
    BY_DEVICE, BY_PROCESSOR, NO_CHECKSUMS, NOT, SETUPS, held_dirty_page, not_either,
};

/// What has not ended by now does not end: much longer than any deadline here.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "deferred_until_unpinned",
        row: Some(50),
        about: "Writeback of a pinned page waits until the device releases it, and then has what the device wrote, though it was released without dirtying.",
        source: "mm/gup.c: unpin_user_page(); include/linux/mm.h: folio_maybe_dma_pinned()",
        setups: NO_CHECKSUMS,
        acquisitions: &[Acquisition::Pin],
        policies: &[Policy::Defer],
        not: not_either!((&[Setup::Btrfs], "a checksum is made before the disk sees the page")),
        run: deferred_until_unpinned,
        ..Scenario::PLAIN
    },
    Scenario {
        name: "defer_self_fsync",
        row: Some(56),
        about: "Who holds a page waits for its writeback itself: at the deadline a copy is written, and fsync returns.",
        source: "mm/filemap.c: __filemap_fdatawait_range(), which waits without a limit",
        setups: SETUPS,
        acquisitions: &[Acquisition::Pin],
        policies: &[Policy::Defer],
        not: NOT,
        run: defer_self_fsync,
        ..Scenario::PLAIN
    },
];

fn deferred_until_unpinned(bed: &mut Bed) -> Result<()> {
    let (file, mapping, hold) = held_dirty_page(bed)?;
    bed.write_rule("defer_deadline", 60_000)?;
    file.begin_cleaning()?;
    bed.check("the bio is in flight", bed.disk_statistics()?.in_flight == 1)?;
    let step = bed.observe("the page was to be cleaned, and is held", Some(&hold))?;
    bed.check("the page is under writeback", step.pages[0].dump.has_flag("writeback"))?;
    bed.check("nothing has become of it", step.decisions.is_empty())?;
    hold.dma(0, &BY_DEVICE.bytes(0, mapping.length()))?;
    hold.release(Release::Clean)?;
    file.wait_for_writeback()?;
    let step = bed.observe("the device wrote the page and released it clean, the writeback ended", None)?;
    bed.check("the page was written when it was released", {
        step.decided(Purpose::Cleaning, Decision::Deferred) == 1
    })?;
    bed.check("nothing is in flight", bed.disk_statistics_with(0)?.in_flight == 0)?;
    bed.flush_disk()?;
    let found = bed.after_power_cut(&file)?;
    bed.check_data("the media hold what the device wrote", BY_DEVICE, &found)?;
    drop(mapping);
    Ok(())
}

fn defer_self_fsync(bed: &mut Bed) -> Result<()> {
    const DEADLINE: u32 = 300;
    let (file, mapping, hold) = held_dirty_page(bed)?;
    bed.write_rule("defer_deadline", DEADLINE)?;
    let open = file.buffered()?;
    let begun = Instant::now();
    let mut fsync = InFlight::fsync(&open)?;
    let returned = fsync.completes_within(PATIENCE)?;
    let took = begun.elapsed();
    bed.check("fsync returns, though the page is still held", returned)?;
    if !returned {
        // Else nothing here would ever end.
        hold.release(Release::Clean)?;
        return fsync.wait().map(drop).doing("fsync");
    }
    fsync.wait().doing("fsync")?;
    bed.check_that("fsync waited for the deadline", took >= Duration::from_millis(DEADLINE.into()), || {
        format!("it took {took:?}")
    })?;
    let step = bed.observe("fsync has returned, the page is still held", Some(&hold))?;
    bed.check("a copy was written at the deadline", {
        step.decided(Purpose::Integrity, Decision::Expired) == 1
    })?;
    bed.check("the page is clean", !step.pages[0].dump.has_flag("dirty"))?;
    hold.dma(0, &BY_DEVICE.bytes(0, mapping.length()))?;
    let found = bed.after_power_cut(&file)?;
    bed.check_data("what fsync promised is there after a power cut", BY_PROCESSOR, &found)?;
    hold.release(Release::Dirty)?;
    drop(mapping);
    Ok(())
}
