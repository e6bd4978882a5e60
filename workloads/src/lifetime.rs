// SPDX-License-Identifier: MIT OR Apache-2.0

//! What a page outlives while a device holds it: its process, its place in a file, its filesystem.

use std::fs;
use std::time::{Duration, Instant};

use fs_harness::cell::{Acquisition, Setup};
use fs_harness::guest::child::Child;
use fs_harness::guest::device::{Hold, Path, Release, Take};
use fs_harness::guest::error::Doing;
use fs_harness::guest::memory::{Memory, PAGE};
use fs_harness::guest::{Bed, Result, io, pagemap};
use fs_harness::page::PIN_BIAS;
use fs_harness::pattern::Pattern;
use nix::errno::Errno;

use crate::catalogue::{LARGE_BLOCK, LARGE_FOLIOS, NO_FILE, Scenario};
use crate::huge::HUGE_ORDER;

const BEFORE: Pattern = Pattern(1);
const BY_DEVICE: Pattern = Pattern(2);
const BY_PROCESSOR: Pattern = Pattern(3);

const GET_AND_PIN: &[Acquisition] = &[Acquisition::Get, Acquisition::Pin];

/// Where unmounting writes a page once, held or not.
const UNMOUNTED: &[Setup] = &[
    Setup::Ext4,
    Setup::Ext4Small,
    Setup::Xfs,
    Setup::XfsStable,
    Setup::Btrfs,
    Setup::BtrfsNoDataSum,
    Setup::F2fs,
    Setup::Vfat,
];

/// Memory, and files whose pages have the ways of a filesystem to be moved.
const MIGRATED: &[Setup] = &[
    Setup::None,
    Setup::Ext4,
    Setup::Ext4Small,
    Setup::Xfs,
    Setup::XfsStable,
    Setup::Btrfs,
    Setup::BtrfsNoDataSum,
    Setup::F2fs,
    Setup::Vfat,
];

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "punch_under_hold",
        row: Some(58),
        about: "A hole is punched into a large folio while a device holds a page of it: the folio cannot be split, and the hole reads as zeros.",
        source: "mm/truncate.c: truncate_inode_partial_folio(); include/linux/mm.h: folio_expected_ref_count()",
        setups: LARGE_FOLIOS,
        acquisitions: GET_AND_PIN,
        not: &[
            (&[Setup::None], "there is no file"),
            (&[Setup::Bdev], "there is no filesystem"),
            LARGE_BLOCK,
            (&[Setup::Tmpfs], "its large folios are huge pages, and there is no disk to read back from"),
            (&[Setup::Ext4Journal], "ext4 has no large folios where data goes to its journal"),
            (&[Setup::F2fs, Setup::Vfat], "files that can be written have no large folios there"),
            (Setup::FUSE, "its own page cache has no large folios, and its daemon punches no holes"),
        ],
        run: punch_under_hold,
        ..Scenario::PLAIN
    },
    Scenario {
        name: "migrate_under_hold",
        row: Some(60),
        about: "Memory is compacted while a device holds a page: the page stays where it is.",
        source: "mm/migrate.c: folio_migrate_mapping(); include/linux/mm.h: folio_expected_ref_count()",
        setups: MIGRATED,
        acquisitions: GET_AND_PIN,
        not: &[
            (&[Setup::Bdev], "its page cache is left where it is, held or not"),
            LARGE_BLOCK,
            (&[Setup::Tmpfs], "its pages are moved as those of memory"),
            (
                &[Setup::Ext4Journal],
                "that compaction tried to move a pinned page shows in its flags there, and it need not have tried",
            ),
            (
                Setup::FUSE,
                "the pages are those of the filesystem below it, or moved as those of a file there",
            ),
        ],
        run: migrate_under_hold,
        ..Scenario::PLAIN
    },
    Scenario {
        name: "umount_under_hold",
        row: Some(61),
        about: "A filesystem is unmounted while a device holds a page of a file: the hold does not keep it, what the processor wrote before is saved, what the device writes then is lost, and the filesystem is clean.",
        source: "fs/super.c: generic_shutdown_super(); fs/inode.c: evict_inodes()",
        setups: UNMOUNTED,
        acquisitions: GET_AND_PIN,
        not: &[
            (&[Setup::None], "there is no file"),
            (&[Setup::Bdev], "there is no filesystem"),
            LARGE_BLOCK,
            (&[Setup::Tmpfs], "there is no disk"),
            (
                &[Setup::Ext4Journal],
                "how often a pinned page is written there is up to the clock: umount_journalled_under_pin",
            ),
            (Setup::FUSE, "its daemon ends with the mount, which cannot be mounted again to look"),
        ],
        run: umount_under_hold,
        ..Scenario::PLAIN
    },
    Scenario {
        name: "umount_journalled_under_pin",
        row: Some(61),
        about: "A filesystem with data=journal is unmounted while a device pins a page of a file: the kernel warns that data will be lost, and what the processor wrote is saved.",
        source: "fs/ext4/inode.c: ext4_evict_inode(), mpage_prepare_extent_to_map(), ext4_journalled_dirty_folio()",
        setups: &[Setup::Ext4Journal],
        acquisitions: &[Acquisition::Pin],
        not: &[
            (&[Setup::None], "there is no file"),
            (&[Setup::Bdev], "there is no filesystem"),
            LARGE_BLOCK,
            (&[Setup::Tmpfs], "there is no disk"),
            (Setup::ON_DISK, "data does not go to its journal, if it has one: umount_under_hold"),
            (Setup::FUSE, "the journal is that of the filesystem below it"),
        ],
        run: umount_journalled,
        ..Scenario::PLAIN
    },
    Scenario {
        name: "exit_under_hold",
        row: Some(62),
        about: "A process exits while a device holds its pages: they live on, mapped by nobody, until they are released.",
        source: "mm/memory.c: zap_present_folio_ptes(); mm/swap_state.c: free_folio_and_swap_cache()",
        setups: &[Setup::None],
        acquisitions: GET_AND_PIN,
        not: NO_FILE,
        run: |bed| exit_under_hold(bed, &Memory::anonymous(4)?, 0, PIN_BIAS),
        ..Scenario::PLAIN
    },
    Scenario {
        name: "thp_exit_under_hold",
        row: Some(62),
        about: "A process exits while a device holds a page of its huge page: all of the huge page lives on, until that is released.",
        source: "mm/huge_memory.c: zap_huge_pmd(); mm/swap_state.c: free_folio_and_swap_cache()",
        setups: &[Setup::None],
        acquisitions: GET_AND_PIN,
        not: NO_FILE,
        // Its pins are counted apart from its references.
        run: |bed| exit_under_hold(bed, &Memory::huge()?, HUGE_ORDER, 1),
        ..Scenario::PLAIN
    },
];

