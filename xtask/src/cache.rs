// SPDX-License-Identifier: MIT OR Apache-2.0
//! The cache: everything heavy, outside the checkout, so that a clean clone does not build it again.
//!
//! What stands in the cache under its final name is whole: it was written under a temporary name and
//! renamed, or it has a stamp that was.

use std::env;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::note;
use anyhow::{Context, Result, bail};
use nix::sys::statvfs::statvfs;
use nix::unistd::syncfs;
use tempfile::TempDir;

/// How the names of unfinished folders begin.
const PARTIAL: &str = ".partial-";

/// The file whose lock is that of its folder.
const LOCK: &str = ".lock";

/// The cache folder, created if need be: `$PINBED_CACHE`, else `$XDG_CACHE_HOME/pinbed`, else
/// `~/.cache/pinbed`.
pub fn root() -> Result<PathBuf> {
    let root = path("")?;
    fs::create_dir_all(&root).and_then(|()| tempfile::tempfile_in(&root)).with_context(|| {
        format!("the cache folder {} cannot be written, set PINBED_CACHE to one that can", root.display())
    })?;
    Ok(root)
}

/// Where something is in the cache, if it is there. Creates nothing.
pub fn path(name: &str) -> Result<PathBuf> {
    let root = locate(|name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from))?;
    Ok(if name.is_empty() { root } else { root.join(name) })
}

fn locate(var: impl Fn(&str) -> Option<PathBuf>) -> Result<PathBuf> {
    let found = var("PINBED_CACHE")
        .or_else(|| var("XDG_CACHE_HOME").map(|folder| folder.join("pinbed")))
        .or_else(|| var("HOME").map(|home| home.join(".cache/pinbed")));
    match found {
        // Kernel builds write the path into Makefiles that are read from other folders.
        Some(root) if root.is_absolute() => Ok(root),
        Some(root) => bail!(
            "the cache folder {} is a relative path; set PINBED_CACHE to an absolute one",
            root.display()
        ),
        None => bail!("no cache folder: HOME is empty; set PINBED_CACHE to a folder that can be written"),
    }
}

/// A folder of the cache, created if need be.
pub fn folder(name: &str) -> Result<PathBuf> {
    let folder = root()?.join(name);
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    Ok(folder)
}

/// Holds a lock until dropped, also when the process is killed.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

/// Takes the lock `name`, waiting for another process that holds it because it makes what is named so.
pub fn lock(name: &str) -> Result<Lock> {
    hold(&folder("locks")?.join(name), &format!("{name} to be made"))
}

/// Takes the lock of a folder, which is created if need be; says that it waits for `what` where another process
/// holds it. Unlike a lock of the cache it holds against processes that have another cache.
pub fn lock_folder(folder: &Path, what: &str) -> Result<Lock> {
    fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    hold(&folder.join(LOCK), what)
}

/// Keeps [`keep_newest`] of any process from removing a folder.
pub fn keep_folder(folder: &Path) -> Result<Lock> {
    let path = folder.join(LOCK);
    let file = open_lock(&path)?;
    file.lock_shared().with_context(|| format!("cannot lock {}", path.display()))?;
    Ok(Lock { _file: file })
}

fn open_lock(path: &Path) -> Result<File> {
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(path);
    file.with_context(|| format!("cannot open the lock {}", path.display()))
}

fn hold(path: &Path, what: &str) -> Result<Lock> {
    let file = open_lock(path)?;
    match file.try_lock() {
        Ok(()) => return Ok(Lock { _file: file }),
        Err(TryLockError::WouldBlock) => {
            note!("waiting for {what} ...");
        }
        Err(TryLockError::Error(err)) => {
            return Err(err).with_context(|| format!("cannot lock {}", path.display()));
        }
    }
    file.lock().with_context(|| format!("cannot lock {}", path.display()))?;
    Ok(Lock { _file: file })
}

/// A temporary folder beside `target`, on the same filesystem, gone when dropped.
pub fn scratch_beside(target: &Path) -> Result<TempDir> {
    let parent = target.parent().with_context(|| format!("{} has no parent folder", target.display()))?;
    fs::create_dir_all(parent).with_context(|| format!("cannot create {}", parent.display()))?;
    tempfile::Builder::new()
        .prefix(PARTIAL)
        .tempdir_in(parent)
        .with_context(|| format!("cannot create a temporary folder in {}", parent.display()))
}

/// Removes what killed processes left beside `target`. Only for who holds the lock of that folder.
pub fn sweep_partials(target: &Path) -> Result<()> {
    let parent = target.parent().with_context(|| format!("{} has no parent folder", target.display()))?;
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(PARTIAL) {
            let path = entry.path();
            fs::remove_dir_all(&path).with_context(|| format!("cannot remove {}", path.display()))?;
        }
    }
    Ok(())
}

/// Moves a finished folder of the cache to its final name when all of it is on the disk: whoever finds it after a
/// power cut trusts that it is whole.
pub fn publish_for_good(from: &Path, to: &Path) -> Result<()> {
    settle(from)?;
    publish(from, to)
}

/// Waits until a folder is on the disk as it is.
pub fn settle(folder: &Path) -> Result<()> {
    let opened = File::open(folder).with_context(|| format!("cannot open {}", folder.display()))?;
    syncfs(&opened).with_context(|| format!("cannot write back {}", folder.display()))
}

/// Moves a finished file or folder to its final name.
pub fn publish(from: &Path, to: &Path) -> Result<()> {
    fs::rename(from, to).with_context(|| format!("cannot rename {} to {}", from.display(), to.display()))
}

