// SPDX-License-Identifier: MIT OR Apache-2.0
//! The host side of pinbed: what a machine needs, and everything that is built before a guest can start.
//!
//! Data flows one way: tools ([`host`]) → kernel ([`kernel`]) → module ([`module`]) → guest image ([`image`]).
//! Each stage has an `ensure` that returns what it made, and makes nothing twice.

use std::env;
use std::path::{Path, PathBuf};

pub mod bench;
pub mod cache;
pub mod cell;
pub mod host;
pub mod image;
pub mod isolation;
pub mod kernel;
pub mod list;
pub mod module;
pub mod progress;
pub mod qemu;
pub mod report;
pub mod review;
pub mod run;
pub mod test;
pub mod tidy;

/// The root of the checkout.
///
/// Cargo names the manifest at run time; the path known when this was compiled is only used without
/// Cargo, because a test archive runs elsewhere than it was built.
pub fn workspace() -> PathBuf {
    let manifest =
        env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from);
    // The manifest belongs to one of the workspace's crates, which may be nested.
    let root = manifest.ancestors().find(|folder| folder.join("xtask/kernel/kernel.lock").is_file());
    root.map_or_else(|| manifest.clone(), Path::to_path_buf)
}

/// The folder of what is built from the checkout: `target/pinbed`, wherever Cargo's target folder is.
pub fn artefacts() -> PathBuf {
    let target = env::var_os("CARGO_TARGET_DIR").filter(|folder| !folder.is_empty());
    target.map_or_else(|| workspace().join("target"), PathBuf::from).join("pinbed")
}
