// SPDX-License-Identifier: MIT OR Apache-2.0

//! What each policy costs: pages that go to the disk, copies that are made, and the time that it takes. Times are
//! no part of a snapshot: they stand in the log of the kernel.

use std::arch::x86_64::_rdtsc;
use std::time::{Duration, Instant};

use fs_harness::cell::{Acquisition, Policy, Setup};
use fs_harness::guest::device::{Hold, Release, abi};
use fs_harness::guest::file::TestFile;
use fs_harness::guest::memory::PAGE;
use fs_harness::guest::{Bed, Result, kmsg};
use fs_harness::pattern::Pattern;
use fs_harness::record::Decision;

use crate::catalogue::Scenario;
use crate::pinned_writeback::{BEFORE, BY_PROCESSOR, DEADLINE_MS, NOT, SETUPS};

/// Pages of the file, all of which a processor dirties once.
const PAGES: usize = 32;
/// So many of them a device holds all the time.
const HELD: usize = 8;
/// So often memory is cleaned.
const ROUNDS: usize = 4;

/// How long the workers of btrfs may take.
const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) const SCENARIOS: &[Scenario] = &[Scenario {
    name: "cost_of_policies",
    about: "A device holds 8 of the 32 dirty pages of a file, and writes to them before each of four cleanings; then it releases them dirty, and fsync is called. The policies differ in how many pages go to the disk, and in how many are copied.",
    source: "pinbed: kmod-blk/README.md",
    setups: SETUPS,
    acquisitions: &[Acquisition::Pin],
    policies: &[Policy::Observe, Policy::Skip, Policy::Bounce, Policy::Defer],
    not: NOT,
    run: cost,
    ..Scenario::PLAIN
}];

/// What was counted until now, since the disk has its power.
#[derive(Clone, Copy)]
struct Cost {
    /// Pages of files that were written to the disk.
    written: u64,
    /// Pages that were copied before that: those of the cache and of what was bounced, at once or at a deadline.
    copied: u64,
    /// Pages that were put into the cache and are dirty again.
    stashed: u64,
}

fn cost(bed: &mut Bed) -> Result<()> {
    let file = bed.file("data", BEFORE, PAGES)?;
    let mapping = file.map()?;
    // Else a folio would have many of the pages, and be held as a whole.
    mapping.read_singly()?;
    mapping.fill(BY_PROCESSOR);
    if bed.policy() == Policy::Defer {
        bed.write_rule("defer_deadline", DEADLINE_MS)?;
    }
    let hold = bed.device().hold(mapping.pages_of(0, HELD), bed.acquisition())?;
    // So that nothing waits for the media but what comes now.
    bed.flush_disk()?;
    bed.restart_counting()?;
    let before = Cost::until_now(bed)?;
    for round in 1..=ROUNDS {
        hold.dma(0, &by_device(round))?;
        clean(bed, &file, round)?;
    }
    let cleaned = Cost::until_now(bed)?.since(before);
    let waiting = bed.disk_statistics()?.cached_pages;
    release_and_fsync(bed, &file, hold)?;
    drop(mapping);
    let total = Cost::until_now(bed)?.since(before);

    let (all, held, rounds) = (PAGES as u64, HELD as u64, ROUNDS as u64);
    let (written, copied) = match bed.policy() {
        Policy::Observe | Policy::Drop => (all, 0),
        Policy::Skip => (all + (rounds - 1) * held, rounds * held),
        Policy::Bounce | Policy::Defer => (all, held),
    };
    let found = |found: u64| move || format!("{found} pages");
    let text = format!("cleaning has sent {written} pages to the disk");
    bed.check_that(&text, cleaned.written == written, found(cleaned.written))?;
    let text = format!("and copied {copied} pages before");
    bed.check_that(&text, cleaned.copied == copied, found(cleaned.copied))?;
    // Whatever btrfs writes has a new place. Elsewhere a page that comes again takes that of its first time.
    let places = if bed.setup() == Setup::Btrfs { written } else { all };
    let text = format!("{places} pages wait in its cache for the media");
    bed.check_that(&text, waiting == places, found(waiting))?;
    let late = total.written - cleaned.written;
    bed.check_that("fsync has sent what is dirty: the pages of the device", late == held, found(late))?;
    let found = bed.after_power_cut(&file)?;
    bed.check(
        "what the device wrote last is there after a power cut",
        found.starts_with(&by_device(ROUNDS)),
    )?;
    let rest = HELD * PAGE;
    bed.check(
        "and what the processor wrote to the other pages",
        found[rest..] == BY_PROCESSOR.bytes(rest, (PAGES - HELD) * PAGE),
    )
}

