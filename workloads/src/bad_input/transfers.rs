// SPDX-License-Identifier: MIT OR Apache-2.0

use std::fs::File;
use std::os::fd::AsRawFd;

use fs_harness::guest::device::{Device, OpenDisk, abi};
use fs_harness::guest::disk::{Attributes, Disk};
use fs_harness::guest::error::Doing;
use fs_harness::guest::memory::PAGE;
use fs_harness::guest::{Bed, Result};
use fs_harness::pattern::Pattern;
use nix::errno::Errno;

use super::{PIN, ask_unanswerable, bad_addresses, refuse, refuse_on};

pub(super) fn run(bed: &mut Bed) -> Result<()> {
    let memory = bed.anonymous(Pattern(1), 8)?;
    let bad = bad_addresses(&memory)?;
    let place = bed.require_disk()?;
    unanswerable(bed, place)?;
    let disk = bed.device().open_disk(place)?;
    disks(bed, &disk)?;
    let good = abi::IoSegment { address: memory.address() + 2 * PAGE as u64, length: PAGE as u64 };
    for (what, address) in bad {
        for flags in [0, abi::IO_WRITE] {
            let segment = abi::IoSegment { address, ..good };
            let what = format!("{what}, flags {flags}");
            refuse_segments(bed, &disk, &what, Errno::EFAULT, flags, &[good, segment])?;
        }
    }
    let readable = abi::IoSegment { address: good.address - PAGE as u64, ..good };
    refuse_segments(bed, &disk, "reading into memory that may be read", Errno::EFAULT, 0, &[readable])?;
    segments(bed, &disk, good)?;
    places(bed, &disk, good)?;
    others(bed, &disk, good)?;
    blocks_of_a_page(bed, good)?;
    bed.observe("after all that", None).map(drop)
}

/// A disk that userspace was not told to have open is not open: it could not be opened again.
fn unanswerable(bed: &mut Bed, disk: &Disk) -> Result<()> {
    let mut open = abi::OpenDisk::default();
    open.disk[..disk.name().len()].copy_from_slice(disk.name().as_bytes());
    let answer = ask_unanswerable(bed, abi::OPEN_DISK, open)?;
    bed.check_refused("opening a disk whose answer cannot be written: EFAULT", Errno::EFAULT, answer)?;
    let again = bed.device().open_disk(disk);
    bed.check("it can be opened after that", again.is_ok())
}

/// Where a block is larger than what memory must be aligned to, one check does not do for both.
fn blocks_of_a_page(bed: &mut Bed, good: abi::IoSegment) -> Result<()> {
    const LARGE: Disk = Disk::of("large-blocks");
    LARGE.make(&Attributes { size_mib: 16, block_size: 4096, ..Attributes::default() })?;
    let disk = bed.device().open_disk(&LARGE)?;
    let sector = abi::IoSegment { length: 512, ..good };
    refuse_segments(bed, &disk, "a part of a block", Errno::EINVAL, 0, &[sector])?;
    let segments = [good];
    let within = abi::Io { offset: 512, ..io_of(&disk, &segments) };
    refuse(bed, "an offset of a sector within a block", Errno::EINVAL, abi::IO, within)?;
    drop(disk);
    LARGE.remove()
}

fn disks(bed: &mut Bed, disk: &OpenDisk) -> Result<()> {
    let named = |disk| abi::OpenDisk { disk, ..abi::OpenDisk::default() };
    refuse(bed, "a disk without a name", Errno::ENOENT, abi::OPEN_DISK, named([0; abi::DISK_NAME_BYTES]))?;
    let unended = named([b'x'; abi::DISK_NAME_BYTES]);
    refuse(bed, "a name without an end", Errno::ENOENT, abi::OPEN_DISK, unended)?;
    let reserved = abi::OpenDisk { reserved: 1, ..abi::OpenDisk::default() };
    refuse(bed, "opening with a reserved field", Errno::EINVAL, abi::OPEN_DISK, reserved)?;
    let close = |handle, reserved| abi::CloseDisk { handle, reserved };
    refuse(bed, "closing with a reserved field", Errno::EINVAL, abi::CLOSE_DISK, close(disk.handle(), 1))?;
    refuse(bed, "closing nothing", Errno::ENOENT, abi::CLOSE_DISK, close(0, 0))?;
    let other = Device::open()?;
    refuse_on(
        bed,
        &other,
        "another file's disk",
        Errno::ENOENT,
        abi::CLOSE_DISK,
        &mut close(disk.handle(), 0),
    )
}