fn punch_under_hold(bed: &mut Bed) -> Result<()> {
    const PAGES: usize = 16;
    const HELD: usize = 5;
    let file = bed.file("data", BEFORE, PAGES)?;
    let source = bed.anonymous(BEFORE, PAGES)?;
    // Written at once, so that the filesystem makes one large folio.
    io::write(io::Interface::Syscall, &file.buffered()?, &source)?;
    let mapping = file.map()?;
    let hold = bed.device().hold(mapping.pages_of(HELD, 1), bed.acquisition())?;
    let before = bed.observe("a page of the file's large folio is held", Some(&hold))?;
    let order = before.pages[0].state.order;
    bed.require("the folio is large", order > 0)?;
    file.punch(PAGE, (HELD + 3) * PAGE)?;
    let punched = bed.observe("a hole is punched over it", Some(&hold))?;
    bed.check("the folio is not split", punched.pages[0].state.order == order)?;
    let zeros = vec![0; (HELD + 3) * PAGE];
    bed.check("the hole reads as zeros", mapping.bytes_of(PAGE..PAGE + zeros.len()) == zeros)?;
    bed.check_data("what is before the hole is as it was", BEFORE, &mapping.bytes_of(0..PAGE))?;
    hold.release(Release::Clean)?;
    drop(mapping);
    file.fsync()?;
    bed.observe("the page is released, fsync returned", None)?;
    let found = bed.after_power_cut(&file)?;
    bed.check("the hole is zeros after a power cut", found[PAGE..PAGE + zeros.len()] == zeros)?;
    bed.check_data("what is before the hole is as it was there", BEFORE, &found[..PAGE])
}

fn migrate_under_hold(bed: &mut Bed) -> Result<()> {
    let memory = memory_or_file(bed, 1 + NEIGHBOURS)?;
    let before = frames_of(&memory)?;
    let hold = bed.device().hold(memory.pages_of(0, 1), bed.acquisition())?;
    bed.observe("the page is held", Some(&hold))?;
    let moved = compact_until(&memory, |frames| frames[1..] != before[1..])?;
    bed.observe("memory was compacted", Some(&hold))?;
    bed.check("the page is where it was", pagemap::frame_of(&memory, 0)? == before[0])?;
    bed.check("pages beside it that nobody holds were moved", moved)?;
    hold.dma(0, &BY_DEVICE.bytes(0, PAGE))?;
    bed.check_data("the process sees what the device wrote", BY_DEVICE, &memory.bytes_of(0..PAGE))?;
    hold.release(Release::Clean)?;
    let moved = compact_until(&memory, |frames| frames[0] != before[0])?;
    bed.observe("the page is released, and memory was compacted again", None)?;
    bed.check("that nobody holds it any more, it is moved as well", moved)
}

