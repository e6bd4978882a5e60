// SPDX-License-Identifier: MIT OR Apache-2.0

//! What is done to files while the disk records: each thing as a program would do it, with a device that
//! holds a page now and then. What a call promises is noted with the position of the log at which it returned.

use std::os::unix::fs::FileExt;

use fastrand::Rng;
use fs_harness::cell::{Policy, Setup};
use fs_harness::crash::History;
use fs_harness::crash::history::FileId;
use fs_harness::guest::crash::{Recorded, Recording};
use fs_harness::guest::device::{Bios, Hold, Release, Stage, abi};
use fs_harness::guest::dm_log_writes::LogWrites;
use fs_harness::guest::error::Doing;
use fs_harness::guest::file::TestFile;
use fs_harness::guest::in_flight::InFlight;
use fs_harness::guest::memory::{Memory, PAGE};
use fs_harness::guest::{Bed, Result};
use fs_harness::pattern::Pattern;
use fs_harness::record::Class;

/// Pages of each file.
const PAGES: usize = 4;

/// How long a bio is deferred, in milliseconds.
const DEADLINE_MS: u32 = 20;

/// A file of the workload, by what it is on the filesystem and in the history.
#[derive(Clone, Copy)]
struct Known {
    name: &'static str,
    id: FileId,
}

struct Workload<'a> {
    bed: &'a mut Bed,
    recording: Recording,
    history: History,
    draw: Rng,
    files: Vec<Known>,
    created: usize,
}

type Operation = fn(&mut Workload<'_>) -> Result<()>;

const OPERATIONS: &[Operation] = &[
    clean_held_page,
    clean_held_page,
    fsync_while_cleaned,
    write_and_fdatasync,
    msync_mapping,
    write_with_o_dsync,
    write_with_rwf_dsync,
    write_directly_over_held_page,
    make_new_file,
    truncate_and_reuse,
    punch_hole,
    overwrite_what_was_synced,
    sync_everything,
];

/// Files that are there when the log begins.
const OLD: &[&str] = &["held", "raced", "plain", "direct", "victim"];

/// Does everything so many times, in an order by the seed, and records what reaches the disk; beside a second log, where
/// there is one.
pub(super) fn run(
    bed: &mut Bed,
    seed: u64,
    rounds: usize,
    second: Option<LogWrites>,
) -> Result<(Recorded, History)> {
    if bed.policy() == Policy::Defer {
        bed.write_rule("defer_deadline", DEADLINE_MS)?;
    }
    let mut history = History::default();
    let mut files = Vec::new();
    for name in OLD {
        let holds = history.pattern();
        bed.file(name, holds, PAGES)?;
        files.push(Known { name, id: history.file(name, PAGES, Some(holds)) });
    }
    let recording = bed.record(second)?;
    let draw = Rng::with_seed(seed);
    let mut workload = Workload { bed, recording, history, draw, files, created: 0 };
    for round in 1..=rounds {
        workload.bed.doing(&format!("round {round} of {rounds} of writing"))?;
        let mut operations = OPERATIONS.to_vec();
        workload.draw.shuffle(&mut operations);
        operations.iter().try_for_each(|operation| operation(&mut workload))?;
    }
    let Workload { recording, history, .. } = workload;
    Ok((recording.end()?, history))
}

/// Makes a file of a page, and one more that is fsynced: with what that holds.
pub(super) fn fsync_new_file(bed: &mut Bed) -> Result<(Recorded, History, Pattern)> {
    let mut history = History::default();
    let (before, with) = (history.pattern(), history.pattern());
    bed.file("before", before, 1)?;
    history.file("before", 1, Some(before));
    let recording = bed.record(None)?;
    let id = history.file("new", 1, None);
    let file = bed.new_file("new", 1)?;
    history.written(id, 0..1, recording.position()?, with);
    file.buffered()?.write_all_at(&with.bytes(0, PAGE), 0).doing("write a page")?;
    file.fsync()?;
    history.promised(id, 0..1, recording.position()?, "fsync");
    Ok((recording.end()?, history, with))
}

impl Workload<'_> {
    fn known(&self, name: &str) -> FileId {
        let found = self.files.iter().find(|known| known.name == name);
        found.expect("the workload names files that it made").id
    }

    fn file(&self, name: &str) -> Result<TestFile> {
        self.bed.old_file(name, PAGES)
    }

    /// A page, by chance.
    fn page(&mut self) -> usize {
        self.draw.usize(0..PAGES)
    }

    /// Has a program write a page, and a device hold it.
    fn hold(&mut self, file: &TestFile, id: FileId, page: usize) -> Result<(Memory, Hold)> {
        let mapping = file.map()?;
        self.fill(&mapping, id, page)?;
        let hold = self.bed.device().hold(mapping.pages_of(page, 1), self.bed.acquisition())?;
        Ok((mapping, hold))
    }

    fn fill(&mut self, mapping: &Memory, id: FileId, page: usize) -> Result<()> {
        let with = self.history.pattern();
        self.history.written(id, page..page + 1, self.recording.position()?, with);
        mapping.fill_part(with, page * PAGE..(page + 1) * PAGE);
        Ok(())
    }

    /// Has a program write a page by a system call.
    fn write(&mut self, file: &TestFile, id: FileId, page: usize) -> Result<()> {
        let with = self.history.pattern();
        self.history.written(id, page..page + 1, self.recording.position()?, with);
        let place = (page * PAGE) as u64;
        file.buffered()?.write_all_at(&with.bytes(page * PAGE, PAGE), place).doing("write a page")
    }

    fn device_writes(&mut self, hold: &Hold, id: FileId, page: usize) -> Result<()> {
        let with = self.history.pattern();
        self.history.written_by_device(id, page, self.recording.position()?, with);
        hold.dma(0, &with.bytes(page * PAGE, PAGE))
    }

    /// Releases a page, as dirty or not by chance.
    fn release(&mut self, hold: Hold, id: FileId, page: usize) -> Result<()> {
        if self.draw.bool() {
            return hold.release(Release::Clean);
        }
        // An fsync of btrfs does not wait for what a driver has dirtied: docs/findings.md has it.
        if self.bed.setup() != Setup::Btrfs {
            self.history.dirtied(id, page, self.recording.position()?);
        }
        hold.release(Release::Dirty)
    }

    /// Notes that a call has returned which promises these pages.
    fn promised(&mut self, id: FileId, pages: std::ops::Range<usize>, by: &'static str) -> Result<()> {
        self.history.promised(id, pages, self.recording.position()?, by);
        Ok(())
    }

    fn fsync(&mut self, file: &TestFile, id: FileId) -> Result<()> {
        file.fsync()?;
        self.promised(id, 0..PAGES, "fsync")
    }

    fn fdatasync(&mut self, file: &TestFile, id: FileId) -> Result<()> {
        file.buffered()?.sync_data().doing("fdatasync")?;
        self.promised(id, 0..PAGES, "fdatasync")
    }

    /// A file that was not there before, with so many pages to be.
    fn create(&mut self) -> Result<(TestFile, FileId)> {
        let name = format!("new{}", self.created);
        self.created += 1;
        let id = self.history.file(&name, PAGES, None);
        Ok((self.bed.new_file(&name, PAGES)?, id))
    }
}

