// SPDX-License-Identifier: MIT OR Apache-2.0

//! What may happen to a filesystem while the data of a pinned page is only in the volatile cache, or waits for
//! the page to be released.

use fs_harness::cell::{Acquisition, Policy, Setup};
use fs_harness::guest::device::{Hold, Release};
use fs_harness::guest::file::TestFile;
use fs_harness::guest::memory::PAGE;
use fs_harness::guest::{Bed, Result};

use crate::catalogue::{LARGE_BLOCK, Scenario};
use crate::pinned_writeback::{
    BY_DEVICE, BY_PROCESSOR, NO_CHECKSUMS, NOT, SETUPS, held_dirty_page, not_either, reserve_space,
};

/// Those that leave something to be done.
const POLICIES: &[Policy] = &[Policy::Skip, Policy::Defer];

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "umount_over_stash",
        about: "A filesystem is unmounted while a page of it is pinned that was to be cleaned: that ends, and the file is whole when it is mounted again, also after a power cut.",
        source: "fs/super.c: generic_shutdown_super(): sync_filesystem()",
        setups: SETUPS,
        acquisitions: &[Acquisition::Pin],
        policies: POLICIES,
        not: NOT,
        run: umount_over_stash,
        ..Scenario::PLAIN
    },
    Scenario {
        name: "punch_over_stash",
        about: "A hole is punched over a pinned page that was to be cleaned: it reads as zeros from then on, whatever the device writes, also after a power cut.",
        source: "mm/truncate.c: truncate_inode_pages_range(); fs/ext4/inode.c: ext4_punch_hole()",
        setups: SETUPS,
        acquisitions: &[Acquisition::Pin],
        policies: POLICIES,
        not: NOT,
        run: punch_over_stash,
        ..Scenario::PLAIN
    },
    Scenario {
        name: "remount_over_stash",
        about: "A filesystem is made read-only while a page of it is pinned that was to be cleaned: that ends, and what was written before is there after a power cut.",
        source: "fs/super.c: reconfigure_super(): sync_filesystem()",
        setups: SETUPS,
        acquisitions: &[Acquisition::Pin],
        policies: POLICIES,
        not: NOT,
        run: remount_over_stash,
        ..Scenario::PLAIN
    },
    Scenario {
        name: "full_over_stash",
        about: "A filesystem has no space left while a page of it is pinned that was cleaned: what it held is durable after fsync.",
        source: "fs/ext4/inode.c: mpage_map_and_submit_extent(); fs/f2fs/segment.c: f2fs_allocate_data_block()",
        setups: NO_CHECKSUMS,
        acquisitions: &[Acquisition::Pin],
        policies: &[Policy::Skip],
        not: not_either!((
            &[Setup::Btrfs],
            "nobody has reserved space for what a driver dirtied: whether fsync is refused for that (ENOSPC) depends on when its workers come"
        )),
        run: full_over_stash,
        ..Scenario::PLAIN
    },
];

fn umount_over_stash(bed: &mut Bed) -> Result<()> {
    let (file, hold) = cleaned_page(bed)?;
    bed.unmount()?;
    leave_out_who_wrote(bed)?;
    bed.observe("the filesystem is unmounted, the page still held", Some(&hold))?;
    let found = bed.after_power_cut(&file)?;
    bed.check_data("what the processor wrote is there after a power cut", BY_PROCESSOR, &found)?;
    hold.dma(0, &BY_DEVICE.bytes(0, PAGE))?;
    hold.release(Release::Dirty)?;
    bed.mount()?;
    let found = file.bytes()?;
    bed.check_data("and when it is mounted again, whatever the device wrote", BY_PROCESSOR, &found)
}

fn punch_over_stash(bed: &mut Bed) -> Result<()> {
    let (file, hold) = cleaned_page(bed)?;
    file.punch(0, PAGE)?;
    hold.dma(0, &BY_DEVICE.bytes(0, PAGE))?;
    hold.release(Release::Dirty)?;
    file.fsync()?;
    bed.observe("a hole was punched, the page released dirty, fsync returned", None)?;
    bed.check("the hole reads as zeros", file.bytes()? == [0; PAGE])?;
    let found = bed.after_power_cut(&file)?;
    bed.check("and after a power cut", found == [0; PAGE])
}

/// On btrfs its workers write the page that is dirty again, or who waits for all of it does, as it comes: for
/// which of them it was decided belongs to no step.
fn leave_out_who_wrote(bed: &mut Bed) -> Result<()> {
    if bed.setup() == Setup::Btrfs { bed.restart_counting() } else { Ok(()) }
}

fn remount_over_stash(bed: &mut Bed) -> Result<()> {
    let (file, hold) = cleaned_page(bed)?;
    bed.make_read_only()?;
    leave_out_who_wrote(bed)?;
    bed.observe("the filesystem is read-only, the page still held", Some(&hold))?;
    let found = bed.after_power_cut(&file)?;
    bed.check_data("what the processor wrote is there after a power cut", BY_PROCESSOR, &found)?;
    hold.release(Release::Clean)
}

fn full_over_stash(bed: &mut Bed) -> Result<()> {
    let (file, mapping, hold) = held_dirty_page(bed)?;
    file.begin_cleaning()?;
    file.wait_for_writeback()?;
    bed.observe_at_rest("the page was to be cleaned", &hold)?;
    bed.fill_up()?;
    file.fsync()?;
    bed.observe("there is no space left, fsync returned", Some(&hold))?;
    hold.release(Release::Clean)?;
    drop(mapping);
    let found = bed.after_power_cut(&file)?;
    bed.check_data("what the processor wrote is there after a power cut", BY_PROCESSOR, &found)
}

/// A page that a device holds and that was to be cleaned. Nobody has it mapped.
///
/// Who syncs a filesystem first writes without waiting, and goes on as long as it finds pages dirty again in the
/// same tick of the clock. So that it finds this one once, the page has spent its budget.
fn cleaned_page(bed: &mut Bed) -> Result<(TestFile, Hold)> {
    let (file, mapping, hold) = held_dirty_page(bed)?;
    bed.write_rule("skip_budget", 1)?;
    file.begin_cleaning()?;
    if bed.policy() != Policy::Defer {
        file.wait_for_writeback()?;
    }
    drop(mapping);
    reserve_space(bed, &file, &hold)?;
    Ok((file, hold))
}
