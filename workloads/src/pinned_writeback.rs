// SPDX-License-Identifier: MIT OR Apache-2.0

//! What each policy of the driver does about a page that is written back while a device holds it, and
//! what that means for the data.

use fs_harness::cell::{Acquisition, Policy, Setup};
use fs_harness::guest::device::{Bios, Hold, Release, Stage, abi};
use fs_harness::guest::error::Doing;
use fs_harness::guest::file::TestFile;
use fs_harness::guest::flusher::Flusher;
use fs_harness::guest::in_flight::InFlight;
use fs_harness::guest::memory::Memory;
use fs_harness::guest::processor::{run_by_turns, run_first};
use fs_harness::guest::{Bed, Result};
use fs_harness::pattern::Pattern;
use fs_harness::record::{Class, Decision, Direction, Purpose, Step};

use crate::catalogue::{LARGE_BLOCK, NotOn, Scenario, Violated, Why};
use crate::hold::fsync_until_written;

pub(crate) const BEFORE: Pattern = Pattern(1);
pub(crate) const BY_PROCESSOR: Pattern = Pattern(2);
pub(crate) const BY_DEVICE: Pattern = Pattern(3);

/// How long a bio is deferred in these scenarios, in milliseconds.
pub(crate) const DEADLINE_MS: u32 = 100;

/// The flag of a page for which btrfs has reserved no space: `folio_set_fixup_pending()` of fs/btrfs/fs.h.
const WITHOUT_SPACE: &str = "owner_2";

pub(crate) const SETUPS: &[Setup] = &[Setup::Ext4, Setup::Xfs, Setup::Btrfs, Setup::F2fs];

/// Without btrfs.
pub(crate) const NO_CHECKSUMS: &[Setup] = &[Setup::Ext4, Setup::Xfs, Setup::F2fs];

/// What is said of a filesystem that a scenario of the others leaves out, and what of the rest.
macro_rules! not_either {
    ($($left_out:expr),*) => {
        &[
            $($left_out,)*
            (&[Setup::None], "there is no file to write back"),
            (&[Setup::Bdev], "what a filesystem does about the page is the question"),
            LARGE_BLOCK,
            (
                &[Setup::Ext4Small, Setup::BtrfsNoDataSum],
                "the size of blocks and checksums are not what the policies are about",
            ),
            (&[Setup::Ext4Journal], "data in the journal is never cleaned by a bio of its own"),
            (&[Setup::XfsStable], "stable pages wait for the processor to write, and not for a device"),
            (&[Setup::Vfat], "it has no journal that promises anything after a power cut"),
            (&[Setup::Tmpfs], "there is no disk to write back to"),
            (Setup::FUSE, "the page cache of a FUSE file is written back to its daemon, if it has one"),
        ]
    };
}
pub(crate) use not_either;

pub(crate) const NOT: &[NotOn] = not_either!();

const PROMISED: &str = "what fsync promised is there after a power cut";

const WRITTEN_AGAIN: &str = "fsync writes the page, which is dirty";

/// A page that the driver dirtied is queued for workers that reserve space, and fsync does not wait for
/// them.
const MISSED: Violated = Violated {
    on: &[Setup::Btrfs],
    under: &[Policy::Skip, Policy::Drop],
    check: WRITTEN_AGAIN,
    why: Why::Finding("btrfs-fsync-misses-late-dirty"),
};

