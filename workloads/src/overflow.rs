// SPDX-License-Identifier: MIT OR Apache-2.0

//! How many pins a folio can have, and what happens at the end.

use fs_harness::cell::{Acquisition, Setup};
use fs_harness::guest::device::{Release, Take};
use fs_harness::guest::memory::Memory;
use fs_harness::guest::{Bed, Result};
use fs_harness::pattern::Pattern;
use fs_harness::record::Counted;
use nix::errno::Errno;

use crate::catalogue::{NO_FILE, Scenario};

/// Pins of a single page until its reference count, which each raises by 1024, is negative.
const MOST_ORDER0: u32 = 1 << 21;
/// How many of these are taken one by one: all of them take seconds.
const ONE_BY_ONE: u32 = 1 << 10;
/// Pins of all 512 pages of a huge page until its reference count is negative.
const MOST_HUGE: u32 = 1 << 22;

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "overflow_order0",
        row: Some(9),
        about: "A single page can be pinned 2^21 times; the next pin is refused with ENOMEM and two warnings.",
        source: "mm/gup.c: try_get_folio(), try_grab_folio(): folio_ref_count() < 0",
        setups: &[Setup::None],
        acquisitions: &[Acquisition::Pin, Acquisition::LongTerm],
        not: NO_FILE,
        run: overflow_order0,
        ..Scenario::PLAIN
    },
    Scenario {
        name: "overflow_thp",
        row: Some(10),
        about: "A huge page can be pinned as a whole 2^22 times; with the last of these pins it does not look pinned any more.",
        source: "include/linux/mm.h: folio_maybe_dma_pinned() compares the signed _pincount; mm/gup.c: try_grab_folio()",
        setups: &[Setup::None],
        acquisitions: &[Acquisition::Pin],
        not: NO_FILE,
        run: overflow_thp,
        ..Scenario::PLAIN
    },
];

fn overflow_order0(bed: &mut Bed) -> Result<()> {
    let memory = bed.anonymous(Pattern(1), 1)?;
    let reference = bed.device().hold(&memory, Acquisition::Get)?;
    let before = bed.observe("the page, looked at through one reference", Some(&reference))?;
    expect_warnings(bed)?;
    let most = Take::by(bed.acquisition()).times(MOST_ORDER0 - ONE_BY_ONE).adding();
    let most = bed.device().hold(&memory, most)?;
    let last = Take::by(bed.acquisition()).times(ONE_BY_ONE + 1).partial();
    let hold = bed.device().hold(&memory, last)?;
    let full = bed.observe("the page is pinned as often as it can be", Some(&hold))?;
    bed.check("2^21 pins are granted", most.times() + hold.times() == MOST_ORDER0)?;
    bed.check("the kernel counts each of them", full.pins == counted(MOST_ORDER0, 0))?;
    let page = &full.pages[0];
    let added = page.dump.refcount.wrapping_sub(before.pages[0].dump.refcount);
    bed.check_that(
        "its reference count has wrapped around",
        added == i32::MIN && page.dump.refcount < 0,
        || format!("it is {}", page.dump.refcount),
    )?;
    bed.check("it still looks DMA-pinned", page.state.maybe_dma_pinned)?;
    refuse_one_more(bed, &memory)?;
    hold.release(Release::Clean)?;
    most.release(Release::Clean)?;
    let after = bed.observe("all pins are released", Some(&reference))?;
    bed.check("the kernel counts each release", after.pins == counted(0, MOST_ORDER0))?;
    let restored = after.pages[0].dump.refcount == before.pages[0].dump.refcount;
    bed.check("the reference count is what it was", restored)?;
    bed.check("the page does not look DMA-pinned any more", !after.pages[0].state.maybe_dma_pinned)?;
    reference.release(Release::Clean)
}

fn overflow_thp(bed: &mut Bed) -> Result<()> {
    let memory = Memory::huge()?;
    memory.fill(Pattern(1));
    let reference = bed.device().hold(memory.pages_of(0, 1), Acquisition::Get)?;
    let before = bed.observe("the first page, looked at through one reference", Some(&reference))?;
    bed.require("it is a huge page", before.pages[0].state.order == 9)?;
    // One by one, this takes minutes.
    let take = Take::by(bed.acquisition()).times(MOST_HUGE).adding();
    let hold = bed.device().hold(&memory, take)?;
    let full = bed.observe_page("the huge page is pinned as often as it can be", &hold, 0)?;
    bed.check("2^22 pins of all its pages are granted", hold.times() == MOST_HUGE)?;
    bed.check("the count of its pins has wrapped around", full.pages[0].state.pincount == Some(i32::MIN))?;
    bed.check("it does not look DMA-pinned, though it is", !full.pages[0].state.maybe_dma_pinned)?;
    expect_warnings(bed)?;
    refuse_one_more(bed, &memory)?;
    hold.release(Release::Clean)?;
    let after = bed.observe("all pins are released", Some(&reference))?;
    bed.check("the count of its pins is zero", after.pages[0].state.pincount == Some(0))?;
    let restored = after.pages[0].dump.refcount == before.pages[0].dump.refcount;
    bed.check("the reference count is what it was", restored)?;
    reference.release(Release::Clean)
}

/// One in the fast path and one in the slow one; which function a compiler puts them into differs.
fn expect_warnings(bed: &mut Bed) -> Result<()> {
    bed.expect_log("WARNING: mm/gup.c at try_g")?;
    bed.expect_log("WARNING: mm/gup.c at try_g")
}

fn refuse_one_more(bed: &mut Bed, memory: &Memory) -> Result<()> {
    let more = bed.device().hold(memory, bed.acquisition());
    bed.check_refused("one more pin is refused with ENOMEM", Errno::ENOMEM, more)
}

fn counted(acquired: u32, released: u32) -> Counted {
    Counted { acquired: acquired.into(), released: released.into() }
}
