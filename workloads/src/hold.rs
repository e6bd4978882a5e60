// SPDX-License-Identifier: MIT OR Apache-2.0

//! A page of a file is held by a device over its writeback: the heart of the matter.

use fs_harness::cell::{Acquisition, Policy, Setup};
use fs_harness::guest::device::{Hold, Path, Release, Take};
use fs_harness::guest::file::TestFile;
use fs_harness::guest::memory::Memory;
use fs_harness::guest::processor::{run_by_turns, run_first};
use fs_harness::guest::{Bed, Result, held_page};
use fs_harness::pattern::Pattern;
use fs_harness::record::{Counted, Direction, Step};
use nix::errno::Errno;
use nix::unistd::Pid;

use crate::catalogue::{LARGE_BLOCK, NotOn, Scenario, Violated, Why};

const BEFORE: Pattern = Pattern(1);
const BY_PROCESSOR: Pattern = Pattern(2);
const BY_DEVICE: Pattern = Pattern(3);

/// Where a page is clean once fsync has returned.
const WRITTEN_BACK: &[Setup] = &[
    Setup::Bdev,
    Setup::Ext4,
    Setup::Ext4Small,
    Setup::Xfs,
    Setup::XfsStable,
    Setup::Btrfs,
    Setup::BtrfsNoDataSum,
    Setup::F2fs,
    Setup::Vfat,
];

/// Writeback only queues such a page for the workers that reserve space, and fsync does not wait for them.
const MISSED: &[Violated] = &[Violated {
    on: &[Setup::Btrfs, Setup::BtrfsNoDataSum],
    under: Policy::ALL,
    check: WRITTEN_AGAIN,
    why: Why::Finding("btrfs-fsync-misses-late-dirty"),
}];

const WRITTEN_AGAIN: &str = "fsync wrote the page again, no longer pinned";

const NOT: &[NotOn] = &[
    (&[Setup::None], "there is no file to write back"),
    (
        &[Setup::Ext4Journal],
        "a page in the journal stays dirty until that is checkpointed: journalled_under_pin",
    ),
    LARGE_BLOCK,
    (&[Setup::Tmpfs], "there is no disk to write back to"),
    (
        Setup::FUSE,
        "the page cache of a FUSE file is written back to its daemon, if it has one: fuse_late_dirty",
    ),
];

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "hold_sync_dma_unhold",
        row: Some(40),
        about: "A mapped page is held, written back while held, written by DMA and released dirty: the last data is saved.",
        source: "mm/gup.c: comment above writable_file_mapping_allowed(); Documentation/core-api/pin_user_pages.rst, case 5",
        setups: WRITTEN_BACK,
        acquisitions: &[Acquisition::Pin],
        not: NOT,
        known: MISSED,
        run: released_dirty,
        ..Scenario::PLAIN
    },
    Scenario {
        name: "hold_sync_dma_unhold_clean",
        row: Some(41),
        about: "A mapped page is held, written back while held, written by DMA and released without dirtying, as a careless driver does: the last data is lost on eviction.",
        source: "mm/gup.c: unpin_user_pages_dirty_lock(); Documentation/core-api/pin_user_pages.rst, case 5",
        setups: WRITTEN_BACK,
        acquisitions: &[Acquisition::Pin],
        not: NOT,
        run: released_clean,
        ..Scenario::PLAIN
    },
    Scenario {
        name: "longterm_file",
        about: "A shared mapping of a file cannot be pinned for writing for long, but it can be pinned, and so can a private one.",
        source: "mm/gup.c: writable_file_mapping_allowed(), gup_fast_folio_allowed()",
        setups: &[
            Setup::Bdev,
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
        acquisitions: &[Acquisition::LongTerm],
        not: &[
            (&[Setup::None], "there is no file"),
            LARGE_BLOCK,
            (&[Setup::Tmpfs], "its pages can be pinned for long, as the memory that they are"),
            (
                Setup::FUSE,
                "if it can be mapped shared it is refused as well: fuse_longterm and uring_fixed_file_shared",
            ),
        ],
        run: longterm_file,
        ..Scenario::PLAIN
    },
];

fn released_dirty(bed: &mut Bed) -> Result<()> {
    let (file, mapping, hold) = written_by_dma_after_writeback(bed)?;
    hold.release(Release::Dirty)?;
    // Before the workers of btrfs, which else may come in the middle of fsync: it looks for dirty pages twice.
    run_first()?;
    file.fsync()?;
    run_by_turns()?;
    let step = bed.observe("the page is released dirty, fsync returned", None)?;
    let written = is_writeback_of_one_page(bed, &step, 0);
    bed.check(WRITTEN_AGAIN, written)?;
    drop(mapping);
    if !written {
        fsync_until_written(bed, &file)?;
    }
    let found = bed.read_back(&file)?;
    bed.check_data("the media hold what the device wrote last", BY_DEVICE, &found)
}

