// SPDX-License-Identifier: MIT OR Apache-2.0

//! How pins and references are counted.

use std::time::{Duration, Instant};

use fs_harness::cell::{Acquisition, Setup};
use fs_harness::guest::device::{Path, Release, Take, abi};
use fs_harness::guest::memory::Memory;
use fs_harness::guest::{Bed, Result, counters};
use fs_harness::page::PIN_BIAS;
use fs_harness::pattern::Pattern;
use fs_harness::record::Counted;
use nix::unistd::Pid;

use crate::catalogue::{NO_FILE, Scenario};

const EVERY_MODE: &[Acquisition] = &[Acquisition::Get, Acquisition::Pin, Acquisition::LongTerm];

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "pin_order0",
        row: Some(1),
        about: "A pin of a single page adds GUP_PIN_COUNTING_BIAS to its reference count, and releasing it takes it back.",
        source: "mm/gup.c: try_grab_folio(), gup_put_folio(); include/linux/mm.h: GUP_PIN_COUNTING_BIAS",
        setups: &[Setup::None],
        acquisitions: &[Acquisition::Pin],
        not: NO_FILE,
        run: pin_order0,
        ..Scenario::PLAIN
    },
    Scenario {
        name: "get_order0",
        row: Some(3),
        about: "A reference by get_user_pages adds one to the reference count, and nobody can tell it from any other.",
        source: "mm/gup.c: try_grab_folio(); include/linux/mm.h: folio_maybe_dma_pinned()",
        setups: &[Setup::None],
        acquisitions: &[Acquisition::Get],
        not: NO_FILE,
        run: get_order0,
        ..Scenario::PLAIN
    },
    Scenario {
        name: "order0_x8",
        row: Some(2),
        about: "What is held several times is counted as often, and released as often.",
        source: "mm/gup.c: try_grab_folio(), gup_put_folio()",
        setups: &[Setup::None],
        acquisitions: EVERY_MODE,
        not: NO_FILE,
        run: order0_x8,
        ..Scenario::PLAIN
    },
    Scenario {
        name: "paths",
        about: "A page is held alike by the fast path, under the mmap lock, and as that of another process.",
        source: "mm/gup.c: get_user_pages_fast(), get_user_pages(), get_user_pages_remote(), and those that pin",
        setups: &[Setup::None],
        acquisitions: EVERY_MODE,
        not: NO_FILE,
        run: paths,
        ..Scenario::PLAIN
    },
    Scenario {
        name: "zero_page",
        row: Some(11),
        about: "The zero page is referenced like any other page, but pinning it changes nothing and is not counted.",
        source: "mm/gup.c: try_grab_folio(), is_zero_folio()",
        setups: &[Setup::None],
        acquisitions: &[Acquisition::Get, Acquisition::Pin],
        not: NO_FILE,
        run: zero_page,
        ..Scenario::PLAIN
    },
    Scenario {
        name: "vm_stat_lag",
        row: Some(14),
        about: "/proc/vmstat lags behind: each processor folds its part in from time to time, or when stat_refresh asks for it.",
        source: "mm/vmstat.c: vmstat_refresh(), refresh_cpu_vm_stats(), vmstat_update()",
        setups: &[Setup::None],
        acquisitions: &[Acquisition::Pin],
        not: NO_FILE,
        run: vm_stat_lag,
        ..Scenario::PLAIN
    },
];

fn pin_order0(bed: &mut Bed) -> Result<()> {
    let page = bed.anonymous(Pattern(1), 1)?;
    let reference = bed.device().hold(&page, Acquisition::Get)?;
    let before = bed.observe("the page, looked at through one reference", Some(&reference))?;
    let pin = bed.device().hold(&page, bed.acquisition())?;
    let pinned = bed.observe("the page is pinned as well", Some(&pin))?;
    bed.check("the kernel counts one pin", pinned.pins == Counted { acquired: 1, released: 0 })?;
    let added = pinned.pages[0].dump.refcount - before.pages[0].dump.refcount;
    bed.check_that("a pin adds 1024 references", added == PIN_BIAS, || format!("it added {added}"))?;
    bed.check("the page may be DMA-pinned", pinned.pages[0].state.maybe_dma_pinned)?;
    bed.check("a single page has no pincount of its own", pinned.pages[0].state.pincount.is_none())?;
    pin.release(Release::Clean)?;
    let after = bed.observe("the pin is released", Some(&reference))?;
    bed.check("the kernel counts one release", after.pins == Counted { acquired: 0, released: 1 })?;
    bed.check("the page is not DMA-pinned any more", !after.pages[0].state.maybe_dma_pinned)?;
    bed.check(
        "the reference count is what it was",
        after.pages[0].dump.refcount == before.pages[0].dump.refcount,
    )?;
    reference.release(Release::Clean)
}

