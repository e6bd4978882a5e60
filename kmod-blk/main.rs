// SPDX-License-Identifier: GPL-2.0

//! pinblk: a RAM disk that looks at the pages it is handed, and holds user pages as a device would.
//!
//! This file is the module's entry, its parameter and its life cycle.

#![deny(unsafe_code)]

#[path = "abi/src/wire.rs"]
pub mod abi;
mod control;
mod counters;
mod disk;
mod hold;
pub mod logic {
    //! The pure logic, which cargo tests on the host.

    #[path = "src/classify.rs"]
    pub mod classify;
    #[path = "src/layers.rs"]
    pub mod layers;
    #[path = "src/patch.rs"]
    pub mod patch;
    #[path = "src/sectors.rs"]
    pub mod sectors;
}
mod observe;
mod store;
#[expect(unsafe_code)]
mod sys;

use control::Control;
use disk::Disk;
use kernel::{
    prelude::*,
    sync::Arc, //
};
use logic::sectors::{
    PAGE_SIZE,
    SECTOR_SIZE, //
};
use pin_init::pin_init_scope;
use sys::{
    gendisk::{
        GenDisk,
        Geometry, //
    },
    misc::SharedMiscDevice, //
};

module! {
    type: Pinblk,
    name: "pinblk",
    authors: ["The pinbed authors"],
    description: "RAM disk that looks at the pages it is handed, and holds user pages",
    license: "GPL",
    params: {
        size_mib: u32 {
            default: 512,
            description: "Size of the disk in MiB, from 1 to 65536",
        },
    },
}

/// The largest disk, in MiB. Only what is written takes memory.
const SIZE_MIB_MAX: u32 = 65536;

const SECTORS_PER_MIB: u64 = (1 << 20) / SECTOR_SIZE as u64;

/// The loaded module.
///
/// It goes when nothing uses it: an open or mounted disk and an open control file each hold a
/// reference to the module. No bio is kept beyond its submission, so once the disk is removed none
/// is left; no hold outlives its control file; and every job of a worker is waited for.
#[pin_data]
struct Pinblk {
    // Dropped in this order: the way in for requests, then the disk, then what it stored.
    #[pin]
    _control: SharedMiscDevice<Control>,
    _disk: GenDisk<Disk>,
}

impl kernel::InPlaceModule for Pinblk {
    fn init(_module: &'static ThisModule) -> impl PinInit<Self, Error> {
        pin_init_scope(|| {
            let geometry = geometry(*module_parameters::size_mib.value_ref())?;
            let disk = Arc::pin_init(Disk::new(), GFP_KERNEL)?;
            // The disk comes last: it is opened and read as soon as it is there, so nothing may
            // fail after it.
            Ok(try_pin_init!(Self {
                _control <- SharedMiscDevice::register(c"pinblk-control", disk.clone()),
                _disk: GenDisk::add(c"pinblk0", &geometry, disk)?,
            }))
        })
    }
}

fn geometry(size_mib: u32) -> Result<Geometry> {
    if !(1..=SIZE_MIB_MAX).contains(&size_mib) {
        pr_err!("size_mib={size_mib} is not from 1 to {SIZE_MIB_MAX}\n");
        return Err(EINVAL);
    }
    Ok(Geometry {
        sectors: u64::from(size_mib) * SECTORS_PER_MIB,
        logical_block: SECTOR_SIZE as u32,
        physical_block: PAGE_SIZE as u32,
    })
}
