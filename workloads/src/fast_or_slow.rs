// SPDX-License-Identifier: MIT OR Apache-2.0

//! Which of the kernel's paths took a page: without the mmap lock, or under it. Both take the same
//! pages, and no counter tells them apart. What they leave at the page does.

use std::fs::File;

use fs_harness::cell::{Acquisition, Setup};
use fs_harness::guest::device::{Path, Release, Take};
use fs_harness::guest::error::Doing;
use fs_harness::guest::memory::{Memory, PAGE};
use fs_harness::guest::{Bed, Result};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::unistd::Pid;

use crate::catalogue::{NO_FILE, Scenario};

pub(crate) const SCENARIOS: &[Scenario] = &[Scenario {
    name: "fast_or_slow",
    about: "A page tells by which path it was taken: the fast path sets its referenced flag, and the others mark it as accessed and dirty, but for pin_user_pages(), which leaves no trace.",
    source: "mm/gup.c: gup_fast_pte_range(), follow_page_pte(), and who sets FOLL_TOUCH; mm/folio.c: folio_mark_accessed()",
    setups: &[Setup::None],
    acquisitions: &[Acquisition::Get, Acquisition::Pin, Acquisition::LongTerm],
    not: NO_FILE,
    run: fast_or_slow,
    ..Scenario::PLAIN
}];

/// What the kernel leaves at a page that was taken twice.
#[derive(Clone, Copy)]
enum Trace {
    /// Its referenced flag, as the fast path sets it each time.
    Referenced,
    /// None.
    Nothing,
    /// FOLL_TOUCH: it is active, since it was accessed a second time, and dirty, for it was taken for writing.
    Touched,
}

fn fast_or_slow(bed: &mut Bed) -> Result<()> {
    // pin_user_pages() is alone in doing without FOLL_TOUCH.
    let slow = if bed.acquisition() == Acquisition::Get { Trace::Touched } else { Trace::Nothing };
    let paths = [
        ("fast", Path::Fast, Trace::Referenced),
        ("slow", Path::Slow, slow),
        ("remote", Path::Remote(Pid::this()), Trace::Touched),
    ];
    for (name, path, trace) in paths {
        // A page of its own for each.
        let page = read_page()?;
        let take = Take::by(bed.acquisition()).path(path);
        bed.device().hold(&page, take)?.release(Release::Clean)?;
        let hold = bed.device().hold(&page, take)?;
        let step = bed.observe(&format!("a page is held again, by the {name} path"), Some(&hold))?;
        hold.release(Release::Clean)?;
        let dump = &step.pages[0].dump;
        let (text, expected) = match trace {
            Trace::Referenced => {
                ("set its referenced flag, and left it inactive and clean", [true, false, false])
            }
            Trace::Nothing => ("left it as it was: unreferenced, inactive and clean", [false, false, false]),
            Trace::Touched => ("touched it: it is active and dirty", [false, true, true]),
        };
        let found = ["referenced", "active", "dirty"].map(|flag| dump.has_flag(flag));
        bed.check_that(&format!("the {name} path {text}"), found == expected, || {
            format!("{:?}", dump.flags)
        })?;
    }
    Ok(())
}

/// A page of a file in memory that was read through a mapping: its entry in the page table is writable
/// and clean, for such a file is not told of writes.
fn read_page() -> Result<Memory> {
    let file = File::from(memfd_create(c"page", MFdFlags::empty()).doing("make a file in memory")?);
    file.set_len(PAGE as u64).doing("make it a page long")?;
    let page = Memory::shared(&file, 1)?;
    page.bytes();
    Ok(page)
}
