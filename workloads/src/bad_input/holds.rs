// SPDX-License-Identifier: MIT OR Apache-2.0

use fs_harness::guest::child::Child;
use fs_harness::guest::device::{Device, Hold, Release, Take, abi};
use fs_harness::guest::memory::{Memory, PAGE};
use fs_harness::guest::{Bed, Result};
use fs_harness::pattern::Pattern;
use nix::errno::Errno;

use super::{PIN, ask_unanswerable, bad_addresses, refuse, refuse_on};

/// kthreadd, the father of all kernel threads.
const KERNEL_THREAD: u32 = 2;

pub(super) fn run(bed: &mut Bed) -> Result<()> {
    greetings(bed)?;
    let memory = bed.anonymous(Pattern(1), 8)?;
    let bad = bad_addresses(&memory)?;
    let good = abi::Hold {
        address: memory.address() + 2 * PAGE as u64,
        how: PIN,
        flags: abi::HOLD_WRITE,
        pages: 1,
        times: 1,
        ..abi::Hold::default()
    };
    addresses(bed, &bad, good)?;
    numbers(bed, good)?;
    processes(bed, good)?;
    partial(bed, &memory)?;
    let hold = bed.device().hold(memory.pages_of(2, 2), Take::by(bed.acquisition()))?;
    let read_only = bed.device().hold(memory.pages_of(2, 2), Take::by(bed.acquisition()).read_only())?;
    dma(bed, &hold, &read_only)?;
    handles(bed, &hold, &read_only)?;
    unanswerable(bed, good, &hold)?;
    too_many(bed, good)?;
    read_only.release(Release::Clean)?;
    hold.dma(0, &[1])?;
    let stale = hold.handle();
    hold.release(Release::Dirty)?;
    let release = abi::Release { handle: stale, flags: 0 };
    refuse(bed, "a hold that was released", Errno::ENOENT, abi::RELEASE, release)?;
    bed.observe("after all that", None).map(drop)
}

fn greetings(bed: &mut Bed) -> Result<()> {
    let mute = Device::open_mute()?;
    let mut statistics = abi::HoldStatistics::default();
    refuse_on(bed, &mute, "a request before HELLO", Errno::EPROTO, abi::HOLD_STATISTICS, &mut statistics)?;
    let mut hello = abi::Hello { version: abi::VERSION, reserved: 1 };
    refuse_on(bed, &mute, "HELLO with a reserved field", Errno::EINVAL, abi::HELLO, &mut hello)?;
    let mut hello = abi::Hello { version: abi::VERSION + 1, reserved: 0 };
    // SAFETY: the structure is the request's own.
    let told = unsafe { mute.request(abi::HELLO, &mut hello) };
    bed.check(
        "HELLO with another version tells that of the driver",
        told.is_ok() && hello.version == abi::VERSION,
    )?;
    refuse_on(
        bed,
        &mute,
        "a request after a wrong HELLO",
        Errno::EPROTO,
        abi::HOLD_STATISTICS,
        &mut statistics,
    )?;
    refuse(bed, "a request that does not exist", Errno::ENOTTY, abi::HELLO | 0xff, abi::Hello::default())?;
    refuse(bed, "the counters of no disk", Errno::ENOENT, abi::STATISTICS, abi::Statistics::default())?;
    let unended = abi::Statistics { disk: [b'x'; abi::DISK_NAME_BYTES], ..abi::Statistics::default() };
    refuse(bed, "a name without an end", Errno::ENOENT, abi::STATISTICS, unended)
}

fn addresses(bed: &mut Bed, bad: &[(&str, u64)], good: abi::Hold) -> Result<()> {
    let own = std::process::id();
    let paths = [("fast", abi::PATH_FAST, 0), ("slow", abi::PATH_SLOW, 0), ("remote", abi::PATH_REMOTE, own)];
    for (name, path, pid) in paths {
        for mode in [abi::MODE_GET, abi::MODE_PIN, abi::MODE_LONGTERM] {
            let how = abi::Acquire { mode, path, pid };
            for &(what, address) in bad {
                let what = format!("{what}, by mode {mode}, path {name}");
                refuse(bed, &what, Errno::EFAULT, abi::HOLD, abi::Hold { address, how, ..good })?;
            }
            let address = good.address - PAGE as u64;
            let what = format!("memory that may be read, for writing, by mode {mode}, path {name}");
            refuse(bed, &what, Errno::EFAULT, abi::HOLD, abi::Hold { address, how, ..good })?;
        }
    }
    let hold = abi::Hold { address: good.address + 1, ..good };
    refuse(bed, "an address within a page", Errno::EINVAL, abi::HOLD, hold)?;
    let hold = abi::Hold { address: super::LAST_PAGE, pages: 2, ..good };
    refuse(bed, "pages beyond the end of all addresses", Errno::EFAULT, abi::HOLD, hold)?;
    // The scenario's memory is followed by the address space's end at the latest.
    let hold = abi::Hold { pages: abi::HOLD_PAGES_MAX, ..good };
    refuse(bed, "more pages than are mapped", Errno::EFAULT, abi::HOLD, hold)
}

