// SPDX-License-Identifier: MIT OR Apache-2.0

//! I/O between a file and mapped memory, by system call and by `io_uring`.

use std::fs::File;
use std::io;
use std::ops::Range as Bytes;
use std::os::fd::{AsFd, AsRawFd};

use io_uring::{IoUring, opcode, squeue, types};
use nix::errno::Errno;
use nix::libc;

use super::error::{Doing, Error, Result, count};
use super::memory::Memory;
use super::range::Range;

/// The interface through which the kernel is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interface {
    /// `pread` and `pwrite`.
    Syscall,
    /// `io_uring`, one request in flight.
    IoUring,
}

/// Writes all of `memory` to the start of `file` in one request.
pub fn write(interface: Interface, file: &File, memory: &Memory) -> Result<()> {
    let (fd, pointer, length) = (file.as_raw_fd(), memory.pointer(), memory.length());
    let written = match interface {
        // SAFETY: `memory` is mapped for `length` bytes for the whole call.
        Interface::Syscall => count(unsafe { libc::pwrite(fd, pointer.cast(), length, 0) }),
        Interface::IoUring => {
            let entry = opcode::Write::new(types::Fd(fd), pointer, length_u32(memory)).offset(0).build();
            // SAFETY: `run` returns after the request has completed, and `memory` and `file` outlive it.
            unsafe { run(&entry) }
        }
    };
    complete("write", written, length)
}

/// Writes these bytes of `memory` to `offset` of the file by one `pwrite`: how many it wrote.
pub fn write_part(file: &File, offset: u64, memory: &Memory, bytes: Bytes<usize>) -> Result<usize> {
    let part = memory.part(bytes.start, bytes.len());
    let offset = i64::try_from(offset).expect("files of the guest are far below 2^63 bytes");
    // SAFETY: the part is mapped for the whole call.
    count(unsafe { libc::pwrite(file.as_raw_fd(), part.address() as *const _, length_of(part), offset) })
        .doing(format!("write {} bytes", part.length()))
}

/// Reads the start of `file` into all of `memory` in one request.
pub fn read(interface: Interface, file: &File, memory: &Memory) -> Result<()> {
    let (fd, pointer, length) = (file.as_raw_fd(), memory.pointer(), memory.length());
    let read = match interface {
        // SAFETY: `memory` is mapped and writable for `length` bytes for the whole call, and
        // reached by copies only.
        Interface::Syscall => count(unsafe { libc::pread(fd, pointer.cast(), length, 0) }),
        Interface::IoUring => {
            let entry = opcode::Read::new(types::Fd(fd), pointer, length_u32(memory)).offset(0).build();
            // SAFETY: `run` returns after the request has completed, and `memory` and `file` outlive it.
            unsafe { run(&entry) }
        }
    };
    complete("read", read, length)
}

/// Reads the start of `file` into the parts, one after the other, by one `preadv`: how many bytes that gave.
/// Where a part cannot be touched these are fewer, or the read fails.
pub fn read_scattered(file: &File, parts: &[Range]) -> nix::Result<usize> {
    let parts: Vec<libc::iovec> = parts
        .iter()
        .map(|part| libc::iovec { iov_base: part.address() as *mut _, iov_len: length_of(*part) })
        .collect();
    let count_of_parts = i32::try_from(parts.len()).expect("a scenario reads into few parts");
    // SAFETY: the parts are mapped memory that is reached by copies only, or refused.
    let read = unsafe { libc::preadv(file.as_raw_fd(), parts.as_ptr(), count_of_parts, 0) };
    Errno::result(read).map(isize::unsigned_abs)
}

/// Puts the bytes of `memory` into a pipe by vmsplice: not copies, but the pages themselves.
pub fn vmsplice(pipe: impl AsFd, memory: &Memory) -> Result<()> {
    let part = libc::iovec { iov_base: memory.pointer().cast(), iov_len: memory.length() };
    // SAFETY: the memory is mapped, and whoever reads the pipe reads it by copies only.
    let spliced = unsafe { libc::vmsplice(pipe.as_fd().as_raw_fd(), &raw const part, 1, 0) };
    complete("vmsplice", count(spliced), memory.length())
}

fn length_of(part: Range) -> usize {
    usize::try_from(part.length()).expect("addresses have as many bits as lengths")
}

/// Submits one request and waits for its completion.
///
/// # Safety
///
/// What `entry` points to must stay valid until this returns.
unsafe fn run(entry: &squeue::Entry) -> io::Result<usize> {
    let mut ring = IoUring::new(1)?;
    // SAFETY: by this function's own contract; the request completes before it returns, or the
    // ring is dropped, which cancels it and waits.
    unsafe { ring.submission().push(entry) }.map_err(io::Error::other)?;
    ring.submit_and_wait(1)?;
    let completion =
        ring.completion().next().ok_or_else(|| io::Error::other("no completion after waiting for one"))?;
    usize::try_from(completion.result()).map_err(|_| io::Error::from_raw_os_error(-completion.result()))
}

fn complete(doing: &str, done: io::Result<usize>, length: usize) -> Result<()> {
    let done = done.doing(format!("{doing} {length} bytes"))?;
    if done == length {
        return Ok(());
    }
    Err(Error::Unexpected(format!("{doing} {length} bytes: only {done} were transferred")))
}

fn length_u32(memory: &Memory) -> u32 {
    u32::try_from(memory.length()).expect("mappings of the guest are far below 4 GiB")
}