fn get_order0(bed: &mut Bed) -> Result<()> {
    let page = bed.anonymous(Pattern(1), 1)?;
    let first = bed.device().hold(&page, bed.acquisition())?;
    let before = bed.observe("the page is held by one reference", Some(&first))?;
    let second = bed.device().hold(&page, bed.acquisition())?;
    let held = bed.observe("the page is held by two references", Some(&second))?;
    bed.check(
        "the kernel counts no pin",
        before.pins == Counted::default() && held.pins == Counted::default(),
    )?;
    let added = held.pages[0].dump.refcount - before.pages[0].dump.refcount;
    bed.check_that("a reference adds one", added == 1, || format!("it added {added}"))?;
    bed.check("the page does not look DMA-pinned", !held.pages[0].state.maybe_dma_pinned)?;
    second.release(Release::Clean)?;
    first.release(Release::Clean)?;
    let after = bed.observe("both references are released", None)?;
    bed.check("the kernel counts no release of a pin", after.pins == Counted::default())
}

/// Held eight times over.
fn order0_x8(bed: &mut Bed) -> Result<()> {
    const TIMES: u32 = 8;
    let page = bed.anonymous(Pattern(1), 1)?;
    let reference = bed.device().hold(&page, Acquisition::Get)?;
    let before = bed.observe("the page, looked at through one reference", Some(&reference))?;
    let hold = bed.device().hold(&page, Take::by(bed.acquisition()).times(TIMES))?;
    let held = bed.observe("the page is held eight times as well", Some(&hold))?;
    let is_pin = bed.acquisition() != Acquisition::Get;
    let pins = if is_pin { u64::from(TIMES) } else { 0 };
    bed.check("the kernel counts every pin", held.pins == Counted { acquired: pins, released: 0 })?;
    let added = held.pages[0].dump.refcount - before.pages[0].dump.refcount;
    let each = if is_pin { PIN_BIAS } else { 1 };
    bed.check_that("each adds the same to the reference count", added == 8 * each, || {
        format!("it added {added}")
    })?;
    bed.check("it looks DMA-pinned just if it is pinned", held.pages[0].state.maybe_dma_pinned == is_pin)?;
    hold.release(Release::Clean)?;
    let after = bed.observe("it is released as often", Some(&reference))?;
    bed.check("the kernel counts every release", after.pins == Counted { acquired: 0, released: pins })?;
    let restored = after.pages[0].dump.refcount == before.pages[0].dump.refcount;
    bed.check("the reference count is what it was", restored)?;
    reference.release(Release::Clean)
}

/// The same page by each path.
fn paths(bed: &mut Bed) -> Result<()> {
    let page = bed.anonymous(Pattern(1), 1)?;
    let mode = match bed.acquisition() {
        Acquisition::Get => abi::MODE_GET,
        Acquisition::LongTerm => abi::MODE_LONGTERM,
        Acquisition::Pin | Acquisition::Kernel => abi::MODE_PIN,
    };
    let own = Path::Remote(Pid::this());
    let paths = [
        ("fast", Path::Fast, abi::PATH_FAST),
        ("slow", Path::Slow, abi::PATH_SLOW),
        ("remote", own, abi::PATH_REMOTE),
    ];
    let one = u64::from(bed.acquisition() != Acquisition::Get);
    for (name, path, number) in paths {
        let (mode, number) = (mode as usize, number as usize);
        let before = bed.device().hold_statistics()?;
        let hold = bed.device().hold(&page, Take::by(bed.acquisition()).path(path));
        let hold = bed.require_ok(&format!("the {name} path acquires the page"), hold)?;
        let held = bed.observe(&format!("the page is held by the {name} path"), Some(&hold))?;
        bed.check("the kernel counts a pin", held.pins == Counted { acquired: one, released: 0 })?;
        hold.release(Release::Clean)?;
        let released = bed.observe("it is released", None)?;
        bed.check("the kernel counts its release", released.pins == Counted { acquired: 0, released: one })?;
        let mut expected = before;
        expected.acquired[mode][number] += 1;
        expected.released[mode][number] += 1;
        let now = bed.device().hold_statistics()?;
        bed.check_that("the driver counts it for this mode and path alone", now == expected, || {
            format!("{now:?}")
        })?;
    }
    Ok(())
}

