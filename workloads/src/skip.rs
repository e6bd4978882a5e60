// SPDX-License-Identifier: MIT OR Apache-2.0

//! The policy `skip` where it is hardest: folios in many pieces, pages that are never released, and what
//! comes over a page whose data is only in the volatile cache.

use std::os::unix::fs::FileExt;

use fs_harness::cell::{Acquisition, Policy, Setup};
use fs_harness::guest::device::{Bios, Release, Stage};
use fs_harness::guest::error::Doing;
use fs_harness::guest::in_flight::InFlight;
use fs_harness::guest::memory::PAGE;
use fs_harness::guest::{Bed, Result, reflink};
use fs_harness::pattern::Pattern;
use fs_harness::record::{Class, Decision, Direction, Purpose};

use crate::catalogue::{LARGE_BLOCK, Scenario};
use crate::pinned_writeback::{
    BEFORE, BY_DEVICE, BY_PROCESSOR, NO_CHECKSUMS, NOT, SETUPS, held_dirty_page, not_either, reserve_space,
};

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "skip_budget",
        row: Some(54),
        about: "A page that stays pinned is cleaned after all when its budget is spent: who cleans memory comes to an end.",
        source: "fs/fs-writeback.c: wb_writeback(), which goes on while pages are written",
        setups: NO_CHECKSUMS,
        acquisitions: &[Acquisition::Pin],
        policies: &[Policy::Skip],
        not: not_either!((
            &[Setup::Btrfs],
            "a page that others dirty is only queued to be written, by workers"
        )),
        run: skip_budget,
        ..Scenario::PLAIN
    },
    Scenario {
        name: "skip_folio_in_pieces",
        row: Some(55),
        about: "A large folio is written in one bio for each of its blocks, while it is still locked: it is dirty again with all of them.",
        source: "fs/iomap/buffered-io.c: iomap_writeback_folio(), which clears the dirty blocks after their submission",
        setups: &[Setup::Xfs],
        acquisitions: &[Acquisition::Pin],
        policies: &[Policy::Observe, Policy::Skip],
        not: &[
            (&[Setup::None], "there is no file to write back"),
            (&[Setup::Bdev], "what a filesystem does about the page is the question"),
            LARGE_BLOCK,
            (
                &[
                    Setup::Ext4,
                    Setup::Ext4Small,
                    Setup::Ext4Journal,
                    Setup::Btrfs,
                    Setup::BtrfsNoDataSum,
                    Setup::F2fs,
                    Setup::Vfat,
                ],
                "a folio comes in pieces where some of its blocks are shared and others are not",
            ),
            (&[Setup::XfsStable], "stable pages wait for the processor to write, and not for a device"),
            (&[Setup::Tmpfs], "there is no disk to write back to"),
            (Setup::FUSE, "the page cache of a FUSE file is written back to its daemon, if it has one"),
        ],
        run: folio_in_pieces,
        ..Scenario::PLAIN
    },
    Scenario {
        name: "fsync_of_stored",
        about: "The processor stores to a page that is being cleaned, and fsync has locked the page and waits for that: it is dirty already, so what it held is stashed all the same, and at once.",
        source: "mm/page-writeback.c: folio_prepare_writeback(); fs/ext4/inode.c: mpage_prepare_extent_to_map()",
        setups: NO_CHECKSUMS,
        acquisitions: &[Acquisition::Pin],
        policies: &[Policy::Observe, Policy::Skip],
        not: not_either!((
            &[Setup::Btrfs],
            "the processor itself waits for the writeback to end: stable pages"
        )),
        run: fsync_of_stored,
        ..Scenario::PLAIN
    },
    Scenario {
        name: "direct_write_over_stash",
        about: "A direct write goes over a page whose data is only in the volatile cache: the direct write is what is there in the end.",
        source: "mm/filemap.c: kiocb_invalidate_pages(); Documentation/block/writeback_cache_control.rst",
        setups: SETUPS,
        acquisitions: &[Acquisition::Pin],
        policies: &[Policy::Observe, Policy::Skip],
        not: NOT,
        run: direct_write_over_stash,
        ..Scenario::PLAIN
    },
    Scenario {
        name: "truncate_over_stash",
        about: "A file is truncated and written anew while a page of it is pinned and its data only in the volatile cache: nothing of that comes back.",
        source: "mm/truncate.c: truncate_inode_folio()",
        setups: SETUPS,
        acquisitions: &[Acquisition::Pin],
        policies: &[Policy::Observe, Policy::Skip],
        not: NOT,
        run: truncate_over_stash,
        ..Scenario::PLAIN
    },
    Scenario {
        name: "direct_write_from_writeback",
        about: "A direct write takes its data from a mapped page that is under writeback, and pins it: that bio is never decided about, or `defer` would wait for itself.",
        source: "block/bio.c: BIO_PAGE_PINNED; fs/iomap/direct-io.c: REQ_IDLE",
        setups: NO_CHECKSUMS,
        policies: Policy::ALL,
        not: not_either!((
            &[Setup::Btrfs],
            "a direct write carries a copy: its data must match its checksum"
        )),
        run: direct_write_from_writeback,
        ..Scenario::PLAIN
    },
];

