// SPDX-License-Identifier: MIT OR Apache-2.0

//! Drivers that were built without something. The cache keeps them by their source and kernel, so that a change
//! of the harness, which has the cells run again, builds none of them again.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use blake3::Hasher;
use xtask::cache;

use crate::Removal;
use crate::driver_copy::DriverCopy;

/// Of how many drivers the builds are kept.
const KEPT: usize = 3;

/// The driver without the code of a removal, for the kernel in that folder: a module as guests load it.
pub(crate) fn driver_without(removal: &Removal, kernel: &Path) -> Result<PathBuf, String> {
    let built = place(removal, kernel).map_err(|error| format!("{error:#}"))?;
    if built.is_file() {
        return Ok(built);
    }
    let folder = xtask::artefacts().join("removed").join(removal.name);
    let copy = DriverCopy::make(&folder)?;
    copy.replace(removal.file, removal.item, removal.code, removal.instead)?;
    copy.build(kernel, "modules")?.map_or(Ok(()), |said| Err(format!("it does not build: {said}")))?;
    let stripped = folder.join("stripped.ko");
    strip(&copy.objects.join("pinblk.ko"), &stripped)?;
    let whole = fs::read(&stripped).map_err(|error| format!("read {}: {error}", stripped.display()))?;
    cache::write_whole(&built, &whole).map_err(|error| format!("{error:#}"))?;
    Ok(built)
}

/// Where the cache has it, or will: a folder for each driver and kernel, a file for each removal.
fn place(removal: &Removal, kernel: &Path) -> anyhow::Result<PathBuf> {
    let mut hasher = Hasher::new();
    hasher.update(kernel.as_os_str().as_encoded_bytes());
    add_folder(&mut hasher, &xtask::workspace().join("kmod-blk"))?;
    let all = cache::folder("removed/drivers")?;
    let folder = all.join(cache::short_hex(hasher.finalize()));
    if !folder.is_dir() {
        fs::create_dir_all(&folder)?;
        cache::keep_newest(&all, KEPT)?;
    }
    cache::touch(&folder)?;
    let Removal { name, file, item, code, instead, .. } = removal;
    let what = cache::short_hex(blake3::hash(format!("{file}\0{item}\0{code}\0{instead}").as_bytes()));
    Ok(folder.join(format!("{name}-{what}.ko")))
}

/// Every file below a folder that a compiler or make reads, with its name.
fn add_folder(hasher: &mut Hasher, folder: &Path) -> anyhow::Result<()> {
    let mut paths =
        fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>()?;
    paths.sort();
    for path in paths {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if path.is_dir() {
            hasher.update(name.as_bytes());
            add_folder(hasher, &path)?;
        } else if name == "Kbuild"
            || name == "Makefile"
            || [".rs", ".c", ".h"].iter().any(|end| name.ends_with(end))
        {
            let bytes = fs::read(&path)?;
            hasher.update(name.as_bytes()).update(&bytes.len().to_le_bytes()).update(&bytes);
        }
    }
    Ok(())
}

fn strip(from: &Path, to: &Path) -> Result<(), String> {
    let done = Command::new("objcopy").arg("--strip-debug").args([from, to]).status();
    match done {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("objcopy ended with {status}")),
        Err(error) => Err(format!("run objcopy: {error}")),
    }
}
