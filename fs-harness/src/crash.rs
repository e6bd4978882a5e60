// SPDX-License-Identifier: MIT OR Apache-2.0

//! What a power cut could leave of a disk: the [`log`](mod@log) of what reached it, the [`state`]s in which it
//! could be found, those that are [`chosen`](choose), and what [`history`] says may be in its files then. The log that
//! device-mapper keeps of the same disk is a second witness: [`dm_log`] reads it, and [`agreement`] compares both.

pub mod agreement;
pub mod choose;
pub mod dm_log;
pub mod history;
pub mod log;
pub mod shrink;
pub mod state;

pub use choose::choose;
pub use history::{Complaint, History};
pub use log::{Entry, Log, What};
pub use shrink::shrink;
pub use state::State;
