// SPDX-License-Identifier: MIT OR Apache-2.0
//! The guest's image: an initramfs with `/init`, pinblk, and the tools of the filesystems.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};

use crate::host::command::Command;
use crate::host::tools;
use crate::module::Module;
use crate::progress::Progress;
use crate::{artefacts, cache, workspace};
use archive::Archive;

pub(crate) mod archive;
pub(crate) mod host_files;

/// Host programs that the guest has under `/usr/bin`, and further names of theirs.
const TOOLS: &[(&str, &[&str])] = &[
    ("mke2fs", &["mkfs.ext4"]),
    ("e2fsck", &["fsck.ext4"]),
    ("mkfs.xfs", &[]),
    ("xfs_repair", &[]),
    ("mkfs.btrfs", &[]),
    ("btrfs", &[]),
    ("mkfs.f2fs", &[]),
    ("fsck.f2fs", &[]),
    ("mkfs.vfat", &[]),
    ("fsck.vfat", &[]),
];

/// Empty folders, for the guest's mounts.
const FOLDERS: &[&str] = &["/dev", "/proc", "/sys", "/tmp", "/mnt", "/run"];

/// How many images are kept: each edit of pinblk or of the agent makes another.
const KEPT: usize = 3;

/// The one target that the guest's `/init` is built for.
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// An image that was packed.
pub struct Image {
    /// `initramfs.cpio`.
    pub path: PathBuf,
    /// Names the image's contents, in hex.
    pub hash: String,
}

/// Brings the guest's `/init` up to date and packs the image, unless the same image is there.
pub fn ensure(module: &Module) -> Result<Image> {
    let bytes = contents(module)?.pack()?;
    let hash = cache::short_hex(blake3::hash(&bytes));
    let all = artefacts().join("images");
    let folder = all.join(&hash);
    let path = folder.join("initramfs.cpio");
    // After a power cut a file may be there that is empty.
    if !fs::read(&path).is_ok_and(|found| found == bytes) {
        cache::write_whole(&path, &bytes)?;
    }
    cache::touch(&folder)?;
    cache::keep_newest(&all, KEPT)?;
    Ok(Image { path, hash })
}

/// Packs the same image with one more file, or with another in the place of one.
pub fn with_file(image: &Path, name: &str, contents: &[u8], into: &Path) -> Result<()> {
    let mut bytes = read(image)?;
    let mut more = Archive::default();
    more.file(name, contents);
    // The kernel unpacks one archive after the other.
    bytes.extend(more.pack()?);
    cache::write_whole(into, &bytes)
}

fn contents(module: &Module) -> Result<Archive> {
    let mut archive = Archive::default();
    archive.file("/init", &read(&build_init()?)?);
    archive.file("/pinblk.ko", &module.stripped);
    archive.file("/etc/mke2fs.conf", &read(&workspace().join("xtask/guest/mke2fs.conf"))?);
    archive.character_device("/dev/console", 5, 1);
    for folder in FOLDERS {
        archive.folder(folder);
    }
    // As on every host that programs come from later.
    archive.folder("/usr/sbin");
    archive.symlink("/bin", "usr/bin");
    archive.symlink("/sbin", "usr/sbin");
    for (name, aliases) in TOOLS {
        let program = tools::find_program(name)
            .with_context(|| format!("there is no {name} for the guest; run `cargo xtask setup`"))?;
        archive.file(&format!("/usr/bin/{name}"), &read(&program)?);
        for alias in *aliases {
            archive.symlink(&format!("/usr/bin/{alias}"), name);
        }
        host_files::add_libraries(&mut archive, &program)?;
    }
    host_files::add_unwinder(&mut archive)?;
    Ok(archive)
}

/// Builds the guest's `/init` as a static program: the image has no library for it.
fn build_init() -> Result<PathBuf> {
    let target = artefacts().join("guest");
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let progress = Progress::spinner("building the guest's init");
    let mut said = String::new();
    let built = Command::new(cargo)
        .args([
            "build",
            "--quiet",
            "--profile",
            "guest",
            "--target",
            TARGET,
            "-p",
            "workloads",
            "--bin",
            "init",
        ])
        .arg("--target-dir")
        .arg(&target)
        .current_dir(&workspace())
        .env("RUSTFLAGS", "-C target-feature=+crt-static")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .each_line(|line| {
            said.push_str(line);
            said.push('\n');
            Ok(())
        });
    // The tail of a compiler's errors is of no use: show them all.
    built.map_err(|_| anyhow!("the guest's init does not build:\n{}", said.trim_end()))?;
    progress.finish("built the guest's init");
    Ok(target.join(TARGET).join("guest/init"))
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_is_asked_for_every_tool_of_the_guest() {
        for (name, _) in TOOLS {
            assert!(tools::TOOLS.iter().any(|tool| tool.name == *name), "{name}");
        }
    }
}
