// SPDX-License-Identifier: MIT OR Apache-2.0

//! A copy of the driver, to be changed and built by the kernel's own build system.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The copy.
pub(crate) struct DriverCopy {
    source: PathBuf,
    /// Where it is built.
    pub(crate) objects: PathBuf,
}

impl DriverCopy {
    /// Copies the driver anew, into that folder.
    pub(crate) fn make(folder: &Path) -> Result<Self, String> {
        let (source, objects) = (folder.join("source"), folder.join("objects"));
        copy(&xtask::workspace().join("kmod-blk"), &source)?;
        fs::create_dir_all(&objects).map_err(|error| format!("make {}: {error}", objects.display()))?;
        Ok(Self { source, objects })
    }

    /// Replaces what stands just once in a file, or in the item of it that begins with `item`.
    pub(crate) fn replace(&self, file: &str, item: &str, right: &str, wrong: &str) -> Result<(), String> {
        let path = self.source.join(file);
        let text = fs::read_to_string(&path).map_err(|error| format!("read {}: {error}", path.display()))?;
        let start = text.find(item).ok_or_else(|| format!("{file} does not have '{item}'"))?;
        let end = if item.is_empty() { None } else { text[start..].find("\n}\n") };
        let end = end.map_or(text.len(), |length| start + length);
        let part = &text[start..end];
        if part.matches(right).count() != 1 {
            return Err(format!("{file} does not have '{right}' just once"));
        }
        let changed = [&text[..start], &part.replace(right, wrong), &text[end..]].concat();
        fs::write(&path, changed).map_err(|error| format!("write {}: {error}", path.display()))
    }

    /// Builds a target against a kernel; what the compiler says if it is not content.
    pub(crate) fn build(&self, kernel: &Path, target: &str) -> Result<Option<String>, String> {
        let output = Command::new("make")
            .env("LC_ALL", "C")
            .arg("-C")
            .arg(kernel)
            .arg(format!("M={}", self.source.display()))
            .arg(format!("MO={}", self.objects.display()))
            .arg(target)
            .output()
            .map_err(|error| format!("run make: {error}"))?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        Ok((!output.status.success()).then_some(said))
    }
}

/// Copies a folder anew.
fn copy(from: &Path, to: &Path) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("copy {} to {}: {error}", from.display(), to.display());
    if to.exists() {
        fs::remove_dir_all(to).map_err(failed)?;
    }
    fs::create_dir_all(to).map_err(failed)?;
    for entry in fs::read_dir(from).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if entry.file_type().map_err(failed)?.is_dir() {
            copy(&from, &to)?;
        } else {
            fs::copy(&from, &to).map_err(failed)?;
        }
    }
    Ok(())
}
