// SPDX-License-Identifier: MIT OR Apache-2.0

//! Disks that are unplugged while a filesystem is mounted on them, or while they have data that nobody
//! flushed.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::time::Duration;

use fs_harness::cell::{Acquisition, Setup};
use fs_harness::guest::device::{Bios, Release, Stage};
use fs_harness::guest::disk::{Attributes, Disk};
use fs_harness::guest::error::{Doing, Error};
use fs_harness::guest::in_flight::InFlight;
use fs_harness::guest::memory::{Memory, PAGE};
use fs_harness::guest::range::Range;
use fs_harness::guest::{Bed, Result};
use fs_harness::pattern::Pattern;
use fs_harness::record::Direction;
use nix::errno::Errno;
use nix::libc;

use crate::catalogue::{LARGE_BLOCK, Scenario};
use crate::media::OWN_DISKS;
use crate::transfer::EVERY_MODE;

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "remove_disk_mounted",
        about: "A mounted disk is set up no more, and does not go by itself. When it is removed its filesystem shuts down: what is in flight is completed, further I/O fails with EIO, a pinned page stays as long as it is held, and the filesystem can be unmounted.",
        source: "block/genhd.c: del_gendisk(); fs/super.c: fs_bdev_mark_dead()",
        setups: &[Setup::Ext4, Setup::Ext4Small, Setup::Xfs, Setup::XfsStable],
        acquisitions: &[Acquisition::Pin],
        not: &[
            (&[Setup::None], "nothing is mounted"),
            (&[Setup::Bdev], "nothing is mounted"),
            LARGE_BLOCK,
            (&[Setup::Tmpfs], "there is no disk"),
            (&[Setup::Ext4Journal], "writeback begins with the journal, and the gate is for the page itself"),
            (
                &[Setup::Btrfs, Setup::BtrfsNoDataSum],
                "which of its transactions it complains of depends on what it was about to write",
            ),
            (
                &[Setup::F2fs, Setup::Vfat],
                "it does not shut down without its disk, and answers from its caches",
            ),
            (Setup::FUSE, "the disk goes as that of ext4 and of xfs"),
        ],
        run: remove_disk_mounted,
        ..Scenario::PLAIN
    },
    Scenario {
        name: "remove_disk_transfer",
        about: "A disk that is removed while the driver itself has it open and reads from it ends the read and releases its pages; then it is of no more use.",
        source: "block/genhd.c: del_gendisk(); pinbed: kmod-blk/sys/open_disk.rs",
        setups: &[Setup::None],
        acquisitions: EVERY_MODE,
        not: OWN_DISKS,
        run: remove_disk_transfer,
        ..Scenario::PLAIN
    },
    Scenario {
        name: "remove_disk_unflushed",
        about: "What a disk stores goes with it, also what nobody flushed and also while the disk is open; a gate of it keeps it as long as the gate is there.",
        source: "pinbed: kmod-blk/README.md",
        setups: &[Setup::None],
        not: OWN_DISKS,
        run: remove_disk_unflushed,
        ..Scenario::PLAIN
    },
];

const BEFORE: Pattern = Pattern(1);
const AFTER: Pattern = Pattern(2);
const BY_DEVICE: Pattern = Pattern(3);