/// Memory that was only read is the zero page, of which there is one.
fn zero_page(bed: &mut Bed) -> Result<()> {
    let memory = Memory::anonymous(2)?;
    bed.check("memory that was never written reads as zeros", memory.bytes().iter().all(|&byte| byte == 0))?;
    let read_only = |acquisition| Take::by(acquisition).read_only();
    let reference = bed.device().hold(memory.pages_of(0, 1), read_only(Acquisition::Get))?;
    let before = bed.observe("the page, looked at through one reference", Some(&reference))?;
    let hold = bed.device().hold(&memory, read_only(bed.acquisition()))?;
    let held = bed.observe("two pages are held for reading", Some(&hold))?;
    let is_same = held.pages[0].state.pfn == held.pages[1].state.pfn;
    bed.require("they are one, the zero page", is_same && held.pages[0].dump.has_flag("reserved"))?;
    let added = held.pages[0].dump.refcount - before.pages[0].dump.refcount;
    bed.check("the kernel counts no pin", held.pins == Counted::default())?;
    bed.check("nothing looks DMA-pinned", !held.pages[0].state.maybe_dma_pinned)?;
    if bed.acquisition() == Acquisition::Get {
        bed.check_that("each reference is one to the zero page", added == 2, || format!("it added {added}"))?;
    } else {
        bed.check_that("pinning it changes nothing", added == 0, || format!("it added {added}"))?;
        // The kernel warns of whoever adds pins to a folio that has none.
        let more = bed.device().hold(&memory, read_only(bed.acquisition()).times(3).adding())?;
        let added = bed.observe("they are held three times more, by adding pins", None)?;
        bed.check("the kernel counts no pin of these either", added.pins == Counted::default())?;
        more.release(Release::Clean)?;
    }
    hold.release(Release::Clean)?;
    let after = bed.observe("both are released", Some(&reference))?;
    bed.check("the kernel counts no release", after.pins == Counted::default())?;
    let restored = after.pages[0].dump.refcount == before.pages[0].dump.refcount;
    bed.check("the reference count is what it was", restored)?;
    reference.release(Release::Clean)
}

/// Each processor keeps its part of a counter to itself until it is large, or old, or asked for.
fn vm_stat_lag(bed: &mut Bed) -> Result<()> {
    const PAGES: usize = 3;
    let memory = bed.anonymous(Pattern(1), PAGES)?;
    let base = counters::pins_as_they_are()?;
    let hold = bed.device().hold(&memory, bed.acquisition())?;
    let deadline = Instant::now() + Duration::from_secs(10);
    while counters::pins_as_they_are()?.since(base).acquired == 0 && Instant::now() < deadline {
        std::thread::yield_now();
    }
    let folded = counters::pins_as_they_are()?.since(base);
    bed.check("a worker folds the counters in the end", folded == Counted { acquired: 3, released: 0 })?;
    // The worker comes again after a second.
    let again = bed.device().hold(&memory, bed.acquisition())?;
    let unfolded = counters::pins_as_they_are()?.since(base);
    bed.check_that("until it does, /proc/vmstat lacks pins that there are", unfolded == folded, || {
        format!("{unfolded:?}")
    })?;
    let step = bed.observe("after stat_refresh", None)?;
    bed.check("stat_refresh folds them", step.pins == Counted { acquired: 6, released: 0 })?;
    hold.release(Release::Clean)?;
    again.release(Release::Clean)
}
