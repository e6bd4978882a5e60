// SPDX-License-Identifier: MIT OR Apache-2.0

//! The place of one request between the kernel and the daemon: `struct fuse_uring_req_header` and the payload.

use nix::libc;

use super::requests::Asked;
use super::wire::{self, MAX_BYTES, Request};
use crate::guest::error::Result;
use crate::guest::memory::{Memory, PAGE};

/// Where things are in `struct fuse_uring_req_header`, and its size.
const OPERATION: usize = 128;
const ABOUT_PAYLOAD: usize = 256;
const HEADER: usize = 288;

/// In the flags of `struct fuse_uring_ent_in_out`.
const FUSE_URING_ENT_ZERO_COPY: u64 = 1 << 0;

/// The place of a request. The kernel writes to it whenever the daemon has not got it.
pub(super) struct Entry {
    header: Memory,
    payload: Payload,
    /// What the registration points to.
    pub(super) vectors: Box<[libc::iovec; 2]>,
}

/// Where the payload of a request is.
pub(super) enum Payload {
    /// In memory of the entry's own.
    Own(Memory),
    /// Somewhere in the pool of its queue, at this address; the kernel says where.
    Pool(*mut u8),
}

impl Entry {
    pub(super) fn new(payload: Payload) -> Result<Self> {
        let header = Memory::anonymous(1)?;
        let (start, length) = match &payload {
            Payload::Own(memory) => (memory.pointer(), memory.length()),
            Payload::Pool(_) => (std::ptr::null_mut(), 0),
        };
        let vectors = Box::new([
            libc::iovec { iov_base: header.pointer().cast(), iov_len: HEADER },
            libc::iovec { iov_base: start.cast(), iov_len: length },
        ]);
        Ok(Self { header, payload, vectors })
    }

    /// What the kernel has put there.
    pub(super) fn asked(&self) -> Asked {
        let header = self.header.bytes_of(0..HEADER);
        let about = &header[ABOUT_PAYLOAD..];
        let is_zero_copy = wire::u64_at(about, 0) & FUSE_URING_ENT_ZERO_COPY != 0;
        // The length of a zero-copied write is that of pages which are elsewhere.
        let length = if is_zero_copy { 0 } else { wire::u32_at(about, 16) as usize };
        let mut payload = vec![0; length.min(MAX_BYTES)];
        // SAFETY: there are `MAX_BYTES` at the place, which nobody refers to; the kernel does not write
        // there until the request is answered.
        unsafe { self.place(about).copy_to_nonoverlapping(payload.as_mut_ptr(), payload.len()) };
        Asked {
            request: Request::parse(&header),
            operation: header[OPERATION..ABOUT_PAYLOAD].to_vec(),
            payload,
            is_zero_copy,
        }
    }

    /// Puts the answer there: bytes, or how many were transferred elsewhere; or an error.
    pub(super) fn answer(&self, unique: u64, given: Given<'_>) {
        let header = self.header.bytes_of(0..HEADER);
        let (errno, bytes, length) = match given {
            Given::Bytes(bytes) => (0, bytes, bytes.len()),
            Given::Elsewhere(length) => (0, &[][..], length),
            Given::Error(errno) => (errno, &[][..], 0),
        };
        assert!(bytes.len() <= MAX_BYTES, "an answer is longer than was agreed on");
        let length = u32::try_from(length).expect("no answer is longer than was agreed on");
        // SAFETY: as above.
        unsafe { self.place(&header[ABOUT_PAYLOAD..]).copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
        self.write(0, &wire::out_header(unique, errno, length));
        self.write(ABOUT_PAYLOAD + 16, &length.to_ne_bytes());
    }

    /// Where the payload is; an entry without one has no place.
    fn place(&self, about: &[u8]) -> *mut u8 {
        match &self.payload {
            Payload::Own(memory) => memory.pointer(),
            Payload::Pool(start) => start.wrapping_add(wire::u32_at(about, 20) as usize),
        }
    }

    fn write(&self, at: usize, bytes: &[u8]) {
        assert!(at + bytes.len() <= PAGE, "beyond the header");
        // SAFETY: the bytes lie in the header's own page, which nobody refers to.
        unsafe {
            self.header.pointer().add(at).copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
        }
    }
}

/// What an answer consists of.
#[derive(Clone, Copy)]
pub(super) enum Given<'a> {
    Bytes(&'a [u8]),
    /// So many bytes, which are in the client's pages already.
    Elsewhere(usize),
    /// An errno.
    Error(i32),
}
