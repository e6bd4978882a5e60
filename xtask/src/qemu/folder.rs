// SPDX-License-Identifier: MIT OR Apache-2.0

//! The private folder of a guest, for its sockets. Who is killed cannot remove its own, so the next one does.

use std::env;
use std::fs::{self, File, TryLockError};
use std::path::Path;
use std::sync::Once;

use anyhow::{Context, Result};
use tempfile::TempDir;

/// How the names of all of them begin.
const PREFIX: &str = "pinbed-";

/// A file in each. Its owner has it locked for as long as the owner lives.
const LOCK: &str = "lock";

/// A folder that is removed when this is dropped.
pub(super) struct Folder {
    folder: TempDir,
    #[cfg_attr(not(test), expect(dead_code, reason = "it is held, and not read"))]
    lock: File,
}

impl Folder {
    /// Makes one in the temporary folder. The first one of a process removes those whose owners are dead.
    pub(super) fn new() -> Result<Self> {
        static SWEPT: Once = Once::new();
        let place = env::temp_dir();
        SWEPT.call_once(|| sweep(&place));
        Self::make(&place)
    }

    fn make(place: &Path) -> Result<Self> {
        let folder = tempfile::Builder::new()
            .prefix(PREFIX)
            .tempdir_in(place)
            .with_context(|| format!("make a folder for the guest in {}", place.display()))?;
        // The name appears when the file is locked: who finds it unlocked finds no living owner.
        let early = folder.path().join("early");
        let lock = File::create(&early)
            .and_then(|lock| lock.lock().map(|()| lock))
            .and_then(|lock| fs::rename(&early, folder.path().join(LOCK)).map(|()| lock))
            .with_context(|| format!("lock {}", folder.path().display()))?;
        Ok(Self { folder, lock })
    }

    pub(super) fn path(&self) -> &Path {
        self.folder.path()
    }
}

/// Removes the folders whose owners are dead. What cannot be looked at or removed is somebody else's, and stays.
fn sweep(place: &Path) {
    for entry in fs::read_dir(place).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(PREFIX)
            && let Ok(lock) = File::open(entry.path().join(LOCK))
            && !matches!(lock.try_lock(), Err(TryLockError::WouldBlock))
        {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_folders_of_the_dead_are_swept() {
        let place = tempfile::tempdir().unwrap();
        let living = Folder::make(place.path()).unwrap();
        let dead = Folder::make(place.path()).unwrap();
        let left = dead.folder.keep();
        fs::write(left.join("console.sock"), "").unwrap();
        let in_the_making = place.path().join("pinbed-1");
        let foreign = place.path().join("other-1");
        for folder in [&in_the_making, &foreign] {
            fs::create_dir(folder).unwrap();
        }
        fs::write(foreign.join(LOCK), "").unwrap();
        sweep(place.path());
        assert!(living.path().exists() && in_the_making.exists() && foreign.exists() && left.exists());
        drop(dead.lock);
        sweep(place.path());
        assert!(living.path().exists() && in_the_making.exists() && foreign.exists());
        assert!(!left.exists());
    }
}