fn skip_budget(bed: &mut Bed) -> Result<()> {
    const TIMES: u32 = 3;
    let (file, mapping, hold) = held_dirty_page(bed)?;
    bed.write_rule("skip_budget", TIMES)?;
    for time in 1..=TIMES {
        file.begin_cleaning()?;
        file.wait_for_writeback()?;
        let step = bed.observe(&format!("the page was to be cleaned for time {time}"), None)?;
        bed.check("its data is in the volatile cache", {
            step.decided(Purpose::Cleaning, Decision::Stashed) == 1
        })?;
    }
    file.begin_cleaning()?;
    file.wait_for_writeback()?;
    let step = bed.observe_at_rest("the page was to be cleaned once more", &hold)?;
    bed.check("a copy of it was written", step.decided(Purpose::Cleaning, Decision::Bounced) == 1)?;
    bed.check("the page is clean", !step.pages[0].dump.has_flag("dirty"))?;
    file.begin_cleaning()?;
    file.wait_for_writeback()?;
    let step = bed.observe("nothing is left to clean", None)?;
    bed.check("nothing was written", step.decisions.is_empty())?;
    mapping.fill(BY_DEVICE);
    file.begin_cleaning()?;
    file.wait_for_writeback()?;
    let step = bed.observe("the page was dirtied anew, and to be cleaned", None)?;
    bed.check("its budget is whole again", step.decided(Purpose::Cleaning, Decision::Stashed) == 1)?;
    hold.release(Release::Clean)?;
    Ok(())
}

fn folio_in_pieces(bed: &mut Bed) -> Result<()> {
    const PAGES: usize = 16;
    let file = bed.file("data", BEFORE, PAGES)?;
    let other = bed.file("other", BEFORE, PAGES)?;
    let bytes = BY_PROCESSOR.bytes(0, PAGES * PAGE);
    let buffered = file.buffered()?;
    buffered.write_all_at(&bytes, 0).doing("write the file")?;
    file.fsync()?;
    // Shared blocks are written to new places, each by itself, and the others where they are: no two of
    // them are side by side then.
    reflink::write_anew_by_the_block(&buffered)?;
    for page in (1..PAGES as u64).step_by(2) {
        reflink::share(&buffered, &other.buffered()?, page * PAGE as u64, PAGE as u64)?;
    }
    buffered.write_all_at(&bytes, 0).doing("write the file once more")?;
    let mapping = file.map()?;
    let hold = bed.device().hold(mapping.pages_of(0, 1), bed.acquisition())?;
    let held = bed.observe("a page of the folio is held", Some(&hold))?;
    bed.require("the file is one folio of 16 pages", held.pages[0].state.order == 4)?;
    file.begin_cleaning()?;
    file.wait_for_writeback()?;
    // A worker that ends the writeback may still have a reference: what became of the folio shows below.
    let step = bed.observe("the folio was to be cleaned", None)?;
    let bios = step.traffic_of(Direction::Write, Class::PageCache).bios;
    bed.check_that("its blocks came one by one", bios == PAGES as u64, || format!("{bios} bios"))?;
    if bed.policy() == Policy::Skip {
        let stashed = step.decided(Purpose::Cleaning, Decision::Stashed);
        bed.check("the data of all of them is in the volatile cache", stashed == PAGES as u64)?;
    }
    hold.dma(0, &BY_DEVICE.bytes(0, PAGE))?;
    hold.release(Release::Clean)?;
    file.fsync()?;
    let step = bed.observe("the device wrote its page and released it clean, fsync returned", None)?;
    let pages = step.traffic_of(Direction::Write, Class::PageCache).pages;
    drop(mapping);
    let found = bed.read_back(&file)?;
    if bed.policy() == Policy::Skip {
        bed.check_that("fsync wrote every block again", pages == PAGES as u64, || format!("{pages} pages"))?;
        bed.check_data("what the device wrote is saved", BY_DEVICE, &found[..PAGE])?;
    } else {
        bed.check("fsync had nothing to write", pages == 0)?;
        bed.check_data(
            "what the device wrote is lost: nobody dirtied the page",
            BY_PROCESSOR,
            &found[..PAGE],
        )?;
    }
    bed.check("the other pages are what the processor wrote", found[PAGE..] == bytes[PAGE..])
}

