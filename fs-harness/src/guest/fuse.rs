// SPDX-License-Identifier: MIT OR Apache-2.0

//! A FUSE filesystem that shows the files of one directory. Files are made there and opened through the mount.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ffi::OsStr;
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{
    BackingId, BsdFileFlags, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation,
    INodeNo, InitFlags, KernelConfig, LockOwner, OpenFlags, ReplyAttr, ReplyData, ReplyEmpty, ReplyEntry,
    ReplyOpen, ReplyWrite, Request, TimeOrNow, WriteFlags,
};

use super::backing::Backing;
use super::error::{Doing, Result};

/// Attributes are asked for again each time: the backing file may change behind the mount.
const NO_CACHING: Duration = Duration::ZERO;

/// What becomes of what a client reads and writes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// It goes to the daemon at once, in the client's own pages.
    Direct,
    /// It stays in the page cache of the FUSE file, from which it is written back to the daemon.
    Writeback,
    /// The kernel does it in the backing file; the daemon only opens that.
    Passthrough,
}

/// Serves `backing` at `mountpoint` until it is unmounted.
pub fn serve(mode: Mode, backing: &Path, mountpoint: &Path) -> Result<()> {
    let filesystem = Folder { mode, backing: Backing::buffered(backing), passed_through: Mutex::default() };
    fuser::mount(filesystem, mountpoint, &fuser::Config::default()).doing(format!(
        "serve {} at {}",
        backing.display(),
        mountpoint.display()
    ))
}

struct Folder {
    mode: Mode,
    backing: Backing,
    /// By which the kernel knows the files that were opened to be passed through.
    passed_through: Mutex<BTreeMap<INodeNo, BackingId>>,
}

impl Folder {
    fn file(&self, inode: INodeNo) -> io::Result<File> {
        self.backing.file(inode.into())
    }

    fn metadata(&self, inode: INodeNo) -> io::Result<Metadata> {
        self.backing.metadata(inode.into())
    }
}

fn reply_attributes(reply: ReplyAttr, inode: INodeNo, metadata: io::Result<Metadata>) {
    match metadata {
        Ok(metadata) => reply.attr(&NO_CACHING, &attributes(inode, &metadata)),
        Err(error) => reply.error(error.into()),
    }
}

impl Filesystem for Folder {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> io::Result<()> {
        let wanted = match self.mode {
            Mode::Direct => InitFlags::empty(),
            Mode::Writeback => InitFlags::FUSE_WRITEBACK_CACHE,
            Mode::Passthrough => {
                // The backing files are on no stacked filesystem.
                config.set_max_stack_depth(1).map_err(|_| io::ErrorKind::Unsupported)?;
                InitFlags::FUSE_PASSTHROUGH
            }
        };
        config.add_capabilities(wanted).map_err(|_| io::ErrorKind::Unsupported.into())
    }

    fn lookup(&self, _: &Request, _parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        match self.backing.find(name) {
            Ok((inode, metadata)) => {
                let inode = INodeNo(inode);
                reply.entry(&NO_CACHING, &attributes(inode, &metadata), Generation(0));
            }
            Err(error) => reply.error(error.into()),
        }
    }

    fn getattr(&self, _: &Request, inode: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        reply_attributes(reply, inode, self.metadata(inode));
    }

    /// The kernel writes back the times of a file whose page cache it keeps: nobody's business here.
    fn setattr(
        &self,
        _: &Request,
        inode: INodeNo,
        _mode: Option<u32>,
        _uid: Option<u32>,
        _gid: Option<u32>,
        size: Option<u64>,
        _atime: Option<TimeOrNow>,
        _mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        _: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let resized = size.map_or(Ok(()), |size| self.file(inode)?.set_len(size));
        reply_attributes(reply, inode, resized.and_then(|()| self.metadata(inode)));
    }

    fn open(&self, _: &Request, inode: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        let handle = FileHandle(inode.into());
        match self.mode {
            Mode::Direct => reply.opened(handle, FopenFlags::FOPEN_DIRECT_IO),
            Mode::Writeback => reply.opened(handle, FopenFlags::empty()),
            Mode::Passthrough => self.open_passed_through(inode, handle, reply),
        }
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

impl Folder {
    /// All who have the file open share one id of it.
    fn open_passed_through(&self, inode: INodeNo, handle: FileHandle, reply: ReplyOpen) {
        // An id is entered when it is complete.
        let mut ids = self.passed_through.lock().unwrap_or_else(PoisonError::into_inner);
        let id = match ids.entry(inode) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => match self.file(inode).and_then(|file| reply.open_backing(&file)) {
                Ok(id) => new.insert(id),
                Err(error) => return reply.error(error.into()),
            },
        };
        reply.opened_passthrough(handle, FopenFlags::empty(), id);
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
