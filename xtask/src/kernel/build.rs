// SPDX-License-Identifier: MIT OR Apache-2.0
//! Building a kernel in the cache, once for everything that goes into it.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::thread;

use anyhow::{Context, Result, anyhow};
use serde::{Deserialize, Serialize};

use super::Kernel;
use super::config;
use super::flavour::Flavour;
use super::output::Output;
use super::source::Source;
use crate::cache;
use crate::host::toolchain::Toolchain;
use crate::progress::Progress;

/// The version of this file's recipe: a change of how kernels are built changes every key.
const RECIPE: &str = "2";

/// What a build folder takes, symbols for a debugger and all.
const SPACE: u64 = 4_000_000_000;

/// How many steps a build has, until one was counted.
const STEPS: u64 = 1900;

/// Written last into a kernel's folder: what has one is whole.
#[derive(Serialize, Deserialize)]
struct Stamp {
    release: String,
    config_hash: String,
}

/// Where one kernel is in the cache. make writes absolute paths into its build folder, so it is built
/// where it stays, and an interrupted build goes on there.
struct Place {
    key: String,
    folder: PathBuf,
}

/// Finds the kernel of this source, configuration and toolchain in the cache, or builds it.
pub(super) fn ensure(source: &Source, flavour: Flavour, toolchain: Toolchain) -> Result<Kernel> {
    let wanted = config::wanted(flavour)?;
    let key = key(source, &toolchain, wanted.as_bytes());
    let place = Place { folder: cache::folder("kernels")?.join(&key), key };
    if let Some(stamp) = place.stamp() {
        return Ok(place.kernel(stamp, source, flavour, toolchain));
    }
    let _guard = cache::lock(&format!("kernel-{}", place.key))?;
    if let Some(stamp) = place.stamp() {
        return Ok(place.kernel(stamp, source, flavour, toolchain));
    }
    cache::require_space(SPACE, "building a kernel")?;
    let build = place.build();
    fs::create_dir_all(&build).with_context(|| format!("cannot create {}", build.display()))?;
    config::configure(source, &toolchain, &wanted, &build)?;
    compile(source, &toolchain, &place)?;
    place.write_stamp()?;
    let stamp = place.stamp().context("the kernel that was just built is not whole")?;
    Ok(place.kernel(stamp, source, flavour, toolchain))
}

/// All that decides what the kernel is.
fn key(source: &Source, toolchain: &Toolchain, config: &[u8]) -> String {
    let inputs: [&[u8]; 8] = [
        RECIPE.as_bytes(),
        source.sha256.as_bytes(),
        config,
        toolchain.compiler.as_bytes(),
        toolchain.linker.as_bytes(),
        toolchain.rustc.as_bytes(),
        crate::host::cargo_tool::BINDGEN.version.as_bytes(),
        toolchain.libclang_version.as_bytes(),
    ];
    let mut hasher = blake3::Hasher::new();
    for input in inputs {
        // The length keeps neighbours apart.
        hasher.update(&input.len().to_le_bytes()).update(input);
    }
    cache::short_hex(hasher.finalize())
}

impl Place {
    fn build(&self) -> PathBuf {
        self.folder.join("build")
    }

    fn stamp_file(&self) -> PathBuf {
        self.folder.join("complete.json")
    }

    /// What was written when the kernel was whole; none where it is not.
    fn stamp(&self) -> Option<Stamp> {
        serde_json::from_slice(&fs::read(self.stamp_file()).ok()?).ok()
    }

    fn kernel(&self, stamp: Stamp, source: &Source, flavour: Flavour, toolchain: Toolchain) -> Kernel {
        let build = self.build();
        Kernel {
            release: stamp.release,
            version: source.described(),
            vmlinux: build.join("vmlinux"),
            build,
            key: self.key.clone(),
            config_hash: stamp.config_hash,
            flavour,
            toolchain,
        }
    }

    fn write_stamp(&self) -> Result<()> {
        let read = |name: &str| {
            let path = self.build().join(name);
            fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
        };
        let release = read("include/config/kernel.release")?.trim().to_owned();
        let config_hash = cache::short_hex(blake3::hash(read(".config")?.as_bytes()));
        let stamp = serde_json::to_vec(&Stamp { release, config_hash })?;
        cache::settle(&self.folder)?;
        cache::write_whole(&self.stamp_file(), &stamp)
    }
}