/// Compacts memory again and again until its frames are so; whether they are. Once in many times compaction moves
/// nothing.
fn compact_until(memory: &Memory, is_so: impl Fn(&[u64]) -> bool) -> Result<bool> {
    let deadline = Instant::now() + Duration::from_secs(10);
    while Instant::now() < deadline {
        fs::write("/proc/sys/vm/compact_memory", "1").doing("compact memory")?;
        if is_so(&frames_of(memory)?) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Pages beside the one that is held: so many that some of them are not yet where compaction puts pages.
const NEIGHBOURS: usize = 255;

/// Memory whose pages are present: anonymous, or of a file, clean.
fn memory_or_file(bed: &mut Bed, pages: usize) -> Result<Memory> {
    if bed.setup() == Setup::None {
        return bed.anonymous(BEFORE, pages);
    }
    let mapping = bed.file("data", BEFORE, pages)?.map()?;
    mapping.read_singly()?;
    mapping.bytes();
    Ok(mapping)
}

fn frames_of(memory: &Memory) -> Result<Vec<u64>> {
    (0..=NEIGHBOURS).map(|page| pagemap::frame_of(memory, page)).collect()
}

fn umount_under_hold(bed: &mut Bed) -> Result<()> {
    let file = bed.file("data", BEFORE, 1)?;
    let mapping = file.map()?;
    mapping.fill(BY_PROCESSOR);
    let hold = bed.device().hold(&mapping, bed.acquisition())?;
    let refused = bed.unmount();
    bed.check_refused("as long as it is mapped, unmounting is refused with EBUSY", Errno::EBUSY, refused)?;
    drop(mapping);
    bed.observe("the page is held, and mapped no more", Some(&hold))?;
    bed.unmount()?;
    let orphan = bed.observe("the filesystem is unmounted", Some(&hold))?;
    bed.check("the page belongs to no file", !orphan.pages[0].dump.mapping)?;
    hold.dma(0, &BY_DEVICE.bytes(0, PAGE))?;
    hold.release(Release::Dirty)?;
    let step = bed.observe("the device wrote to the page, which is released dirty", None)?;
    bed.check("nothing of it reached the disk", step.traffic.is_empty())?;
    bed.mount()?;
    let found = file.bytes()?;
    bed.check_data("the media hold what the processor wrote before", BY_PROCESSOR, &found)
}

/// No step shows how often the page is written: it is dirty whenever it is looked at, and writeback
/// looks again if the clock has ticked meanwhile.
fn umount_journalled(bed: &mut Bed) -> Result<()> {
    bed.expect_log("ext4_evict_inode")?;
    let file = bed.file("data", BEFORE, 1)?;
    let mapping = file.map()?;
    mapping.fill(BY_PROCESSOR);
    let hold = bed.device().hold(&mapping, bed.acquisition())?;
    drop(mapping);
    bed.observe("the page is held, and mapped no more", Some(&hold))?;
    bed.unmount()?;
    hold.dma(0, &BY_DEVICE.bytes(0, PAGE))?;
    hold.release(Release::Dirty)?;
    bed.mount()?;
    let found = file.bytes()?;
    bed.check_data("the media hold what the processor wrote before", BY_PROCESSOR, &found)
}

/// `order`: of the folios that the memory is to consist of; `references`: what a pin of a page adds to its references.
fn exit_under_hold(bed: &mut Bed, memory: &Memory, order: u32, references: i32) -> Result<()> {
    let pages = if memory.pages() > 4 { 1 } else { 4 };
    // The child touches the memory: its pages are the child's alone.
    let mut child = Child::fork(|_| {
        memory.fill(BEFORE);
        1
    })?;
    child.ask(0)?;
    let take = Take::by(bed.acquisition()).path(Path::Remote(child.pid()));
    let hold: Hold = bed.device().hold(memory.pages_of(0, pages), take)?;
    let held = bed.observe("pages of another process are held", Some(&hold))?;
    let is_of_order = held.pages.iter().all(|page| page.state.order == order);
    bed.require(&format!("each is of a folio of order {order}"), is_of_order)?;
    child.end()?;
    let orphans = bed.observe("that process has exited", Some(&hold))?;
    let mapped = |step: &fs_harness::record::Step| {
        step.pages.iter().map(|page| page.state.folio_mapcount).sum::<i32>()
    };
    bed.check("they were mapped once each", mapped(&held) == i32::try_from(pages).unwrap_or_default())?;
    bed.check("nobody maps them any more", mapped(&orphans) == 0)?;
    let alone = |page: &fs_harness::page::Page| {
        page.state.refcount == if bed.acquisition() == Acquisition::Get { 1 } else { references }
    };
    bed.check("nothing is left of their references but the hold's", orphans.pages.iter().all(alone))?;
    hold.dma(0, &BY_DEVICE.bytes(0, pages * PAGE))?;
    hold.release(Release::Dirty)?;
    bed.observe("the device wrote to them, and they are released", None).map(drop)
}
