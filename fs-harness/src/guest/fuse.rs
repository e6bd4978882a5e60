// SPDX-License-Identifier: MIT OR Apache-2.0

//! A FUSE filesystem that shows the files of one directory, with direct I/O on its own side:
//! what a client reads or writes goes to the daemon at once, in the client's own pages.
//!
//! Files are made in the backing directory and opened through the mount.

use std::ffi::{OsStr, OsString};
use std::fs::{File, Metadata};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use fuser::{
    Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo, LockOwner, OpenFlags,
    ReplyAttr, ReplyData, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyWrite, Request, WriteFlags,
};

use super::error::{Doing, Result};

/// Attributes are asked for again each time: the backing file may change behind the mount.
const NO_CACHING: Duration = Duration::ZERO;

/// Serves `backing` at `mountpoint` until it is unmounted.
pub fn serve(backing: &Path, mountpoint: &Path) -> Result<()> {
    let filesystem = DirectFs { backing: backing.to_owned(), files: Mutex::default() };
    fuser::mount(filesystem, mountpoint, &fuser::Config::default()).doing(format!(
        "serve {} at {}",
        backing.display(),
        mountpoint.display()
    ))
}

struct DirectFs {
    backing: PathBuf,
    /// Every file that was looked up; the inode number is the index plus [`FIRST_FILE`], which is also its handle.
    files: Mutex<Vec<Entry>>,
}

struct Entry {
    name: OsString,
    file: File,
}

const FIRST_FILE: u64 = 2;

impl DirectFs {
    fn files(&self) -> MutexGuard<'_, Vec<Entry>> {
        // No code panics while it holds the lock half-changed: a push is all that is ever done.
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The inode of a file, opened at the first look.
    fn find(&self, name: &OsStr) -> std::io::Result<(INodeNo, Metadata)> {
        let mut files = self.files();
        let index = if let Some(index) = files.iter().position(|entry| entry.name == name) {
            index
        } else {
            let file = File::options().read(true).write(true).open(self.backing.join(name))?;
            files.push(Entry { name: name.to_owned(), file });
            files.len() - 1
        };
        Ok((INodeNo(index as u64 + FIRST_FILE), files[index].file.metadata()?))
    }

    fn file(&self, inode: INodeNo) -> std::io::Result<File> {
        let files = self.files();
        let index = u64::from(inode).checked_sub(FIRST_FILE).and_then(|index| usize::try_from(index).ok());
        match index.and_then(|index| files.get(index)) {
            Some(entry) => entry.file.try_clone(),
            None => Err(std::io::ErrorKind::NotFound.into()),
        }
    }
}

impl Filesystem for DirectFs {
    fn lookup(&self, _: &Request, _parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        match self.find(name) {
            Ok((inode, metadata)) => {
                reply.entry(&NO_CACHING, &attributes(inode, &metadata), Generation(0));
            }
            Err(error) => reply.error(error.into()),
        }
    }

    fn getattr(&self, _: &Request, inode: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        let metadata = if inode == INodeNo::ROOT {
            self.backing.metadata()
        } else {
            self.file(inode).and_then(|file| file.metadata())
        };
        match metadata {
            Ok(metadata) => reply.attr(&NO_CACHING, &attributes(inode, &metadata)),
            Err(error) => reply.error(error.into()),
        }
    }

    fn open(&self, _: &Request, inode: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        reply.opened(FileHandle(inode.into()), FopenFlags::FOPEN_DIRECT_IO);
    }

    fn read(
        &self,
        _: &Request,
        inode: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let mut data = vec![0; size as usize];
        match self.file(inode).and_then(|file| file.read_at(&mut data, offset)) {
            Ok(length) => reply.data(&data[..length]),
            Err(error) => reply.error(error.into()),
        }
    }

    fn write(
        &self,
        _: &Request,
        inode: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let written = self.file(inode).and_then(|file| file.write_all_at(data, offset));
        match (written, u32::try_from(data.len())) {
            (Ok(()), Ok(length)) => reply.written(length),
            (Ok(()), Err(_)) => reply.error(Errno::EINVAL),
            (Err(error), _) => reply.error(error.into()),
        }
    }

    fn fsync(&self, _: &Request, inode: INodeNo, _: FileHandle, _datasync: bool, reply: ReplyEmpty) {
        match self.file(inode).and_then(|file| file.sync_all()) {
            Ok(()) => reply.ok(),
            Err(error) => reply.error(error.into()),
        }
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        // Nothing is buffered on this side.
        reply.ok();
    }
}

fn attributes(inode: INodeNo, metadata: &Metadata) -> FileAttr {
    let kind = if metadata.is_dir() { FileType::Directory } else { FileType::RegularFile };
    FileAttr {
        ino: inode,
        size: metadata.len(),
        blocks: metadata.blocks(),
        // Times are nobody's business here.
        atime: UNIX_EPOCH,
        mtime: UNIX_EPOCH,
        ctime: UNIX_EPOCH,
        crtime: UNIX_EPOCH,
        kind,
        perm: 0o777,
        nlink: 1,
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: 4096,
        flags: 0,
    }
}