/// Runs make, with its output in a log and its progress on the terminal.
fn compile(source: &Source, toolchain: &Toolchain, place: &Place) -> Result<()> {
    let log_path = cache::folder("logs")?.join(format!("kernel-{}.log", place.key));
    // Unbuffered, for those who follow the log.
    let mut log = File::create(&log_path).with_context(|| format!("cannot create {}", log_path.display()))?;
    let mut output = Output::default();
    let counted = cache::folder("kernels")?.join("steps");
    let mut progress =
        Progress::bar(format!("building Linux {}", source.described_in_short()), last_count(&counted));

    let jobs = thread::available_parallelism().map_or(1, usize::from);
    let make = config::make(source, toolchain, &place.build())?
        // What a kernel says of its build would make each build another.
        .env("KBUILD_BUILD_TIMESTAMP", "Thu Jan  1 00:00:00 UTC 1970")
        .env("KBUILD_BUILD_USER", "pinbed")
        .env("KBUILD_BUILD_HOST", "pinbed")
        .env("KBUILD_BUILD_VERSION", "1")
        .arg(format!("-j{jobs}"))
        .args(["vmlinux", "modules", "scripts_gdb"]);
    let result = make.each_line(|line| {
        output.see(line);
        progress.set(output.steps());
        log.write_all(format!("{line}\n").as_bytes())
            .with_context(|| format!("cannot write {}", log_path.display()))
    });
    result.map_err(|err| match output.first_errors() {
        errors if errors.is_empty() => {
            err.context(format!("the kernel's build failed; log: {}", log_path.display()))
        }
        errors => anyhow!("the kernel's build failed; log: {}\n  {errors}", log_path.display()),
    })?;

    progress.finish(&format!("built Linux {}", source.described_in_short()));
    // A build that went on after an interruption counts less than a whole one.
    cache::write_whole(&counted, output.steps().max(last_count(&counted) / 2).to_string().as_bytes())
}

fn last_count(path: &Path) -> u64 {
    fs::read_to_string(path).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(STEPS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inputs() -> (Source, Toolchain) {
        let source = Source {
            version: "7.3.4-1".into(),
            patches: Vec::new(),
            sha256: "aa".into(),
            tree: "/tree".into(),
        };
        let toolchain = Toolchain {
            compiler: "gcc 12".into(),
            linker: "ld 2.40".into(),
            rustc: "rustc 1.95".into(),
            bindgen: "/bindgen".into(),
            libclang: "/llvm".into(),
            libclang_version: "19.1.7".into(),
            rust_library: "/library".into(),
            llvm: None,
        };
        (source, toolchain)
    }

    #[test]
    fn every_input_changes_the_key() {
        let (source, toolchain) = inputs();
        let base = key(&source, &toolchain, b"config");
        assert_eq!(base.len(), 16);
        assert_ne!(base, key(&source, &toolchain, b"config2"));
        let (other, _) = inputs();
        assert_ne!(base, key(&Source { sha256: "bb".into(), ..other }, &toolchain, b"config"));
        let (_, other) = inputs();
        assert_ne!(base, key(&source, &Toolchain { compiler: "gcc 13".into(), ..other }, b"config"));
        let (_, other) = inputs();
        assert_ne!(base, key(&source, &Toolchain { linker: "ld 2.41".into(), ..other }, b"config"));
        let (_, other) = inputs();
        assert_ne!(base, key(&source, &Toolchain { rustc: "rustc 1.96".into(), ..other }, b"config"));
        let (_, other) = inputs();
        assert_ne!(base, key(&source, &Toolchain { libclang_version: "20".into(), ..other }, b"config"));
    }

    #[test]
    fn places_do_not_change_the_key() {
        let (source, toolchain) = inputs();
        let (mut moved, mut elsewhere) = inputs();
        moved.tree = "/another".into();
        elsewhere.bindgen = "/another".into();
        assert_eq!(key(&source, &toolchain, b"c"), key(&moved, &elsewhere, b"c"));
    }

    #[test]
    fn a_folder_without_a_stamp_is_no_kernel() {
        let folder = tempfile::tempdir().unwrap();
        let place = Place { key: "k".into(), folder: folder.path().to_owned() };
        fs::create_dir_all(place.build().join("include/config")).unwrap();
        fs::write(place.build().join("include/config/kernel.release"), "7.3.4\n").unwrap();
        fs::write(place.build().join(".config"), "CONFIG_BUG=y\n").unwrap();
        assert!(place.stamp().is_none());
        place.write_stamp().unwrap();
        assert_eq!(place.stamp().unwrap().release, "7.3.4");
    }
}