/// Asks again and again to make the file durable, until its page is written.
pub(crate) fn fsync_until_written(bed: &mut Bed, file: &TestFile) -> Result<()> {
    let written = held_page::fsync_until_written(bed, &file.buffered()?)?;
    bed.observe("some later fsync returned", None)?;
    bed.check("some later fsync wrote the page", written)
}

fn released_clean(bed: &mut Bed) -> Result<()> {
    let (file, mapping, hold) = written_by_dma_after_writeback(bed)?;
    hold.release(Release::Clean)?;
    file.fsync()?;
    let step = bed.observe("the page is released clean, fsync returned", None)?;
    let writeback = step.traffic_of(Direction::Write, held_page::class(bed));
    bed.check("fsync found nothing to write", writeback.pages == 0)?;
    bed.check_data("until it is evicted, the page shows what the device wrote", BY_DEVICE, &mapping.bytes())?;
    drop(mapping);
    let found = bed.read_back(&file)?;
    bed.check_data(
        "data released without dirtying is not on the media: what the processor wrote is",
        BY_PROCESSOR,
        &found,
    )
}

fn longterm_file(bed: &mut Bed) -> Result<()> {
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
    let step = bed.observe("a page that is not mapped was to be pinned for long", None)?;
    bed.check("no page was pinned meanwhile", step.pins == Counted::default())?;
    mapping.fill(BY_PROCESSOR);
    let long = bed.device().hold(&mapping, Take::by(bed.acquisition()).path(Path::Fast));
    bed.check_refused("nor by the fast path once it is mapped and can be written", Errno::EFAULT, long)?;
    let step = bed.observe("a page that is mapped was to be pinned for long", None)?;
    let taken = Counted { acquired: 1, released: 1 };
    bed.check("the fast path pinned it, saw whose it is, and gave it back", step.pins == taken)?;
    let short = bed.device().hold(&mapping, Acquisition::Pin)?;
    bed.observe("the page is pinned, and not for long", Some(&short))?;
    short.release(Release::Clean)?;
    let reading = bed.device().hold(&mapping, Take::by(bed.acquisition()).read_only())?;
    bed.observe("the page is pinned for long, for reading", Some(&reading))?;
    reading.release(Release::Clean)?;
    let private = Memory::private(file.buffered()?, 1)?;
    let own = bed.device().hold(&private, bed.acquisition())?;
    let step = bed.observe("a private mapping is pinned for long, for writing", Some(&own))?;
    bed.check("what is pinned is a page of the process's own", step.pages[0].dump.has_flag("swapbacked"))?;
    own.release(Release::Clean)
}

/// The page is dirtied by the processor, held, cleaned by fsync, and then written by the device.
fn written_by_dma_after_writeback(bed: &mut Bed) -> Result<(TestFile, Memory, Hold)> {
    let file = bed.file("data", BEFORE, 1)?;
    let mapping = file.map()?;
    mapping.fill(BY_PROCESSOR);
    let hold = bed.device().hold(&mapping, bed.acquisition())?;
    let held = bed.observe("the mapped page is held", Some(&hold))?;
    bed.require("the held page is dirty", held.pages[0].dump.has_flag("dirty"))?;
    file.fsync()?;
    let synced = bed.observe("fsync returned, the page is still held", Some(&hold))?;
    let written = is_writeback_of_one_page(bed, &synced, 1);
    bed.check("fsync wrote the page, and the device saw that it is pinned", written)?;
    bed.check("the page is clean", !synced.pages[0].dump.has_flag("dirty"))?;
    hold.dma(0, &BY_DEVICE.bytes(0, mapping.length()))?;
    let written = bed.observe("the device wrote the page by DMA", Some(&hold))?;
    bed.check("the page is still clean: nobody noticed", !written.pages[0].dump.has_flag("dirty"))?;
    Ok((file, mapping, hold))
}

fn is_writeback_of_one_page(bed: &Bed, step: &Step, pinned_pages: u64) -> bool {
    let writeback = step.traffic_of(Direction::Write, held_page::class(bed));
    writeback.pages == 1 && writeback.pinned_pages == pinned_pages
}
