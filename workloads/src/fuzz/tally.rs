// SPDX-License-Identifier: MIT OR Apache-2.0

//! What was asked of pinblk and how it answered, in memory that outlives the processes that ask.

use std::array::from_fn;
use std::fmt::Write as _;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use fs_harness::guest::Result;
use fs_harness::guest::error::Doing;
use fs_harness::protocol::Answers;
use nix::errno::Errno;
use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous};

use super::requests::{NAMES, NONE, Packet};
use super::worker::THREADS;

/// Errnos are below that on Linux.
const ERRNOS: usize = 134;

/// How many requests of each thread are remembered.
const REMEMBERED: usize = 8;

/// How many words of a request are: the structures of those that matter have no more.
const WORDS: usize = 9;

/// Counts by request and errno, zero for success; and the last requests of each thread.
pub(super) struct Tally {
    answers: [[AtomicU64; ERRNOS]; NAMES.len()],
    made: AtomicU64,
    last: [[Memo; REMEMBERED]; THREADS],
}

struct Memo {
    /// One more than the request's place in [`NAMES`]; zero for none.
    which: AtomicU64,
    words: [AtomicU64; WORDS],
}

impl Tally {
    /// One that is shared with all processes to come.
    pub(super) fn shared() -> Result<&'static Self> {
        let length = NonZeroUsize::new(size_of::<Self>()).unwrap_or(NonZeroUsize::MIN);
        let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice replaces no other.
        let memory = unsafe { mmap_anonymous(None, length, protection, MapFlags::MAP_SHARED) }
            .doing("map memory for the tally")?;
        // SAFETY: the mapping is as long as a tally, aligned to a page, and never unmapped; zeros are
        // atomic numbers, and all who share them use them as such.
        Ok(unsafe { memory.cast::<Self>().as_ref() })
    }

    /// A request is about to be made by a thread, its own `number`-th.
    pub(super) fn begin(&self, thread: usize, number: usize, packet: &Packet) {
        let memo = &self.last[thread][number % REMEMBERED];
        memo.which.store(packet.which as u64 + 1, Relaxed);
        for (memo, word) in memo.words.iter().zip(&packet.words) {
            memo.store(*word, Relaxed);
        }
    }

    /// A request was answered.
    pub(super) fn end(&self, which: usize, answer: std::result::Result<(), Errno>) {
        let errno = answer.map_or_else(|errno| errno as usize, |()| 0);
        self.answers[which][errno.min(ERRNOS - 1)].fetch_add(1, Relaxed);
        self.made.fetch_add(1, Relaxed);
    }

    /// How many requests were made until now.
    pub(super) fn made(&self) -> u64 {
        self.made.load(Relaxed)
    }

    /// How often a request was made, and how often it succeeded.
    pub(super) fn of(&self, which: usize) -> (u64, u64) {
        let counts = &self.answers[which];
        (counts.iter().map(|count| count.load(Relaxed)).sum(), counts[0].load(Relaxed))
    }

    /// Whether each request has succeeded once.
    pub(super) fn has_each_succeeded(&self) -> bool {
        (0..NONE).all(|which| self.of(which).1 > 0)
    }

    /// All counts, by name.
    pub(super) fn answers(&self) -> Answers {
        let name = |errno: usize| match i32::try_from(errno).unwrap_or(0) {
            0 => "ok".to_owned(),
            errno => format!("{:?}", Errno::from_raw(errno)),
        };
        let counts = |counts: &[AtomicU64; ERRNOS]| {
            let counts = counts.iter().map(|count| count.load(Relaxed)).enumerate();
            counts.filter(|(_, count)| *count > 0).map(|(errno, count)| (name(errno), count)).collect()
        };
        NAMES.iter().map(|name| (*name).to_owned()).zip(self.answers.iter().map(counts)).collect()
    }

    /// The last requests of each thread in words, the oldest first as far as that is known.
    pub(super) fn last(&self) -> String {
        let mut text = String::new();
        for (thread, memos) in self.last.iter().enumerate() {
            for memo in memos {
                let which = usize::try_from(memo.which.load(Relaxed)).unwrap_or(0);
                let Some(name) = which.checked_sub(1).and_then(|which| NAMES.get(which)) else { continue };
                let words: [u64; WORDS] = from_fn(|word| memo.words[word].load(Relaxed));
                // Writing to a String never fails.
                let _ = write!(text, "thread {thread} {name} {words:x?}; ");
            }
        }
        text
    }
}