/// A check that the policy `drop` violates, as it is meant to.
pub(crate) const fn dropped(check: &'static str) -> Violated {
    let why = Why::Control("the policy drop loses data");
    Violated { on: SETUPS, under: &[Policy::Drop], check, why }
}

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "fsync_races_cleaning",
        row: Some(51),
        about: "An fsync begins while a pinned page is already being written back to clean memory: what it promises is on the media when it returns.",
        source: "mm/page-writeback.c: tag_pages_for_writeback(), __folio_start_writeback()",
        setups: SETUPS,
        acquisitions: &[Acquisition::Pin],
        policies: Policy::ALL,
        not: NOT,
        known: &[dropped(PROMISED)],
        run: fsync_races_cleaning,
    },
    Scenario {
        name: "fsync_of_pinned",
        about: "An fsync writes a pinned page itself: whatever the policy, it is on the media when fsync returns.",
        source: "include/linux/writeback.h: wbc_to_write_flags(): REQ_SYNC",
        setups: SETUPS,
        acquisitions: &[Acquisition::Pin],
        policies: Policy::ALL,
        not: NOT,
        run: fsync_of_pinned,
        ..Scenario::PLAIN
    },
    Scenario {
        name: "dma_during_cleaning",
        row: Some(50),
        about: "A device writes to a page after the disk decided about it and before the disk copies its data: a copy is not touched by that.",
        source: "include/linux/blkdev.h: BLK_FEAT_STABLE_WRITES; block/bio.c: bio_iov_iter_bounce_write()",
        setups: NO_CHECKSUMS,
        acquisitions: &[Acquisition::Pin],
        // A bio that is deferred does not come that far while the page is held.
        policies: &[Policy::Observe, Policy::Skip, Policy::Bounce, Policy::Drop],
        not: not_either!((&[Setup::Btrfs], "a checksum is made before the disk sees the page")),
        run: dma_during_cleaning,
        ..Scenario::PLAIN
    },
    Scenario {
        name: "flusher_cleans_pinned",
        row: Some(50),
        about: "The kernel's own flusher writes back a pinned page that has been dirty for long.",
        source: "fs/fs-writeback.c: wb_check_old_data_flush()",
        setups: SETUPS,
        acquisitions: &[Acquisition::Pin],
        policies: Policy::ALL,
        not: NOT,
        known: &[MISSED],
        run: flusher_cleans_pinned,
    },
    Scenario {
        name: "dma_after_cleaning",
        row: Some(50),
        about: "A device writes to a page after it was written back to clean memory, and releases it without dirtying: only a page that stayed dirty is written again.",
        source: "mm/gup.c: unpin_user_pages_dirty_lock(); Documentation/core-api/pin_user_pages.rst, case 5",
        setups: SETUPS,
        acquisitions: &[Acquisition::Pin],
        policies: Policy::ALL,
        not: NOT,
        known: &[MISSED],
        run: dma_after_cleaning,
    },
];

fn fsync_races_cleaning(bed: &mut Bed) -> Result<()> {
    let (file, mapping, hold) = held_dirty_page(bed)?;
    let gate = bed.close_gate(Stage::Arrival, &Bios::writes().class(Class::PageCache))?;
    file.begin_cleaning()?;
    gate.wait_for(1)?;
    let buffered = file.buffered()?;
    let fsync = InFlight::fsync(&buffered)?;
    fsync.wait_until_asleep_in("folio_wait_writeback")?;
    bed.observe_gate("the page is on its way to the disk, and fsync waits for that", &gate)?;
    gate.open()?;
    fsync.wait().doing("wait for fsync")?;
    let step = bed.observe_at_rest("fsync has returned", &hold)?;
    check_decision(bed, &step, Purpose::Cleaning)?;
    if (bed.setup(), bed.policy()) == (Setup::Btrfs, Policy::Drop) {
        expect_bad_checksums(bed)?;
    }
    bed.check_after_power_cut(PROMISED, BY_PROCESSOR, &file)?;
    hold.release(Release::Clean)?;
    drop(mapping);
    Ok(())
}

fn dma_after_cleaning(bed: &mut Bed) -> Result<()> {
    let (file, mapping, hold) = held_dirty_page(bed)?;
    file.begin_cleaning()?;
    file.wait_for_writeback()?;
    let step = bed.observe_at_rest("the page was written back to clean memory", &hold)?;
    check_decision(bed, &step, Purpose::Cleaning)?;
    check_dirty(bed, &step)?;
    hold.dma(0, &BY_DEVICE.bytes(0, mapping.length()))?;
    hold.release(Release::Clean)?;
    fsync_what_is_dirty(bed, &file, "the device wrote the page and released it clean, fsync returned")?;
    drop(mapping);
    let found = bed.read_back(&file)?;
    if leaves_dirty(bed.policy()) {
        bed.check_data("what the device wrote last is saved", BY_DEVICE, &found)
    } else {
        bed.check_data("what the device wrote last is lost: nobody dirtied the page", BY_PROCESSOR, &found)
    }
}

