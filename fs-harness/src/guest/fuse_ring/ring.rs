// SPDX-License-Identifier: MIT OR Apache-2.0

//! The ring by which requests come and answers go, with a queue for each processor that there may be.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;

use io_uring::{IoUring, cqueue, opcode, squeue, types};
use nix::libc;

use super::Transport;
use super::entry::{Entry, Given, Payload};
use super::requests::{Answer, Daemon, Transfer, written};
use super::wire::MAX_BYTES;
use crate::guest::error::{Doing, Error, Result};
use crate::guest::memory::{Memory, PAGE};

/// `enum fuse_uring_cmd`.
const REGISTER: u32 = 1;
const COMMIT_AND_FETCH: u32 = 2;
const ADD_QUEUE: u32 = 3;
const ADD_BUFPOOL: u32 = 4;

/// The flag of `ADD_QUEUE`.
const FUSE_URING_ZERO_COPY: u64 = 1 << 0;

/// Requests of a queue that the daemon may have at a time.
const DEPTH: usize = 4;

/// Where the number of vectors of a command is in `struct io_uring_sqe`: the crate does not set it.
const SQE_LEN: usize = 24;

/// The daemon at work.
pub(super) struct Server {
    ring: IoUring<squeue::Entry128, cqueue::Entry>,
    /// `/dev/fuse`.
    device: File,
    daemon: Daemon,
    /// `DEPTH` of each queue, one queue after the other.
    entries: Vec<Entry>,
    /// The transfer that an entry's request waits for.
    transfers: Vec<Option<(u64, Transfer)>>,
    /// What the kernel copies payloads to, for each queue that has them in common.
    pools: Vec<Memory>,
}

/// What a completion is about.
#[derive(Clone, Copy)]
enum Token {
    /// A command that is over at once.
    Command,
    /// A request has come to the entry.
    Request(usize),
    /// The transfer for the entry has ended.
    Transfer(usize),
}

impl Server {
    /// Registers all entries: from then on the mount is used.
    pub(super) fn start(device: File, daemon: Daemon, transport: Transport) -> Result<Self> {
        let zero_copy = transport == Transport::ZeroCopy;
        let queues = processors()?;
        let count = queues * DEPTH;
        let size = u32::try_from(2 * count).expect("a guest has few processors");
        let ring = IoUring::builder().build(size).doing("make a ring")?;
        let mut server = Self {
            ring,
            device,
            daemon,
            entries: Vec::new(),
            transfers: std::iter::repeat_with(|| None).take(count).collect(),
            pools: Vec::new(),
        };
        if zero_copy {
            let buffers = u32::try_from(count).expect("a guest has few processors");
            server.ring.submitter().register_buffers_sparse(buffers).doing("register no buffers")?;
        }
        for queue in 0..queues {
            if zero_copy {
                server.add_zero_copy_queue(queue)?;
            } else {
                for _ in 0..DEPTH {
                    server.entries.push(Entry::new(Payload::Own(Memory::anonymous(MAX_BYTES / PAGE)?))?);
                }
            }
        }
        for index in 0..count {
            server.register(index, zero_copy)?;
        }
        Ok(server)
    }

    /// Answers requests until the filesystem is unmounted.
    pub(super) fn run(mut self) -> Result<()> {
        let mut left = self.entries.len();
        while left > 0 {
            self.ring.submit_and_wait(1).doing("wait for FUSE requests")?;
            let done: Vec<_> =
                self.ring.completion().map(|entry| (Token::of(entry.user_data()), entry.result())).collect();
            for (token, result) in done {
                match token {
                    Token::Request(_) if result == -libc::ENOTCONN => left -= 1,
                    Token::Request(index) if result == 0 => self.serve(index)?,
                    Token::Transfer(index) => self.transferred(index, result)?,
                    Token::Request(_) | Token::Command => {
                        succeeded(result).doing("command the FUSE ring")?;
                    }
                }
            }
        }
        Ok(())
    }

    /// A queue whose requests carry the client's pages as buffers of the ring. The rest of them is copied
    /// to a pool.
    fn add_zero_copy_queue(&mut self, queue: usize) -> Result<()> {
        let pool = Memory::anonymous(DEPTH * MAX_BYTES / PAGE)?;
        self.push(command(&self.device, ADD_QUEUE, queue, FUSE_URING_ZERO_COPY, 0, [0; 2]), Token::Command)?;
        let place = [pool.address(), pool.length() as u64];
        self.push(command(&self.device, ADD_BUFPOOL, queue, 0, 0, place), Token::Command)?;
        self.ring.submit_and_wait(2).doing("set up a FUSE queue without copies")?;
        for entry in self.ring.completion().collect::<Vec<_>>() {
            succeeded(entry.result()).doing("set up a FUSE queue without copies")?;
        }
        for _ in 0..DEPTH {
            self.entries.push(Entry::new(Payload::Pool(pool.pointer()))?);
        }
        self.pools.push(pool);
        Ok(())
    }

    fn register(&mut self, index: usize, zero_copy: bool) -> Result<()> {
        // The entry's client pages become the buffer of the same number.
        let buffer = if zero_copy { index as u64 } else { 0 };
        let mut entry = command(&self.device, REGISTER, index / DEPTH, 0, 0, [buffer, 0]);
        let vectors = self.entries[index].vectors.as_ptr();
        entry = with_vectors(entry, vectors as u64, 2);
        self.push(entry, Token::Request(index))
    }

