// SPDX-License-Identifier: MIT OR Apache-2.0

//! How pins and references are counted.

use fs_harness::cell::{Acquisition, Policy, Setup};
use fs_harness::guest::device::Release;
use fs_harness::guest::{Bed, Result};
use fs_harness::pattern::Pattern;
use fs_harness::record::Counted;

use crate::catalogue::Scenario;

/// GUP_PIN_COUNTING_BIAS: what one pin adds to the reference count of a folio without a pincount.
const PIN_BIAS: i32 = 1024;

const NO_FILE: &[(Setup, &str)] = &[
    (Setup::Bdev, "anonymous memory only: no device takes part"),
    (Setup::Ext4, "anonymous memory only: no file takes part"),
    (Setup::Xfs, "anonymous memory only: no file takes part"),
    (Setup::FuseDirectExt4, "anonymous memory only: no file takes part"),
];

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "pin_order0",
        row: Some(1),
        about: "A pin of a single page adds GUP_PIN_COUNTING_BIAS to its reference count, and releasing it takes it back.",
        source: "mm/gup.c: try_grab_folio(), gup_put_folio(); include/linux/mm.h: GUP_PIN_COUNTING_BIAS",
        setups: &[Setup::None],
        acquisitions: &[Acquisition::Pin],
        policies: &[Policy::Observe],
        not: NO_FILE,
        run: pin_order0,
    },
    Scenario {
        name: "get_order0",
        row: Some(3),
        about: "A reference by get_user_pages adds one to the reference count, and nobody can tell it from any other.",
        source: "mm/gup.c: try_grab_folio(); include/linux/mm.h: folio_maybe_dma_pinned()",
        setups: &[Setup::None],
        acquisitions: &[Acquisition::Get],
        policies: &[Policy::Observe],
        not: NO_FILE,
        run: get_order0,
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
