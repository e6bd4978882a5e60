// SPDX-License-Identifier: MIT OR Apache-2.0

//! A debugger writes into a mapping of its process: by reference, and the page is dirtied under its lock.

use std::ffi::{c_long, c_void};

use fs_harness::cell::{Acquisition, Setup};
use fs_harness::guest::child::Child;
use fs_harness::guest::device::{Release, Take};
use fs_harness::guest::error::Doing;
use fs_harness::guest::memory::Memory;
use fs_harness::guest::{Bed, Result};
use fs_harness::pattern::Pattern;
use fs_harness::record::{Class, Counted, Direction};
use nix::errno::Errno;
use nix::sys::mman::ProtFlags;
use nix::sys::ptrace::{self, Options};
use nix::sys::wait::{WaitPidFlag, waitpid};

use crate::catalogue::{LARGE_BLOCK, NotOn, Scenario};

const IN_THE_FILE: Pattern = Pattern(1);
const POKED: Pattern = Pattern(2);
const WORD: usize = size_of::<c_long>();

const NOT: &[NotOn] = &[
    (&[Setup::None], "there is no file"),
    LARGE_BLOCK,
    (&[Setup::Tmpfs], "there is no disk to write back to"),
    (
        Setup::FUSE,
        "the mapping is that of the filesystem below, or there is none, or the daemon's page cache is what reaches the disk",
    ),
];

pub(crate) const SCENARIOS: &[Scenario] = &[Scenario {
    name: "ptrace_poke",
    row: Some(38),
    about: "A debugger pokes a word into a clean page of a file's shared mapping: no page is pinned, the page is dirty, and fsync saves the word.",
    source: "mm/memory.c: __access_remote_vm(), folio_mark_dirty_lock(); mm/gup.c: check_vma_flags()",
    setups: &[
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
    ],
    not: NOT,
    run: poke,
    ..Scenario::PLAIN
}];

fn poke(bed: &mut Bed) -> Result<()> {
    let file = bed.file("data", IN_THE_FILE, 1)?;
    let (mapping, read_only) = (file.map()?, file.map()?);
    mapping.bytes();
    read_only.protect(0, 1, ProtFlags::PROT_READ)?;
    let reference = bed.device().hold(&mapping, Take::by(Acquisition::Get).read_only())?;
    let mut child = Child::fork(|_| u8::from(mapping.bytes_of(0..WORD) == POKED.bytes(0, WORD)))?;
    let before = bed.observe("a process maps a page of a file", Some(&reference))?;
    bed.require("the page is clean", !before.pages[0].dump.has_flag("dirty"))?;
    let pid = child.pid();
    ptrace::seize(pid, Options::empty()).doing("trace the process")?;
    ptrace::interrupt(pid).doing("interrupt the process")?;
    waitpid(pid, Some(WaitPidFlag::__WALL)).doing("wait until the process has stopped")?;
    let refused =
        ptrace::write(pid, address(&read_only), word()).doing("poke into a page that may only be read");
    bed.check_refused("where the file may only be read, it is refused with EIO", Errno::EIO, refused)?;
    ptrace::write(pid, address(&mapping), word()).doing("poke into the page")?;
    ptrace::detach(pid, None).doing("let the process go on")?;
    let poked = bed.observe("a debugger wrote a word to it", Some(&reference))?;
    bed.check("no page was pinned", poked.pins == Counted::default())?;
    bed.check("the page is dirty", poked.pages[0].dump.has_flag("dirty"))?;
    bed.check("the process sees the word", child.ask(0)? == 1)?;
    child.end()?;
    reference.release(Release::Clean)?;
    file.fsync()?;
    let synced = bed.observe("fsync returned", None)?;
    // The pages of a bare device's page cache are what a filesystem would have its metadata in.
    let class = if bed.setup() == Setup::Bdev { Class::Metadata } else { Class::PageCache };
    bed.check("fsync wrote the page", synced.traffic_of(Direction::Write, class).pages == 1)?;
    drop((mapping, read_only));
    let found = bed.read_back(&file)?;
    bed.check_data("the file holds the word", POKED, &found[..WORD])?;
    let rest = IN_THE_FILE.difference(WORD, &found[WORD..]).is_none();
    bed.check("the rest of it is as it was", rest)
}

fn address(memory: &Memory) -> *mut c_void {
    memory.address() as *mut c_void
}

fn word() -> c_long {
    c_long::from_ne_bytes(POKED.bytes(0, WORD).try_into().expect("a word has that many bytes"))
}
