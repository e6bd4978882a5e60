// SPDX-License-Identifier: GPL-2.0

//! The pure logic of pinblk, for cargo to test; the module compiles the files below itself.

#![no_std]
#![forbid(unsafe_code)]

pub mod classify;
pub mod faults;
pub mod gates;
pub mod layers;
pub mod patch;
pub mod sectors;
pub mod select;
pub mod split;
pub mod writeback;
