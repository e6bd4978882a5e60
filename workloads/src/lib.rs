// SPDX-License-Identifier: MIT OR Apache-2.0

//! The scenarios, a file for each way in which pages are taken, and the catalogue of cells.

mod allocations;
mod bad_input;
pub mod catalogue;
mod counting;
mod crash;
mod defer;
mod defragment;
mod delayed;
mod direct_io;
mod direct_over_hold;
mod dying;
mod fast_or_slow;
mod file_errors;
mod fixed_buffers;
mod fixed_io;
mod frozen;
mod fuse;
mod fuse_cache;
mod fuzz;
mod hold;
mod huge;
mod in_flight;
mod journal;
pub mod kunit;
mod leak;
mod lifetime;
mod mapped_buffers;
mod media;
mod nowait;
mod overflow;
mod own_pages;
mod pinned_writeback;
mod process;
mod ptrace;
mod reclaim;
mod removal;
mod selftest;
mod skip;
mod transfer;
mod transfer_in_flight;
mod transfer_interrupted;
mod truncate;
mod under_writeback;
mod unplug;
mod zero_copy;
