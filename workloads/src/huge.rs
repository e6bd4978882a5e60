// SPDX-License-Identifier: MIT OR Apache-2.0

//! How pins of large folios are counted: exactly, in a count of their own.

use fs_harness::cell::{Acquisition, Setup};
use fs_harness::guest::device::{Hold, Release, Take};
use fs_harness::guest::huge::HUGE_PAGES;
use fs_harness::guest::memory::{Memory, PAGE};
use fs_harness::guest::{Bed, Result};
use fs_harness::pattern::Pattern;
use fs_harness::record::{Counted, Step};
use nix::sys::mman::ProtFlags;

use crate::catalogue::{LARGE_BLOCK, NO_FILE, Scenario};

const FILLED: Pattern = Pattern(1);
/// The order of a huge page.
pub(crate) const HUGE_ORDER: u32 = 9;
/// Pages of a huge page, as counts.
const ALL: i32 = 512;

const SOURCE: &str = "mm/gup.c: try_grab_folio(), gup_put_folio(); include/linux/mm.h: folio_has_pincount()";
const GET_AND_PIN: &[Acquisition] = &[Acquisition::Get, Acquisition::Pin];

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "thp_one",
        row: Some(4),
        about: "One page of a huge page is held: the pin is counted exactly, for the huge page as a whole; a reference is not counted as a pin.",
        source: SOURCE,
        setups: &[Setup::None],
        acquisitions: GET_AND_PIN,
        not: NO_FILE,
        run: |bed| hold_thp(bed, 1),
        ..Scenario::PLAIN
    },
    Scenario {
        name: "thp_all",
        row: Some(5),
        about: "All pages of a huge page are held: 512 pins, and no reference count near its limit.",
        source: SOURCE,
        setups: &[Setup::None],
        acquisitions: GET_AND_PIN,
        not: NO_FILE,
        run: |bed| hold_thp(bed, HUGE_PAGES),
        ..Scenario::PLAIN
    },
    Scenario {
        name: "thp_pte_mapped",
        row: Some(6),
        about: "A huge page that is mapped page by page counts pins as one that is mapped as a whole.",
        source: SOURCE,
        setups: &[Setup::None],
        acquisitions: &[Acquisition::Pin],
        not: NO_FILE,
        run: thp_pte_mapped,
        ..Scenario::PLAIN
    },
    Scenario {
        name: "hugetlb_private",
        row: Some(7),
        about: "A private huge page of hugetlb counts pins exactly.",
        source: SOURCE,
        setups: &[Setup::None],
        acquisitions: GET_AND_PIN,
        not: NO_FILE,
        run: |bed| hugetlb(bed, false),
        ..Scenario::PLAIN
    },
    Scenario {
        name: "hugetlb_shared",
        row: Some(7),
        about: "A shared huge page of hugetlb counts pins exactly, beside the references of its page cache.",
        source: "mm/gup.c: try_grab_folio(); mm/filemap.c: __filemap_add_folio()",
        setups: &[Setup::None],
        acquisitions: GET_AND_PIN,
        not: NO_FILE,
        run: |bed| hugetlb(bed, true),
        ..Scenario::PLAIN
    },
    Scenario {
        name: "mthp_file",
        row: Some(8),
        about: "One page of a file's large folio is held: the pin is counted exactly, for the folio as a whole.",
        source: SOURCE,
        setups: &[
            Setup::Ext4,
            Setup::Ext4Small,
            Setup::Xfs,
            Setup::XfsStable,
            Setup::Btrfs,
            Setup::BtrfsNoDataSum,
            Setup::FusePassthroughExt4,
            Setup::FusePassthroughXfs,
        ],
        acquisitions: GET_AND_PIN,
        not: &[
            (&[Setup::None], "there is no file"),
            (&[Setup::Bdev], "what is written to it by the page cache is there in single pages"),
            LARGE_BLOCK,
            (&[Setup::Tmpfs], "its large folios are huge pages, as those of memory: thp_one"),
            (&[Setup::Ext4Journal], "ext4 has no large folios where data goes to its journal"),
            (&[Setup::F2fs, Setup::Vfat], "files that can be written have no large folios there"),
            (Setup::FUSE, "its own page cache has no large folios, if it has one"),
        ],
        run: large_folio_of_a_file,
        ..Scenario::PLAIN
    },
    Scenario {
        name: "huge_zero",
        row: Some(12),
        about: "Huge memory that was only read is the huge zero folio, which is pinned like any other, unlike the zero page.",
        source: "mm/gup.c: try_grab_folio(), is_zero_folio(); mm/huge_memory.c: do_huge_zero_wp_pmd()",
        setups: &[Setup::None],
        acquisitions: GET_AND_PIN,
        not: NO_FILE,
        run: huge_zero,
        ..Scenario::PLAIN
    },
];

fn hold_thp(bed: &mut Bed, pages: usize) -> Result<()> {
    let memory = Memory::huge()?;
    memory.fill(FILLED);
    let (before, held) = hold_some(bed, &memory, pages)?;
    require_order(bed, &before, HUGE_ORDER)?;
    let head = held.pages[0].dump.head.unwrap_or_default();
    bed.check("it is mapped as a whole, once", head.entire_mapcount == 1 && head.mapcount == 1)
}

