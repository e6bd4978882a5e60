// SPDX-License-Identifier: MIT OR Apache-2.0

//! The files that a FUSE daemon shows: those of one folder. They are made there.

use std::ffi::{OsStr, OsString};
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use nix::libc;

/// The inode of the folder itself.
pub(super) const ROOT: u64 = 1;

/// That of the file which was looked up first; the others follow.
const FIRST_FILE: u64 = 2;

/// The folder, and every file of it that was looked up.
pub(super) struct Backing {
    folder: PathBuf,
    flags: i32,
    files: Mutex<Vec<(OsString, File)>>,
}

impl Backing {
    /// A folder whose files go through the page cache.
    pub(super) fn buffered(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), flags: 0, files: Mutex::default() }
    }

    /// A folder whose files are read and written by direct I/O.
    pub(super) fn direct(folder: &Path) -> Self {
        Self { flags: libc::O_DIRECT, ..Self::buffered(folder) }
    }

    /// The inode of a file, which is opened at the first look.
    pub(super) fn find(&self, name: &OsStr) -> io::Result<(u64, Metadata)> {
        let mut files = self.files();
        let index = if let Some(index) = files.iter().position(|(known, _)| known == name) {
            index
        } else {
            let mut options = File::options();
            let file =
                options.read(true).write(true).custom_flags(self.flags).open(self.folder.join(name))?;
            files.push((name.to_owned(), file));
            files.len() - 1
        };
        Ok((index as u64 + FIRST_FILE, files[index].1.metadata()?))
    }

    /// The file of an inode.
    pub(super) fn file(&self, inode: u64) -> io::Result<File> {
        let index = inode.checked_sub(FIRST_FILE).and_then(|index| usize::try_from(index).ok());
        match index.and_then(|index| self.files().get(index).map(|(_, file)| file.try_clone())) {
            Some(file) => file,
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// What is known of an inode.
    pub(super) fn metadata(&self, inode: u64) -> io::Result<Metadata> {
        if inode == ROOT { self.folder.metadata() } else { self.file(inode)?.metadata() }
    }

    fn files(&self) -> MutexGuard<'_, Vec<(OsString, File)>> {
        // No code panics while it holds the lock half-changed: a push is all that is ever done.
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