fn remove_disk_mounted(bed: &mut Bed) -> Result<()> {
    let disk = bed.require_disk()?;
    for line in shutdown_lines(bed.setup()) {
        bed.expect_log(line)?;
    }
    let waited_for = bed.file("waited_for", BEFORE, 1)?;
    let file = bed.file("data", BEFORE, 4)?;
    let settings = [
        ("power", "0"),
        ("size", "256"),
        ("blocksize", "4096"),
        ("stable_writes", "1"),
        ("late_transfer", "1"),
    ];
    for (setting, value) in settings {
        let refused = disk.write(setting, value);
        bed.check_refused(
            &format!("{setting} cannot be set to {value} while the disk is mounted"),
            Errno::EBUSY,
            refused,
        )?;
    }

    let (direct, mut buffered, mapping) = (file.direct()?, file.buffered()?, file.map()?);
    let buffer = bed.anonymous(AFTER, 1)?;
    let unflushed = InFlight::write(&direct, PAGE as u64, &buffer, 0..PAGE)?.wait().doing("write")?;
    let cached = bed.device().statistics(disk)?.cached_pages;
    bed.check("the disk has data that nobody flushed", unflushed == PAGE && cached > 0)?;
    let hold = bed.device().hold(mapping.pages_of(0, 1), bed.acquisition())?;
    bed.observe("a page of the file is pinned", Some(&hold))?;
    let gate = bed.close_gate(Stage::Transfer, &Bios::writes())?;
    let write = InFlight::write(&direct, 2 * PAGE as u64, &buffer, 0..PAGE)?;
    gate.wait_for(1)?;
    let synced = waited_for.buffered()?;
    synced.write_all_at(&AFTER.bytes(0, PAGE), 0).doing("write")?;
    // The last of all: as long as it waits, io_uring has no thread for anything else.
    let fsync = InFlight::fsync(&synced)?;
    gate.wait_for(2)?;
    fsync.wait_until_asleep_in("folio_wait_writeback")?;
    disk.remove()?;

    let written = write.wait();
    let is_whole = written.as_ref().is_ok_and(|count| *count == PAGE);
    let text = "removing the disk completes the write that was in flight";
    bed.check_that(text, is_whole, || format!("{written:?}"))?;
    // It comes to its end before the filesystem is shut down, or after it.
    let fsynced = fsync.wait().doing("fsync");
    let is_told =
        fsynced.as_ref().is_ok() || fsynced.as_ref().is_err_and(|error| error.errno() == Some(Errno::EIO));
    bed.check_that("an fsync that waited for the disk ends", is_told, || format!("{fsynced:?}"))?;
    let waited = gate.progress(3, Duration::from_secs(10));
    bed.check_refused("nobody waits at a gate of a removed disk", Errno::ENODEV, waited)?;
    let known = bed.device().statistics(disk);
    bed.check_refused("pinblk does not know the disk any more", Errno::ENOENT, known)?;
    gate.open()?;
    let write = InFlight::write(&direct, PAGE as u64, &buffer, 0..PAGE)?.wait().doing("write");
    bed.check_refused("a direct write fails with EIO", Errno::EIO, write)?;
    let read = InFlight::read(&direct, PAGE as u64, &buffer, 0..PAGE)?.wait().doing("read");
    bed.check_refused("a direct read fails with EIO", Errno::EIO, read)?;
    let read = buffered.read(&mut [0; PAGE]).doing("read");
    bed.check_refused("a read fails with EIO", Errno::EIO, read)?;
    let write = buffered.write_at(&[0; PAGE], 0).doing("write");
    bed.check_refused("a write fails with EIO", Errno::EIO, write)?;
    bed.check_refused("fsync fails with EIO", Errno::EIO, buffered.sync_all().doing("fsync"))?;

    hold.dma(0, &BY_DEVICE.bytes(0, PAGE))?;
    bed.check_data(
        "the pinned page is there for the device, and for the process",
        BY_DEVICE,
        &mapping.bytes_of(0..PAGE),
    )?;
    hold.release(Release::Dirty)?;
    drop((direct, buffered, mapping, synced));
    bed.lose_disk();
    let unmounted = bed.unmount();
    bed.check_that("the filesystem can be unmounted", unmounted.is_ok(), || format!("{unmounted:?}"))?;
    disk.make(&Attributes::default())?;
    let found = first_page(disk)?;
    bed.check("a new disk of that name has nothing of the old one", found == [0xde; PAGE])
}

/// What a filesystem says when its disk goes.
pub(crate) fn shutdown_lines(setup: Setup) -> &'static [&'static str] {
    match setup {
        Setup::Ext4 | Setup::Ext4Small => {
            &["EXT4-fs (pinblk0): shut down requested (2)", "Aborting journal on device pinblk0-8."]
        }
        _ => &[
            "XFS (pinblk0): Block device removal (0x20) detected at xfs_fs_shutdown",
            "XFS (pinblk0): Please unmount the filesystem and rectify the problem(s)",
        ],
    }
}

/// The disk of these scenarios alone.
const SCRATCH: Disk = Disk::of("scratch0");

