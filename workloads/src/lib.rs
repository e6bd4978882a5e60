// SPDX-License-Identifier: MIT OR Apache-2.0

//! The scenarios, a file for each way in which pages are taken, and the catalogue of cells.

pub mod catalogue;
mod counting;
mod direct_io;
mod fuse;
mod hold;
mod in_flight;
mod media;
mod removal;
mod selftest;
