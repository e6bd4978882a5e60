// SPDX-License-Identifier: MIT OR Apache-2.0

//! Pages and processes: fork while pages are held, pages of another process, and who is charged.

use std::fs;
use std::io::{IoSlice, IoSliceMut};

use fs_harness::cell::{Acquisition, Setup};
use fs_harness::guest::child::Child;
use fs_harness::guest::device::{Path, Release, Take};
use fs_harness::guest::error::{Doing, Error};
use fs_harness::guest::memory::{Memory, PAGE};
use fs_harness::guest::{Bed, Result};
use fs_harness::pattern::Pattern;
use fs_harness::record::Counted;
use nix::errno::Errno;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::uio::{RemoteIoVec, process_vm_readv, process_vm_writev};
use nix::unistd::{Pid, Uid, setuid};

use crate::catalogue::{LARGE_BLOCK, NO_FILE, NOT_MAPPED, Scenario};

const BEFORE: Pattern = Pattern(1);
const BY_CHILD: Pattern = Pattern(2);
const BY_DEVICE: Pattern = Pattern(3);
const PAGES: usize = 16;

/// The child has done it, or what it was asked is so.
const YES: u8 = 1;

const EVERY_MODE: &[Acquisition] = &[Acquisition::Get, Acquisition::Pin, Acquisition::LongTerm];

/// Memory, and files that can be mapped shared.
const NONE_AND_MAPPED: &[Setup] = &[
    Setup::None,
    Setup::Bdev,
    Setup::Ext4,
    Setup::Ext4Small,
    Setup::Ext4Journal,
    Setup::Xfs,
    Setup::XfsStable,
    Setup::Btrfs,
    Setup::BtrfsNoDataSum,
    Setup::F2fs,
    Setup::Vfat,
    Setup::FuseWritebackExt4,
    Setup::FuseWritebackXfs,
    Setup::FusePassthroughExt4,
    Setup::FusePassthroughXfs,
];

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "fork_while_held",
        row: Some(34),
        about: "A process forks while a device holds its page, and then writes to the page: with a pin it stays with the device, with a mere reference it is parted from it.",
        source: "mm/memory.c: copy_present_page(), wp_can_reuse_anon_folio(); include/linux/rmap.h: folio_try_dup_anon_rmap_pte()",
        setups: &[Setup::None],
        acquisitions: EVERY_MODE,
        not: NO_FILE,
        run: fork_while_held,
        ..Scenario::PLAIN
    },
    Scenario {
        name: "process_vm",
        row: Some(37),
        about: "process_vm_readv and process_vm_writev pin the pages of the other process, which a write dirties, and release them.",
        source: "mm/process_vm_access.c: process_vm_rw_single_vec()",
        setups: NONE_AND_MAPPED,
        not: &[
            LARGE_BLOCK,
            (&[Setup::Tmpfs], "its pages are never clean: that they become dirty cannot be seen"),
            NOT_MAPPED,
        ],
        run: process_vm,
        ..Scenario::PLAIN
    },
    Scenario {
        name: "remote_hold",
        row: Some(39),
        about: "A device holds pages of another process, which exits: the pages live on, the device can write to them, and they are freed with their release.",
        source: "mm/gup.c: get_user_pages_remote(), pin_user_pages_remote()",
        setups: &[Setup::None],
        acquisitions: EVERY_MODE,
        not: NO_FILE,
        run: remote_hold,
        ..Scenario::PLAIN
    },
    Scenario {
        name: "memlock",
        about: "Pages that are pinned for long are charged to their process and limited by its RLIMIT_MEMLOCK, and what is released is given back.",
        source: "drivers/infiniband/core/umem.c: __ib_umem_get_va(), as the driver does it",
        setups: &[Setup::None],
        acquisitions: &[Acquisition::LongTerm],
        not: NO_FILE,
        run: memlock,
        ..Scenario::PLAIN
    },
];

