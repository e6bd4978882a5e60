// SPDX-License-Identifier: MIT OR Apache-2.0
//! The kernel under test: which one, its source, its configuration, its build.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use crate::host::command::Command;
use crate::host::{setup, toolchain::Toolchain};
use crate::say;
use flavour::Flavour;

mod build;
mod config;
pub mod flavour;
mod lock;
mod output;
mod patch;
mod source;

/// Which kernel a command works with.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Kernel")]
pub struct Choice {
    /// The kernel's series, one of xtask/kernel/kernel.lock [default: the first there].
    #[arg(long, value_name = "X.Y")]
    pub series: Option<String>,
    /// How it is configured.
    #[arg(long, value_enum, default_value_t, value_name = "FLAVOUR")]
    pub flavour: Flavour,
    /// A patch of its source: a file, or a name of xtask/kernel/patches; may be repeated. Builds another kernel
    #[arg(long = "patch", value_name = "FILE|NAME")]
    pub patches: Vec<String>,
}

/// A kernel that was built.
#[derive(Clone, Debug)]
pub struct Kernel {
    /// What `uname -r` says in the guest.
    pub release: String,
    /// The version of the source package; says so when it is not the pinned one.
    pub version: String,
    /// The kernel itself, as QEMU boots it.
    pub vmlinux: PathBuf,
    /// The build folder, which modules are built against.
    pub build: PathBuf,
    /// Names all that went into the kernel, in hex.
    pub key: String,
    /// Names the finished configuration, in hex.
    pub config_hash: String,
    /// What it is configured for.
    pub flavour: Flavour,
    toolchain: Toolchain,
}

impl Kernel {
    /// A `make` in the build folder, with the compilers that built the kernel: modules need the same.
    pub fn make(&self) -> Result<Command> {
        Ok(self.toolchain.make()?.arg("-C").arg(&self.build))
    }
}

/// Finds the chosen kernel in the cache, or gets its source and builds it.
pub fn ensure(choice: &Choice) -> Result<Kernel> {
    let source = patch::apply(source::ensure(choice.series.as_deref())?, &choice.patches)?;
    build::ensure(&source, choice.flavour, Toolchain::ensure(choice.flavour)?)
}

/// A name by which `--patch` finds the same patch from every folder.
pub fn whole_name(patch: &str) -> String {
    patch::whole_name(patch)
}

/// The unpacked source of the default series.
pub fn source_tree() -> Result<PathBuf> {
    Ok(source::ensure(None)?.tree)
}

/// Tells whether pinbed's own patches apply to the pinned source of the default series, for which they are.
pub fn check_patches() -> Result<()> {
    patch::check(&source::ensure(None)?)
}

/// `cargo xtask kernel`: builds the kernel, or moves its pin.
pub fn main(choice: &Choice, update: bool) -> Result<()> {
    if update {
        say!("{}", source::update(choice.series.as_deref())?);
        return Ok(());
    }
    setup::ensure(choice.flavour)?;
    let kernel = ensure(choice)?;
    say!("release  {}", kernel.release);
    say!("package  {}", kernel.version);
    say!("vmlinux  {}", kernel.vmlinux.display());
    say!("build    {}", kernel.build.display());
    say!("key      {}", kernel.key);
    say!("config   {}", kernel.config_hash);
    Ok(())
}
