// SPDX-License-Identifier: MIT OR Apache-2.0

//! A file is defragmented while a device holds a page of it.

use std::fs::File;

use fs_harness::cell::{Acquisition, Policy, Setup};
use fs_harness::guest::device::Release;
use fs_harness::guest::held_page::{BY_DEVICE, BY_PROCESSOR, HeldPage};
use fs_harness::guest::memory::PAGE;
use fs_harness::guest::{Bed, Result, defragment};

use crate::catalogue::{LARGE_BLOCK, Scenario, Violated, Why};

const STAYS: &str = "the page still belongs to the file";
const SAVED: &str = "the media hold what the device wrote last";

pub(crate) const SCENARIOS: &[Scenario] = &[Scenario {
    name: "defragment_under_hold",
    about: "The data of a file moves to another place on the disk while a device holds its page: what the device writes then is written to that place.",
    source: "fs/ext4/move_extent.c: mext_move_extent(); fs/xfs/xfs_bmap_util.c:1263: xfs_swap_extent_flush()",
    setups: &[Setup::Ext4, Setup::Ext4Small, Setup::Xfs, Setup::XfsStable],
    acquisitions: &[Acquisition::Get, Acquisition::Pin],
    not: &[
        (&[Setup::None], "there is no file"),
        (&[Setup::Bdev], "there is no filesystem"),
        LARGE_BLOCK,
        (&[Setup::Tmpfs], "there is no disk"),
        (&[Setup::Ext4Journal], "EXT4_IOC_MOVE_EXT refuses data that goes to the journal"),
        (
            &[Setup::Btrfs, Setup::BtrfsNoDataSum, Setup::F2fs],
            "it defragments by dirtying the pages, which are written back elsewhere: hold_sync_dma_unhold",
        ),
        (&[Setup::Vfat], "it has no request for it"),
        (Setup::FUSE, "it has no such request"),
    ],
    known: &[forgotten(STAYS), forgotten(SAVED)],
    run: defragment_under_hold,
    ..Scenario::PLAIN
}];

const fn forgotten(check: &'static str) -> Violated {
    Violated {
        on: &[Setup::Xfs, Setup::XfsStable],
        under: Policy::ALL,
        check,
        why: Why::Finding("xfs-defragmentation-loses-dma"),
    }
}

fn defragment_under_hold(bed: &mut Bed) -> Result<()> {
    // XFS exchanges the data with its place: a defragmenter has copied it by then.
    let donor = bed.file("donor", BY_PROCESSOR, 1)?;
    let page = HeldPage::written_back(bed)?;
    let place = donor.block()?;
    exchange(bed, &page.open, &donor.buffered()?)?;
    let moved = bed.observe("the file has exchanged places with another", Some(&page.hold))?;
    bed.check_that(STAYS, moved.pages[0].dump.mapping, || "it belongs to none".to_owned())?;
    bed.check_data("the process sees what it wrote", BY_PROCESSOR, &page.mapping.bytes())?;
    page.write_by_device()?;
    page.hold.release(Release::Dirty)?;
    page.file.fsync()?;
    bed.observe("the device wrote the page, which is released dirty, and fsync returned", None)?;
    drop(page.mapping);
    let found = bed.read_back(&page.file)?;
    bed.check_data(SAVED, BY_DEVICE, &found)?;
    bed.check("the file is where the other was", page.file.block()? == place)
}

/// The request takes the place of the second file for the first.
fn exchange(bed: &Bed, file: &File, donor: &File) -> Result<()> {
    match bed.setup() {
        Setup::Ext4 => defragment::move_extents(file, donor, 1).map(drop),
        Setup::Ext4Small => defragment::move_extents(file, donor, PAGE as u64 / 1024).map(drop),
        _ => defragment::swap_extents(file, donor),
    }
}
