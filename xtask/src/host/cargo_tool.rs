// SPDX-License-Identifier: MIT OR Apache-2.0

//! Programs that Cargo builds into the cache, since distributions lack them or have them too old.

use std::path::PathBuf;

use anyhow::{Context, Result};

use super::command::Command;
use crate::cache;
use crate::progress::Progress;

/// What one of them needs while it is built, in bytes.
const SPACE: u64 = 500_000_000;

/// A program of a registry's package.
pub struct CargoTool {
    /// The package.
    pub package: &'static str,
    /// The program in it.
    pub program: &'static str,
    /// The exact version.
    pub version: &'static str,
}

/// The kernel's build system asks for 0.71.1 or newer.
pub const BINDGEN: CargoTool = CargoTool { package: "bindgen-cli", program: "bindgen", version: "0.73.2" };

/// For reviewing snapshots; of the same release as the library that writes them.
pub const INSTA: CargoTool = CargoTool { package: "cargo-insta", program: "cargo-insta", version: "1.49.0" };

impl CargoTool {
    /// The folder of the program, if it was built already.
    pub fn cached(&self) -> Result<Option<PathBuf>> {
        let folder = self.folder()?.join("bin");
        Ok(Some(folder).filter(|folder| folder.join(self.program).is_file()))
    }

    /// The folder of the program, which is built first if need be.
    pub fn ensure(&self) -> Result<PathBuf> {
        if let Some(folder) = self.cached()? {
            return Ok(folder);
        }
        let Self { package, program, version } = self;
        let _lock = cache::lock(program)?;
        if let Some(folder) = self.cached()? {
            return Ok(folder);
        }
        let target = self.folder()?;
        cache::require_space(SPACE, &format!("building {program}"))?;
        cache::sweep_partials(&target)?;
        let scratch = cache::scratch_beside(&target)?;
        let root = scratch.path().join("root");
        let progress = Progress::spinner(format!("building {program} {version}"));
        Command::new("cargo")
            .args(["install", package, "--locked", "--version", version, "--root"])
            .arg(&root)
            .arg("--target-dir")
            .arg(scratch.path().join("target"))
            .env_remove("RUSTFLAGS")
            .env_remove("CARGO_BUILD_TARGET")
            // A checkout's .cargo/config.toml is not for other people's programs.
            .current_dir(scratch.path())
            .run()
            .with_context(|| format!("cannot build {program}; check the network and the disk"))?;
        cache::publish_for_good(&root, &target)?;
        progress.finish(&format!("built {program} {version}"));
        Ok(target.join("bin"))
    }

    fn folder(&self) -> Result<PathBuf> {
        Ok(cache::path(self.program)?.join(self.version))
    }
}
