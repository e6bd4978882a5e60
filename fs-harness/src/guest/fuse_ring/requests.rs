// SPDX-License-Identifier: MIT OR Apache-2.0

//! What the daemon answers to each request.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;

use nix::libc;

use super::super::backing::Backing;
use super::wire::{self, Request};

/// A read or a write of the pages of the client, which the ring knows as a buffer of its own.
pub(super) struct Transfer {
    pub(super) file: File,
    pub(super) offset: u64,
    pub(super) length: usize,
    pub(super) is_write: bool,
}

/// What becomes of a request.
pub(super) enum Answer {
    /// The bytes of the answer.
    Now(Vec<u8>),
    /// Its answer is how the transfer ends.
    After(Transfer),
}

/// What the kernel has laid out for a request.
pub(super) struct Asked {
    pub(super) request: Request,
    /// The structure of the operation.
    pub(super) operation: Vec<u8>,
    /// What comes behind it: names, or what is to be written.
    pub(super) payload: Vec<u8>,
    /// The client's pages are a buffer of the ring, and not part of the payload.
    pub(super) is_zero_copy: bool,
}

/// Who answers.
pub(super) struct Daemon {
    pub(super) backing: Backing,
    /// How files are opened: `FOPEN_*`.
    pub(super) open_flags: u32,
}

impl Daemon {
    /// Answers a request, or tells what has to be transferred first.
    pub(super) fn answer(&self, asked: &Asked) -> io::Result<Answer> {
        let inode = asked.request.inode;
        let bytes = match asked.request.opcode {
            wire::LOOKUP => {
                let name = asked.payload.split(|byte| *byte == 0).next().unwrap_or_default();
                let (inode, metadata) = self.backing.find(OsStr::from_bytes(name))?;
                wire::entry_out(inode, &metadata)
            }
            wire::GETATTR => wire::attr_out(inode, &self.backing.metadata(inode)?),
            wire::SETATTR => {
                if let Some(size) = wire::new_size(&asked.operation) {
                    self.backing.file(inode)?.set_len(size)?;
                }
                wire::attr_out(inode, &self.backing.metadata(inode)?)
            }
            wire::OPEN => wire::open_out(inode, self.open_flags),
            wire::READ | wire::WRITE => return self.transfer(asked),
            wire::FSYNC => {
                self.backing.file(inode)?.sync_all()?;
                Vec::new()
            }
            // Nothing is buffered on this side.
            wire::FLUSH | wire::RELEASE => Vec::new(),
            _ => return Err(io::Error::from_raw_os_error(libc::ENOSYS)),
        };
        Ok(Answer::Now(bytes))
    }

    fn transfer(&self, asked: &Asked) -> io::Result<Answer> {
        let file = self.backing.file(asked.request.inode)?;
        let (offset, length) = wire::offset_and_length(&asked.operation);
        let is_write = asked.request.opcode == wire::WRITE;
        if asked.is_zero_copy {
            return Ok(Answer::After(Transfer { file, offset, length, is_write }));
        }
        if is_write {
            file.write_all_at(&asked.payload[..length], offset)?;
            return Ok(Answer::Now(written(length)));
        }
        let mut bytes = vec![0; length];
        let count = file.read_at(&mut bytes, offset)?;
        bytes.truncate(count);
        Ok(Answer::Now(bytes))
    }
}

/// The answer to a write.
pub(super) fn written(bytes: usize) -> Vec<u8> {
    wire::write_out(u32::try_from(bytes).expect("no request is longer than was agreed on"))
}