fn numbers(bed: &mut Bed, good: abi::Hold) -> Result<()> {
    let how = |how| abi::Hold { how, ..good };
    let cases = [
        ("no pages", abi::Hold { pages: 0, ..good }),
        ("a page too many", abi::Hold { pages: abi::HOLD_PAGES_MAX + 1, ..good }),
        ("2^32 - 1 pages", abi::Hold { pages: u32::MAX, ..good }),
        ("no times", abi::Hold { times: 0, ..good }),
        ("an unknown flag", abi::Hold { flags: 1 << 3, ..good }),
        (
            "adding pins to references",
            abi::Hold { flags: abi::HOLD_ADD, how: abi::Acquire::default(), ..good },
        ),
        ("a reserved field", abi::Hold { reserved: 1, ..good }),
        ("an unknown mode", how(abi::Acquire { mode: 3, ..PIN })),
        ("an unknown path", how(abi::Acquire { path: 3, ..PIN })),
        ("a process for the fast path", how(abi::Acquire { pid: 1, ..PIN })),
        ("a process for the slow path", how(abi::Acquire { path: abi::PATH_SLOW, pid: 1, ..PIN })),
    ];
    for (what, hold) in cases {
        refuse(bed, what, Errno::EINVAL, abi::HOLD, hold)?;
    }
    Ok(())
}

fn processes(bed: &mut Bed, good: abi::Hold) -> Result<()> {
    let mut child = Child::fork(|_| 0)?;
    let gone = child.pid().as_raw().cast_unsigned();
    child.end()?;
    let cases = [
        ("process 0", 0),
        ("a kernel thread", KERNEL_THREAD),
        ("a process that is gone", gone),
        ("a number that no process has", u32::MAX),
    ];
    for (what, pid) in cases {
        let how = abi::Acquire { path: abi::PATH_REMOTE, pid, ..PIN };
        refuse(bed, what, Errno::ESRCH, abi::HOLD, abi::Hold { how, ..good })?;
    }
    Ok(())
}

/// Of three pages the last is not mapped.
fn partial(bed: &mut Bed, memory: &Memory) -> Result<()> {
    memory.protect(4, 1, nix::sys::mman::ProtFlags::PROT_NONE)?;
    let range = memory.pages_of(2, 3);
    let take = Take::by(bed.acquisition());
    let whole = bed.device().hold(range, take);
    bed.check_refused("three pages of which one is missing: EFAULT", Errno::EFAULT, whole)?;
    let part = bed.device().hold(range, take.partial().times(2))?;
    bed.check("if a part is welcome, two of them are held, once", part.pages() == 2 && part.times() == 1)?;
    part.release(Release::Clean)?;
    let none = bed.device().hold(memory.pages_of(4, 1), take.partial());
    bed.check_refused("nothing is no part: EFAULT", Errno::EFAULT, none)
}

fn dma(bed: &mut Bed, hold: &Hold, read_only: &Hold) -> Result<()> {
    let byte = 1_u8;
    let source = std::ptr::from_ref(&byte) as u64;
    let good = abi::Dma { handle: hold.handle(), length: 1, source, ..abi::Dma::default() };
    let end = u64::from(hold.pages()) * PAGE as u64;
    let cases = [
        ("no bytes by DMA", Errno::EINVAL, abi::Dma { length: 0, ..good }),
        ("a byte too many by DMA", Errno::EINVAL, abi::Dma { length: abi::DMA_BYTES_MAX + 1, ..good }),
        ("DMA of 2^64 - 1 bytes", Errno::EINVAL, abi::Dma { length: u64::MAX, ..good }),
        ("DMA beyond the end", Errno::ERANGE, abi::Dma { offset: end, ..good }),
        (
            "DMA over the end",
            Errno::ERANGE,
            abi::Dma { offset: end - 1, length: 2, source: 0, flags: abi::DMA_FILL, ..good },
        ),
        ("DMA at 2^64 - 1", Errno::ERANGE, abi::Dma { offset: u64::MAX, ..good }),
        ("DMA from null", Errno::EFAULT, abi::Dma { source: 0, ..good }),
        ("DMA from the kernel's memory", Errno::EFAULT, abi::Dma { source: super::KERNEL, ..good }),
        ("DMA with an unknown flag", Errno::EINVAL, abi::Dma { flags: 1 << 1, ..good }),
        ("DMA of a byte that is none", Errno::EINVAL, abi::Dma { flags: abi::DMA_FILL, source: 256, ..good }),
        ("DMA in an hour", Errno::EINVAL, abi::Dma { delay: 3_600_000, ..good }),
        ("DMA into pages held for reading", Errno::EACCES, abi::Dma { handle: read_only.handle(), ..good }),
        (
            "delayed DMA into pages held for reading",
            Errno::EACCES,
            abi::Dma { handle: read_only.handle(), delay: 1, ..good },
        ),
        ("DMA into nothing", Errno::ENOENT, abi::Dma { handle: u32::MAX, ..good }),
    ];
    for (what, errno, dma) in cases {
        refuse(bed, what, errno, abi::DMA, dma)?;
    }
    Ok(())
}