fn fork_while_held(bed: &mut Bed) -> Result<()> {
    let page = bed.anonymous(BEFORE, 1)?;
    let hold = bed.device().hold(&page, bed.acquisition())?;
    bed.observe("the page is held", Some(&hold))?;
    let mut child = Child::fork(|pattern| u8::from(shows(&page, Pattern(pattern))))?;
    bed.observe("the process has forked", Some(&hold))?;
    page.fill(BEFORE);
    hold.dma(0, &BY_DEVICE.bytes(0, PAGE))?;
    bed.observe("the parent wrote to its page, and then the device", Some(&hold))?;
    let parent_sees = shows(&page, BY_DEVICE);
    let child_sees = child.ask(3)? == YES;
    let child_keeps = child.ask(1)? == YES;
    if bed.acquisition() == Acquisition::Get {
        bed.check("the parent does not see what the device wrote: it has another page now", !parent_sees)?;
        bed.check("the child sees what the device wrote for its parent", child_sees)?;
    } else {
        bed.check("the parent sees what the device wrote", parent_sees)?;
        bed.check("the child has a page of its own, as it was at the fork", child_keeps && !child_sees)?;
    }
    child.end()?;
    hold.release(Release::Dirty)
}

fn process_vm(bed: &mut Bed) -> Result<()> {
    let memory = if bed.setup() == Setup::None {
        bed.anonymous(BEFORE, PAGES)?
    } else {
        let mapping = bed.file("data", BEFORE, PAGES)?.map()?;
        // Its pages are in the page cache, and clean.
        mapping.bytes();
        mapping
    };
    let mut child = Child::fork(|_| u8::from(shows(&memory, BY_CHILD)))?;
    // The child has pages of its own where they are not a file's.
    bed.observe("a child has the same memory", None)?;
    let there = RemoteIoVec { base: usize_of(memory.address()), len: memory.length() };
    let mut bytes = vec![0; memory.length()];
    let read = process_vm_readv(child.pid(), &mut [IoSliceMut::new(&mut bytes)], &[there])
        .doing("read the child's memory")?;
    let step = bed.observe("its memory was read", None)?;
    bed.check("all of it was read", read == memory.length())?;
    bed.check_data("it is as it was", BEFORE, &bytes)?;
    check_pinned_once(bed, step.pins)?;
    // Not for writing: that would dirty it.
    let first = bed.device().hold(memory.pages_of(0, 1), Take::by(Acquisition::Get).read_only())?;
    let clean = bed.observe("the first page here", Some(&first))?;
    let bytes = BY_CHILD.bytes(0, memory.length());
    let written = process_vm_writev(child.pid(), &[IoSlice::new(&bytes)], &[there])
        .doing("write the child's memory")?;
    let step = bed.observe("its memory was written", Some(&first))?;
    bed.check("all of it was written", written == memory.length())?;
    check_pinned_once(bed, step.pins)?;
    bed.check("the child sees what was written", child.ask(0)? == YES)?;
    if bed.setup() == Setup::None {
        bed.check_data("the parent's memory is another", BEFORE, &memory.bytes())?;
    } else {
        let is_dirty = |page: &fs_harness::page::Page| page.dump.has_flag("dirty");
        bed.check("the file's page was clean", !is_dirty(&clean.pages[0]))?;
        bed.check("it is dirty now", is_dirty(&step.pages[0]))?;
    }
    child.end()?;
    first.release(Release::Clean)
}

fn check_pinned_once(bed: &mut Bed, pins: Counted) -> Result<()> {
    let pages = PAGES as u64;
    bed.check("each page was pinned once and released", pins == Counted { acquired: pages, released: pages })
}

fn remote_hold(bed: &mut Bed) -> Result<()> {
    let memory = bed.anonymous(BEFORE, PAGES)?;
    let mut child = Child::fork(|_| {
        memory.fill(BY_CHILD);
        YES
    })?;
    child.ask(0)?;
    let take = Take::by(bed.acquisition()).path(Path::Remote(child.pid()));
    let hold = bed.device().hold(&memory, take)?;
    let held = bed.observe_page("the child's pages are held", &hold, 0)?;
    let pages = PAGES as u64;
    let all = Counted { acquired: pages, released: 0 };
    let counted =
        if bed.acquisition() == Acquisition::Get { held.device_references } else { held.device_pins };
    bed.check("each page is held once", counted == all)?;
    bed.check("the child maps the page", held.pages[0].dump.mapcount == 1)?;
    child.end()?;
    let left = bed.observe_page("the child has exited", &hold, 0)?;
    bed.check("nobody maps the page any more", left.pages[0].dump.mapcount == 0)?;
    hold.dma(0, &BY_DEVICE.bytes(0, memory.length()))?;
    let written = bed.observe_page("the device wrote the pages", &hold, 0)?;
    bed.check("the page is still the same", written.pages[0].state.pfn == held.pages[0].state.pfn)?;
    bed.check_data("the parent's memory is another", BEFORE, &memory.bytes())?;
    let again = bed.device().hold(&memory, take);
    bed.check_refused("pages of a process that is gone are refused with ESRCH", Errno::ESRCH, again)?;
    hold.release(Release::Dirty)
}

