// SPDX-License-Identifier: MIT OR Apache-2.0
//! What turns the kernel's source into a kernel: gcc or clang, rustc with its library's source, bindgen, libclang.
//!
//! rustc and the C compiler are the host's. bindgen and the library's source, which distributions and toolchains
//! often lack, come into the cache.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::cargo_tool::BINDGEN;
use super::command::Command;
use super::suite::{SUITES, Suite};
use super::tools::{first_version, is_at_least};
use crate::cache;
use crate::kernel::flavour::Flavour;
use crate::progress::Progress;

/// Everything that compiles the kernel, ready to be used.
#[derive(Clone, Debug)]
pub struct Toolchain {
    /// The first line of the C compiler's version.
    pub compiler: String,
    /// The first line of the linker's version.
    pub linker: String,
    /// The whole of `rustc -vV`.
    pub rustc: String,
    /// The folder of the bindgen program, for PATH.
    pub bindgen: PathBuf,
    /// The folder of libclang, for `LIBCLANG_PATH`.
    pub libclang: PathBuf,
    /// What libclang calls itself.
    pub libclang_version: String,
    /// The source of `core` and its kin, for `RUST_LIB_SRC`.
    pub rust_library: PathBuf,
    /// The folder of clang and its kin, where they build the kernel and not gcc.
    pub llvm: Option<PathBuf>,
}

impl Toolchain {
    /// Finds the toolchain, and puts into the cache what is missing.
    pub fn ensure(flavour: Flavour) -> Result<Self> {
        let llvm = if flavour.is_built_by_llvm() {
            let clang = find_llvm("clang").context("no clang 17 or newer; run `cargo xtask setup`")?;
            clang.parent().map(Path::to_path_buf)
        } else {
            None
        };
        let first_line = |gnu: &str, of_llvm: &str| {
            let program = llvm.as_ref().map_or_else(|| gnu.into(), |folder| folder.join(of_llvm));
            let text = Command::build(program).arg("--version").read()?;
            Ok::<_, anyhow::Error>(text.lines().next().unwrap_or_default().to_owned())
        };
        let rustc = Command::build("rustc").arg("-vV").read()?;
        let libclang = find_libclang().context("no libclang 17 or newer; run `cargo xtask setup`")?;
        let bindgen = BINDGEN.ensure()?;
        Ok(Self {
            compiler: first_line("gcc", "clang")?,
            linker: first_line("ld", "ld.lld")?,
            libclang_version: libclang_version(&bindgen, &libclang)?,
            rust_library: ensure_rust_library(&rustc)?,
            rustc,
            bindgen,
            libclang,
            llvm,
        })
    }

    /// A `make` for the kernel's build system, with this toolchain and nothing else of the environment.
    pub fn make(&self) -> Result<Command> {
        let path = env::var_os("PATH").unwrap_or_default();
        let folders = std::iter::once(self.bindgen.clone()).chain(env::split_paths(&path));
        let path = env::join_paths(folders).context("a folder of PATH cannot be written as a list")?;
        let make = Command::build("make")
            .env("PATH", path)
            .env("LIBCLANG_PATH", &self.libclang)
            .env("RUST_LIB_SRC", &self.rust_library);
        // The build system takes a folder by the slash at its end.
        Ok(match &self.llvm {
            Some(folder) => make.arg(format!("LLVM={}/", folder.display())),
            None => make,
        })
    }
}

/// The folder of a libclang that the kernel accepts: `LIBCLANG_PATH`, else the newest LLVM.
pub fn find_libclang() -> Option<PathBuf> {
    if let Some(folder) = env::var_os("LIBCLANG_PATH").filter(|folder| !folder.is_empty()) {
        return Some(PathBuf::from(folder)).filter(|folder| has_libclang(folder));
    }
    let debian = llvm_versions().into_iter().map(|version| format!("/usr/lib/llvm-{version}/lib"));
    let elsewhere = ["/usr/lib64", "/usr/lib"].map(str::to_owned);
    debian.chain(elsewhere).map(PathBuf::from).find(|folder| has_libclang(folder))
}

/// A program of the newest LLVM that has clang and its linker.
pub fn find_llvm(program: &str) -> Option<PathBuf> {
    let debian = llvm_versions().into_iter().map(|version| format!("/usr/lib/llvm-{version}/bin"));
    let folders = debian.chain(["/usr/bin".to_owned()]).map(PathBuf::from);
    let mut whole =
        folders.filter(|folder| ["clang", "ld.lld"].iter().all(|name| folder.join(name).is_file()));
    whole.next().map(|folder| folder.join(program)).filter(|file| file.is_file())
}

/// The versions of LLVM that are installed as Debian does, newest first, without those that are too old.
fn llvm_versions() -> Vec<u32> {
    let entries = fs::read_dir("/usr/lib").into_iter().flatten().flatten();
    let mut versions: Vec<u32> = entries
        .filter_map(|entry| entry.file_name().to_str()?.strip_prefix("llvm-")?.parse().ok())
        .filter(|&version| version >= 17)
        .collect();
    versions.sort_unstable();
    versions.reverse();
    versions
}