fn handles(bed: &mut Bed, hold: &Hold, read_only: &Hold) -> Result<()> {
    let release = |handle, flags| abi::Release { handle, flags };
    let dump = |handle, page| abi::Dump { handle, page, ..abi::Dump::default() };
    let wait = |pending, flags| abi::Wait { pending, flags, ..abi::Wait::default() };
    refuse(bed, "a release with an unknown flag", Errno::EINVAL, abi::RELEASE, release(hold.handle(), 2))?;
    refuse(bed, "hold 0", Errno::ENOENT, abi::RELEASE, release(0, 0))?;
    let dirty = release(read_only.handle(), abi::RELEASE_DIRTY);
    refuse(bed, "dirtying pages held for reading", Errno::EACCES, abi::RELEASE, dirty)?;
    refuse(bed, "a page beyond the hold", Errno::ERANGE, abi::DUMP, dump(hold.handle(), hold.pages()))?;
    refuse(bed, "a page of nothing", Errno::ENOENT, abi::DUMP, dump(u32::MAX, 0))?;
    refuse(bed, "waiting for nothing", Errno::ENOENT, abi::WAIT, wait(1, 0))?;
    refuse(bed, "waiting with an unknown flag", Errno::EINVAL, abi::WAIT, wait(1, 2))?;
    let (handle, flags) = (hold.handle(), abi::DMA_FILL);
    let mut later = abi::Dma { handle, flags, length: 1, delay: 1, ..abi::Dma::default() };
    // SAFETY: the structures are the requests' own.
    unsafe { bed.device().request(abi::DMA, &mut later)? };
    // SAFETY: as above.
    unsafe { bed.device().request(abi::WAIT, &mut wait(later.pending, 0))? };
    refuse(bed, "what was waited for already", Errno::ENOENT, abi::WAIT, wait(later.pending, 0))?;
    let other = Device::open()?;
    let mut foreign = release(hold.handle(), 0);
    refuse_on(bed, &other, "another file's hold", Errno::ENOENT, abi::RELEASE, &mut foreign)
}

/// Nothing stays behind of what userspace was not told: pins would be seen at the end.
fn unanswerable(bed: &mut Bed, good: abi::Hold, hold: &Hold) -> Result<()> {
    let answer = ask_unanswerable(bed, abi::HOLD, good)?;
    bed.check_refused("a hold whose answer cannot be written: EFAULT", Errno::EFAULT, answer)?;
    let later = abi::Dma {
        handle: hold.handle(),
        flags: abi::DMA_FILL,
        length: 1,
        delay: abi::DMA_DELAY_MAX,
        ..abi::Dma::default()
    };
    let mut found = Vec::new();
    for _ in 0..=abi::PENDING_MAX {
        found.push(ask_unanswerable(bed, abi::DMA, later)?.err().and_then(|error| error.errno()));
    }
    bed.check(
        "delayed DMA whose answer cannot be written: EFAULT, however often",
        found.iter().all(|errno| *errno == Some(Errno::EFAULT)),
    )
}

fn too_many(bed: &mut Bed, mut good: abi::Hold) -> Result<()> {
    let other = Device::open()?;
    for _ in 0..abi::HOLDS_MAX {
        // SAFETY: the structure is the request's own, and its address that of the scenario's memory.
        unsafe { other.request(abi::HOLD, &mut good) }?;
    }
    refuse_on(bed, &other, "a hold too many for a file", Errno::ENOSPC, abi::HOLD, &mut good)
}
