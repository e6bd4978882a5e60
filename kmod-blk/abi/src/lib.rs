// SPDX-License-Identifier: GPL-2.0 OR MIT OR Apache-2.0

//! The ioctl interface of pinblk, for userspace; the module compiles `wire.rs` itself.

#![no_std]

mod wire;

pub use wire::*;
