// SPDX-License-Identifier: MIT OR Apache-2.0

//! A new file whose first page is cleaned while a device holds it, and a filesystem that commits what it knows of it.

use std::fs::File;
use std::os::unix::fs::FileExt;

use fs_harness::cell::{Acquisition, Policy, Setup};
use fs_harness::guest::device::Release;
use fs_harness::guest::error::Doing;
use fs_harness::guest::file::TestFile;
use fs_harness::guest::memory::PAGE;
use fs_harness::guest::{Bed, Result, commit};
use fs_harness::record::Purpose;

use crate::catalogue::{Scenario, Violated, Why};
use crate::pinned_writeback::{
    BEFORE, BY_DEVICE, BY_PROCESSOR, NOT, SETUPS, check_decision, dropped, expect_bad_checksums,
    hold_by_policy,
};

/// What was never written to the disk reads as this.
const TENANT: [u8; PAGE] = [0xde; PAGE];

const ITS_DATA: &str = "the new file has its data after a power cut";
const NO_TENANT: &str = "no previous tenant's data shows";

/// ext4 has converted the blocks that were not written. XFS shows zeros there.
const EXPOSED: Violated = Violated {
    on: &[Setup::Ext4, Setup::F2fs],
    under: &[Policy::Drop],
    check: NO_TENANT,
    why: Why::Control("the policy drop loses data"),
};

pub(crate) const SCENARIOS: &[Scenario] = &[Scenario {
    name: "new_file_after_cut",
    row: Some(52),
    about: "The first page of a new file is cleaned while it is pinned, the filesystem commits, and the power fails: the file has its data, and never a previous tenant's.",
    source: "fs/ext4/page-io.c: ext4_end_io_end(); fs/xfs/xfs_ioend.c: xfs_end_ioend_write(): unwritten blocks are converted when they are written; fs/btrfs/inode.c: btrfs_finish_one_ordered(); fs/f2fs/segment.c: f2fs_outplace_write_data()",
    setups: SETUPS,
    acquisitions: &[Acquisition::Pin],
    policies: Policy::ALL,
    not: NOT,
    known: &[dropped(ITS_DATA), EXPOSED],
    run: new_file_after_cut,
}];

fn new_file_after_cut(bed: &mut Bed) -> Result<()> {
    let other = bed.file("other", BEFORE, 1)?;
    let file = bed.new_file("data", 1)?;
    let buffered = file.buffered()?;
    buffered.write_all_at(&BY_PROCESSOR.bytes(0, PAGE), 0).doing("write the first page")?;
    let mapping = file.map()?;
    mapping.fill(BY_PROCESSOR);
    let hold = hold_by_policy(bed, &mapping)?;
    file.begin_cleaning()?;
    file.wait_for_writeback()?;
    // A worker that ends the writeback may still have a reference.
    let step = bed.observe("the page was written back to clean memory", None)?;
    check_decision(bed, &step, Purpose::Cleaning)?;
    commit(bed, &other, &buffered)?;
    if (bed.setup(), bed.policy()) == (Setup::Btrfs, Policy::Drop) {
        expect_bad_checksums(bed)?;
    }
    let found = bed.try_after_power_cut(&file)?;
    bed.check(NO_TENANT, !found.as_ref().is_ok_and(|found| found == &TENANT))?;
    bed.check_found(ITS_DATA, BY_PROCESSOR, found)?;
    hold.release(Release::Clean)
}

/// Has the filesystem commit what it knows of its files, without an fsync of `file`. Ends a step.
fn commit(bed: &mut Bed, other: &TestFile, file: &File) -> Result<()> {
    match bed.setup() {
        Setup::Btrfs => commit::transaction(file)?,
        Setup::F2fs => commit::checkpoint(file)?,
        _ => {
            other.buffered()?.write_all_at(&BY_DEVICE.bytes(0, PAGE), 0).doing("write another file")?;
            other.fsync()?;
            return bed.observe("an fsync of another file has the journal commit", None).map(drop);
        }
    }
    bed.observe("the filesystem has committed", None).map(drop)
}
