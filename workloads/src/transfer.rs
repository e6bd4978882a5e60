// SPDX-License-Identifier: MIT OR Apache-2.0

//! pinblk's own I/O: user pages that it takes by reference or by pin, in bios that it builds itself.
//! The converted path of bios beside the legacy one.

use fs_harness::cell::{Acquisition, Setup};
use fs_harness::guest::device::{Ended, OpenDisk, Path, Release, Take};
use fs_harness::guest::error::Doing;
use fs_harness::guest::huge::HUGE_PAGES;
use fs_harness::guest::memory::{Memory, PAGE};
use fs_harness::guest::range::Range;
use fs_harness::guest::{Bed, Result};
use fs_harness::pattern::Pattern;
use fs_harness::record::{Class, Counted, Direction};
use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use std::os::fd::AsFd;

use crate::catalogue::{LARGE_BLOCK, NotOn, Scenario};

const ON_THE_MEDIA: Pattern = Pattern(1);
const IN_THE_BUFFER: Pattern = Pattern(2);
const PAGES: usize = 16;

const SOURCE: &str = "block/bio.c: bio_iov_iter_get_pages(), __bio_release_pages(), as the driver does it";
pub(crate) const EVERY_MODE: &[Acquisition] = &[Acquisition::Get, Acquisition::Pin, Acquisition::LongTerm];
pub(crate) const ONLY_BDEV: &[NotOn] = &[
    (&[Setup::None], "there is no disk"),
    LARGE_BLOCK,
    (&[Setup::Tmpfs], "there is no disk"),
    (Setup::ON_DISK, "the driver does not write to a disk that is mounted"),
    (Setup::FUSE, "the driver does not write to a disk that is mounted"),
];

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "transfer_write",
        about: "The driver writes user pages that it took: by pin its bios look like those of direct I/O, by reference nobody can tell whose pages they carry.",
        source: SOURCE,
        setups: &[Setup::Bdev],
        acquisitions: EVERY_MODE,
        not: ONLY_BDEV,
        run: write,
        ..Scenario::PLAIN
    },
    Scenario {
        name: "transfer_read",
        about: "The driver reads into user pages that it took, and releases them dirty.",
        source: SOURCE,
        setups: &[Setup::Bdev],
        acquisitions: EVERY_MODE,
        not: ONLY_BDEV,
        run: read,
        ..Scenario::PLAIN
    },
    Scenario {
        name: "transfer_shapes",
        about: "Memory of every shape is cut into bios: pieces that begin anywhere in a page, a huge page in one segment, more pieces than one bio carries.",
        source: "block/bio.c: bio_iov_iter_get_pages(); block/blk-merge.c: bio_split_io_at()",
        setups: &[Setup::Bdev],
        acquisitions: &[Acquisition::Pin],
        not: ONLY_BDEV,
        run: shapes,
        ..Scenario::PLAIN
    },
    Scenario {
        name: "transfer_large",
        about: "64 MiB go in one call, by each path, and come back.",
        source: SOURCE,
        setups: &[Setup::Bdev],
        acquisitions: &[Acquisition::Pin],
        not: ONLY_BDEV,
        run: large,
        ..Scenario::PLAIN
    },
    Scenario {
        name: "transfer_exclusive",
        about: "The driver does not open a disk that is mounted, and what it has open cannot be mounted.",
        source: "block/bdev.c: bd_prepare_to_claim()",
        setups: &[Setup::Bdev, Setup::Ext4, Setup::Xfs],
        acquisitions: &[Acquisition::Pin],
        not: &[
            (&[Setup::None], "there is no disk"),
            LARGE_BLOCK,
            (&[Setup::Tmpfs], "there is no disk"),
            (Setup::ON_DISK, "its disk is mounted as that of ext4 and of xfs"),
            (Setup::FUSE, "its disk is mounted as that of ext4 and of xfs"),
        ],
        run: exclusive,
        ..Scenario::PLAIN
    },
];

fn write(bed: &mut Bed) -> Result<()> {
    let file = bed.file("data", ON_THE_MEDIA, PAGES)?;
    let buffer = bed.anonymous(IN_THE_BUFFER, PAGES)?;
    let disk = open(bed)?;
    let begun = disk.begin(Direction::Write, 0, &[Range::from(&buffer)], bed.acquisition())?;
    let ended = begun.wait()?;
    drop(disk);
    let bytes = buffer.length() as u64;
    bed.check_that("all was written", is_success(ended, bytes), || format!("{ended:?}"))?;
    check_taken_once(bed, "the driver wrote the buffer", Direction::Write)?;
    let is_dirty = is_dirty(bed, &buffer)?;
    bed.check("the pages are not dirtied by being written", !is_dirty)?;
    let found = bed.read_back(&file)?;
    bed.check_data("the media hold what was in the buffer", IN_THE_BUFFER, &found)
}

