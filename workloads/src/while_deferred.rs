// SPDX-License-Identifier: MIT OR Apache-2.0

//! Writeback that is deferred, and all who wait for it meanwhile: nobody waits for longer than the deadline.

use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use fs_harness::cell::{Acquisition, Policy, Setup};
use fs_harness::guest::child::Child;
use fs_harness::guest::device::{Device, Hold, Release};
use fs_harness::guest::error::Doing;
use fs_harness::guest::file::TestFile;
use fs_harness::guest::in_flight::InFlight;
use fs_harness::guest::memory::{Memory, PAGE};
use fs_harness::guest::{Bed, Result};
use fs_harness::pattern::Pattern;
use fs_harness::record::{Decision, Purpose};
use nix::unistd::sync;

use crate::catalogue::{LARGE_BLOCK, Scenario};
use crate::pinned_writeback::{BEFORE, BY_PROCESSOR, NOT, SETUPS};

const DIRECT_READ: &str = "a direct read";

/// A deadline that is waited for.
pub(crate) const SOON_MS: u32 = 200;
/// A deadline before which all else happens.
pub(crate) const LATE_MS: u32 = 60_000;
/// What ends without waiting for that has ended by now.
const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "deferred_range_in_use",
        about: "The file of a deferred page is truncated, punched, written and read directly: each of them waits for the page, and goes on at the deadline.",
        source: "mm/truncate.c: truncate_inode_pages_range(); mm/filemap.c: kiocb_invalidate_pages(), __filemap_fdatawait_range()",
        setups: SETUPS,
        acquisitions: &[Acquisition::Pin],
        policies: &[Policy::Defer],
        not: NOT,
        run: range_in_use,
        ..Scenario::PLAIN
    },
    Scenario {
        name: "deferred_store",
        about: "A processor writes to a page that is deferred: it waits until the deadline where the filesystem has it wait for writeback, and not elsewhere.",
        source: "fs/ext4/inode.c: ext4_page_mkwrite(); fs/iomap/buffered-io.c: iomap_page_mkwrite(); fs/btrfs/file.c: btrfs_page_mkwrite(); fs/f2fs/file.c: f2fs_vm_page_mkwrite()",
        setups: &[Setup::Ext4, Setup::Xfs, Setup::XfsStable, Setup::Btrfs, Setup::F2fs],
        acquisitions: &[Acquisition::Pin],
        policies: &[Policy::Defer],
        not: &[
            (&[Setup::None], "there is no file to write back"),
            (&[Setup::Bdev], "what a filesystem does about the page is the question"),
            LARGE_BLOCK,
            (
                &[Setup::Ext4Small, Setup::BtrfsNoDataSum],
                "the size of blocks and checksums are not what the policies are about",
            ),
            (&[Setup::Ext4Journal], "data in the journal is never cleaned by a bio of its own"),
            (&[Setup::Vfat], "it waits as ext4 does"),
            (&[Setup::Tmpfs], "there is no disk to write back to"),
            (Setup::FUSE, "the page cache of a FUSE file is written back to its daemon, if it has one"),
        ],
        run: store,
        ..Scenario::PLAIN
    },
    Scenario {
        name: "deferred_beside_fsync",
        about: "Another file is made durable while a page of a new file is deferred: its fsync does not wait for that, and a sync of all does until the deadline.",
        source: "fs/jbd2/commit.c: journal_finish_inode_data_buffers(); fs/sync.c: ksys_sync()",
        setups: SETUPS,
        acquisitions: &[Acquisition::Pin],
        policies: &[Policy::Defer],
        not: NOT,
        run: beside_fsync,
        ..Scenario::PLAIN
    },
    Scenario {
        name: "deferred_holder_dies",
        about: "Who holds a deferred page is killed: its pins go with it, and the page is written then, long before the deadline.",
        source: "kernel/exit.c: exit_files(); pinbed: kmod-blk/deferred.rs",
        setups: SETUPS,
        acquisitions: &[Acquisition::Pin],
        policies: &[Policy::Defer],
        not: NOT,
        run: holder_dies,
        ..Scenario::PLAIN
    },
];

fn range_in_use(bed: &mut Bed) -> Result<()> {
    const DIRECTLY: Pattern = Pattern(4);
    let memory = bed.anonymous(DIRECTLY, 1)?;
    waits(bed, "truncation", |file| file.truncate(0))?;
    waits(bed, "punching a hole", |file| file.punch(0, PAGE))?;
    waits(bed, "a direct write", |file| {
        let direct = file.direct()?;
        InFlight::write(&direct, 0, &memory, 0..PAGE)?.wait().map(drop).doing("write directly")
    })?;
    waits(bed, DIRECT_READ, |file| {
        let direct = file.direct()?;
        InFlight::read(&direct, 0, &memory, 0..PAGE)?.wait().map(drop).doing("read directly")
    })?;
    bed.check_data("the direct read got what the page held", BY_PROCESSOR, &memory.bytes())
}

/// A page is deferred, and what is done to its file then ends at the deadline.
fn waits(bed: &mut Bed, what: &str, work: impl FnOnce(&TestFile) -> Result<()>) -> Result<()> {
    let before = bed.decided_about_cleaning(Decision::Expired)?;
    let Deferred { file, mapping, hold, begun } = deferred_page(bed, what, SOON_MS)?;
    drop(mapping);
    work(&file)?;
    let took = begun.elapsed();
    let expired = bed.decided_about_cleaning(Decision::Expired)? == before + 1;
    // btrfs reads through the page cache as long as the written extent is not finished, which a worker does.
    if (bed.setup(), what) == (Setup::Btrfs, DIRECT_READ) {
        bed.restart_counting()?;
    }
    bed.observe(&format!("{what} is done"), None)?;
    bed.check(&format!("{what} ends when a copy was written at the deadline"), expired)?;
    let deadline = Duration::from_millis(SOON_MS.into());
    bed.check_that(&format!("{what} waits for that"), took >= deadline, || format!("it took {took:?}"))?;
    hold.release(Release::Clean)
}

