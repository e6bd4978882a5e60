// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a host needs, as one table, and how each thing is found. Nothing here changes the machine.

use std::env;
use std::path::{Path, PathBuf};

use super::command::Command;
use super::toolchain;

/// One thing that a host needs.
pub struct Tool {
    /// What is looked for: a program's name, a header, a library.
    pub name: &'static str,
    /// How to find it.
    pub probe: Probe,
    /// The oldest version that will do, as the kernel's `scripts/min-tool-version.sh` has it.
    pub minimum: Option<&'static str>,
    /// Debian's package of it.
    pub debian: &'static str,
    /// What it is for, or what lacks it.
    pub purpose: &'static str,
    /// Without it nothing works, or only something is missing.
    pub need: Need,
}

/// How a tool is found.
pub enum Probe {
    /// A program in PATH or an `sbin` folder; its version is asked for with these arguments.
    Program(&'static [&'static str]),
    /// A header that the compiler finds.
    Header,
    /// libclang's folder, by `LIBCLANG_PATH` or in LLVM's usual places.
    Libclang,
    /// A program of the newest LLVM.
    Llvm,
}

/// How much a tool is needed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// pinbed cannot work without it.
    Required,
    /// Kernels that clang builds cannot be built without it.
    Llvm,
    /// pinbed works without it, with less comfort.
    Optional,
}

const VERSION: Probe = Probe::Program(&["--version"]);
const SHORT_VERSION: Probe = Probe::Program(&["-V"]);
const HELP: Probe = Probe::Program(&["--help"]);

/// Every tool of the host, in the order in which they are used.
pub const TOOLS: &[Tool] = &[
    required("apt-get", VERSION, "apt", "downloading the kernel's source"),
    required("dpkg-deb", VERSION, "dpkg", "unpacking the kernel's source"),
    required("tar", VERSION, "tar", "unpacking the kernel's source"),
    required("xz", VERSION, "xz-utils", "unpacking the kernel's source"),
    required("patch", VERSION, "patch", "kernels with patches"),
    required("make", VERSION, "make", "the kernel's build"),
    at_least("gcc", VERSION, "8.1.0", "gcc", "the kernel's compiler"),
    at_least("ld", VERSION, "2.30.0", "binutils", "the kernel's linker"),
    required("readelf", VERSION, "binutils", "the module's build id"),
    required("objcopy", VERSION, "binutils", "the module as guests load it"),
    required("flex", VERSION, "flex", "the kernel's configuration"),
    required("bison", VERSION, "bison", "the kernel's configuration"),
    required("bc", VERSION, "bc", "the kernel's build"),
    required("perl", VERSION, "perl", "the kernel's build"),
    required("gelf.h", Probe::Header, "libelf-dev", "the kernel's objtool"),
    required("openssl/opensslv.h", Probe::Header, "libssl-dev", "the kernel's build"),
    at_least("libclang", Probe::Libclang, "17.0.1", "libclang-19-dev", "bindgen, for the kernel's Rust"),
    required("qemu-system-x86_64", VERSION, "qemu-system-x86", "the guest"),
    required("mke2fs", SHORT_VERSION, "e2fsprogs", "ext4 in the guest"),
    required("e2fsck", SHORT_VERSION, "e2fsprogs", "ext4 in the guest"),
    required("mkfs.xfs", SHORT_VERSION, "xfsprogs", "xfs in the guest"),
    required("xfs_repair", SHORT_VERSION, "xfsprogs", "xfs in the guest"),
    required("mkfs.btrfs", VERSION, "btrfs-progs", "btrfs in the guest"),
    required("btrfs", VERSION, "btrfs-progs", "btrfs in the guest"),
    required("mkfs.f2fs", SHORT_VERSION, "f2fs-tools", "f2fs in the guest"),
    required("fsck.f2fs", SHORT_VERSION, "f2fs-tools", "f2fs in the guest"),
    required("mkfs.vfat", HELP, "dosfstools", "vfat in the guest"),
    required("fsck.vfat", HELP, "dosfstools", "vfat in the guest"),
    required("busybox", HELP, "busybox", "small tools beside a program of yours in the guest"),
    required("fio", VERSION, "fio", "data verified through pinblk, in a guest"),
    llvm("clang", "clang-19"),
    llvm("ld.lld", "lld-19"),
    llvm("llvm-objcopy", "llvm-19"),
    Tool {
        name: "gdb",
        probe: VERSION,
        minimum: None,
        debian: "gdb",
        purpose: "cargo xtask gdb, which looks into a guest's kernel",
        need: Need::Optional,
    },
    Tool {
        name: "cargo-nextest",
        probe: VERSION,
        minimum: None,
        debian: "cargo-nextest",
        purpose: "sharded and retried tests; cargo test runs them too",
        need: Need::Optional,
    },
];

