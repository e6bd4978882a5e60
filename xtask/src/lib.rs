// SPDX-License-Identifier: MIT OR Apache-2.0
//! The host side of pinbed: what a machine needs, and everything that is built before a guest can start.
//!
//! Data flows one way: tools ([`host`]) → kernel ([`kernel`]) → module ([`module`]) → guest image ([`image`]).
//! Each stage has an `ensure` that returns what it made, and makes nothing twice.

#![warn(clippy::print_stdout, clippy::print_stderr)]

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

pub mod archive;
pub mod bench;
pub mod cache;
pub mod cell;
pub mod crash;
pub mod disks;
pub mod exec;
pub mod fuzz;
pub mod gdb;
pub mod host;
pub mod image;
mod interrupt;
pub mod isolation;
pub mod kernel;
pub mod kunit;
pub mod list;
pub mod luggage;
pub mod module;
pub mod plan;
pub mod progress;
pub mod qemu;
pub mod replay;
pub mod report;
pub mod review;
pub mod rounds;
pub mod run;
pub mod rust_analyzer;
pub mod schema;
pub mod seed;
pub mod session;
pub mod shell;
pub mod terminal;
pub mod test;
pub mod tidy;
pub mod timing;
pub mod tty;

/// The exit status of a command that could not do its work: bad input, or a host that lacks something.
pub const CANNOT: u8 = 2;

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

/// The folder of what is built from the checkout: `pinbed` in `CARGO_TARGET_DIR`, or else in `target`.
///
/// A relative `CARGO_TARGET_DIR` counts from the root of the checkout: xtask, tests and guests run in
/// different folders, and must all find the same one.
pub fn artefacts() -> PathBuf {
    artefacts_in(&workspace(), env::var_os("CARGO_TARGET_DIR"))
}

fn artefacts_in(workspace: &Path, target: Option<OsString>) -> PathBuf {
    let target = target.filter(|folder| !folder.is_empty()).unwrap_or_else(|| "target".into());
    workspace.join(target).join("pinbed")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn artefacts_have_one_absolute_place() {
        let place = |target: Option<&str>| artefacts_in(Path::new("/checkout"), target.map(OsString::from));
        assert_eq!(place(None), Path::new("/checkout/target/pinbed"));
        assert_eq!(place(Some("")), Path::new("/checkout/target/pinbed"));
        assert_eq!(place(Some("t")), Path::new("/checkout/t/pinbed"));
        assert_eq!(place(Some("/elsewhere")), Path::new("/elsewhere/pinbed"));
        assert!(workspace().is_absolute());
    }
}