fn remove_disk_transfer(bed: &mut Bed) -> Result<()> {
    SCRATCH.make(&Attributes { size_mib: 16, ..Attributes::default() })?;
    let disk = bed.device().open_disk(&SCRATCH)?;
    let buffer = bed.anonymous(BEFORE, 4)?;
    let gate = bed.device().close_gate(&SCRATCH, Stage::Transfer, &Bios::reads())?;
    let read = disk.begin(Direction::Read, 0, &[Range::from(&buffer)], bed.acquisition())?;
    gate.wait_for(1)?;
    bed.observe("the driver reads into its pages", None)?;
    SCRATCH.remove()?;
    let ended = read.wait()?;
    let is_whole = ended.error.is_none() && ended.bytes == buffer.length() as u64;
    bed.check_that("removing the disk completes the read", is_whole, || format!("{ended:?}"))?;
    bed.check("all of it is what the disk had", buffer.bytes() == [0xde; 4 * PAGE])?;
    bed.observe("the disk was removed", None)?;
    let again = disk.begin(Direction::Read, 0, &[Range::from(&buffer)], bed.acquisition());
    bed.check_refused(
        "it has no sectors any more: another read is refused with ERANGE",
        Errno::ERANGE,
        again,
    )?;
    bed.check_refused(
        "nobody can open it any more",
        Errno::ENOENT,
        bed.device().open_disk(&SCRATCH).map(drop),
    )?;
    gate.open()
}

/// What is written to it, in MiB, and how much of that may be found amiss: other things take memory too.
const STORED: u64 = 32;
const SLACK: u64 = 4;

fn remove_disk_unflushed(bed: &mut Bed) -> Result<()> {
    let attributes = Attributes { size_mib: 64, ..Attributes::default() };
    let buffer = bed.anonymous(AFTER, (1 << 20) / PAGE)?;
    for has_gate in [false, true] {
        SCRATCH.make(&attributes)?;
        let disk = open(&SCRATCH)?;
        let empty = free_memory()?;
        fill(&disk, &buffer)?;
        let pages = bed.device().statistics(&SCRATCH)?;
        bed.check(
            "all that was written is in the cache",
            (pages.cached_pages, pages.media_pages) == (STORED << 8, 0),
        )?;
        let full = free_memory()?;
        bed.check_that("it takes memory", full + STORED <= empty + SLACK, || {
            format!("{empty} MiB, then {full}")
        })?;
        let close = || bed.device().close_gate(&SCRATCH, Stage::Arrival, &Bios::writes());
        let gate = has_gate.then(close).transpose()?;
        SCRATCH.remove()?;
        let removed = free_memory()?;
        let found = || format!("{empty} MiB, then {full}, then {removed}");
        if let Some(gate) = gate {
            bed.check_that(
                "a gate of the removed disk keeps what it stored",
                removed <= full + SLACK,
                found,
            )?;
            gate.open()?;
            let opened = free_memory()?;
            bed.check_that("it goes with the gate", opened + SLACK >= empty, || format!("{opened} MiB"))?;
        } else {
            let text = "it goes with the disk, which is still open";
            bed.check_that(text, removed + SLACK >= empty, found)?;
        }
        let flushed = disk.sync_all().doing("fsync");
        bed.check_refused("nobody is told that it was flushed", Errno::EIO, flushed)?;
    }
    Ok(())
}

fn fill(disk: &File, buffer: &Memory) -> Result<()> {
    for part in 0..STORED {
        let length = buffer.length();
        let count = InFlight::write(disk, part << 20, buffer, 0..length)?.wait().doing("write")?;
        if count != length {
            return Err(Error::Unexpected(format!("{count} of {length} bytes were written")));
        }
    }
    Ok(())
}

/// Memory that nobody uses, in MiB. Each processor has a list of free pages of its own, which may be long.
fn free_memory() -> Result<u64> {
    let text = fs::read_to_string("/proc/zoneinfo").doing("read /proc/zoneinfo")?;
    let pages = |name| {
        text.lines().filter_map(move |line| line.trim().strip_prefix(name)?.trim().parse::<u64>().ok())
    };
    let free: u64 = pages("pages free").chain(pages("count:")).sum();
    if free == 0 {
        return Err(Error::Lacking("'pages free' in /proc/zoneinfo".to_owned()));
    }
    Ok(free >> 8)
}

fn first_page(disk: &Disk) -> Result<[u8; PAGE]> {
    let mut found = [0; PAGE];
    let path = disk.path();
    File::open(&path).and_then(|disk| disk.read_exact_at(&mut found, 0)).doing(format!("read {path}"))?;
    Ok(found)
}

fn open(disk: &Disk) -> Result<File> {
    let path = disk.path();
    let mut options = File::options();
    options.read(true).write(true).custom_flags(libc::O_DIRECT).open(&path).doing(format!("open {path}"))
}