const fn required(name: &'static str, probe: Probe, debian: &'static str, purpose: &'static str) -> Tool {
    Tool { name, probe, minimum: None, debian, purpose, need: Need::Required }
}

const fn llvm(name: &'static str, debian: &'static str) -> Tool {
    let purpose = "the sanitizer flavour of the kernel";
    Tool { name, probe: Probe::Llvm, minimum: Some("17.0.1"), debian, purpose, need: Need::Llvm }
}

const fn at_least(
    name: &'static str,
    probe: Probe,
    minimum: &'static str,
    debian: &'static str,
    purpose: &'static str,
) -> Tool {
    Tool { name, probe, minimum: Some(minimum), debian, purpose, need: Need::Required }
}

/// Where a tool is, and its version where that is known.
pub struct Found {
    /// The program, the header or the library's folder.
    pub path: PathBuf,
    /// For example `12.2.0`; empty when the tool does not tell.
    pub version: String,
}

impl Tool {
    /// Whether the tool is there, without asking for its version: quick enough for every command.
    pub fn is_present(&self) -> bool {
        self.locate().is_some()
    }

    /// Looks for the tool and asks for its version.
    pub fn find(&self) -> Option<Found> {
        let path = self.locate()?;
        let version = match self.probe {
            Probe::Program(args) => {
                let text = Command::new(&path).args(args).ask().unwrap_or_default();
                first_version(&text).unwrap_or_default().to_owned()
            }
            Probe::Llvm => {
                let text = Command::new(&path).arg("--version").ask().unwrap_or_default();
                first_version(&text).unwrap_or_default().to_owned()
            }
            Probe::Header => String::new(),
            Probe::Libclang => toolchain::libclang_version_of_path(&path).unwrap_or_default(),
        };
        Some(Found { path, version })
    }

    /// Whether a version that was found is new enough. A tool that does not tell passes.
    pub fn accepts(&self, version: &str) -> bool {
        self.minimum.is_none_or(|minimum| version.is_empty() || is_at_least(version, minimum))
    }

    fn locate(&self) -> Option<PathBuf> {
        match self.probe {
            Probe::Program(_) => find_program(self.name),
            Probe::Header => find_header(self.name),
            Probe::Libclang => toolchain::find_libclang(),
            Probe::Llvm => toolchain::find_llvm(self.name),
        }
    }
}

/// Finds a program in PATH or in an `sbin` folder, which a plain user's PATH often lacks.
pub fn find_program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let sbin = ["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from);
    env::split_paths(&path).chain(sbin).map(|folder| folder.join(name)).find(|file| file.is_file())
}

/// Asks the compiler for a header, since only the compiler knows where it looks.
fn find_header(name: &str) -> Option<PathBuf> {
    let gcc = Command::new("gcc").args(["-E", "-x", "c", "-include", name, "/dev/null"]);
    let text = gcc.read().ok()?;
    // A line marker reads: # 1 "/usr/include/gelf.h" 1 3 4
    let quoted = text.lines().filter(|line| line.starts_with("# ")).filter_map(|line| line.split('"').nth(1));
    quoted.map(PathBuf::from).find(|path| path.ends_with(Path::new(name)))
}

/// The first word of a text that looks like a version: digits with at least one dot.
pub fn first_version(text: &str) -> Option<&str> {
    let word = |c: char| !(c.is_ascii_digit() || c == '.');
    text.split(word).map(|word| word.trim_matches('.')).find(|word| word.contains('.'))
}

/// Compares versions number by number: `12.2.0` is at least `8.1`.
pub fn is_at_least(version: &str, minimum: &str) -> bool {
    let numbers = |text: &str| text.split('.').map(|n| n.parse().unwrap_or(0)).collect::<Vec<u64>>();
    let (mut have, mut want) = (numbers(version), numbers(minimum));
    let length = have.len().max(want.len());
    have.resize(length, 0);
    want.resize(length, 0);
    have >= want
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_found_in_what_tools_say() {
        let check = |text, version| assert_eq!(first_version(text), Some(version), "{text}");
        check("mke2fs 1.47.0 (5-Feb-2023)", "1.47.0");
        check("This is perl 5, version 36, subversion 0 (v5.36.0) built for x86_64", "5.36.0");
        check("mkfs.btrfs, part of btrfs-progs v6.2", "6.2");
        check("QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7)", "7.2.22");
        assert_eq!(first_version("no version here."), None);
    }

    #[test]
    fn versions_compare_by_number() {
        assert!(is_at_least("12.2.0", "8.1.0"));
        assert!(is_at_least("17.0.1", "17.0.1"));
        assert!(is_at_least("18", "17.0.1"));
        assert!(!is_at_least("0.65.1", "0.71.1"));
        assert!(!is_at_least("17", "17.0.1"));
    }

    #[test]
    fn names_are_unique() {
        let mut names: Vec<_> = TOOLS.iter().map(|tool| tool.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), TOOLS.len());
    }
}