fn read(bed: &mut Bed) -> Result<()> {
    let file = bed.file("data", ON_THE_MEDIA, PAGES)?;
    let buffer = bed.anonymous(IN_THE_BUFFER, PAGES)?;
    let disk = open(bed)?;
    let event = EventFd::from_value_and_flags(0, EfdFlags::EFD_NONBLOCK).doing("make an eventfd")?;
    let memory = [Range::from(&buffer)];
    let begun = disk.begin_with_event(Direction::Read, 0, &memory, bed.acquisition(), &event)?;
    let mut readable = [PollFd::new(event.as_fd(), PollFlags::POLLIN)];
    poll(&mut readable, PollTimeout::from(10_000_u16)).doing("wait for the eventfd")?;
    bed.check("the eventfd tells the end", event.read() == Ok(1))?;
    let ended = begun.try_wait()?;
    let is_read = ended.is_some_and(|ended| is_success(ended, buffer.length() as u64));
    bed.check_that("all was read, and that is known without waiting", is_read, || format!("{ended:?}"))?;
    bed.check_refused("an end is told once", Errno::ENOENT, begun.try_wait())?;
    drop(disk);
    check_taken_once(bed, "the driver read into the buffer", Direction::Read)?;
    let is_dirty = is_dirty(bed, &buffer)?;
    bed.check("the pages are dirty, as those that a device wrote to", is_dirty)?;
    bed.check_data("the buffer holds what was on the media", ON_THE_MEDIA, &buffer.bytes())?;
    drop(file);
    Ok(())
}

/// Each page of the buffer was taken and released once, by the cell's mode.
fn check_taken_once(bed: &mut Bed, step: &str, direction: Direction) -> Result<()> {
    let step = bed.observe(step, None)?;
    let pages = PAGES as u64;
    let once = Counted { acquired: pages, released: pages };
    let is_get = bed.acquisition() == Acquisition::Get;
    let (by_pin, by_reference) = if is_get { (Counted::default(), once) } else { (once, Counted::default()) };
    bed.check("the kernel counts the pins", step.pins == by_pin)?;
    bed.check("the driver counts the same pins", step.device_pins == by_pin)?;
    bed.check("the driver counts the references", step.device_references == by_reference)?;
    let class = if is_get { Class::Other } else { Class::UserPinned };
    let traffic = step.traffic_of(direction, class);
    bed.check_that(
        "one bio carried them, marked as pinned just if they are",
        traffic.bios == 1 && traffic.pages == pages && traffic.pinned_pages == by_pin.acquired,
        || format!("{traffic:?}"),
    )
}

fn shapes(bed: &mut Bed) -> Result<()> {
    const SECTOR: usize = 512;
    let file = bed.file("data", ON_THE_MEDIA, 2 * HUGE_PAGES)?;
    let disk = open(bed)?;
    let buffer = bed.anonymous(IN_THE_BUFFER, HUGE_PAGES)?;
    let whole = Range::from(&buffer);

    // From the middle of a page to the middle of another: the disk's sectors follow one another.
    let part = |first: usize, count: usize| piece(whole, first * SECTOR, count * SECTOR);
    let pieces = [part(3, 7), part(100, 1), part(17, 24)];
    let ended = disk.begin(Direction::Write, 8 * SECTOR as u64, &pieces, bed.acquisition())?.wait()?;
    bed.check_that(
        "three pieces are one bio",
        is_success(ended, 32 * SECTOR as u64) && ended.bios == 1,
        || format!("{ended:?}"),
    )?;
    let step = bed.observe("pieces of pages were written", None)?;
    bed.check("each piece took each of its pages", step.pins == counted(2 + 1 + 4))?;
    let expected: Vec<u8> = [(3, 7), (100, 1), (17, 24)]
        .iter()
        .flat_map(|(first, count)| IN_THE_BUFFER.bytes(first * SECTOR, count * SECTOR))
        .collect();
    let found = bed.read_back(&file)?;
    bed.check("they are on the media in their order", found[8 * SECTOR..40 * SECTOR] == expected)?;

    // 512 single pages are more segments than a bio has.
    let ended = disk.begin(Direction::Write, 0, &[whole], bed.acquisition())?.wait()?;
    let is_done = is_success(ended, buffer.length() as u64);
    bed.check_that("2 MiB of single pages are written", is_done, || format!("{ended:?}"))?;
    bed.check_that("by two bios at most, as their segments need", (1..=2).contains(&ended.bios), || {
        format!("{ended:?}")
    })?;

    let huge = Memory::huge()?;
    huge.fill(IN_THE_BUFFER);
    let reference = bed.device().hold(huge.pages_of(0, 1), Acquisition::Get)?;
    let order = reference.dump(0)?.order;
    bed.require("a huge page is one", order == 9)?;
    reference.release(Release::Clean)?;
    bed.observe("2 MiB of single pages were written", None)?;
    // Without its first and last sector.
    let inner = piece(Range::from(&huge), SECTOR, huge.length() - 2 * SECTOR);
    let ended = disk.begin(Direction::Write, SECTOR as u64, &[inner], bed.acquisition())?.wait()?;
    bed.check_that("a huge page is one bio", is_success(ended, inner.length()) && ended.bios == 1, || {
        format!("{ended:?}")
    })?;
    let step = bed.observe("a huge page was written", None)?;
    bed.check("all of its pages were pinned", step.pins == counted(512))
}

