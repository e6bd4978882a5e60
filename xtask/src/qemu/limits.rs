// SPDX-License-Identifier: MIT OR Apache-2.0

//! How long a guest may take. Between two signs of progress above all: a busy host slows a guest down, but
//! does not keep it from going on.

use std::time::Duration;

use super::machine::Machine;

/// A boot takes two seconds under emulation on an idle machine, and a step less; the rest is for busy ones.
const EMULATED: Duration = Duration::from_mins(1);

/// The same on hardware.
const ON_HARDWARE: Duration = Duration::from_secs(20);

/// How much slower guests are whose instructions are counted.
const COUNTED: u32 = 5;

/// How many times as long as from one message to the next a cell may take in all. The longest one takes
/// seconds: this is for guests that talk, and never come to an end.
const WHOLE: u32 = 10;

/// For a person who looks on, and for what takes as long as it was told to.
pub const FOREVER: Duration = Duration::from_hours(24 * 365);

/// The deadlines of a guest.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// From the start of QEMU until the agent speaks.
    pub boot: Duration,
    /// From one message of the agent to the next.
    pub progress: Duration,
    /// From the moment at which the kernel says that something in it is stuck to the agent's next message.
    ///
    /// That line alone ends nothing. The kernel's clocks go on while a busy host leaves the guest
    /// waiting, so that it may take the host's delay for its own: only a guest that also stays silent is
    /// stuck. Whether the line fails the cell is for the rules of the kernel's log.
    pub stuck: Duration,
    /// From the moment at which the cell begins to its end, whatever the guest says meanwhile.
    pub whole: Duration,
}

impl Limits {
    /// Those of an ordinary guest on that machine: the one place where they are scaled.
    pub fn of(machine: &Machine) -> Self {
        let base = if machine.accelerator.is_emulation() { EMULATED } else { ON_HARDWARE };
        let counted = if machine.icount { COUNTED } else { 1 };
        // Emulated processors wait for each other, and take turns where the host has fewer.
        let limit = base * counted * machine.processors.get() * machine.flavour.slowdown();
        Self { boot: limit, progress: limit, stuck: limit / 6, whole: limit * WHOLE }
    }
}
