// SPDX-License-Identifier: GPL-2.0

//! The layer over `kernel::bindings` and the C shims: the only place with `unsafe`.
//!
//! `kernel::block::mq` exposes neither bios nor a write cache, FUA, discard or an owner, and
//! nothing in the kernel crate pins user pages, so pinblk has this small layer of its own. Safe
//! types come out of it.

pub(crate) mod acquire;
pub(crate) mod bio;
mod bio_plan;
pub(crate) mod bio_queue;
mod calls;
pub(crate) mod compat;
pub(crate) mod debugfs;
pub(crate) mod delayed;
pub(crate) mod event;
mod ffi;
pub(crate) mod folio;
pub(crate) mod gendisk;
pub(crate) mod group;
pub(crate) mod layout;
pub(crate) mod memory;
pub(crate) mod misc;
pub(crate) mod open_disk;
pub(crate) mod pages;
pub(crate) mod percpu;
pub(crate) mod process;
pub(crate) mod transfer;
mod wire;
pub(crate) mod worker;
pub(crate) mod workqueue;