fn fsync_of_stored(bed: &mut Bed) -> Result<()> {
    const STORED: Pattern = Pattern(4);
    let (file, mapping, hold) = held_dirty_page(bed)?;
    let gate = bed.close_gate(Stage::Transfer, &Bios::writes().class(Class::PageCache))?;
    file.begin_cleaning()?;
    gate.wait_for(1)?;
    mapping.fill(STORED);
    let open = file.buffered()?;
    let fsync = InFlight::fsync(&open)?;
    fsync.wait_until_asleep_in("folio_wait_writeback")?;
    gate.open()?;
    fsync.wait().doing("fsync")?;
    let step = bed.observe_at_rest("the page was cleaned, stored to, and fsync returned", &hold)?;
    let decision = if bed.policy() == Policy::Skip { Decision::Stashed } else { Decision::Written };
    bed.check(
        "cleaning did with the page what the policy says",
        step.decided(Purpose::Cleaning, decision) == 1,
    )?;
    let pages = step.traffic_of(Direction::Write, Class::PageCache).pages;
    bed.check_that("fsync wrote it once more", pages == 2, || format!("{pages} pages"))?;
    bed.check("the page is clean", !step.pages[0].dump.has_flag("dirty"))?;
    hold.release(Release::Clean)?;
    drop(mapping);
    let found = bed.after_power_cut(&file)?;
    bed.check_data("what was stored is there after a power cut", STORED, &found)
}

fn direct_write_over_stash(bed: &mut Bed) -> Result<()> {
    const DIRECTLY: Pattern = Pattern(4);
    let (file, mapping, hold) = held_dirty_page(bed)?;
    file.begin_cleaning()?;
    file.wait_for_writeback()?;
    bed.observe_at_rest("the page was to be cleaned", &hold)?;
    reserve_space(bed, &file, &hold)?;
    hold.release(Release::Clean)?;
    drop(mapping);
    let memory = bed.anonymous(DIRECTLY, 1)?;
    let direct = file.direct()?;
    let written = InFlight::write(&direct, 0, &memory, 0..PAGE)?.wait().doing("write directly")?;
    bed.check("the direct write wrote the page", written == PAGE)?;
    file.fsync()?;
    bed.observe("the file was written directly, fsync returned", None)?;
    let found = bed.after_power_cut(&file)?;
    bed.check_data("what was written directly is there after a power cut", DIRECTLY, &found)?;
    let found = bed.read_back(&file)?;
    bed.check_data("and without one", DIRECTLY, &found)
}

fn truncate_over_stash(bed: &mut Bed) -> Result<()> {
    const ANEW: Pattern = Pattern(4);
    let (file, mapping, hold) = held_dirty_page(bed)?;
    file.begin_cleaning()?;
    file.wait_for_writeback()?;
    bed.observe_at_rest("the page was to be cleaned", &hold)?;
    let buffered = file.buffered()?;
    buffered.set_len(0).doing("truncate the file")?;
    hold.dma(0, &BY_DEVICE.bytes(0, PAGE))?;
    hold.release(Release::Dirty)?;
    drop(mapping);
    buffered.write_all_at(&ANEW.bytes(0, PAGE), 0).doing("write the file anew")?;
    file.fsync()?;
    bed.observe("the file was truncated under the device, and written anew", None)?;
    let found = bed.after_power_cut(&file)?;
    bed.check_data("what was written anew is there after a power cut", ANEW, &found)?;
    let found = bed.read_back(&file)?;
    bed.check_data("and without one", ANEW, &found)
}

fn direct_write_from_writeback(bed: &mut Bed) -> Result<()> {
    let target = bed.file("target", BEFORE, 1)?;
    let source = bed.file("source", BEFORE, 1)?;
    let mapping = source.map()?;
    mapping.fill(BY_PROCESSOR);
    let writeback = bed.close_gate(Stage::Transfer, &Bios::writes().class(Class::PageCache))?;
    source.begin_cleaning()?;
    writeback.wait_for(1)?;
    let user = bed.close_gate(Stage::Arrival, &Bios::writes().class(Class::UserPinned))?;
    let direct = target.direct()?;
    let write = InFlight::write(&direct, 0, &mapping, 0..PAGE)?;
    user.wait_for(1)?;
    let step = bed.observe_gate("a direct write from the page has come", &user)?;
    bed.check("its page is under writeback", step.pages[0].dump.has_flag("writeback"))?;
    bed.check("its page may be DMA-pinned", step.pages[0].state.maybe_dma_pinned)?;
    user.open()?;
    write.wait().doing("wait for the direct write")?;
    writeback.open()?;
    source.wait_for_writeback()?;
    let step = bed.observe("both are done", None)?;
    bed.check("nothing was decided about either", step.decisions.is_empty())?;
    drop(mapping);
    let found = bed.read_back(&target)?;
    bed.check_data("the direct write wrote what the page held", BY_PROCESSOR, &found)
}