/// What the device writes to its pages in a round.
fn by_device(round: usize) -> Vec<u8> {
    let number = u8::try_from(round).expect("there are few rounds");
    Pattern(BY_PROCESSOR.0 + number).bytes(0, HELD * PAGE)
}

/// Cleans memory once. Ends a step.
fn clean(bed: &mut Bed, file: &TestFile, round: usize) -> Result<()> {
    let before = Cost::until_now(bed)?;
    let by_workers = (bed.setup(), bed.policy()) == (Setup::Btrfs, Policy::Skip);
    let (begun, deadline) = (ticks(), Instant::now() + PATIENCE);
    let mut submitting = 0;
    loop {
        let began = ticks();
        file.begin_cleaning()?;
        submitting += ticks() - began;
        file.wait_for_writeback()?;
        let stashed = Cost::until_now(bed)?.stashed - before.stashed;
        // On btrfs a page that the driver dirtied is only queued when it is to be written, for workers: what comes
        // after that writes it.
        if !by_workers || stashed >= HELD as u64 || deadline < Instant::now() {
            break;
        }
    }
    let took = ticks() - begun;
    tell(&format!("cleaning {round}: {took} ticks, of them {submitting} to submit"))?;
    if by_workers {
        // In how many bios they come belongs to no step.
        bed.restart_counting()?;
    }
    bed.observe(&format!("memory was cleaned, time {round}"), None).map(drop)
}

/// The device releases its pages as it should, and they are made durable. Ends a step.
fn release_and_fsync(bed: &mut Bed, file: &TestFile, hold: Hold) -> Result<()> {
    hold.release(Release::Dirty)?;
    let before = Cost::until_now(bed)?;
    let (begun, deadline) = (ticks(), Instant::now() + PATIENCE);
    loop {
        file.fsync()?;
        let written = Cost::until_now(bed)?.written - before.written;
        if bed.setup() != Setup::Btrfs || written >= HELD as u64 || deadline < Instant::now() {
            break;
        }
    }
    tell(&format!("fsync: {} ticks", ticks() - begun))?;
    if bed.setup() == Setup::Btrfs {
        // Its workers have to see the pages first.
        bed.restart_counting()?;
    }
    bed.observe("the device has released its pages dirty, fsync returned", None).map(drop)
}

impl Cost {
    fn until_now(bed: &Bed) -> Result<Self> {
        let written = bed.disk_statistics()?.writes[abi::CLASS_PAGE_CACHE].pages;
        let stashed = bed.decided_about_cleaning(Decision::Stashed)?;
        let bounced = bed.decided_about_cleaning(Decision::Bounced)?;
        let expired = bed.decided_about_cleaning(Decision::Expired)?;
        Ok(Self { written, copied: stashed + bounced + expired, stashed })
    }

    fn since(self, earlier: Self) -> Self {
        Self {
            written: self.written - earlier.written,
            copied: self.copied - earlier.copied,
            stashed: self.stashed - earlier.stashed,
        }
    }
}

/// Says in the kernel's log how long something took.
fn tell(what: &str) -> Result<()> {
    kmsg::write(&format!("pinbed: cost: {what}"))
}

/// The processor's own clock: the kernel's goes by its timer here, every 4 ms. Where instructions are counted a tick
/// is a nanosecond of that.
fn ticks() -> u64 {
    // SAFETY: every processor of x86-64 has the instruction, and it changes no memory.
    unsafe { _rdtsc() }
}