fn store(bed: &mut Bed) -> Result<()> {
    const ANEW: Pattern = Pattern(4);
    let waits = matches!(bed.setup(), Setup::XfsStable | Setup::Btrfs);
    let deadline = if waits { SOON_MS } else { LATE_MS };
    let Deferred { file, mapping, hold, begun } = deferred_page(bed, "data", deadline)?;
    mapping.fill(ANEW);
    let took = begun.elapsed();
    let step = bed.observe("the processor has written to the page", Some(&hold))?;
    if waits {
        let expired = step.decided(Purpose::Cleaning, Decision::Expired) == 1;
        bed.check("it waited until a copy was written at the deadline", expired)?;
        let deadline = Duration::from_millis(SOON_MS.into());
        bed.check_that("which takes that long", took >= deadline, || format!("it took {took:?}"))?;
    } else {
        bed.check("it did not wait", step.pages[0].dump.has_flag("writeback"))?;
    }
    hold.release(Release::Clean)?;
    file.fsync()?;
    bed.observe("the page is released clean, fsync returned", None)?;
    drop(mapping);
    let found = bed.read_back(&file)?;
    bed.check_data("the media hold what the processor wrote last", ANEW, &found)
}

fn beside_fsync(bed: &mut Bed) -> Result<()> {
    let other = bed.file("other", BEFORE, 1)?;
    let open = other.buffered()?;
    let file = bed.new_file("data", 1)?;
    file.buffered()?.write_all_at(&BY_PROCESSOR.bytes(0, PAGE), 0).doing("write a new file")?;
    let Deferred { file, mapping, hold, .. } = defer(bed, file, LATE_MS)?;
    open.write_all_at(&BY_PROCESSOR.bytes(0, PAGE), 0).doing("write another file")?;
    let mut fsync = InFlight::fsync(&open)?;
    let ended = fsync.completes_within(PATIENCE)?;
    bed.check("an fsync of another file does not wait for the page", ended)?;
    hold.release(Release::Clean)?;
    fsync.wait().doing("fsync another file")?;
    file.wait_for_writeback()?;
    drop(mapping);
    bed.observe("another file was made durable, and the page released", None)?;
    let before = bed.decided_about_cleaning(Decision::Expired)?;
    let Deferred { mapping, hold, begun, .. } = deferred_page(bed, "again", SOON_MS)?;
    sync();
    let took = begun.elapsed();
    let expired = bed.decided_about_cleaning(Decision::Expired)? - before;
    bed.check("a sync of all ends when a copy was written at the deadline", expired == 1)?;
    let deadline = Duration::from_millis(SOON_MS.into());
    bed.check_that("a sync of all waits until the deadline", took >= deadline, || {
        format!("it took {took:?}")
    })?;
    // How many of its own blocks the filesystem reads and writes for that varies.
    bed.restart_counting()?;
    drop(mapping);
    hold.release(Release::Clean)
}

fn holder_dies(bed: &mut Bed) -> Result<()> {
    let file = bed.file("data", BEFORE, 1)?;
    let mapping = file.map()?;
    mapping.fill(BY_PROCESSOR);
    bed.write_rule("defer_deadline", LATE_MS)?;
    let acquisition = bed.acquisition();
    let mut held: Option<Hold> = None;
    let mut holder = Child::fork(|_| {
        // By a file of its own, which is closed when it dies.
        held = Device::open().and_then(|device| device.hold(&mapping, acquisition)).ok();
        held.is_some().into()
    })?;
    let holds = holder.ask(0)?;
    bed.require("another process holds the page", holds == 1)?;
    file.begin_cleaning()?;
    bed.check("the bio is in flight", bed.disk_statistics()?.in_flight == 1)?;
    drop(mapping);
    bed.observe("the page was to be cleaned, and is not mapped any more", None)?;
    holder.kill()?;
    file.wait_for_writeback()?;
    let step = bed.observe("who held it was killed, the writeback ended", None)?;
    let deferred = step.decided(Purpose::Cleaning, Decision::Deferred) == 1;
    bed.check("the page was written when its pins went", deferred)?;
    file.fsync()?;
    bed.observe("fsync has returned", None)?;
    let found = bed.after_power_cut(&file)?;
    bed.check_data("the media hold what the page held", BY_PROCESSOR, &found)
}

/// A page of a file of that name that was to be cleaned, and waits for who holds it.
pub(crate) fn deferred_page(bed: &mut Bed, name: &str, deadline: u32) -> Result<Deferred> {
    let file = bed.file(name, BEFORE, 1)?;
    defer(bed, file, deadline)
}

/// A page whose writeback waits for who holds it.
pub(crate) struct Deferred {
    pub(crate) file: TestFile,
    pub(crate) mapping: Memory,
    pub(crate) hold: Hold,
    /// Just before its bio came, and with it the deadline's clock.
    pub(crate) begun: Instant,
}

pub(crate) fn defer(bed: &Bed, file: TestFile, deadline: u32) -> Result<Deferred> {
    let mapping = file.map()?;
    mapping.fill(BY_PROCESSOR);
    let hold = bed.device().hold(&mapping, bed.acquisition())?;
    bed.write_rule("defer_deadline", deadline)?;
    let begun = Instant::now();
    file.begin_cleaning()?;
    Ok(Deferred { file, mapping, hold, begun })
}
