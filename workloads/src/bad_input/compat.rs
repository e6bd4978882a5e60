// SPDX-License-Identifier: MIT OR Apache-2.0

use fs_harness::guest::compat::Caller;
use fs_harness::guest::device::{Device, abi};
use fs_harness::guest::memory::PAGE;
use fs_harness::guest::{Bed, Result};
use fs_harness::pattern::Pattern;
use nix::errno::Errno;

use super::PIN;

/// Where a 32-bit program has no memory: nowhere, in the kernel's part of what it can name, and over its end.
const BAD: &[(&str, u32)] =
    &[("null", 0), ("the kernel's part", 0xffff_f000), ("the last byte that it can name", u32::MAX)];

/// A 32-bit program that talks to pinblk.
struct Program {
    caller: Caller,
    device: Device,
}

impl Program {
    /// A request whose structure holds no address but those of memory that the scenario gives away.
    fn ask<T: Copy>(&self, number: u32, structure: T) -> Result<T> {
        // SAFETY: see above; the number is made from the structure.
        unsafe { self.caller.request(&self.device, number, structure) }
    }
}

pub(super) fn run(bed: &mut Bed) -> Result<()> {
    let program = Program { caller: Caller::new()?, device: Device::open_mute()? };
    let told = program.ask(abi::HELLO, abi::Hello { version: abi::VERSION, reserved: 0 });
    let agrees = told.as_ref().is_ok_and(|hello| hello.version == abi::VERSION);
    bed.check_that("HELLO agrees on the version", agrees, || {
        format!("{:?}", told.map(|hello| hello.version))
    })?;
    refusals(bed, &program)?;
    hold(bed, &program)?;
    transfer(bed, &program)
}

fn refusals(bed: &mut Bed, program: &Program) -> Result<()> {
    for &(what, address) in BAD {
        for (name, number) in [("HOLD", abi::HOLD), ("HOLD_STATISTICS", abi::HOLD_STATISTICS)] {
            // SAFETY: nobody has memory there, so that nothing can be written.
            let answer = unsafe { program.caller.request_at(&program.device, number, address) };
            bed.check_refused(
                &format!("{name} with its structure at {what}: EFAULT"),
                Errno::EFAULT,
                answer,
            )?;
        }
    }
    let unknown = program.ask(abi::HELLO | 0xff, abi::Hello::default());
    bed.check_refused("a request that does not exist: ENOTTY", Errno::ENOTTY, unknown)?;
    let kernel = abi::Hold { address: super::KERNEL, how: PIN, pages: 1, times: 1, ..abi::Hold::default() };
    let answer = program.ask(abi::HOLD, kernel);
    bed.check_refused("the kernel's memory, which it cannot name otherwise: EFAULT", Errno::EFAULT, answer)
}

fn hold(bed: &mut Bed, program: &Program) -> Result<()> {
    const BYTE: u8 = 0x5a;
    let memory = bed.anonymous(Pattern(1), 1)?;
    let wanted = abi::Hold {
        address: memory.address(),
        how: PIN,
        flags: abi::HOLD_WRITE,
        pages: 1,
        times: 1,
        ..abi::Hold::default()
    };
    let hold = program.ask(abi::HOLD, wanted)?;
    bed.observe("it holds a page", None)?;
    let fill = abi::Dma {
        handle: hold.handle,
        flags: abi::DMA_FILL,
        length: PAGE as u64,
        source: BYTE.into(),
        ..abi::Dma::default()
    };
    program.ask(abi::DMA, fill)?;
    bed.check("the page has what it had written by DMA", memory.bytes().iter().all(|&byte| byte == BYTE))?;
    let release = abi::Release { handle: hold.handle, flags: abi::RELEASE_DIRTY };
    program.ask(abi::RELEASE, release)?;
    let again = program.ask(abi::RELEASE, release);
    bed.check_refused("releasing it again: ENOENT", Errno::ENOENT, again)?;
    bed.observe("it has released the page", None).map(drop)
}

fn transfer(bed: &mut Bed, program: &Program) -> Result<()> {
    let mut name = [0; abi::DISK_NAME_BYTES];
    let known = bed.require_disk()?.name();
    name[..known.len()].copy_from_slice(known.as_bytes());
    let disk = program.ask(abi::OPEN_DISK, abi::OpenDisk { disk: name, ..abi::OpenDisk::default() })?;
    let (from, to) = (bed.anonymous(Pattern(2), 2)?, bed.anonymous(Pattern(3), 2)?);
    for (memory, flags) in [(&from, abi::IO_WRITE), (&to, 0)] {
        let segment = abi::IoSegment { address: memory.address(), length: memory.length() as u64 };
        let io = abi::Io {
            disk: disk.handle,
            how: PIN,
            segments: (&raw const segment) as u64,
            count: 1,
            flags,
            ..abi::Io::default()
        };
        let pending = program.ask(abi::IO, io)?.pending;
        let ended = program.ask(abi::WAIT, abi::Wait { pending, ..abi::Wait::default() })?;
        bed.check("its I/O succeeds, all of it", ended.error == 0 && ended.bytes == segment.length)?;
    }
    bed.check_data("it reads what it wrote", Pattern(2), &to.bytes())?;
    let statistics =
        program.ask(abi::STATISTICS, abi::Statistics { disk: name, ..abi::Statistics::default() })?;
    bed.check(
        "the statistics of the disk have both",
        statistics.reads[abi::CLASS_USER_PINNED].bios == 1
            && statistics.writes[abi::CLASS_USER_PINNED].bios == 1,
    )?;
    program.ask(abi::CLOSE_DISK, abi::CloseDisk { handle: disk.handle, reserved: 0 })?;
    bed.observe("it wrote and read", None).map(drop)
}