fn large(bed: &mut Bed) -> Result<()> {
    /// As many bytes as one call takes.
    const MOST: usize = 64 << 20;
    /// What is compared at once.
    const PART: usize = 64 << 10;
    let _ = bed.file("data", ON_THE_MEDIA, 1)?;
    let disk = open(bed)?;
    let buffer = Memory::anonymous(MOST / PAGE)?;
    let own = Path::Remote(nix::unistd::Pid::this());
    for (byte, path, name) in [(1_u8, Path::Fast, "fast"), (2, Path::Slow, "slow"), (3, own, "remote")] {
        let take = Take::by(bed.acquisition()).path(path);
        let hold = bed.device().hold(&buffer, take)?;
        for at in (0..MOST).step_by(1 << 20) {
            hold.dma_fill(at, 1 << 20, byte)?;
        }
        hold.release(Release::Dirty)?;
        let ended = disk.begin(Direction::Write, 0, &[Range::from(&buffer)], take)?.wait()?;
        bed.check_that("64 MiB are written in one call", is_success(ended, MOST as u64), || {
            format!("{ended:?}")
        })?;
        let hold = bed.device().hold(&buffer, take)?;
        for at in (0..MOST).step_by(1 << 20) {
            hold.dma_fill(at, 1 << 20, 0)?;
        }
        hold.release(Release::Dirty)?;
        let ended = disk.begin(Direction::Read, 0, &[Range::from(&buffer)], take)?.wait()?;
        bed.check_that("64 MiB are read in one call", is_success(ended, MOST as u64), || {
            format!("{ended:?}")
        })?;
        // By words, and without memory that is new each time: on an emulated processor both cost seconds.
        let is_written = (0..MOST).step_by(PART).all(|at| {
            let found = buffer.bytes_of(at..at + PART);
            found.as_chunks::<8>().0.iter().all(|word| *word == [byte; 8])
        });
        bed.check("they are what was written", is_written)?;
        let by = format!("64 MiB went there and back, by the {name} path");
        let step = bed.observe(&by, None)?;
        let pages = 4 * (MOST / PAGE) as u64;
        bed.check(
            "each page was taken four times",
            step.pins == Counted { acquired: pages, released: pages },
        )?;
    }
    Ok(())
}

fn exclusive(bed: &mut Bed) -> Result<()> {
    const DISK: &str = "/dev/pinblk0";
    if bed.setup() != Setup::Bdev {
        let opened = open(bed);
        return bed.check_refused("a mounted disk is refused with EBUSY", Errno::EBUSY, opened);
    }
    let disk = open(bed)?;
    let again = open(bed);
    bed.check_refused("a disk that the driver has open is refused with EBUSY", Errno::EBUSY, again)?;
    std::fs::create_dir_all("/mnt/other").doing("make /mnt/other")?;
    bed.expect_log("/dev/pinblk0: Can't open blockdev")?;
    let mounted = || {
        mount(Some(DISK), "/mnt/other", Some("ext4"), MsFlags::empty(), None::<&str>)
            .doing(format!("mount {DISK}"))
    };
    bed.check_refused("a disk that the driver has open cannot be mounted", Errno::EBUSY, mounted())?;
    drop(disk);
    // The file is closed by a task that runs before the call that dropped it returns.
    let opened = open(bed);
    bed.check("it can be opened again when it is closed", opened.is_ok())
}

/// Whether the first page of the memory is dirty.
fn is_dirty(bed: &mut Bed, memory: &Memory) -> Result<bool> {
    let look = bed.device().hold(memory.pages_of(0, 1), Take::by(Acquisition::Get).read_only())?;
    let step = bed.observe("the first page, looked at through one reference", Some(&look))?;
    look.release(Release::Clean)?;
    Ok(step.pages[0].dump.has_flag("dirty"))
}

/// The cell's disk, opened by the driver.
fn open(bed: &Bed) -> Result<OpenDisk> {
    bed.device().open_disk(bed.require_disk()?)
}

fn piece(whole: Range, offset: usize, length: usize) -> Range {
    whole.part(offset as u64, length as u64).expect("a scenario asks for what it mapped")
}

fn is_success(ended: Ended, bytes: u64) -> bool {
    ended.error.is_none() && ended.bytes == bytes
}

fn counted(pages: u64) -> Counted {
    Counted { acquired: pages, released: pages }
}
