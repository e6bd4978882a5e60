// SPDX-License-Identifier: GPL-2.0

//! pinblk: RAM disks that look at the pages they are handed, and hold user pages as a device would.
//!
//! This file is the module's entry and its life cycle.

#![deny(unsafe_code)]

#[path = "abi/src/wire.rs"]
pub mod abi;
mod acquisition;
mod attributes;
mod budget;
mod config;
mod control;
mod counters;
mod deferred;
mod delivery;
mod disk;
mod disks;
mod dma;
mod ending;
mod flights;
mod gate;
mod handles;
mod hold;
mod late;
mod log;
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
mod look;
mod media;
mod observe;
mod pages;
mod pending;
mod plan;
mod policy;
mod report;
mod request;
mod settings;
mod store;
#[expect(unsafe_code)]
mod sys;
mod tally;
mod waiting;

use config::Config;
use control::{
    Control,
    Shared, //
};
use counters::HoldCounters;
use disks::Disks;
use kernel::{
    configfs::Subsystem,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Release, //
        },
        Arc, //
    }, //
};
use pin_init::pin_init_scope;
use sys::{
    layout,
    misc::SharedMiscDevice,
    workqueue::OwnedQueue, //
};

module! {
    type: Pinblk,
    name: "pinblk",
    authors: ["The pinbed authors"],
    description: "RAM disks that look at the pages they are handed, and hold user pages",
    license: "GPL",
}

/// The loaded module.
///
/// It goes when nothing uses it: a directory of a disk in configfs, an open or mounted disk, also a
/// removed one, and an open control file each hold a reference to the module. Whatever
/// bio is kept beyond its submission is completed before its disk is removed; no hold and no gate
/// outlives its control file; and what is queued to a worker is waited for.
#[pin_data]
struct Pinblk {
    #[pin]
    _control: SharedMiscDevice<Control>,
    #[pin]
    _config: Subsystem<Config>,
    // Dropped last: see `OwnedQueue::handle`.
    _delays: OwnedQueue,
    _ends: OwnedQueue,
    _releases: OwnedQueue,
}

impl kernel::InPlaceModule for Pinblk {
    fn init(module: &'static ThisModule) -> impl PinInit<Self, Error> {
        pin_init_scope(move || {
            layout::check()?;
            let disks = Arc::pin_init(Disks::new(), GFP_KERNEL)?;
            let delays = OwnedQueue::for_delays(module)?;
            let ends = OwnedQueue::for_reclaim(module, c"pinblk-io")?;
            let releases = OwnedQueue::for_reclaim(module, c"pinblk-release")?;
            let ready = Arc::new(Atomic::new(false), GFP_KERNEL)?;
            let shared = Shared {
                disks: disks.clone(),
                holds: Arc::new(HoldCounters::new()?, GFP_KERNEL)?,
                delays: delays.handle(),
                ends: ends.handle(),
                releases: releases.handle(),
                ready: ready.clone(),
            };
            let queue = ends.handle();
            // A module that does not load is freed, whoever uses it. So the directory comes last, where
            // disks are made as soon as it is there, and the control device is opened after that.
            let config = Config::register(disks, queue).pin_chain(move |_| {
                ready.store(true, Release);
                Ok(())
            });
            Ok(try_pin_init!(Self {
                _control <- SharedMiscDevice::register(c"pinblk-control", shared),
                _config <- config,
                _delays: delays,
                _ends: ends,
                _releases: releases,
            }))
        })
    }
}
