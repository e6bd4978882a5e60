// SPDX-License-Identifier: MIT OR Apache-2.0
//! The machine that pinbed runs on: its tools, its packages, its Rust toolchain.

pub mod apt;
pub mod cargo_tool;
pub mod command;
pub mod doctor;
pub mod os_release;
pub mod paths;
pub mod setup;
pub mod suite;
pub mod toolchain;
pub mod tools;
