// SPDX-License-Identifier: MIT OR Apache-2.0

//! Which bios are writeback of a file, and about which of their pages it is decided.

use std::fs::File;
use std::os::unix::fs::FileExt;

use fs_harness::cell::{Acquisition, Setup};
use fs_harness::guest::device::{Release, abi};
use fs_harness::guest::error::Doing;
use fs_harness::guest::in_flight::InFlight;
use fs_harness::guest::memory::PAGE;
use fs_harness::guest::site::Site;
use fs_harness::guest::{Bed, Result};
use fs_harness::record::{Class, Direction, Step};

use crate::catalogue::{LARGE_BLOCK, Scenario};
use crate::pinned_writeback::{BEFORE, BY_PROCESSOR};

pub(crate) const SCENARIOS: &[Scenario] = &[Scenario {
    name: "classes_of_writeback",
    about: "A pinned page is cleaned, and written by fsync, and so is one that is not pinned; a pinned page is written directly, by a copy on btrfs, and read into; the filesystem writes its own blocks: it is decided about pinned pages of writeback, and about nothing else.",
    source: "fs/ext4/page-io.c: ext4_bio_write_folio(); fs/jbd2/journal.c: jbd2_journal_write_metadata_buffer(); fs/iomap/ioend.c; fs/btrfs/bio.c; fs/f2fs/data.c: f2fs_submit_page_write()",
    setups: &[Setup::Ext4, Setup::Ext4Small, Setup::Ext4Journal, Setup::Xfs, Setup::Btrfs, Setup::F2fs],
    acquisitions: &[Acquisition::Pin],
    not: &[
        (&[Setup::None], "there is no file to write back"),
        (&[Setup::Bdev], "what a filesystem does about the page is the question"),
        LARGE_BLOCK,
        (&[Setup::XfsStable], "its bios are those of xfs"),
        (&[Setup::BtrfsNoDataSum], "its bios are those of btrfs"),
        (&[Setup::Vfat], "its bios are those of ext4, without a journal"),
        (&[Setup::Tmpfs], "there is no disk to write back to"),
        (Setup::FUSE, "the page cache of a FUSE file is written back to its daemon, if it has one"),
    ],
    run: classes_of_writeback,
    ..Scenario::PLAIN
}];

fn classes_of_writeback(bed: &mut Bed) -> Result<()> {
    let journalled = bed.setup() == Setup::Ext4Journal;
    let plain = bed.file("plain", BEFORE, 1)?;
    let other = bed.file("other", BEFORE, 1)?;
    let file = bed.file("data", BEFORE, 1)?;
    let (mapping, unpinned) = (file.map()?, plain.map()?);
    mapping.fill(BY_PROCESSOR);
    unpinned.fill(BY_PROCESSOR);
    let hold = bed.device().hold(&mapping, bed.acquisition())?;
    for one in [&file, &plain] {
        one.begin_cleaning()?;
        one.wait_for_writeback()?;
    }
    let step = bed.observe("a pinned page and another one were to be cleaned", None)?;
    let expected = u64::from(!journalled);
    check_decided(bed, "it is decided about the one that is pinned", &step, expected)?;

    mapping.fill(BEFORE);
    unpinned.fill(BEFORE);
    plain.fsync()?;
    let step = bed.observe("an fsync wrote a page that is not pinned", None)?;
    check_decided(bed, "it is decided about none", &step, 0)?;
    // A pinned page in the journal is written as often as the clock ticks meanwhile, and direct I/O is none there.
    if !journalled {
        file.fsync()?;
        let step = bed.observe("an fsync wrote the pinned page", None)?;
        let pages = step.traffic_of(Direction::Write, Class::PageCache).pages;
        let decided: u64 = step.decisions.iter().map(|decisions| decisions.pages).sum();
        bed.check_that(
            "it is decided about each of its pages that is written back",
            decided == pages,
            || format!("about {decided} of {pages}"),
        )?;

        let direct = other.direct()?;
        InFlight::write(&direct, 0, &mapping, 0..PAGE)?.wait().doing("write directly")?;
        let step = bed.observe("the pinned page was written to another file directly", None)?;
        if bed.setup() == Setup::Btrfs {
            let copies = step.traffic_of(Direction::Write, Class::Other).pages;
            bed.check("the direct write carried a copy, since its data has a checksum", copies == 1)?;
        } else {
            let pages = step.traffic_of(Direction::Write, Class::UserPinned).pinned_pages;
            bed.check("the direct write carried the page itself, which is pinned", pages == 1)?;
        }
        check_decided(bed, "it is not decided about a direct write", &step, 0)?;
        // A page that has to be made writable first is none for a direct read on btrfs: btrfs-direct-read-does-not-retry.
        mapping.fill(BEFORE);
        InFlight::read(&direct, 0, &mapping, 0..PAGE)?.wait().doing("read directly")?;
        let step = bed.observe("it was read into directly", None)?;
        let pages = step.traffic_of(Direction::Read, Class::UserPinned).pinned_pages;
        bed.check("the direct read was into the page itself, which is pinned", pages == 1)?;
        check_decided(bed, "it is not decided about a direct read", &step, 0)?;
    }

    let metadata = metadata_written(bed)?;
    let made = bed.new_file("made", 1)?;
    made.buffered()?.write_all_at(&[1], 0).doing("write a byte")?;
    made.fsync()?;
    File::open(Site::of(bed.setup()).folder())
        .and_then(|folder| folder.sync_all())
        .doing("fsync the folder")?;
    let step = bed.observe("a file was made, and its folder made durable", None)?;
    bed.check("the filesystem wrote blocks of its own", metadata_written(bed)? > metadata)?;
    check_decided(bed, "it is not decided about them", &step, 0)?;
    hold.release(Release::Clean)
}

fn check_decided(bed: &mut Bed, text: &str, step: &Step, pages: u64) -> Result<()> {
    let decided: u64 = step.decisions.iter().map(|decisions| decisions.pages).sum();
    bed.check_that(text, decided == pages, || format!("{:?}", step.decisions))
}

/// Bios with the filesystem's own blocks that were written.
fn metadata_written(bed: &Bed) -> Result<u64> {
    Ok(bed.disk_statistics()?.writes[abi::CLASS_METADATA].bios)
}
