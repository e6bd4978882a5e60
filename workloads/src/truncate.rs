// SPDX-License-Identifier: MIT OR Apache-2.0

//! A file is truncated while a device holds its page.

use fs_harness::cell::{Acquisition, Setup};
use fs_harness::guest::device::Release;
use fs_harness::guest::{Bed, Result};
use fs_harness::pattern::Pattern;

use crate::catalogue::{LARGE_BLOCK, NOT_MAPPED, Scenario};

const BY_PROCESSOR: Pattern = Pattern(1);
const BY_DEVICE: Pattern = Pattern(2);
const OF_ANOTHER: Pattern = Pattern(3);

pub(crate) const SCENARIOS: &[Scenario] = &[Scenario {
    name: "truncate_under_hold",
    row: Some(57),
    about: "A file is truncated while a device holds its page: the page is the device's alone, and what that writes reaches no file.",
    source: "mm/truncate.c: truncate_cleanup_folio(); fs/inode.c: truncate_inode_pages_final()",
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
        Setup::FuseWritebackExt4,
        Setup::FuseWritebackXfs,
        Setup::FusePassthroughExt4,
        Setup::FusePassthroughXfs,
    ],
    acquisitions: &[Acquisition::Get, Acquisition::Pin],
    not: &[
        (&[Setup::None], "there is no file"),
        (&[Setup::Bdev], "a device cannot be truncated"),
        LARGE_BLOCK,
        (&[Setup::Tmpfs], "nothing of it could reach another file by the disk"),
        NOT_MAPPED,
    ],
    run: truncate_under_hold,
    ..Scenario::PLAIN
}];

fn truncate_under_hold(bed: &mut Bed) -> Result<()> {
    let file = bed.file("data", BY_PROCESSOR, 1)?;
    let mapping = file.map()?;
    mapping.fill(BY_PROCESSOR);
    let hold = bed.device().hold(&mapping, bed.acquisition())?;
    bed.observe("the page is held", Some(&hold))?;
    file.truncate(0)?;
    let orphan = bed.observe("the file is truncated", Some(&hold))?;
    bed.check("the page belongs to no file", !orphan.pages[0].dump.mapping)?;
    bed.check("the page is not dirty", !orphan.pages[0].dump.has_flag("dirty"))?;
    hold.dma(0, &BY_DEVICE.bytes(0, mapping.length()))?;
    hold.release(Release::Dirty)?;
    bed.observe("the device wrote to the page, which is released dirty", None)?;
    let other = bed.file("other", OF_ANOTHER, 1)?;
    let found = bed.read_back(&other)?;
    bed.check_data("a file that is made now has its own data", OF_ANOTHER, &found)
}
