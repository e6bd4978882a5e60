// SPDX-License-Identifier: MIT OR Apache-2.0

//! Requests whose submitter must not wait.

use std::fs::File;
use std::os::unix::fs::OpenOptionsExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use fs_harness::cell::Setup;
use fs_harness::guest::disk::{Attributes, Disk};
use fs_harness::guest::error::Doing;
use fs_harness::guest::in_flight::InFlight;
use fs_harness::guest::io::{self, Interface};
use fs_harness::guest::memory::{Memory, PAGE};
use fs_harness::guest::{Bed, Result};
use fs_harness::pattern::Pattern;
use nix::errno::Errno;
use nix::libc;

use crate::catalogue::Scenario;
use crate::media::OWN_DISKS;

pub(crate) const SCENARIOS: &[Scenario] = &[Scenario {
    name: "nowait",
    about: "A request that may not wait is served at once or refused with EAGAIN, and a disk without NOWAIT takes none.",
    source: "include/linux/blk_types.h: REQ_NOWAIT, BLK_STS_AGAIN; block/blk-core.c: submit_bio_noacct()",
    setups: &[Setup::None],
    not: OWN_DISKS,
    run: nowait,
    ..Scenario::PLAIN
}];

const SCRATCH: Disk = Disk::of("scratch0");
const OTHER: Disk = Disk::of("scratch1");

/// Pages of a request that takes a while.
const MANY: usize = (1 << 20) / PAGE;

fn nowait(bed: &mut Bed) -> Result<()> {
    let small = || Attributes { size_mib: 16, ..Attributes::default() };
    OTHER.make(&Attributes { nowait: false, ..small() })?;
    let one = bed.anonymous(Pattern(1), 1)?;
    let disk = open(&OTHER)?;
    let refused = InFlight::write_without_waiting(&disk, 0, &one)?.wait().doing("write");
    bed.check_refused("a disk without NOWAIT takes no such request", Errno::EOPNOTSUPP, refused)?;

    SCRATCH.make(&small())?;
    let disk = open(&SCRATCH)?;
    let served = InFlight::write_without_waiting(&disk, 0, &one)?.wait();
    bed.check("where nobody is in the way it is served", served.is_ok_and(|count| count == PAGE))?;
    bed.check("none was refused", bed.device().statistics(&SCRATCH)?.refused == 0)?;

    // A thread writes the same place all the time. It is interrupted anywhere, also with that place of
    // the disk locked.
    let is_over = AtomicBool::new(false);
    let (refused, written) = thread::scope(|scope| {
        let writer = scope.spawn(|| write_until(&is_over));
        let refused = is_refused_in_time(&disk);
        is_over.store(true, Ordering::Relaxed);
        (refused, writer.join())
    });
    bed.check("where it would wait for another request it is refused with EAGAIN", refused?)?;
    bed.check("the other request is served", written.is_ok_and(|written| written.is_ok()))?;
    bed.check("the disk counts what it refused", bed.device().statistics(&SCRATCH)?.refused > 0)
}

/// Whether a write that may not wait is refused within a time in which that happens again and again.
fn is_refused_in_time(disk: &File) -> Result<bool> {
    let memory = Memory::anonymous(MANY)?;
    let deadline = Instant::now() + Duration::from_secs(10);
    while Instant::now() < deadline {
        match InFlight::write_without_waiting(disk, 0, &memory)?.wait() {
            Err(error) if error.raw_os_error() == Some(Errno::EAGAIN as i32) => return Ok(true),
            answer => answer.map(drop).doing("write without waiting")?,
        }
    }
    Ok(false)
}

/// Writes to the start of the disk again and again; these writes may wait.
fn write_until(is_over: &AtomicBool) -> Result<()> {
    let disk = open(&SCRATCH)?;
    let memory = Memory::anonymous(MANY)?;
    while !is_over.load(Ordering::Relaxed) {
        io::write(Interface::Syscall, &disk, &memory)?;
    }
    Ok(())
}

fn open(disk: &Disk) -> Result<File> {
    let path = disk.path();
    let mut options = File::options();
    options.read(true).write(true).custom_flags(libc::O_DIRECT).open(&path).doing(format!("open {path}"))
}
