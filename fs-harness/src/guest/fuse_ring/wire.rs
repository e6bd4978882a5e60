// SPDX-License-Identifier: MIT OR Apache-2.0

//! The structures of `include/uapi/linux/fuse.h`, as far as the daemon needs them: numbers one after another.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;

pub(super) const LOOKUP: u32 = 1;
pub(super) const GETATTR: u32 = 3;
pub(super) const SETATTR: u32 = 4;
pub(super) const OPEN: u32 = 14;
pub(super) const READ: u32 = 15;
pub(super) const WRITE: u32 = 16;
pub(super) const RELEASE: u32 = 18;
pub(super) const FSYNC: u32 = 20;
pub(super) const FLUSH: u32 = 25;
pub(super) const INIT: u32 = 26;

/// In `valid` of `fuse_setattr_in`: the size is to change.
pub(super) const FATTR_SIZE: u32 = 1 << 3;

/// Of `fuse_open_out`.
pub(super) const FOPEN_DIRECT_IO: u32 = 1 << 0;
pub(super) const FOPEN_IO_URING_ZERO_COPY: u32 = 1 << 8;

/// Of `fuse_init_out`, in the lower half of the flags.
const FUSE_BIG_WRITES: u32 = 1 << 5;
const FUSE_MAX_PAGES: u32 = 1 << 22;
const FUSE_INIT_EXT: u32 = 1 << 30;

/// In the upper half of the flags: bits 41 and 43 of them all.
pub(super) const FUSE_OVER_IO_URING: u32 = 1 << 9;
pub(super) const FUSE_HAS_IO_URING_BUFPOOL: u32 = 1 << 11;

/// The protocol that is spoken: `FUSE_KERNEL_VERSION` and the minor version with zero copy.
const VERSION: (u32, u32) = (7, 46);

/// The longest read or write, in pages and in bytes.
const MAX_PAGES: u16 = 32;
pub(super) const MAX_BYTES: usize = MAX_PAGES as usize * 4096;

/// Bytes of `fuse_out_header`.
pub(super) const OUT_HEADER: u32 = 16;

/// What is asked for: `fuse_in_header`.
#[derive(Clone, Copy)]
pub(super) struct Request {
    pub(super) opcode: u32,
    /// The kernel's name of the request.
    pub(super) unique: u64,
    pub(super) inode: u64,
}

impl Request {
    /// Bytes of the structure.
    pub(super) const BYTES: usize = 40;

    pub(super) fn parse(bytes: &[u8]) -> Self {
        Self { opcode: u32_at(bytes, 4), unique: u64_at(bytes, 8), inode: u64_at(bytes, 16) }
    }
}

/// Where a read or a write is: the same in `fuse_read_in` and `fuse_write_in`.
pub(super) fn offset_and_length(operation: &[u8]) -> (u64, usize) {
    (u64_at(operation, 8), u32_at(operation, 16) as usize)
}

/// The new size, if `fuse_setattr_in` has one.
pub(super) fn new_size(operation: &[u8]) -> Option<u64> {
    (u32_at(operation, 0) & FATTR_SIZE != 0).then(|| u64_at(operation, 16))
}

/// A structure under construction.
#[derive(Default)]
pub(super) struct Numbers(Vec<u8>);

impl Numbers {
    pub(super) fn u16(mut self, number: u16) -> Self {
        self.0.extend(number.to_ne_bytes());
        self
    }

    pub(super) fn u32(mut self, number: u32) -> Self {
        self.0.extend(number.to_ne_bytes());
        self
    }

    pub(super) fn u64(mut self, number: u64) -> Self {
        self.0.extend(number.to_ne_bytes());
        self
    }

    pub(super) fn zeros(mut self, bytes: usize) -> Self {
        self.0.resize(self.0.len() + bytes, 0);
        self
    }

    pub(super) fn bytes(self) -> Vec<u8> {
        self.0
    }

