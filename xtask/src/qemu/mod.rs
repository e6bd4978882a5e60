// SPDX-License-Identifier: MIT OR Apache-2.0

//! QEMU: which accelerator, which machine, and one guest from its start to its end.

pub mod accelerator;
mod channels;
pub mod checkpoint;
mod ending;
pub mod guest;
pub(crate) mod interrupt;
mod lines;
pub mod machine;
mod relay;
pub mod script;
mod seal;

/// The emulator.
pub const PROGRAM: &str = "qemu-system-x86_64";
