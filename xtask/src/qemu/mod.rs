// SPDX-License-Identifier: MIT OR Apache-2.0

//! QEMU: which accelerator, which machine, and one guest from its start to its end.

pub mod accelerator;
mod channels;
pub mod checkpoint;
pub mod debugger;
pub(crate) mod ending;
mod folder;
pub mod guest;
pub(crate) mod interrupt;
pub mod keep;
pub mod limits;
mod lines;
pub mod machine;
mod memory;
mod process;
mod relay;
pub mod script;
mod seal;

/// The emulator.
pub const PROGRAM: &str = "qemu-system-x86_64";
