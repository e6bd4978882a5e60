// SPDX-License-Identifier: MIT OR Apache-2.0

//! An `io_uring` with a registered buffer, and requests that use it.

use std::fs::File;
use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsRawFd, RawFd};

use io_uring::{IoUring, cqueue, opcode, squeue, types};
use nix::libc;

use super::error::{Doing, Result};
use super::memory::Memory;

/// Its place among the registered buffers, of which there is one.
const INDEX: u16 = 0;

/// A ring whose registered buffer lives as long as it does, if it has one.
pub struct Ring<'a> {
    ring: IoUring,
    _uses: PhantomData<&'a Memory>,
}

/// Whether a request names its buffer by address, or as the one that is registered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Buffer {
    /// By address: the kernel takes its pages for the request.
    Plain,
    /// Registered: the kernel has its pages already.
    Fixed,
}

impl<'a> Ring<'a> {
    /// A ring without a registered buffer.
    pub fn new() -> Result<Self> {
        Ok(Self { ring: IoUring::new(4).doing("make an io_uring")?, _uses: PhantomData })
    }

    /// A ring with all of `memory` as its registered buffer.
    pub fn with(memory: &'a Memory) -> Result<Self> {
        let ring = Self::new()?;
        let buffer = libc::iovec { iov_base: memory.pointer().cast(), iov_len: memory.length() };
        // SAFETY: the memory is borrowed for as long as the ring lives, and reached by copies only.
        unsafe { ring.ring.submitter().register_buffers(&[buffer]) }
            .doing(format!("register a buffer of {} bytes", memory.length()))?;
        Ok(ring)
    }

    /// Writes all of the registered buffer to the start of `file`; how many bytes that were.
    pub fn write_fixed(&mut self, file: &File, memory: &'a Memory) -> Result<usize> {
        let fd = types::Fd(file.as_raw_fd());
        let entry = opcode::WriteFixed::new(fd, memory.pointer(), length(memory), INDEX).build();
        self.run(&entry).doing("write from the registered buffer")
    }

    /// Reads the start of `file` into all of the registered buffer; how many bytes that were.
    pub fn read_fixed(&mut self, file: &File, memory: &'a Memory) -> Result<usize> {
        let fd = types::Fd(file.as_raw_fd());
        let entry = opcode::ReadFixed::new(fd, memory.pointer(), length(memory), INDEX).build();
        self.run(&entry).doing("read into the registered buffer")
    }

    /// Sends all of `memory` to a connected socket without copying it; how many bytes were queued. The kernel
    /// uses the memory until [`Ring::wait_until_sent`] returns.
    pub fn send_zero_copy(&mut self, socket: RawFd, memory: &'a Memory, buffer: Buffer) -> Result<usize> {
        let index = (buffer == Buffer::Fixed).then_some(INDEX);
        let entry = opcode::SendZc::new(types::Fd(socket), memory.pointer(), length(memory));
        self.run(&entry.buf_index(index).build()).doing("send without copying")
    }

    /// Waits for the notification that the kernel is done with what [`Ring::send_zero_copy`] sent.
    pub fn wait_until_sent(&mut self) -> Result<()> {
        let doing = "wait for the notification of what was sent";
        let flags = self.completion().doing(doing)?.flags();
        if cqueue::notif(flags) { Ok(()) } else { Err(unasked()).doing(doing) }
    }

    /// Gives the registered buffer up.
    pub fn unregister(self) -> Result<()> {
        self.ring.submitter().unregister_buffers().doing("unregister the buffer")
    }

    fn run(&mut self, entry: &squeue::Entry) -> io::Result<usize> {
        // SAFETY: what the entry points to is borrowed for as long as the ring lives.
        unsafe { self.ring.submission().push(entry) }.map_err(io::Error::other)?;
        let result = self.completion()?.result();
        usize::try_from(result).map_err(|_| io::Error::from_raw_os_error(-result))
    }

    fn completion(&mut self) -> io::Result<cqueue::Entry> {
        self.ring.submit_and_wait(1)?;
        self.ring.completion().next().ok_or_else(unasked)
    }
}

fn unasked() -> io::Error {
    io::Error::other("the completion that came is none that was waited for")
}

fn length(memory: &Memory) -> u32 {
    u32::try_from(memory.length()).expect("mappings of the guest are far below 4 GiB")
}