fn fsync_of_pinned(bed: &mut Bed) -> Result<()> {
    let (file, mapping, hold) = held_dirty_page(bed)?;
    file.fsync()?;
    let step = bed.observe_at_rest("fsync has returned", &hold)?;
    check_decision(bed, &step, Purpose::Integrity)?;
    bed.check("the page is clean", !step.pages[0].dump.has_flag("dirty"))?;
    let found = bed.after_power_cut(&file)?;
    bed.check_data(PROMISED, BY_PROCESSOR, &found)?;
    hold.release(Release::Clean)?;
    drop(mapping);
    Ok(())
}

fn dma_during_cleaning(bed: &mut Bed) -> Result<()> {
    let (file, mapping, hold) = held_dirty_page(bed)?;
    let gate = bed.close_gate(Stage::Transfer, &Bios::writes().class(Class::PageCache))?;
    file.begin_cleaning()?;
    gate.wait_for(1)?;
    hold.dma(0, &BY_DEVICE.bytes(0, mapping.length()))?;
    let held = bed.observe_gate("the device wrote the page, and the disk has not copied it", &gate)?;
    gate.open()?;
    file.wait_for_writeback()?;
    let step = bed.observe_at_rest("the disk has copied the page", &hold)?;
    // What does not depend on the end of the bio is known before.
    check_decision(bed, if leaves_dirty(bed.policy()) { &step } else { &held }, Purpose::Cleaning)?;
    let found = bed.after_power_cut(&file)?;
    bed.check_data("nothing of it survives a power cut before a flush", BEFORE, &found)?;
    bed.flush_disk()?;
    let found = bed.after_power_cut(&file)?;
    let (text, expected) = match bed.policy() {
        Policy::Skip => ("a flush took what the page held when it came to the media", BY_PROCESSOR),
        Policy::Bounce => ("the media hold what the page held when it came", BY_PROCESSOR),
        Policy::Drop => ("the media hold nothing of it: the policy drops it on purpose", BEFORE),
        Policy::Observe | Policy::Defer => ("the media hold what the device wrote", BY_DEVICE),
    };
    bed.check_data(text, expected, &found)?;
    hold.release(Release::Clean)?;
    file.fsync()?;
    drop(mapping);
    let found = bed.read_back(&file)?;
    if bed.policy() == Policy::Bounce {
        bed.check_data(
            "what the device wrote is lost: the page was cleaned before, and nobody dirtied it",
            BY_PROCESSOR,
            &found,
        )
    } else {
        bed.check_data("what the device wrote is saved in the end", BY_DEVICE, &found)
    }
}

/// A file on btrfs whose data was never written is read after a power cut: its checksums tell.
pub(crate) fn expect_bad_checksums(bed: &mut Bed) -> Result<()> {
    for errors in ["corrupt 1", "corrupt 2"] {
        bed.expect_log("BTRFS warning (device pinblk1): csum failed")?;
        bed.expect_log(errors)?;
    }
    Ok(())
}

fn flusher_cleans_pinned(bed: &mut Bed) -> Result<()> {
    let flusher = Flusher::start()?;
    let (file, mapping, hold) = held_dirty_page(bed)?;
    let gate = bed.close_gate(Stage::Arrival, &Bios::writes().class(Class::PageCache))?;
    flusher.expire()?;
    gate.wait_for(1)?;
    // Whatever is dirty again stays so from here on.
    flusher.stop()?;
    bed.observe_gate("the flusher writes the page back", &gate)?;
    let flags = gate.bio(0)?.flags;
    bed.check("nobody waits for it", flags & abi::BIO_SYNC == 0)?;
    let is_marked = flags & abi::BIO_BACKGROUND != 0;
    if bed.setup() == Setup::Ext4 {
        bed.check("ext4 does not mark it as background writeback", !is_marked)?;
    } else {
        bed.check("it is marked as background writeback", is_marked)?;
    }
    gate.open()?;
    file.wait_for_writeback()?;
    let step = bed.observe_at_rest("the disk is done with the page", &hold)?;
    check_decision(bed, &step, Purpose::Cleaning)?;
    check_dirty(bed, &step)?;
    hold.release(Release::Clean)?;
    fsync_what_is_dirty(bed, &file, "the device released the page clean, fsync returned")?;
    drop(mapping);
    let found = bed.read_back(&file)?;
    bed.check_data("the page is saved in the end", BY_PROCESSOR, &found)
}