fn clean_held_page(work: &mut Workload<'_>) -> Result<()> {
    let (file, id, page) = (work.file("held")?, work.known("held"), work.page());
    let (mapping, hold) = work.hold(&file, id, page)?;
    if work.draw.bool() {
        work.device_writes(&hold, id, page)?;
    }
    file.begin_cleaning()?;
    file.wait_for_writeback()?;
    work.device_writes(&hold, id, page)?;
    if work.draw.bool() {
        work.fsync(&file, id)?;
    }
    work.release(hold, id, page)?;
    drop(mapping);
    if work.draw.bool() { work.fsync(&file, id) } else { Ok(()) }
}

fn fsync_while_cleaned(work: &mut Workload<'_>) -> Result<()> {
    let (file, id, page) = (work.file("raced")?, work.known("raced"), work.page());
    let (mapping, hold) = work.hold(&file, id, page)?;
    let gate = work.bed.close_gate(Stage::Arrival, &Bios::writes().class(Class::PageCache))?;
    file.begin_cleaning()?;
    if hold.dump(0)?.state & abi::STATE_WRITEBACK == 0 {
        // A kernel that leaves pinned pages dirty, as a patch may have it, leaves nothing to race with.
        gate.open()?;
        work.fsync(&file, id)?;
    } else {
        gate.wait_for(1)?;
        let buffered = file.buffered()?;
        let fsync = InFlight::fsync(&buffered)?;
        fsync.wait_until_asleep_in("folio_wait_writeback")?;
        gate.open()?;
        fsync.wait().doing("wait for fsync")?;
        work.promised(id, 0..PAGES, "fsync")?;
    }
    drop(mapping);
    work.device_writes(&hold, id, page)?;
    work.release(hold, id, page)
}

fn write_and_fdatasync(work: &mut Workload<'_>) -> Result<()> {
    let (file, id, page) = (work.file("plain")?, work.known("plain"), work.page());
    work.write(&file, id, page)?;
    work.fdatasync(&file, id)
}

fn msync_mapping(work: &mut Workload<'_>) -> Result<()> {
    let (file, id, page) = (work.file("held")?, work.known("held"), work.page());
    let (mapping, hold) = work.hold(&file, id, page)?;
    file.begin_cleaning()?;
    file.wait_for_writeback()?;
    mapping.sync_pages(page, 1)?;
    work.promised(id, page..page + 1, "msync")?;
    work.release(hold, id, page)
}

