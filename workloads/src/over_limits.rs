// SPDX-License-Identifier: MIT OR Apache-2.0

//! More pinned pages than may be dirty: who cleans memory comes to an end, and so does who writes.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::thread;
use std::time::{Duration, Instant};

use fs_harness::cell::{Acquisition, Policy, Setup};
use fs_harness::guest::child::Child;
use fs_harness::guest::device::Release;
use fs_harness::guest::dirty_limits::DirtyLimits;
use fs_harness::guest::memory::PAGE;
use fs_harness::guest::{Bed, Result};
use fs_harness::record::Decision;

use crate::catalogue::{LARGE_BLOCK, Scenario};
use crate::pinned_writeback::{BEFORE, BY_DEVICE, BY_PROCESSOR, NO_CHECKSUMS, not_either};

/// Pinned pages, all of them dirty.
const PAGES: usize = 128;
/// With more dirty pages the kernel begins to clean.
const BACKGROUND: usize = PAGES / 4;
/// With more dirty pages who writes has to wait.
const MOST: usize = PAGES / 2;

/// What no page spends while this goes on.
const WITHOUT_END: u32 = 1_000_000;
/// So often is a page put into the cache at first: as nobody does who comes to an end.
const TIMES: u64 = 30;
/// So often may it be from then on.
const BUDGET: u32 = 3;

/// What takes part of a second here.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) const SCENARIOS: &[Scenario] = &[Scenario {
    name: "skip_over_limits",
    row: Some(54),
    about: "More pinned pages are dirty than may be: without a budget the flusher writes them into the cache again and again; with one each of them is cleaned after so many times, the flusher comes to an end, and so does who waits to write.",
    source: "fs/fs-writeback.c: wb_writeback(); mm/page-writeback.c: balance_dirty_pages()",
    setups: NO_CHECKSUMS,
    acquisitions: &[Acquisition::Pin],
    policies: &[Policy::Skip],
    not: not_either!((&[Setup::Btrfs], "a page that others dirty is only queued to be written, by workers")),
    run: skip_over_limits,
    ..Scenario::PLAIN
}];

fn skip_over_limits(bed: &mut Bed) -> Result<()> {
    let other = bed.file("other", BEFORE, PAGES)?;
    let file = bed.file("data", BEFORE, PAGES)?;
    let mapping = file.map()?;
    mapping.fill(BY_PROCESSOR);
    let hold = bed.device().hold(&mapping, bed.acquisition())?;
    bed.write_rule("skip_budget", WITHOUT_END)?;
    bed.observe("all pages of the file are dirty and pinned", None)?;

    let limits = DirtyLimits::set(BACKGROUND, MOST)?;
    let written = other.buffered()?;
    let mut writer = Child::fork(|_| write_by_the_page(&written).is_ok().into())?;
    writer.tell(0)?;
    let again_and_again = wait_for(bed, Decision::Stashed, TIMES * PAGES as u64)?;
    bed.check("without a budget their data is put into the cache again and again", again_and_again)?;
    bed.write_rule("skip_budget", BUDGET)?;
    let before = bed.decided_about_cleaning(Decision::Stashed)?;
    let has_written = writer.hear()? == 1;
    bed.check("who writes another file comes to the end of it", has_written)?;
    writer.end()?;
    for _ in 0..=BUDGET {
        file.begin_cleaning()?;
        file.wait_for_writeback()?;
    }
    drop(limits);
    let bounced = bed.decided_about_cleaning(Decision::Bounced)?;
    bed.check_that("with a budget each page is cleaned once", bounced == PAGES as u64, || {
        format!("{bounced} pages were")
    })?;
    let stashed = bed.decided_about_cleaning(Decision::Stashed)? - before;
    // What was on its way when the budget came is counted later.
    let most = u64::from(BUDGET + 1) * PAGES as u64;
    bed.check_that("and put into the cache no more often than that", stashed <= most, || {
        format!("{stashed} pages were")
    })?;
    // How many times the flusher came, and with how many bios, depends on the time that it had.
    bed.restart_counting()?;
    file.begin_cleaning()?;
    file.wait_for_writeback()?;
    let step = bed.observe("all pages are clean, and to be cleaned", None)?;
    bed.check("there is nothing to clean", step.decisions.is_empty())?;

    hold.dma(0, &BY_DEVICE.bytes(0, mapping.length()))?;
    hold.release(Release::Dirty)?;
    drop(mapping);
    file.fsync()?;
    other.fsync()?;
    bed.restart_counting()?;
    let found = bed.after_power_cut(&other)?;
    bed.check_data("what was written to the other file is there after a power cut", BY_PROCESSOR, &found)
}

/// Writes as many pages as the other file has: the kernel looks at the limits now and then.
fn write_by_the_page(file: &File) -> io::Result<()> {
    let bytes = BY_PROCESSOR.bytes(0, PAGES * PAGE);
    (0..PAGES).try_for_each(|page| file.write_all_at(&bytes[page * PAGE..][..PAGE], (page * PAGE) as u64))
}

/// Whether so many pages come to that end in time.
fn wait_for(bed: &Bed, decision: Decision, pages: u64) -> Result<bool> {
    let deadline = Instant::now() + PATIENCE;
    while bed.decided_about_cleaning(decision)? < pages {
        if Instant::now() > deadline {
            return Ok(false);
        }
        thread::yield_now();
    }
    Ok(true)
}
