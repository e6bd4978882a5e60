// SPDX-License-Identifier: MIT OR Apache-2.0

//! What must hold of the source before a guest is started.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::{cargo, citations, stage};
use crate::host::command::Command;
use crate::kernel::{self, Kernel};
use crate::{artefacts, module, note, rust_analyzer, workspace};

/// The one target for which the sanitizer is asked: a build of the host's own programs, such as build
/// scripts, stays without it.
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// All that needs no kernel.
pub(super) fn check() -> Result<()> {
    stage("format", cargo(&["fmt", "--all", "--check"]))?;
    let own = Command::new("make").arg("-C").arg(workspace().join("kmod-blk")).arg("rustfmtcheck");
    stage("format of the module", own)?;
    stage("clippy", cargo(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))?;
    stage("tests of the host", cargo(&["test"]))?;
    stage("tests of the driver's logic under AddressSanitizer", under_sanitizer()?)
}

/// The kernel's own checks of its modules, and that an editor can find its way in them.
pub(super) fn check_modules(kernel: &Kernel) -> Result<()> {
    note!("== the patches of the findings");
    kernel::check_patches()?;
    note!("== what scenarios name as their source");
    citations::check()?;
    stage("checkpatch on the driver's C", checkpatch(kernel)?)?;
    for (name, clippy) in module::clippy(kernel)? {
        stage(&format!("the kernel's clippy on {name}"), clippy)?;
    }
    note!("== what editors know of the driver");
    rust_analyzer::describe(kernel).map(drop)
}

/// The driver's logic and the interface are no_std and without unsafe code, and yet a compiler, a crate
/// of theirs or a later change may be wrong about memory.
fn under_sanitizer() -> Result<Command> {
    let sysroot = Command::new("rustc").args(["--print", "sysroot"]).read()?;
    let libraries = Path::new(&sysroot).join("lib/rustlib").join(TARGET).join("lib");
    if !has_sanitizer(&libraries) {
        bail!(
            "rustc has no AddressSanitizer in {}; install a toolchain that has it, as rustup's do",
            libraries.display()
        );
    }
    let target = artefacts().join("address-sanitizer");
    let test =
        ["test", "--quiet", "--package", "pinblk-logic", "--package", "pinblk-abi", "--target", TARGET];
    Ok(cargo(&test)
        .arg("--target-dir")
        .arg(target)
        // The sanitizer is not stable, but the compiler is.
        .env("RUSTC_BOOTSTRAP", "1")
        // Property tests are many; what the sanitizer looks at stays.
        .env("CARGO_PROFILE_DEV_OPT_LEVEL", "1")
        .env("RUSTFLAGS", "-Zsanitizer=address")
        .env_remove("CARGO_ENCODED_RUSTFLAGS"))
}

fn has_sanitizer(libraries: &Path) -> bool {
    let names = fs::read_dir(libraries).into_iter().flatten().flatten();
    let mut names = names.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.any(|name| name.starts_with("librustc") && name.contains("_rt.asan"))
}

fn checkpatch(kernel: &Kernel) -> Result<Command> {
    let script = kernel.build.join("source/scripts/checkpatch.pl");
    let mut files = Vec::new();
    find_c(&workspace().join("kmod-blk"), &mut files)?;
    if files.is_empty() {
        bail!("there is no C below kmod-blk");
    }
    let options = ["--strict", "--no-tree", "--terse", "--show-types", "--file"];
    Ok(Command::new("perl").arg(script).args(options).args(files))
}

/// Every C file and header in a folder and below.
fn find_c(folder: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    let failed = || format!("cannot list {}", folder.display());
    for entry in fs::read_dir(folder).with_context(failed)? {
        let path = entry.with_context(failed)?.path();
        if path.is_dir() {
            find_c(&path, found)?;
        } else if path.extension().is_some_and(|extension| extension == "c" || extension == "h") {
            found.push(path);
        }
    }
    found.sort();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_toolchain_without_the_sanitizer_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        assert!(!has_sanitizer(folder.path()));
        assert!(!has_sanitizer(Path::new("/nowhere")));
        fs::write(folder.path().join("librustc-stable_rt.asan.a"), "").unwrap();
        assert!(has_sanitizer(folder.path()));
    }

    #[test]
    fn the_c_of_the_driver_is_found() {
        let mut files = Vec::new();
        find_c(&workspace().join("kmod-blk"), &mut files).unwrap();
        assert!(files.iter().any(|file| file.ends_with("sys/shims.c")), "{files:?}");
        assert!(files.iter().any(|file| file.ends_with("sys/shims.h")), "{files:?}");
    }
}
