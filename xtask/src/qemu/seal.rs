// SPDX-License-Identifier: MIT OR Apache-2.0

//! Whether the files of a checkpoint are as they were when it was saved. What QEMU restores has no checksum
//! of its own: a byte that changed there would be a byte of the kernel under test.
//!
//! A seal is the length and the time of a file: hashing tens of MiB would take longer than restoring them.
//! It tells every change by a program; a disk that fails in silence it does not.

use std::fs;
use std::path::Path;
use std::time::SystemTime;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

/// What a file was like.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Seal {
    name: String,
    length: u64,
    modified: SystemTime,
}

/// Seals every file that is in a folder now.
pub(super) fn all_in(folder: &Path) -> Result<Vec<Seal>> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    entries.map(|entry| Seal::of(folder, &entry?.file_name().to_string_lossy())).collect()
}

/// Whether each sealed file of a folder is as it was.
pub(super) fn hold(folder: &Path, seals: &[Seal]) -> bool {
    seals.iter().all(|seal| Seal::of(folder, &seal.name).is_ok_and(|now| now == *seal))
}

impl Seal {
    fn of(folder: &Path, name: &str) -> Result<Self> {
        let path = folder.join(name);
        let data = fs::metadata(&path).with_context(|| format!("cannot look at {}", path.display()))?;
        Ok(Self { name: name.to_owned(), length: data.len(), modified: data.modified()? })
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_changed_or_missing_file_breaks_the_seal_and_a_new_place_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let (here, there) = (folder.path().join("here"), folder.path().join("there"));
        fs::create_dir(&here).unwrap();
        fs::write(here.join("state"), "abc").unwrap();
        let long_ago = SystemTime::UNIX_EPOCH + Duration::from_nanos(12_345_678_901);
        fs::File::options().write(true).open(here.join("state")).unwrap().set_modified(long_ago).unwrap();
        let seals = all_in(&here).unwrap();
        fs::rename(&here, &there).unwrap();
        assert!(hold(&there, &seals));
        fs::File::options().write(true).open(there.join("state")).unwrap().write_all_at(b"x", 1).unwrap();
        assert!(!hold(&there, &seals));
        fs::remove_file(there.join("state")).unwrap();
        assert!(!hold(&there, &seals));
    }
}