    /// A request has come.
    fn serve(&mut self, index: usize) -> Result<()> {
        let asked = self.entries[index].asked();
        let unique = asked.request.unique;
        match self.daemon.answer(&asked) {
            Ok(Answer::Now(bytes)) => self.commit(index, unique, Given::Bytes(&bytes)),
            Ok(Answer::After(transfer)) => self.begin(index, unique, transfer),
            Err(error) => self.commit(index, unique, Given::Error(error.raw_os_error().unwrap_or(libc::EIO))),
        }
    }

    /// Has the backing file read or write the client's pages.
    fn begin(&mut self, index: usize, unique: u64, transfer: Transfer) -> Result<()> {
        let file = types::Fd(transfer.file.as_raw_fd());
        let length = u32::try_from(transfer.length).expect("no request is longer than was agreed on");
        let buffer = u16::try_from(index).expect("a guest has few processors");
        // The kernel's own buffers begin at the address zero.
        let entry = if transfer.is_write {
            opcode::WriteFixed::new(file, std::ptr::null(), length, buffer).offset(transfer.offset).build()
        } else {
            opcode::ReadFixed::new(file, std::ptr::null_mut(), length, buffer).offset(transfer.offset).build()
        };
        self.transfers[index] = Some((unique, transfer));
        self.push(entry.into(), Token::Transfer(index))
    }

    /// The client's pages were read into or written from.
    fn transferred(&mut self, index: usize, result: i32) -> Result<()> {
        let Some((unique, transfer)) = self.transfers[index].take() else {
            return Err(Error::Unexpected("a transfer ended that had not begun".to_owned()));
        };
        match usize::try_from(result) {
            Ok(bytes) if transfer.is_write => self.commit(index, unique, Given::Bytes(&written(bytes))),
            Ok(bytes) => self.commit(index, unique, Given::Elsewhere(bytes)),
            Err(_) => self.commit(index, unique, Given::Error(-result)),
        }
    }

    /// Answers, and makes room for the next request.
    fn commit(&mut self, index: usize, unique: u64, given: Given<'_>) -> Result<()> {
        self.entries[index].answer(unique, given);
        let entry = command(&self.device, COMMIT_AND_FETCH, index / DEPTH, 0, unique, [0; 2]);
        self.push(entry, Token::Request(index))
    }

    fn push(&mut self, entry: squeue::Entry128, token: Token) -> Result<()> {
        let entry = entry.user_data(token.number());
        // SAFETY: what entries point to belongs to the server, which drops the ring first; the files of
        // transfers are kept until these have ended.
        unsafe { self.ring.submission().push(&entry) }
            .map_err(io::Error::other)
            .doing("submit to the FUSE ring")
    }
}

/// A command with its `struct fuse_uring_cmd_req`; `place` is what is particular to it.
fn command(
    device: &File,
    operation: u32,
    queue: usize,
    flags: u64,
    commit: u64,
    place: [u64; 2],
) -> squeue::Entry128 {
    let mut request = [0; 80];
    let words = [flags, commit, queue as u64, place[0], place[1]];
    for (bytes, word) in request.chunks_exact_mut(8).zip(words) {
        bytes.copy_from_slice(&word.to_ne_bytes());
    }
    opcode::UringCmd80::new(types::Fd(device.as_raw_fd()), operation).cmd(request).build()
}

fn with_vectors(mut entry: squeue::Entry128, vectors: u64, count: u32) -> squeue::Entry128 {
    const SQE_ADDR: usize = 16;
    let bytes = (&raw mut entry).cast::<u8>();
    // SAFETY: the entry has the layout of `struct io_uring_sqe`, in which these two are numbers.
    unsafe {
        bytes.add(SQE_ADDR).copy_from_nonoverlapping(vectors.to_ne_bytes().as_ptr(), 8);
        bytes.add(SQE_LEN).copy_from_nonoverlapping(count.to_ne_bytes().as_ptr(), 4);
    }
    entry
}

fn succeeded(result: i32) -> io::Result<()> {
    if result < 0 { Err(io::Error::from_raw_os_error(-result)) } else { Ok(()) }
}

/// The kernel has a queue for each processor that there may be.
fn processors() -> Result<usize> {
    let path = "/sys/devices/system/cpu/possible";
    let text = fs::read_to_string(path).doing(format!("read {path}"))?;
    let last = text.trim().rsplit(['-', ',']).next().and_then(|last| last.parse::<usize>().ok());
    last.map(|last| last + 1).ok_or_else(|| Error::Unexpected(format!("{path} holds {text:?}")))
}

impl Token {
    fn of(number: u64) -> Self {
        let index = usize::try_from(number >> 2).unwrap_or_default();
        match number & 3 {
            0 => Self::Command,
            1 => Self::Request(index),
            _ => Self::Transfer(index),
        }
    }

    fn number(self) -> u64 {
        match self {
            Self::Command => 0,
            Self::Request(index) => (index as u64) << 2 | 1,
            Self::Transfer(index) => (index as u64) << 2 | 2,
        }
    }
}
