// SPDX-License-Identifier: MIT OR Apache-2.0

//! Everything that only runs inside the guest.
//!
//! [`agent`] is PID 1: it makes the [`site`] of a cell, starts the scenario as a process of its own
//! ([`scenario`]) and gives the verdict. A scenario stands on a [`bed`].

pub mod agent;
mod backing;
pub mod bed;
pub mod by_hand;
mod caches;
pub mod child;
mod clock;
pub mod commit;
pub mod compat;
pub mod counters;
pub mod crash;
pub mod daemon;
pub mod defragment;
pub mod device;
mod device_mapper;
pub mod dirty_limits;
pub mod disk;
pub mod dm_log_writes;
pub mod error;
pub mod file;
pub mod filesystem;
pub mod flusher;
pub mod freeze;
pub mod fuse;
pub mod fuse_ring;
pub mod held_page;
pub mod huge;
pub mod in_flight;
pub mod io;
pub mod kmemleak;
pub mod kmsg;
pub mod loopback;
pub mod memory;
pub mod pagemap;
pub mod processor;
pub mod range;
pub mod reflink;
pub mod scenario;
pub mod site;
pub mod swap;
mod threads;
pub mod uring;

pub use bed::Bed;
pub use error::{Error, Result};