/// bindgen loads `libclang.so` or, for want of it, `libclang-VERSION.so` and `libclang.so.VERSION`.
fn has_libclang(folder: &Path) -> bool {
    libclang_files(folder).next().is_some()
}

fn libclang_files(folder: &Path) -> impl Iterator<Item = String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    names.filter(|name| {
        name.starts_with("libclang.so") || name.starts_with("libclang-") && name.contains(".so")
    })
}

/// The version that the names in libclang's folder tell, for people; the build asks libclang itself.
pub fn libclang_version_of_path(folder: &Path) -> Option<String> {
    let names = libclang_files(folder).filter_map(|name| first_version(&name).map(str::to_owned));
    let llvm = folder.to_str()?.split("/llvm-").nth(1)?.split('/').next().map(str::to_owned);
    names.max_by_key(String::len).or(llvm)
}

/// Asks libclang for its version in the way of the kernel's own check: a pragma that bindgen prints.
fn libclang_version(bindgen: &Path, libclang: &Path) -> Result<String> {
    let folder = tempfile::tempdir().context("cannot create a temporary folder")?;
    let header = folder.path().join("version.h");
    fs::write(&header, "#pragma message(\"clang version \" __clang_version__)\n")
        .with_context(|| format!("cannot write {}", header.display()))?;
    let said = Command::build(bindgen.join("bindgen")).arg(&header).env("LIBCLANG_PATH", libclang).ask()?;
    let version = said.split("clang version ").nth(1).and_then(first_version).map(str::to_owned);
    match version {
        Some(version) if is_at_least(&version, "17.0.1") => Ok(version),
        Some(version) => bail!(
            "libclang in {} is {version} and the kernel wants 17.0.1 or newer; set LIBCLANG_PATH to another",
            libclang.display()
        ),
        None => bail!("bindgen cannot load libclang from {}: {}", libclang.display(), said.trim()),
    }
}

/// The library's source of the rustc in use, if it is there already.
pub fn present_rust_library(rustc: &str) -> Result<Option<PathBuf>> {
    let sysroot = Command::build("rustc").args(["--print", "sysroot"]).read()?;
    let own = Path::new(&sysroot).join("lib/rustlib/src/rust/library");
    let cached = cached_rust_library(rustc)?;
    Ok([own, cached].into_iter().find(|folder| folder.join("core/src/lib.rs").is_file()))
}

fn cached_rust_library(rustc: &str) -> Result<PathBuf> {
    Ok(cache::path("rust-library")?.join(release(rustc)?))
}

/// The `X.Y.Z` of `rustc -vV`.
fn release(rustc: &str) -> Result<&str> {
    let release = rustc.lines().find_map(|line| line.strip_prefix("release: "));
    release.context("`rustc -vV` names no release; is it a rustc?")
}

fn ensure_rust_library(rustc: &str) -> Result<PathBuf> {
    if let Some(folder) = present_rust_library(rustc)? {
        return Ok(folder);
    }
    let _lock = cache::lock("rust-library")?;
    let target = cached_rust_library(rustc)?;
    if target.is_dir() {
        return Ok(target);
    }
    let release = release(rustc)?;
    let progress = Progress::spinner(format!("getting the library source of Rust {release}"));
    cache::sweep_partials(&target)?;
    let scratch = cache::scratch_beside(&target)?;
    download_rust_library(release, scratch.path()).with_context(|| {
        format!("no library source for rustc {release}; `rustup component add rust-src` also gives it")
    })?;
    let unpacked = scratch.path().join(format!("usr/src/rustc-{release}/library"));
    cache::publish_for_good(&unpacked, &target)?;
    progress.finish(&format!("got the library source of Rust {release}"));
    Ok(target)
}

/// Unpacks Debian's `rust-src` of exactly this release: another one's library does not compile.
fn download_rust_library(release: &str, into: &Path) -> Result<()> {
    for name in SUITES {
        let suite = Suite::open(name)?;
        let versions = suite.versions("rust-src")?;
        let matching =
            versions.iter().find(|package| package.version.split(['+', '-']).next() == Some(release));
        if let Some(package) = matching {
            let deb = suite.download("rust-src", &package.version, into)?;
            return Command::new("dpkg-deb").arg("-x").arg(&deb).arg(into).run();
        }
    }
    bail!("none of {} has rust-src {release}", SUITES.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_release_of_rustc_is_read() {
        assert_eq!(
            release("rustc 1.95.0 (5980 2026-04-14)\nbinary: rustc\nrelease: 1.95.0\n").unwrap(),
            "1.95.0"
        );
        assert!(release("gcc 12").unwrap_err().to_string().contains("no release"));
    }

    #[test]
    fn the_folder_of_libclang_tells_its_version() {
        assert_eq!(libclang_version_of_path(Path::new("/usr/lib/llvm-99/lib")).unwrap(), "99");
        assert_eq!(libclang_version_of_path(Path::new("/nowhere")), None);
    }
}
