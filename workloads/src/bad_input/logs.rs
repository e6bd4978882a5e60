// SPDX-License-Identifier: MIT OR Apache-2.0

use std::fs::File;
use std::os::unix::fs::{FileExt, OpenOptionsExt};

use fs_harness::crash::{Entry, What};
use fs_harness::guest::device::abi;
use fs_harness::guest::disk::{Attributes, Disk};
use fs_harness::guest::error::Doing;
use fs_harness::guest::{Bed, Result};
use fs_harness::pattern::Pattern;
use nix::errno::Errno;
use nix::libc;

use super::{LAST_PAGE, ask_unanswerable, refuse};

/// A disk of this scenario alone.
const LOGGED: Disk = Disk::of("logged0");

const SECTOR: usize = 512;

/// Memory for direct I/O.
#[repr(align(4096))]
struct Aligned([u8; 2 * 4096]);

pub(super) fn run(bed: &mut Bed) -> Result<()> {
    LOGGED.make(&Attributes { size_mib: 16, ..Attributes::default() })?;
    let mut state = abi::LogState::default();
    state.disk[..LOGGED.name().len()].copy_from_slice(LOGGED.name().as_bytes());
    let entry = abi::LogEntry { disk: state.disk, ..abi::LogEntry::default() };
    refuse(bed, "an entry without a log", Errno::ERANGE, abi::LOG_ENTRY, entry)?;
    bed.check_refused("a log is 2: EINVAL", Errno::EINVAL, LOGGED.write("log", "2"))?;
    LOGGED.write("log", "1")?;
    bed.check("the log is on", LOGGED.read("log")? == "1")?;
    refuse(bed, "an entry of an empty log", Errno::ERANGE, abi::LOG_ENTRY, entry)?;
    everything(bed)?;
    let reserved = abi::LogState { reserved: 1, ..state };
    refuse(bed, "the state of a log with a reserved field", Errno::EINVAL, abi::LOG_STATE, reserved)?;
    let nowhere = abi::LogState::default();
    refuse(bed, "the log of a disk without a name", Errno::ENOENT, abi::LOG_STATE, nowhere)?;
    let nowhere = abi::LogEntry::default();
    refuse(bed, "an entry of a disk without a name", Errno::ENOENT, abi::LOG_ENTRY, nowhere)?;
    let behind = abi::LogEntry { index: u64::MAX, ..entry };
    refuse(bed, "an entry behind the last", Errno::ERANGE, abi::LOG_ENTRY, behind)?;
    for (what, address) in [("null", 0), ("the kernel's memory", super::KERNEL), ("the last page", LAST_PAGE)]
    {
        let bad = abi::LogEntry { address, ..entry };
        refuse(bed, &format!("an entry whose data goes to {what}"), Errno::EFAULT, abi::LOG_ENTRY, bad)?;
    }
    let answer = ask_unanswerable(bed, abi::LOG_STATE, state)?;
    bed.check_refused("a state that cannot be written: EFAULT", Errno::EFAULT, answer)?;
    overflow(bed)?;
    LOGGED.write("log", "0")?;
    refuse(bed, "an entry of a log that was ended", Errno::ERANGE, abi::LOG_ENTRY, entry)?;
    LOGGED.write("power", "0")?;
    bed.check_refused("a log without power: ENODEV", Errno::ENODEV, LOGGED.write("log", "1"))
}

/// Every kind of entry, in the order in which the store changed.
fn everything(bed: &mut Bed) -> Result<()> {
    let open = |flags| {
        let mut options = File::options();
        options.read(true).write(true).custom_flags(libc::O_DIRECT | flags);
        options.open(LOGGED.path()).doing("open the disk")
    };
    let (plain, durable) = (open(0)?, open(libc::O_DSYNC)?);
    let mut data = Aligned([0; 2 * 4096]);
    data.0.copy_from_slice(&Pattern(1).bytes(0, 2 * 4096));
    // Two pages of memory, each across the end of a page of the disk.
    plain.write_all_at(&data.0, 4 * SECTOR as u64).doing("write")?;
    durable.write_all_at(&data.0[..SECTOR], 64 * 512).doing("write with O_DSYNC")?;
    LOGGED.write_zeroes(128 * 512..136 * 512)?;
    LOGGED.discard(256 * 512..512 * 512)?;
    plain.sync_all().doing("flush")?;
    let log = bed.device().read_log(&LOGGED)?;
    let write = |first: u64, sectors: usize, at: usize, through| {
        let what = What::Write(Pattern(1).bytes(at, sectors * SECTOR));
        (first..first + sectors as u64, through, what)
    };
    let expected = [
        write(4, 4, 0, false),
        write(8, 4, 4 * SECTOR, false),
        write(12, 4, 8 * SECTOR, false),
        write(16, 4, 12 * SECTOR, false),
        write(64, 1, 0, true),
        (128..136, false, What::Zeroes),
        (256..512, false, What::Discard),
    ];
    let changes: Vec<&Entry> = log.entries().iter().filter(|entry| entry.what != What::Flush).collect();
    bed.check_that(
        "the log has each write by the page, with its bytes, zeros and discards",
        changes.iter().map(|entry| (entry.sectors.clone(), entry.through, entry.what.clone())).eq(expected),
        || format!("{:?}", changes.iter().map(|entry| &entry.sectors).collect::<Vec<_>>()),
    )?;
    let bios: Vec<u64> = changes.iter().map(|entry| entry.bio).collect();
    bed.check(
        "the pieces of a bio have its number, and others another",
        bios.windows(2).map(|pair| pair[0] == pair[1]).eq([true, true, true, false, false, false]),
    )?;
    bed.check("it ends with the flush", {
        log.entries().last().is_some_and(|entry| entry.what == What::Flush)
    })
}

/// A log that is full says so.
fn overflow(bed: &mut Bed) -> Result<()> {
    let disk = File::options().write(true).custom_flags(libc::O_DIRECT).open(LOGGED.path());
    let disk = disk.doing("open the disk")?;
    let data = Aligned([0; 2 * 4096]);
    LOGGED.write("log", "1")?;
    for _ in 0..abi::LOG_ENTRIES_MAX / 2 {
        disk.write_all_at(&data.0, 0).doing("write")?;
    }
    let full = bed.device().log_position(&LOGGED);
    bed.check("a new log takes as many pages as it can", {
        full.is_ok_and(|entries| entries as u64 == abi::LOG_ENTRIES_MAX)
    })?;
    disk.write_all_at(&data.0[..SECTOR], 0).doing("write")?;
    bed.check("one more, and it says that it lacks something", bed.device().log_position(&LOGGED).is_err())
}
