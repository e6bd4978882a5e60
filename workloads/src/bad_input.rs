// SPDX-License-Identifier: MIT OR Apache-2.0

//! What pinblk answers to what no careful program asks for.

mod compat;
mod gates;
mod holds;
mod logs;
mod transfers;

use fs_harness::cell::{Acquisition, Setup};
use fs_harness::guest::device::{Device, abi};
use fs_harness::guest::memory::{Memory, PAGE};
use fs_harness::guest::{Bed, Result};
use nix::errno::Errno;
use nix::sys::mman::ProtFlags;

use crate::catalogue::{LARGE_BLOCK, NO_FILE, Scenario};
use crate::transfer::ONLY_BDEV;

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "bad_input_holds",
        about: "Bad addresses, lengths, processes, handles, flags and versions are refused with the errno that is documented, and leave nothing behind.",
        source: "kmod-blk/abi/src/hold.rs",
        setups: &[Setup::None],
        acquisitions: &[Acquisition::Pin],
        not: NO_FILE,
        run: holds::run,
        ..Scenario::PLAIN
    },
    Scenario {
        name: "bad_input_transfers",
        about: "Bad requests for the driver's own I/O, and for disks to do it on, are refused with the errno that is documented, and leave nothing behind.",
        source: "kmod-blk/abi/src/io.rs",
        setups: &[Setup::Bdev],
        acquisitions: &[Acquisition::Pin],
        not: ONLY_BDEV,
        run: transfers::run,
        ..Scenario::PLAIN
    },
    Scenario {
        name: "bad_input_gates",
        about: "Bad requests for gates, as the harness itself would not make them, are refused with the errno that is documented.",
        source: "kmod-blk/abi/src/gate.rs",
        setups: &[Setup::Bdev],
        acquisitions: &[Acquisition::Pin],
        not: &[
            (&[Setup::None], "there is no disk"),
            LARGE_BLOCK,
            (&[Setup::Tmpfs], "there is no disk"),
            (Setup::ON_DISK, "a gate is the same on any disk"),
            (Setup::FUSE, "a gate is the same on any disk"),
        ],
        run: gates::run,
        ..Scenario::PLAIN
    },
    Scenario {
        name: "bad_input_logs",
        about: "The log of a disk has what reached its store, byte by byte and in order, says when it is full, and is asked for nothing bad without the errno that is documented.",
        source: "kmod-blk/abi/src/log.rs",
        setups: &[Setup::Bdev],
        not: ONLY_BDEV,
        run: logs::run,
        ..Scenario::PLAIN
    },
    Scenario {
        name: "requests_of_32_bits",
        about: "A 32-bit program has its requests answered as a 64-bit one: the structures are the same.",
        source: "rust/kernel/miscdevice.rs: compat_ioctl; fs/ioctl.c: compat_ptr_ioctl()",
        setups: &[Setup::Bdev],
        acquisitions: &[Acquisition::Pin],
        not: ONLY_BDEV,
        run: compat::run,
        ..Scenario::PLAIN
    },
];

/// An address of the kernel's own memory: the beginning of its direct mapping.
const KERNEL: u64 = 0xffff_8880_0000_0000;
/// An address that no x86-64 processor has.
const NOT_CANONICAL: u64 = 0x8000_0000_0000_0000;
/// The last page of the address space.
const LAST_PAGE: u64 = u64::MAX - PAGE as u64 + 1;

/// Addresses at which there is nothing for a process to have, or not for writing, in words.
fn bad_addresses(memory: &Memory) -> Result<Vec<(&'static str, u64)>> {
    // The scenario's memory begins with a page that may not be touched and one that may be read.
    memory.protect(0, 1, ProtFlags::PROT_NONE)?;
    memory.protect(1, 1, ProtFlags::PROT_READ)?;
    let gone = Memory::anonymous(1)?.address();
    Ok(vec![
        ("null", 0),
        ("memory that was unmapped", gone),
        ("memory without any permission", memory.address()),
        ("the kernel's memory", KERNEL),
        ("an address that is none", NOT_CANONICAL),
        ("the last page of all", LAST_PAGE),
    ])
}

/// Makes a request that must be refused with an errno.
fn refuse<T>(bed: &mut Bed, what: &str, with: Errno, number: u32, mut argument: T) -> Result<()> {
    refuse_on(bed, &bed.device().clone(), what, with, number, &mut argument)
}

/// The same on another open file.
fn refuse_on<T>(
    bed: &mut Bed,
    device: &Device,
    what: &str,
    with: Errno,
    number: u32,
    argument: &mut T,
) -> Result<()> {
    // SAFETY: the argument is of the type that the number was made from, or larger. If a request that
    // must be refused is not, its scenario has failed, whatever it wrote to.
    let answer = unsafe { device.request(number, argument) };
    bed.check_refused(&format!("{what}: {with:?}"), with, answer)
}

/// Makes a good request whose structure may only be read: it can be served, and not be answered.
fn ask_unanswerable<T: Copy>(bed: &Bed, number: u32, argument: T) -> Result<Result<()>> {
    let page = Memory::anonymous(1)?;
    let place = std::ptr::with_exposed_provenance_mut::<T>(usize::try_from(page.address()).unwrap_or(0));
    // SAFETY: the page is mapped for writing, larger than any structure, aligned, and used by nobody else.
    unsafe { place.write(argument) };
    page.protect(0, 1, ProtFlags::PROT_READ)?;
    // SAFETY: only the kernel touches the structure, which is as the number says.
    Ok(unsafe { bed.device().request(number, &mut *place) })
}

/// How pages are pinned by the fast path.
const PIN: abi::Acquire = abi::Acquire { mode: abi::MODE_PIN, path: abi::PATH_FAST, pid: 0 };
