// SPDX-License-Identifier: MIT OR Apache-2.0

//! What runs a scenario.
//!
//! The types here are shared by the guest and the host: the name of a [`cell`], the [`record`] that
//! it leaves behind and its readable [`render`]ing, the parser of [`dump_page`] output, the rules for
//! the [`kernel log`](kernel_log), and the [`protocol`] and the [`stream`]s between the two sides. Everything that only runs inside the
//! guest is in [`guest`].

pub mod cell;
pub mod crash;
pub mod dump_page;
pub mod guest;
pub mod kernel_log;
pub mod ktap;
pub mod page;
pub mod pattern;
pub mod protocol;
pub mod record;
pub mod render;
pub mod stream;
