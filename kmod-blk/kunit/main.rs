// SPDX-License-Identifier: GPL-2.0

//! KUnit suites for what of pinblk needs a kernel, in a module of their own.
//!
//! The driver's source files are compiled in here as they are. What they offer to parts of the driver
//! that no suite needs is unused.

#![allow(dead_code)]

#[path = "../abi/src/wire.rs"]
pub mod abi;
#[path = "../acquisition.rs"]
mod acquisition;
#[path = "../counters.rs"]
mod counters;
#[path = "../flights.rs"]
mod flights;
#[path = "../logic"]
pub mod logic {
    //! The pure logic, which cargo tests on the host.

    #[path = "src/classify.rs"]
    pub mod classify;
    #[path = "src/faults.rs"]
    pub mod faults;
    #[path = "src/gates.rs"]
    pub mod gates;
    #[path = "src/layers.rs"]
    pub mod layers;
    #[path = "src/patch.rs"]
    pub mod patch;
    #[path = "src/sectors.rs"]
    pub mod sectors;
    #[path = "src/select.rs"]
    pub mod select;
    #[path = "src/split.rs"]
    pub mod split;
    #[path = "src/writeback.rs"]
    pub mod writeback;
}
#[path = "../log.rs"]
mod log;
#[path = "../media.rs"]
mod media;
#[path = "../observe.rs"]
mod observe;
#[path = "../pages.rs"]
mod pages;
#[path = "../pending.rs"]
mod pending;
#[path = "../plan.rs"]
mod plan;
#[path = "../settings.rs"]
mod settings;
#[path = "../store.rs"]
mod store;
#[path = "../sys"]
mod sys {
    //! The driver's layer over the kernel's C, and what the suites need beyond it.

    pub(crate) mod acquire;
    #[path = "kunit/beside.rs"]
    pub(crate) mod beside;
    pub(crate) mod bio;
    mod bio_plan;
    mod calls;
    pub(crate) mod compat;
    pub(crate) mod delayed;
    pub(crate) mod event;
    mod ffi;
    pub(crate) mod folio;
    pub(crate) mod gendisk;
    pub(crate) mod layout;
    pub(crate) mod memory;
    pub(crate) mod open_disk;
    #[path = "kunit/own_bio.rs"]
    pub(crate) mod own_bio;
    pub(crate) mod pages;
    pub(crate) mod percpu;
    pub(crate) mod process;
    #[path = "kunit/queues.rs"]
    pub(crate) mod queues;
    pub(crate) mod transfer;
    #[path = "kunit/user_memory.rs"]
    pub(crate) mod user_memory;
    pub(crate) mod worker;
    pub(crate) mod workqueue;
}
#[path = "../tally.rs"]
mod tally;

mod bio_suite;
mod layout_suite;
mod store_suite;
mod tally_suite;
mod transfer_suite;
mod user_pages_suite;
mod worker_suite;

use kernel::prelude::*;

module! {
    type: Suites,
    name: "pinblk_kunit",
    authors: ["The pinbed authors"],
    description: "KUnit suites of pinblk",
    license: "GPL",
}

/// KUnit finds the suites in the loaded module by itself, and runs them.
struct Suites;

impl kernel::Module for Suites {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        Ok(Self)
    }
}