    /// `fuse_attr`. Times are nobody's business here.
    fn attributes(self, inode: u64, metadata: &Metadata) -> Self {
        let of_file = self.u64(inode).u64(metadata.len()).u64(metadata.blocks()).zeros(3 * 8 + 3 * 4);
        let kind = metadata.mode() & nix::libc::S_IFMT;
        of_file.u32(kind | 0o777).u32(1).zeros(3 * 4).u32(4096).u32(0)
    }
}

/// What the kernel offers: the upper half of the flags of `fuse_init_in`. Old kernels have a shorter one.
pub(super) fn offered(init_in: &[u8]) -> u32 {
    const FLAGS2: usize = 16;
    if init_in.len() < FLAGS2 + 4 { 0 } else { u32_at(init_in, FLAGS2) }
}

/// `fuse_init_out`: all goes through rings from then on.
pub(super) fn init_out() -> Vec<u8> {
    let (major, minor) = VERSION;
    Numbers::default()
        .u32(major)
        .u32(minor)
        .u32(0)
        .u32(FUSE_BIG_WRITES | FUSE_MAX_PAGES | FUSE_INIT_EXT)
        .zeros(2 * 2)
        .u32(u32::from(MAX_PAGES) * 4096)
        .u32(1)
        .u16(MAX_PAGES)
        .u16(0)
        .u32(FUSE_OVER_IO_URING)
        .zeros(28)
        .bytes()
}

/// `fuse_entry_out`. Names and attributes are asked for again each time: files may change behind the mount.
pub(super) fn entry_out(inode: u64, metadata: &Metadata) -> Vec<u8> {
    Numbers::default().u64(inode).zeros(3 * 8 + 2 * 4).attributes(inode, metadata).bytes()
}

/// `fuse_attr_out`.
pub(super) fn attr_out(inode: u64, metadata: &Metadata) -> Vec<u8> {
    Numbers::default().zeros(8 + 2 * 4).attributes(inode, metadata).bytes()
}

/// `fuse_open_out`.
pub(super) fn open_out(inode: u64, flags: u32) -> Vec<u8> {
    Numbers::default().u64(inode).u32(flags).u32(0).bytes()
}

/// `fuse_write_out`.
pub(super) fn write_out(bytes: u32) -> Vec<u8> {
    Numbers::default().u32(bytes).u32(0).bytes()
}

/// `fuse_out_header` of an answer with that many bytes behind it, or of an error.
pub(super) fn out_header(unique: u64, errno: i32, bytes: u32) -> Vec<u8> {
    Numbers::default().u32(OUT_HEADER + bytes).u32((-errno).cast_unsigned()).u64(unique).bytes()
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes(bytes[at..at + 4].try_into().expect("four bytes are four bytes"))
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_ne_bytes(bytes[at..at + 8].try_into().expect("eight bytes are eight bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_upper_half_of_the_flags_is_where_the_header_has_it() {
        let numbers =
            |flags2| Numbers::default().u32(7).u32(46).u32(0).u32(u32::MAX).u32(flags2).zeros(44).bytes();
        assert_eq!(numbers(0).len(), 64);
        assert_eq!(offered(&numbers(FUSE_HAS_IO_URING_BUFPOOL)), FUSE_HAS_IO_URING_BUFPOOL);
        assert_eq!(offered(&numbers(u32::MAX)[..16]), 0);
    }

    #[test]
    fn structures_have_the_sizes_of_the_header() {
        let metadata = std::fs::metadata("/").unwrap();
        assert_eq!(init_out().len(), 64);
        assert_eq!(entry_out(1, &metadata).len(), 128);
        assert_eq!(attr_out(1, &metadata).len(), 104);
        assert_eq!(open_out(1, 0).len(), 16);
        assert_eq!(write_out(1).len(), 8);
        assert_eq!(out_header(1, 5, 0), [[16, 0, 0, 0], [251, 255, 255, 255], [1, 0, 0, 0], [0; 4]].concat());
    }
}
