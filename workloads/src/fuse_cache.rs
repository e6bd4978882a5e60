// SPDX-License-Identifier: MIT OR Apache-2.0

//! The page cache of a FUSE file: who takes its pages, and what becomes of a page that is dirty late.

use std::fs::File;

use fs_harness::cell::{Acquisition, Policy, Setup};
use fs_harness::guest::device::{Path, Release, Take};
use fs_harness::guest::error::Doing;
use fs_harness::guest::held_page::{BEFORE, BY_DEVICE, BY_PROCESSOR, HeldPage};
use fs_harness::guest::io::{self, Interface};
use fs_harness::guest::uring::Ring;
use fs_harness::guest::{Bed, Result};
use fs_harness::record::{Class, Counted, Direction, Step};
use nix::errno::Errno;
use nix::unistd::Pid;

use crate::catalogue::{LARGE_BLOCK, NotOn, Scenario, Violated, Why};

const WITH_A_PAGE_CACHE: &[Setup] = &[Setup::FuseWritebackExt4, Setup::FuseWritebackXfs];

const NOT: &[NotOn] = &[
    (&[Setup::None], "there is no file"),
    (&[Setup::Bdev], "not a FUSE filesystem"),
    LARGE_BLOCK,
    (&[Setup::Tmpfs], "not a FUSE filesystem"),
    (Setup::ON_DISK, "not a FUSE filesystem"),
    (Setup::FUSE, "its files have no page cache of their own"),
];

const SAVED: &str = "the media hold what the device wrote last";
const STAYS: &str = "the page still belongs to the file";
const SYNCED: &str = "fsync returns 0";

const FORGOTTEN: Why = Why::Finding("fuse-open-forgets-pinned-pages");
const NOBODY_TO_WRITE: Why = Why::Finding("fuse-loses-late-dirty-without-a-writer");

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "fuse_late_dirty",
        row: Some(65),
        about: "A page of a FUSE file is written by DMA and released dirty while somebody has the file open for writing: it is written back to the daemon.",
        source: "fs/fuse/file.c: fuse_iomap_writeback_range(), fuse_write_file_get()",
        setups: WITH_A_PAGE_CACHE,
        acquisitions: &[Acquisition::Get, Acquisition::Pin],
        not: NOT,
        run: late_dirty,
        ..Scenario::PLAIN
    },
    Scenario {
        name: "fuse_late_dirty_closed",
        row: Some(65),
        about: "A page of a FUSE file is released dirty late, when nobody has the file open for writing any more: there is no handle by which to tell the daemon, the kernel warns, and the data is lost.",
        source: "fs/fuse/file.c:2063: fuse_write_file_get()",
        setups: WITH_A_PAGE_CACHE,
        acquisitions: &[Acquisition::Get, Acquisition::Pin],
        not: NOT,
        known: &[
            Violated { on: WITH_A_PAGE_CACHE, under: Policy::ALL, check: SYNCED, why: NOBODY_TO_WRITE },
            Violated { on: WITH_A_PAGE_CACHE, under: Policy::ALL, check: SAVED, why: NOBODY_TO_WRITE },
        ],
        run: late_dirty_closed,
        ..Scenario::PLAIN
    },
    Scenario {
        name: "fuse_open_under_hold",
        about: "Somebody opens a FUSE file while a device holds a page of it: by default that empties the page cache of the file, also of what is pinned, and what the device writes is lost.",
        source: "fs/fuse/file.c:297: fuse_open() without FOPEN_KEEP_CACHE; mm/truncate.c:624: folio_unmap_invalidate() does not look for references",
        setups: WITH_A_PAGE_CACHE,
        acquisitions: &[Acquisition::Get, Acquisition::Pin],
        not: NOT,
        known: &[
            Violated { on: WITH_A_PAGE_CACHE, under: Policy::ALL, check: STAYS, why: FORGOTTEN },
            Violated { on: WITH_A_PAGE_CACHE, under: Policy::ALL, check: SAVED, why: FORGOTTEN },
        ],
        run: open_under_hold,
        ..Scenario::PLAIN
    },
    Scenario {
        name: "fuse_cached_io",
        row: Some(68),
        about: "Reads and writes by the page cache of a FUSE file pin nobody's pages: the daemon's buffers are taken by reference.",
        source: "fs/fuse/dev.c:1061: fuse_copy_fill() by iov_iter_get_pages2()",
        setups: WITH_A_PAGE_CACHE,
        not: NOT,
        run: cached_io,
        ..Scenario::PLAIN
    },
    Scenario {
        name: "fuse_longterm",
        row: Some(69),
        about: "A shared mapping of a FUSE file cannot be pinned for writing for long, neither by a device nor by io_uring; it can be pinned.",
        source: "mm/gup.c: writable_file_mapping_allowed(); mm/vma.c:2213: vma_needs_dirty_tracking()",
        setups: WITH_A_PAGE_CACHE,
        acquisitions: &[Acquisition::LongTerm],
        not: NOT,
        run: longterm,
        ..Scenario::PLAIN
    },
];

