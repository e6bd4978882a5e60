// SPDX-License-Identifier: MIT OR Apache-2.0

//! A direct write goes to a part of a file of which a device holds the page.

use fs_harness::cell::{Acquisition, Setup};
use fs_harness::guest::device::Release;
use fs_harness::guest::held_page::HeldPage;
use fs_harness::guest::io::{self, Interface};
use fs_harness::guest::{Bed, Result};
use fs_harness::pattern::Pattern;

use crate::catalogue::{LARGE_BLOCK, Scenario};
use crate::direct_io::miscounted_on_vfat;

const DIRECTLY: Pattern = Pattern(4);

pub(crate) const SCENARIOS: &[Scenario] = &[Scenario {
    name: "dio_write_over_hold",
    about: "A direct write to a page that a device holds takes the page out of the page cache, held or not: what the device writes after that is in no file.",
    source: "mm/truncate.c:624: folio_unmap_invalidate() ignores references; fs/iomap/direct-io.c: kiocb_invalidate_pages()",
    setups: &[
        Setup::Bdev,
        Setup::Ext4,
        Setup::Ext4Small,
        Setup::Xfs,
        Setup::XfsStable,
        Setup::Btrfs,
        Setup::BtrfsNoDataSum,
        Setup::F2fs,
        Setup::Vfat,
    ],
    acquisitions: &[Acquisition::Get, Acquisition::Pin],
    not: &[
        (&[Setup::None], "there is no file"),
        LARGE_BLOCK,
        (&[Setup::Tmpfs], "it has no direct I/O"),
        (&[Setup::Ext4Journal], "it has no direct I/O"),
        (Setup::FUSE, "who opens a FUSE file does the same: fuse_open_under_hold"),
    ],
    known: &[
        miscounted_on_vfat("the kernel and the driver count the same pins"),
        miscounted_on_vfat("every pin is released"),
    ],
    run: dio_write_over_hold,
    ..Scenario::PLAIN
}];

fn dio_write_over_hold(bed: &mut Bed) -> Result<()> {
    let page = HeldPage::written_back(bed)?;
    let buffer = bed.anonymous(DIRECTLY, 1)?;
    io::write(Interface::Syscall, &page.file.direct()?, &buffer)?;
    let orphan = bed.observe("the page's part of the file was written directly", Some(&page.hold))?;
    bed.check("the page belongs to no file", !orphan.pages[0].dump.mapping)?;
    page.write_by_device()?;
    let HeldPage { file, open: _, mapping, hold } = page;
    hold.release(Release::Dirty)?;
    bed.check_data(
        "a process that maps the file sees what was written directly",
        DIRECTLY,
        &mapping.bytes(),
    )?;
    drop(mapping);
    file.fsync()?;
    bed.observe("the device wrote the page, which is released dirty, and fsync returned", None)?;
    let found = bed.read_back(&file)?;
    bed.check_data(
        "what the device wrote is lost: the media hold what was written directly",
        DIRECTLY,
        &found,
    )
}