/// Writes a small file so that it is there either whole or not at all.
pub fn write_whole(path: &Path, contents: &[u8]) -> Result<()> {
    let scratch = scratch_beside(path)?;
    let partial = scratch.path().join("file");
    fs::write(&partial, contents).with_context(|| format!("cannot write {}", partial.display()))?;
    publish(&partial, path)
}

/// Fails when the filesystem of the cache has fewer than `bytes` left for `what`.
pub fn require_space(bytes: u64, what: &str) -> Result<()> {
    let root = root()?;
    let stat =
        statvfs(&root).with_context(|| format!("cannot ask for the free space of {}", root.display()))?;
    let free = stat.blocks_available() * stat.fragment_size();
    if free < bytes {
        bail!(
            "{what} needs {:.1} GB and {} has {:.1} GB left; free some, or set PINBED_CACHE to another disk",
            gigabytes(bytes),
            root.display(),
            gigabytes(free)
        );
    }
    Ok(())
}

/// Makes a folder the one of its kind that was used last.
pub fn touch(folder: &Path) -> Result<()> {
    let touched = File::open(folder).and_then(|file| file.set_modified(SystemTime::now()));
    touched.with_context(|| format!("cannot set the time of {}", folder.display()))
}

/// Removes all folders of `all` but the `kept` that were used last and those that are kept by [`keep_folder`].
/// Several commands may ask for it at a time.
pub fn keep_newest(all: &Path, kept: usize) -> Result<()> {
    // A folder that another command is removing would seem to be the newest of them.
    let alone = open_lock(&all.join(LOCK))?;
    alone.lock().with_context(|| format!("cannot lock {}", all.display()))?;
    let entries = fs::read_dir(all).with_context(|| format!("cannot read {}", all.display()))?;
    let used = |path: &PathBuf| {
        fs::metadata(path).and_then(|data| data.modified()).unwrap_or(SystemTime::UNIX_EPOCH)
    };
    let paths = entries.flatten().map(|entry| entry.path());
    let mut folders: Vec<PathBuf> = paths.filter(|path| path.is_dir()).collect();
    folders.sort_by_key(used);
    for folder in folders.iter().rev().skip(kept) {
        let lock = open_lock(&folder.join(LOCK))?;
        if let Err(TryLockError::WouldBlock) = lock.try_lock() {
            continue;
        }
        fs::remove_dir_all(folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "sizes are shown with one decimal")]
fn gigabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e9
}

/// The short hex form of a hash: unique enough for a folder, short enough for a line.
pub fn short_hex(hash: blake3::Hash) -> String {
    hash.to_hex()[..16].to_owned()
}

#[cfg(test)]
mod tests {
    use std::thread;
    use std::time::Duration;

    use super::*;

    fn located(vars: &[(&str, &str)]) -> Result<PathBuf> {
        locate(|name| vars.iter().find(|(key, _)| *key == name).map(|(_, value)| PathBuf::from(value)))
    }

    #[test]
    fn the_most_specific_variable_wins() {
        let all = [("HOME", "/h"), ("XDG_CACHE_HOME", "/x"), ("PINBED_CACHE", "/p")];
        assert_eq!(located(&all).unwrap(), Path::new("/p"));
        assert_eq!(located(&all[..2]).unwrap(), Path::new("/x/pinbed"));
        assert_eq!(located(&all[..1]).unwrap(), Path::new("/h/.cache/pinbed"));
    }

    #[test]
    fn no_home_and_relative_paths_are_refused() {
        assert!(located(&[]).unwrap_err().to_string().contains("set PINBED_CACHE"));
        assert!(located(&[("PINBED_CACHE", "x")]).unwrap_err().to_string().contains("absolute"));
    }

    #[test]
    fn only_partial_folders_are_swept() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("target");
        let left = scratch_beside(&target).unwrap().keep();
        fs::create_dir(&target).unwrap();
        sweep_partials(&target).unwrap();
        assert!(target.is_dir() && !left.exists());
    }

    #[test]
    fn what_was_used_last_is_kept() {
        let all = tempfile::tempdir().unwrap();
        for name in ["a", "b", "c"] {
            let folder = all.path().join(name);
            fs::create_dir(&folder).unwrap();
            File::open(&folder).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
        }
        touch(&all.path().join("b")).unwrap();
        keep_newest(all.path(), 1).unwrap();
        let left = ["a", "b", "c"].map(|name| all.path().join(name).exists());
        assert_eq!(left, [false, true, false]);
    }

    #[test]
    fn what_somebody_uses_is_kept_until_nobody_does() {
        let all = tempfile::tempdir().unwrap();
        let old = all.path().join("old");
        fs::create_dir(&old).unwrap();
        let is_there = || {
            keep_newest(all.path(), 0).unwrap();
            old.exists()
        };
        let (first, second) = (keep_folder(&old).unwrap(), keep_folder(&old).unwrap());
        assert!(is_there());
        drop(first);
        assert!(is_there());
        drop(second);
        assert!(!is_there());
    }

    #[test]
    fn files_appear_whole_and_leave_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("stamp");
        write_whole(&path, b"one").unwrap();
        write_whole(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn two_commands_may_remove_the_same_folders() {
        let all = tempfile::tempdir().unwrap();
        for number in 0..200 {
            let folder = all.path().join(number.to_string());
            fs::create_dir_all(folder.join("inner")).unwrap();
            let used = SystemTime::UNIX_EPOCH + Duration::from_secs(number);
            File::open(&folder).unwrap().set_modified(used).unwrap();
        }
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| keep_newest(all.path(), 1).unwrap());
            }
        });
        let entries = fs::read_dir(all.path()).unwrap().flatten().map(|entry| entry.file_name());
        let left: Vec<_> = entries.filter(|name| *name != *LOCK).collect();
        assert_eq!(left, ["199"]);
    }
}