fn late_dirty(bed: &mut Bed) -> Result<()> {
    let page = HeldPage::written_back(bed)?;
    page.write_by_device()?;
    let (file, mapping) = page.release_dirty_and_write_back(bed)?;
    drop(mapping);
    let found = bed.read_back(&file)?;
    bed.check_data(SAVED, BY_DEVICE, &found)
}

fn late_dirty_closed(bed: &mut Bed) -> Result<()> {
    let file = bed.file("data", BEFORE, 1)?;
    // Opened before the page is read: an open forgets what is cached.
    let reader = file.read_only()?;
    let mapping = file.map()?;
    mapping.fill(BY_PROCESSOR);
    let hold = bed.device().hold(&mapping, bed.acquisition())?;
    fsync_by_reader(&reader)?;
    drop(mapping);
    let closed =
        bed.observe("the page is held and written back; nobody can write the file any more", Some(&hold))?;
    bed.require("the page is clean", !closed.pages[0].dump.has_flag("dirty"))?;
    bed.require("the page belongs to the file", closed.pages[0].dump.mapping)?;
    hold.dma(0, &BY_DEVICE.bytes(0, file.length()))?;
    bed.expect_log("WARNING: fs/fuse/file.c at fuse_")?;
    hold.release(Release::Dirty)?;
    let synced = fsync_by_reader(&reader);
    let step = bed.observe("the page is released dirty, fsync returned", None)?;
    bed.check_that(SYNCED, synced.is_ok(), || {
        synced.err().map(|error| error.to_string()).unwrap_or_default()
    })?;
    bed.check("nothing reached the disk", step.traffic_of(Direction::Write, Class::PageCache).pages == 0)?;
    let found = bed.read_back(&file)?;
    bed.check_data(SAVED, BY_DEVICE, &found)?;
    bed.check_data("the media hold what was there before", BY_PROCESSOR, &found)
}

fn fsync_by_reader(reader: &File) -> Result<()> {
    reader.sync_all().doing("fsync a file that is open for reading")
}

fn open_under_hold(bed: &mut Bed) -> Result<()> {
    let page = HeldPage::written_back(bed)?;
    drop(page.file.read_only()?);
    let opened = bed.observe("somebody has opened the file for reading, and closed it", Some(&page.hold))?;
    bed.check_that(STAYS, opened.pages[0].dump.mapping, || "it belongs to none".to_owned())?;
    page.write_by_device()?;
    let HeldPage { file, open, mapping, hold } = page;
    hold.release(Release::Dirty)?;
    open.sync_all().doing("fsync")?;
    bed.observe("the device wrote the page, which is released dirty, and fsync returned", None)?;
    drop(mapping);
    let found = bed.read_back(&file)?;
    bed.check_data(SAVED, BY_DEVICE, &found)
}

fn cached_io(bed: &mut Bed) -> Result<()> {
    let file = bed.file("data", BEFORE, 4)?;
    let buffer = bed.anonymous(BY_PROCESSOR, 4)?;
    let client = file.buffered()?;
    io::read(Interface::Syscall, &client, &buffer)?;
    let read = bed.observe("the client's read returned", None)?;
    bed.check_data("the buffer holds what is in the file", BEFORE, &buffer.bytes())?;
    let unpinned = |step: &Step| step.pins == Counted { acquired: 0, released: 0 };
    bed.check("nobody's pages were pinned for that", unpinned(&read))?;
    buffer.fill(BY_PROCESSOR);
    io::write(Interface::Syscall, &client, &buffer)?;
    file.fsync()?;
    let written = bed.observe("the client's write and fsync returned", None)?;
    bed.check("nor for that", unpinned(&written))?;
    let found = bed.read_back(&file)?;
    bed.check_data("the file holds what was in the buffer", BY_PROCESSOR, &found)
}

fn longterm(bed: &mut Bed) -> Result<()> {
    let file = bed.file("data", BEFORE, 1)?;
    let mapping = file.map()?;
    for (name, path) in [("fast", Path::Fast), ("slow", Path::Slow), ("remote", Path::Remote(Pid::this()))] {
        let long = bed.device().hold(&mapping, Take::by(bed.acquisition()).path(path));
        bed.check_refused(
            &format!("for long, by the {name} path, it is refused with EFAULT"),
            Errno::EFAULT,
            long,
        )?;
    }
    bed.check_refused("io_uring may not register it: EFAULT", Errno::EFAULT, Ring::with(&mapping))?;
    bed.observe("it was refused", None)?;
    let short = bed.device().hold(&mapping, Acquisition::Pin)?;
    bed.observe("the page is pinned, and not for long", Some(&short))?;
    short.release(Release::Clean)
}