fn write_with_o_dsync(work: &mut Workload<'_>) -> Result<()> {
    let (file, id, page) = (work.file("plain")?, work.known("plain"), work.page());
    let with = work.history.pattern();
    work.history.written(id, page..page + 1, work.recording.position()?, with);
    let durable = file.durable()?;
    durable.write_all_at(&with.bytes(page * PAGE, PAGE), (page * PAGE) as u64).doing("write with O_DSYNC")?;
    work.promised(id, page..page + 1, "O_DSYNC")
}

fn write_with_rwf_dsync(work: &mut Workload<'_>) -> Result<()> {
    let (file, id, page) = (work.file("direct")?, work.known("direct"), work.page());
    let with = work.history.pattern();
    work.history.written(id, page..page + 1, work.recording.position()?, with);
    let memory = Memory::anonymous(1)?;
    memory.put(&with.bytes(page * PAGE, PAGE));
    // btrfs does not keep that promise of a direct write: docs/findings.md has it.
    let is_direct = work.draw.bool() && work.bed.setup() != Setup::Btrfs;
    let opened = if is_direct { file.direct()? } else { file.buffered()? };
    let write = InFlight::write_durably(&opened, (page * PAGE) as u64, &memory)?;
    write.wait().doing("write with RWF_DSYNC")?;
    work.promised(id, page..page + 1, "RWF_DSYNC")
}

fn write_directly_over_held_page(work: &mut Workload<'_>) -> Result<()> {
    let (file, id, page) = (work.file("direct")?, work.known("direct"), work.page());
    let (mapping, hold) = work.hold(&file, id, page)?;
    file.begin_cleaning()?;
    file.wait_for_writeback()?;
    hold.release(Release::Clean)?;
    drop(mapping);
    let with = work.history.pattern();
    work.history.written(id, page..page + 1, work.recording.position()?, with);
    let memory = Memory::anonymous(1)?;
    memory.put(&with.bytes(page * PAGE, PAGE));
    let direct = file.direct()?;
    InFlight::write(&direct, (page * PAGE) as u64, &memory, 0..PAGE)?.wait().doing("write directly")?;
    work.fdatasync(&file, id)
}

fn make_new_file(work: &mut Workload<'_>) -> Result<()> {
    let (file, id) = work.create()?;
    for page in 0..PAGES {
        work.write(&file, id, page)?;
    }
    let (mapping, hold) = work.hold(&file, id, 0)?;
    file.begin_cleaning()?;
    file.wait_for_writeback()?;
    // Another file's fsync has the journal commit.
    write_and_fdatasync(work)?;
    let (plain, known) = (work.file("plain")?, work.known("plain"));
    work.write(&plain, known, 0)?;
    work.fsync(&plain, known)?;
    work.device_writes(&hold, id, 0)?;
    work.release(hold, id, 0)?;
    drop(mapping);
    work.fsync(&file, id)
}

fn truncate_and_reuse(work: &mut Workload<'_>) -> Result<()> {
    let (file, id) = (work.file("victim")?, work.known("victim"));
    let (mapping, hold) = work.hold(&file, id, 0)?;
    file.begin_cleaning()?;
    file.wait_for_writeback()?;
    hold.release(Release::Clean)?;
    drop(mapping);
    work.history.removed(id, 0..PAGES, work.recording.position()?);
    file.truncate(0)?;
    if work.draw.bool() {
        work.fsync(&file, id)?;
    }
    // Its blocks are free for this one.
    let (next, next_id) = work.create()?;
    for page in 0..PAGES {
        work.write(&next, next_id, page)?;
    }
    if work.draw.bool() {
        work.fsync(&next, next_id)?;
    } else {
        next.begin_cleaning()?;
        next.wait_for_writeback()?;
    }
    for page in 0..PAGES {
        work.write(&file, id, page)?;
    }
    Ok(())
}

fn punch_hole(work: &mut Workload<'_>) -> Result<()> {
    let (file, id, page) = (work.file("plain")?, work.known("plain"), work.page());
    work.history.removed(id, page..page + 1, work.recording.position()?);
    file.punch(page * PAGE, PAGE)?;
    if work.draw.bool() {
        work.fdatasync(&file, id)?;
    }
    work.write(&file, id, page)
}

fn overwrite_what_was_synced(work: &mut Workload<'_>) -> Result<()> {
    let (file, id, page) = (work.file("held")?, work.known("held"), work.page());
    work.write(&file, id, page)?;
    work.fsync(&file, id)?;
    let (mapping, hold) = work.hold(&file, id, page)?;
    file.begin_cleaning()?;
    file.wait_for_writeback()?;
    drop(mapping);
    work.release(hold, id, page)
}

fn sync_everything(work: &mut Workload<'_>) -> Result<()> {
    nix::unistd::sync();
    // XFS does not keep that promise: docs/findings.md has it.
    if work.bed.setup() == Setup::Xfs {
        return Ok(());
    }
    work.history.promised_all(work.recording.position()?, "sync");
    Ok(())
}