fn memlock(bed: &mut Bed) -> Result<()> {
    const LIMIT: u64 = 8;
    /// The question for pages of the parent.
    const PARENT: u8 = 100;
    /// The question for pages of its own, by its process id.
    const ITSELF: u8 = 101;
    let memory = bed.anonymous(BEFORE, PAGES)?;
    setrlimit(Resource::RLIMIT_MEMLOCK, LIMIT * PAGE as u64, LIMIT * PAGE as u64)
        .doing("lower RLIMIT_MEMLOCK")?;
    let hold = bed.device().hold(&memory, bed.acquisition());
    let hold = bed.require_ok("root may pin more than its limit", hold)?;
    bed.check("it is charged for it", pinned_pages(Pid::this())? == PAGES as u64)?;
    hold.release(Release::Clean)?;
    bed.check("what is released is given back", pinned_pages(Pid::this())? == 0)?;
    let device = bed.device().clone();
    let (own, take) = (memory.pages_of(0, PAGES), Take::by(bed.acquisition()));
    let parent = Take::by(bed.acquisition()).path(Path::Remote(Pid::this()));
    let mut user = Child::fork(|question| match question {
        0 => u8::from(setuid(Uid::from_raw(65534)).is_ok()),
        PARENT => match device.hold(own, parent) {
            Ok(_) => u8::MAX,
            Err(error) => error.errno().map_or(u8::MAX, |errno| errno as u8),
        },
        ITSELF => {
            let by_id = Take::by(Acquisition::Pin).path(Path::Remote(Pid::this()));
            let held = device.hold(memory.pages_of(0, 1), by_id);
            u8::from(held.and_then(|hold| hold.release(Release::Clean)).is_ok())
        }
        // Numbers of pages that a user without privileges asks for.
        pages => {
            let part = memory.pages_of(0, pages.into());
            match device.hold(part, take) {
                Ok(hold) => {
                    let pinned = pinned_pages(Pid::this()).unwrap_or(0);
                    let released = hold.release(Release::Clean).is_ok();
                    u8::from(released && pinned == u64::from(pages))
                }
                Err(error) => error.errno().map_or(u8::MAX, |errno| errno as u8),
            }
        }
    })?;
    bed.require("the child has no privileges any more", user.ask(0)? == YES)?;
    bed.check("pages of another process are refused with EPERM", user.ask(PARENT)? == Errno::EPERM as u8)?;
    bed.check("its own pages are not, by its process id", user.ask(ITSELF)? == YES)?;
    bed.check("a user may pin as much as its limit, and is charged for it", user.ask(8)? == YES)?;
    bed.check("one page more is refused with ENOMEM", user.ask(9)? == Errno::ENOMEM as u8)?;
    bed.check("nothing stays charged after that", pinned_pages(user.pid())? == 0)?;
    let remote = bed.device().hold(own, take.path(Path::Remote(user.pid())))?;
    bed.check("pages of another process are charged to it", pinned_pages(user.pid())? == PAGES as u64)?;
    bed.check("and not to who asked", pinned_pages(Pid::this())? == 0)?;
    remote.release(Release::Clean)?;
    bed.check("they are given back to it", pinned_pages(user.pid())? == 0)?;
    user.end()?;
    bed.observe("all is released", None).map(drop)
}

fn shows(memory: &Memory, pattern: Pattern) -> bool {
    pattern.difference(0, &memory.bytes()).is_none()
}

/// What a process is charged with: VmPin, in pages.
fn pinned_pages(pid: Pid) -> Result<u64> {
    let path = format!("/proc/{pid}/status");
    let status = fs::read_to_string(&path).doing(format!("read {path}"))?;
    let kib = status.lines().find_map(|line| line.strip_prefix("VmPin:")?.trim().strip_suffix(" kB"));
    let kib: Option<u64> = kib.and_then(|kib| kib.trim().parse().ok());
    kib.map(|kib| kib * 1024 / PAGE as u64).ok_or_else(|| Error::Lacking(format!("VmPin in {path}")))
}

fn usize_of(address: u64) -> usize {
    usize::try_from(address).expect("addresses have 64 bits")
}