fn segments(bed: &mut Bed, disk: &OpenDisk, good: abi::IoSegment) -> Result<()> {
    let length = |length| abi::IoSegment { length, ..good };
    let odd = abi::IoSegment { address: good.address + 1, ..good };
    let too_many = vec![good; abi::IO_SEGMENTS_MAX as usize + 1];
    let cases: [(&str, Errno, &[abi::IoSegment]); 9] = [
        ("no segment", Errno::EINVAL, &[]),
        ("an empty segment", Errno::EINVAL, &[good, length(0)]),
        ("a segment at an odd address", Errno::EINVAL, &[odd]),
        ("a segment of a byte", Errno::EINVAL, &[length(1)]),
        ("two halves of a sector", Errno::EINVAL, &[length(256), length(256)]),
        ("more than 64 MiB", Errno::EINVAL, &[length(abi::IO_BYTES_MAX), good]),
        ("a segment of nearly 2^64 bytes", Errno::EINVAL, &[good, length(u64::MAX - 511)]),
        ("more than is mapped", Errno::EFAULT, &[length(abi::IO_BYTES_MAX)]),
        ("a segment too many", Errno::EINVAL, &too_many),
    ];
    for (what, errno, segments) in cases {
        refuse_segments(bed, disk, what, errno, abi::IO_WRITE, segments)?;
    }
    let null = abi::Io { segments: 0, ..io_of(disk, &[good]) };
    refuse(bed, "segments at null", Errno::EFAULT, abi::IO, null)
}

fn places(bed: &mut Bed, disk: &OpenDisk, good: abi::IoSegment) -> Result<()> {
    const SIZE: u64 = 512 << 20;
    let segments = [good];
    let at = |offset| abi::Io { offset, ..io_of(disk, &segments) };
    refuse(bed, "an offset within a block", Errno::EINVAL, abi::IO, at(1))?;
    refuse(bed, "beyond the end of the disk", Errno::ERANGE, abi::IO, at(SIZE))?;
    refuse(bed, "over the end of the disk", Errno::ERANGE, abi::IO, at(SIZE - 512))?;
    refuse(bed, "an offset of nearly 2^64", Errno::ERANGE, abi::IO, at(u64::MAX - 511))
}

fn others(bed: &mut Bed, disk: &OpenDisk, good: abi::IoSegment) -> Result<()> {
    let segments = [good];
    let io = io_of(disk, &segments);
    let null = File::open("/dev/null").doing("open /dev/null")?;
    let event = |event| abi::Io { flags: abi::IO_EVENT, event, ..io };
    let how = |how| abi::Io { how, ..io };
    let cases = [
        ("no disk", Errno::ENOENT, abi::Io { disk: 0, ..io }),
        ("an unknown flag", Errno::EINVAL, abi::Io { flags: 1 << 2, ..io }),
        ("an eventfd without its flag", Errno::EINVAL, abi::Io { event: 1, ..io }),
        ("an eventfd that is no file", Errno::EBADF, event(u32::MAX)),
        ("an eventfd that is another file", Errno::EINVAL, event(null.as_raw_fd().cast_unsigned())),
        ("an unknown mode", Errno::EINVAL, how(abi::Acquire { mode: 3, ..PIN })),
        ("an unknown path", Errno::EINVAL, how(abi::Acquire { path: 3, ..PIN })),
        ("memory of no process", Errno::ESRCH, how(abi::Acquire { path: abi::PATH_REMOTE, ..PIN })),
    ];
    for (what, errno, io) in cases {
        refuse(bed, what, errno, abi::IO, io)?;
    }
    Ok(())
}

fn refuse_segments(
    bed: &mut Bed,
    disk: &OpenDisk,
    what: &str,
    errno: Errno,
    flags: u32,
    segments: &[abi::IoSegment],
) -> Result<()> {
    refuse(bed, what, errno, abi::IO, abi::Io { flags, ..io_of(disk, segments) })
}

fn io_of(disk: &OpenDisk, segments: &[abi::IoSegment]) -> abi::Io {
    abi::Io {
        disk: disk.handle(),
        how: PIN,
        segments: segments.as_ptr() as u64,
        count: u32::try_from(segments.len()).expect("a scenario has few segments"),
        ..abi::Io::default()
    }
}