/// The policies that leave a page dirty that was written back to clean memory.
fn leaves_dirty(policy: Policy) -> bool {
    matches!(policy, Policy::Skip | Policy::Drop)
}

/// Makes the file durable, in the end also a page that btrfs has its workers write. Ends a step.
fn fsync_what_is_dirty(bed: &mut Bed, file: &TestFile, step: &str) -> Result<()> {
    // Before the workers of btrfs, which else may come in the middle of fsync: it looks for dirty pages twice.
    run_first()?;
    file.fsync()?;
    run_by_turns()?;
    let step = bed.observe(step, None)?;
    if !leaves_dirty(bed.policy()) {
        return Ok(());
    }
    let written = step.traffic_of(Direction::Write, Class::PageCache).pages == 1;
    bed.check(WRITTEN_AGAIN, written)?;
    if written { Ok(()) } else { fsync_until_written(bed, file) }
}

/// Whether the page is dirty as the policy has it.
fn check_dirty(bed: &mut Bed, step: &Step) -> Result<()> {
    let is_dirty = step.pages[0].dump.has_flag("dirty");
    if leaves_dirty(bed.policy()) {
        bed.check("the page is dirty again", is_dirty)
    } else {
        bed.check("the page is clean", !is_dirty)
    }
}

/// A page of a file that a processor has dirtied and a device holds.
pub(crate) fn held_dirty_page(bed: &mut Bed) -> Result<(TestFile, Memory, Hold)> {
    let file = bed.file("data", BEFORE, 1)?;
    let mapping = file.map()?;
    mapping.fill(BY_PROCESSOR);
    let hold = hold_by_policy(bed, &mapping)?;
    Ok((file, mapping, hold))
}

/// Nobody has reserved space on btrfs for a page that `skip` dirtied. Workers do once it is to be written, and whoever has
/// it written before they are done may leave it dirty. So they come now.
pub(crate) fn reserve_space(bed: &mut Bed, file: &TestFile, hold: &Hold) -> Result<()> {
    if (bed.setup(), bed.policy()) != (Setup::Btrfs, Policy::Skip) {
        return Ok(());
    }
    file.begin_cleaning()?;
    bed.wait_for_pages(hold, "has its space reserved", |page| !page.dump.has_flag(WITHOUT_SPACE))
}

/// Has a device hold memory. What is deferred for that does not wait for long.
pub(crate) fn hold_by_policy(bed: &Bed, memory: &Memory) -> Result<Hold> {
    if bed.policy() == Policy::Defer {
        bed.write_rule("defer_deadline", DEADLINE_MS)?;
    }
    bed.device().hold(memory, bed.acquisition())
}

/// What the policy of the cell has for a pinned page.
pub(crate) fn check_decision(bed: &mut Bed, step: &Step, purpose: Purpose) -> Result<()> {
    let (decision, text) = match (bed.policy(), purpose) {
        (Policy::Observe, _) | (Policy::Drop, Purpose::Integrity) => {
            (Decision::Written, "the page was written as it was")
        }
        (Policy::Skip, Purpose::Cleaning) => {
            (Decision::Stashed, "what the page held is in the volatile cache")
        }
        (Policy::Skip, Purpose::Integrity) | (Policy::Bounce, _) => {
            (Decision::Bounced, "a copy of the page was written")
        }
        (Policy::Defer, _) => (Decision::Expired, "the page waited for its pins until the deadline"),
        (Policy::Drop, Purpose::Cleaning) => {
            (Decision::Dropped, "the page was not written: data is lost on purpose")
        }
    };
    let pages = step.decided(purpose, decision);
    bed.check_that(text, pages == 1 && step.decisions.len() == 1, || format!("{:?}", step.decisions))
}
