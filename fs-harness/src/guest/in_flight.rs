// SPDX-License-Identifier: MIT OR Apache-2.0

//! Requests that are under way while the scenario goes on, by `io_uring`.

use std::fs::File;
use std::marker::PhantomData;
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};
use std::{io, process, thread};

use io_uring::{IoUring, opcode, squeue, types};
use nix::libc;

use super::error::{Doing, Error, Result};
use super::memory::Memory;
use super::threads;

/// How long a request may take to come where it is waited for.
const PATIENCE: Duration = Duration::from_secs(20);

/// One request under way.
pub struct InFlight<'a> {
    ring: IoUring,
    /// The completion was taken.
    is_over: bool,
    _uses: PhantomData<&'a Memory>,
}

impl<'a> InFlight<'a> {
    /// Reads into these bytes of `memory` from `offset` of the file on.
    pub fn read(file: &'a File, offset: u64, memory: &'a Memory, bytes: Range<usize>) -> Result<Self> {
        let (pointer, length) = part(memory, bytes);
        let entry = opcode::Read::new(types::Fd(file.as_raw_fd()), pointer, length).offset(offset).build();
        Self::start(&entry).doing("start a read")
    }

    /// The same by a worker of the kernel's: where the submitter would be the one who waits, as with a FUSE
    /// file, whose daemon does not answer to poll.
    pub fn read_by_worker(
        file: &'a File,
        offset: u64,
        memory: &'a Memory,
        bytes: Range<usize>,
    ) -> Result<Self> {
        let (pointer, length) = part(memory, bytes);
        let read = opcode::Read::new(types::Fd(file.as_raw_fd()), pointer, length).offset(offset);
        Self::start(&read.build().flags(squeue::Flags::ASYNC)).doing("start a read")
    }

    /// Writes these bytes of `memory` to `offset` of the file.
    pub fn write(file: &'a File, offset: u64, memory: &'a Memory, bytes: Range<usize>) -> Result<Self> {
        let (pointer, length) = part(memory, bytes);
        let entry = opcode::Write::new(types::Fd(file.as_raw_fd()), pointer, length).offset(offset).build();
        Self::start(&entry).doing("start a write")
    }

    /// The same, and fails with `EAGAIN` where somebody would have to wait.
    pub fn write_without_waiting(file: &'a File, offset: u64, memory: &'a Memory) -> Result<Self> {
        let (pointer, length) = part(memory, 0..memory.length());
        let write = opcode::Write::new(types::Fd(file.as_raw_fd()), pointer, length).offset(offset);
        Self::start(&write.rw_flags(libc::RWF_NOWAIT).build()).doing("start a write that may not wait")
    }

    /// The same, and makes what it writes durable: RWF_DSYNC.
    pub fn write_durably(file: &'a File, offset: u64, memory: &'a Memory) -> Result<Self> {
        let (pointer, length) = part(memory, 0..memory.length());
        let write = opcode::Write::new(types::Fd(file.as_raw_fd()), pointer, length).offset(offset);
        Self::start(&write.rw_flags(libc::RWF_DSYNC).build()).doing("start a write that is durable")
    }

    /// Makes the file's data durable.
    pub fn fsync(file: &'a File) -> Result<Self> {
        let entry = opcode::Fsync::new(types::Fd(file.as_raw_fd())).build();
        Self::start(&entry).doing("start an fsync")
    }

    /// Whether the request has completed.
    pub fn is_complete(&mut self) -> bool {
        !self.ring.completion().is_empty()
    }

    /// Waits until the request has completed, or a thread of this process sleeps in the kernel's function of
    /// that name; whether it has completed.
    pub fn wait_until_over_or_asleep_in(&mut self, function: &str) -> Result<bool> {
        let deadline = Instant::now() + PATIENCE;
        while !self.is_complete() {
            if threads::is_any_asleep_in(function).doing("look at the stacks of the threads")? {
                return Ok(false);
            }
            if Instant::now() > deadline {
                let text =
                    format!("the request did not complete, and did not come to sleep in {function}, in 20 s");
                return Err(Error::Unexpected(text));
            }
            thread::yield_now();
        }
        Ok(true)
    }

    /// Whether the request completes within `time`.
    pub fn completes_within(&mut self, time: Duration) -> Result<bool> {
        let limit = types::Timespec::from(time);
        let arguments = types::SubmitArgs::new().timespec(&limit);
        match self.ring.submitter().submit_with_args(1, &arguments) {
            Err(error) if error.raw_os_error() != Some(libc::ETIME) => Err(error).doing("wait for a request"),
            _ => Ok(self.is_complete()),
        }
    }

    /// Waits until a thread of this process sleeps in the kernel's function of that name. What cannot be
    /// done at once is done by such a thread.
    pub fn wait_until_asleep_in(&self, function: &str) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while !threads::is_any_asleep_in(function).doing("look at the stacks of the threads")? {
            if Instant::now() > deadline {
                return Err(Error::Unexpected(format!("no thread came to sleep in {function} in 20 s")));
            }
            thread::yield_now();
        }
        Ok(())
    }

    /// Waits until no worker of the kernel's works for this process: whoever submitted the request for it has
    /// gone on, and is not the one who completes it.
    pub fn wait_until_submitted(&self) -> Result<()> {
        threads::wait_for_io_workers().doing("wait until the request is submitted")
    }

    /// Waits for the request: how many bytes it transferred, or its error.
    pub fn wait(mut self) -> io::Result<usize> {
        self.ring.submit_and_wait(1)?;
        let completion = self.ring.completion().next();
        let result = completion.map(|entry| entry.result());
        self.is_over = result.is_some();
        // Whoever completed it has its file for a moment longer, which then cannot be unmounted.
        threads::wait_for_io_workers()?;
        let result = result.ok_or_else(|| io::Error::other("no completion after waiting for one"))?;
        usize::try_from(result).map_err(|_| io::Error::from_raw_os_error(-result))
    }

    fn start(entry: &squeue::Entry) -> io::Result<Self> {
        let mut ring = IoUring::new(1)?;
        // SAFETY: what the entry points to is borrowed for 'a, and `drop` does not return before the
        // request has completed.
        unsafe { ring.submission().push(entry) }.map_err(io::Error::other)?;
        ring.submit()?;
        Ok(Self { ring, is_over: false, _uses: PhantomData })
    }
}

impl Drop for InFlight<'_> {
    /// Only a scenario that stops early comes here with the request under way.
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        let limit = types::Timespec::new().sec(2);
        let arguments = types::SubmitArgs::new().timespec(&limit);
        if self.ring.submitter().submit_with_args(1, &arguments).is_err() {
            // The kernel may write to memory that would be used for something else from here on.
            eprintln!("a request does not complete, so the scenario cannot go on");
            process::abort();
        }
    }
}

fn part(memory: &Memory, bytes: Range<usize>) -> (*mut u8, u32) {
    assert!(bytes.start <= bytes.end && bytes.end <= memory.length(), "beyond the memory");
    let length = u32::try_from(bytes.len()).expect("mappings of the guest are far below 4 GiB");
    (memory.pointer().wrapping_add(bytes.start), length)
}