fn thp_pte_mapped(bed: &mut Bed) -> Result<()> {
    let memory = Memory::huge()?;
    memory.fill(FILLED);
    memory.protect(HUGE_PAGES - 1, 1, ProtFlags::PROT_READ)?;
    // The last page cannot be held for writing any more.
    let (before, held) = hold_some(bed, &memory, HUGE_PAGES - 1)?;
    require_order(bed, &before, HUGE_ORDER)?;
    let head = held.pages[0].dump.head.unwrap_or_default();
    bed.check("it is mapped page by page", head.entire_mapcount == 0 && head.mapcount == ALL)
}

fn hugetlb(bed: &mut Bed, is_shared: bool) -> Result<()> {
    let memory = Memory::hugetlb(is_shared)?;
    memory.fill(FILLED);
    let (before, _) = hold_some(bed, &memory, HUGE_PAGES)?;
    require_order(bed, &before, HUGE_ORDER)?;
    let own = before.pages[0].dump.refcount - 1;
    let expected = if is_shared { ALL + 1 } else { 1 };
    bed.check_that(
        "its references are its mapping and, if it is shared, one for each page",
        own == expected,
        || format!("it has {own}"),
    )
}

fn large_folio_of_a_file(bed: &mut Bed) -> Result<()> {
    const PAGES: usize = 256;
    let file = bed.file("data", FILLED, PAGES)?;
    // Written at once, so that the filesystem makes the largest folios that it will.
    let source = bed.anonymous(FILLED, PAGES)?;
    fs_harness::guest::io::write(fs_harness::guest::io::Interface::Syscall, &file.buffered()?, &source)?;
    let memory = file.map()?;
    let (before, _) = hold_some(bed, &memory, 1)?;
    bed.require("the file's folio is large", before.pages[0].state.order > 0)?;
    drop(memory);
    file.fsync()
}

fn huge_zero(bed: &mut Bed) -> Result<()> {
    let memory = Memory::huge()?;
    bed.check("memory that was never written reads as zeros", memory.bytes() == vec![0; HUGE_PAGES * PAGE])?;
    let take = Take::by(bed.acquisition()).read_only();
    let reference = bed.device().hold(memory.pages_of(0, 1), Take::by(Acquisition::Get).read_only())?;
    let before = bed.observe("looked at through one reference", Some(&reference))?;
    require_order(bed, &before, HUGE_ORDER)?;
    let other = Memory::huge()?;
    other.bytes();
    let same = bed.device().hold(other.pages_of(0, 1), Take::by(Acquisition::Get).read_only())?;
    let shared = same.dump(0)?.pfn == reference.dump(0)?.pfn;
    bed.require("it is the huge zero folio: other memory that was only read has the same", shared)?;
    same.release(Release::Clean)?;
    bed.observe("the huge zero folio is known", None)?;
    let hold = bed.device().hold(&memory, take)?;
    let held = bed.observe_page("all 512 pages are held for reading", &hold, 0)?;
    check_counts(bed, &before, &held, ALL)?;
    hold.release(Release::Clean)?;
    reference.release(Release::Clean)?;
    let after = bed.observe("all is released", None)?;
    bed.check("the kernel counts as many releases", after.pins == counted(bed, 0, ALL))
}

/// Holds the first pages and releases them; returns the folio as it was before and while they were held.
fn hold_some(bed: &mut Bed, memory: &Memory, pages: usize) -> Result<(Step, Step)> {
    let reference = bed.device().hold(memory.pages_of(0, 1), Acquisition::Get)?;
    let before = bed.observe("the first page, looked at through one reference", Some(&reference))?;
    let count = i32::try_from(pages).expect("a scenario holds few pages");
    let hold: Hold = bed.device().hold(memory.pages_of(0, pages), bed.acquisition())?;
    let held = bed.observe_page(&format!("pages held: {pages}"), &hold, hold.pages() - 1)?;
    check_counts(bed, &before, &held, count)?;
    hold.release(Release::Clean)?;
    let after = bed.observe("they are released", Some(&reference))?;
    bed.check("the kernel counts as many releases", after.pins == counted(bed, 0, count))?;
    let counts = |step: &Step| (step.pages[0].dump.refcount, step.pages[0].state.pincount);
    bed.check("all counts are what they were", counts(&after) == counts(&before))?;
    reference.release(Release::Clean)?;
    Ok((before, held))
}

/// Whether `pages` more pages are held of the same large folio.
fn check_counts(bed: &mut Bed, before: &Step, held: &Step, pages: i32) -> Result<()> {
    bed.check(
        "the kernel counts one pin for each page, and none for references",
        held.pins == counted(bed, pages, 0),
    )?;
    let (before, now) = (&before.pages[0], &held.pages[0]);
    let references = now.dump.refcount - before.dump.refcount;
    bed.check_that("each page held is one reference to the folio", references == pages, || {
        format!("{references} for {pages}")
    })?;
    let pins = if is_pin(bed) { pages } else { 0 };
    bed.check_that("the folio counts its pins exactly", now.state.pincount == Some(pins), || {
        format!("{:?} instead of {pins}", now.state.pincount)
    })?;
    bed.check("it looks DMA-pinned just if it is pinned", now.state.maybe_dma_pinned == (pins > 0))
}

fn counted(bed: &Bed, acquired: i32, released: i32) -> Counted {
    let pages = |count: i32| if is_pin(bed) { u64::from(count.unsigned_abs()) } else { 0 };
    Counted { acquired: pages(acquired), released: pages(released) }
}

fn is_pin(bed: &Bed) -> bool {
    bed.acquisition() != Acquisition::Get
}

fn require_order(bed: &mut Bed, step: &Step, order: u32) -> Result<()> {
    bed.require("it is a huge page", step.pages[0].state.order == order)
}
