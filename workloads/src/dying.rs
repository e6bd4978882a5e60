// SPDX-License-Identifier: MIT OR Apache-2.0

//! Gates whose process dies, also while it waits for what the gate holds.

use std::time::{Duration, Instant};

use fs_harness::guest::child::Child;
use fs_harness::guest::device::{Bios, Device, Stage};
use fs_harness::guest::error::Doing;
use fs_harness::guest::in_flight::InFlight;
use fs_harness::guest::io::{self, Interface};
use fs_harness::guest::memory::PAGE;
use fs_harness::guest::{Bed, Result};
use fs_harness::pattern::Pattern;

use crate::catalogue::Scenario;
use crate::removal::{SCRATCH, make, open, scenario};

const DATA: Pattern = Pattern(1);

/// How long a killed process may take to die, and a bio to arrive at a gate.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) const SCENARIOS: &[Scenario] = &[
    scenario(
        "gate_of_dying_process",
        None,
        "A gate opens when its process is killed, and what it held goes on.",
        "pinbed: kmod-blk/control/gates.rs",
        gate_of_dying_process,
    ),
    scenario(
        "gate_of_dying_waiter",
        None,
        "A process that waits uninterruptibly for what its own gate holds can be killed: the gate opens, and lets it die.",
        "pinbed: kmod-blk/sys/group.rs; include/linux/sched/signal.h: SIGNAL_GROUP_EXIT",
        gate_of_dying_waiter,
    ),
];

fn gate_of_dying_process(bed: &mut Bed) -> Result<()> {
    make(&SCRATCH)?;
    let disk = open(&SCRATCH)?;
    let mut gates = Vec::new();
    let mut gatekeeper = Child::fork(move |_| {
        let closed =
            Device::open().and_then(|device| device.close_gate(&SCRATCH, Stage::Transfer, &Bios::writes()));
        gates.extend(closed);
        u8::from(!gates.is_empty())
    })?;
    bed.require("another process closes a gate", gatekeeper.ask(0)? == 1)?;
    let buffer = bed.anonymous(DATA, 1)?;
    let mut write = InFlight::write(&disk, 0, &buffer, 0..PAGE)?;
    bed.check("a gate of another process holds the write", {
        !write.is_complete() && bed.device().statistics(&SCRATCH)?.in_flight == 1
    })?;
    gatekeeper.kill()?;
    let count = write.wait().doing("wait for the write")?;
    bed.check("the gate opens when its process is killed", count == PAGE)?;
    bed.check("nothing is in flight", bed.device().statistics_with(&SCRATCH, 0)?.in_flight == 0)?;
    let through = InFlight::write(&disk, 0, &buffer, 0..PAGE)?.wait().doing("write")?;
    bed.check("the next write is not held", through == PAGE)
}

/// A direct read sleeps without being interruptible until its bio is completed. The process cannot close
/// its files before that.
fn gate_of_dying_waiter(bed: &mut Bed) -> Result<()> {
    make(&SCRATCH)?;
    let disk = open(&SCRATCH)?;
    let (mut gates, memory) = (Vec::new(), bed.anonymous(DATA, 1)?);
    let mut waiter = Child::fork(move |question| {
        if question == 0 {
            let closed = Device::open()
                .and_then(|device| device.close_gate(&SCRATCH, Stage::Transfer, &Bios::reads()));
            gates.extend(closed);
        } else {
            // It comes back only to die.
            let _ = open(&SCRATCH).and_then(|disk| io::read(Interface::Syscall, &disk, &memory));
        }
        u8::from(!gates.is_empty())
    })?;
    bed.require("another process closes a gate", waiter.ask(0)? == 1)?;
    waiter.tell(1)?;
    let deadline = Instant::now() + PATIENCE;
    while bed.device().statistics(&SCRATCH)?.in_flight == 0 && Instant::now() < deadline {
        std::thread::yield_now();
    }
    bed.require("its own read is at the gate", bed.device().statistics(&SCRATCH)?.in_flight == 1)?;
    bed.require("it dies when it is killed", waiter.kill_within(PATIENCE)?)?;
    bed.check("nothing is in flight", bed.device().statistics_with(&SCRATCH, 0)?.in_flight == 0)?;
    let buffer = bed.anonymous(DATA, 1)?;
    let through = InFlight::read(&disk, 0, &buffer, 0..PAGE)?.wait().doing("read")?;
    bed.check("the next read is not held", through == PAGE)
}
