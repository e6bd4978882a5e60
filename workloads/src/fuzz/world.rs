// SPDX-License-Identifier: MIT OR Apache-2.0

//! What the threads of a process that makes requests share.

use std::fs::File;
use std::os::fd::{AsRawFd, IntoRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicI32, AtomicU32, AtomicU64, Ordering::Relaxed};

use fs_harness::guest::Result;
use fs_harness::guest::error::Doing;
use nix::libc;
use nix::sys::eventfd::EventFd;
use nix::unistd::getppid;

use super::arena::Arena;
use super::draw::Draw;
use super::requests::{HELLO, Packet, hello};
use super::tally::Tally;

const CONTROL: &str = "/dev/pinblk-control";

/// Open files of pinblk. The first may speak a wrong version; the others never do.
const FILES: usize = 4;

/// How many things of each kind are remembered.
const REMEMBERED: usize = 24;

/// Children at a time.
const CHILDREN: usize = 3;

/// kthreadd, the father of all kernel threads.
const KERNEL_THREAD: u32 = 2;

/// What has a handle.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    Hold,
    Disk,
    Pending,
    Gate,
}

/// It all.
pub(super) struct World {
    pub(super) tally: &'static Tally,
    pub(super) arena: Arena,
    /// File descriptors.
    pub(super) files: [AtomicI32; FILES],
    /// Children with a copy of the memory, and who was one.
    pub(super) children: [AtomicU32; CHILDREN],
    /// By kind, each with the place of its file in the upper half.
    known: [[AtomicU64; REMEMBERED]; 4],
    event: EventFd,
}

impl World {
    /// Opens and maps everything.
    pub(super) fn make(tally: &'static Tally) -> Result<Self> {
        let world = Self {
            tally,
            arena: Arena::map()?,
            files: [const { AtomicI32::new(-1) }; FILES],
            children: [const { AtomicU32::new(0) }; CHILDREN],
            known: [const { [const { AtomicU64::new(0) }; REMEMBERED] }; 4],
            event: EventFd::new().doing("make an eventfd")?,
        };
        for place in 0..FILES {
            world.open(place)?;
        }
        Ok(world)
    }

    /// Opens a file of pinblk in the place of another, which is closed, whoever uses it now.
    pub(super) fn open(&self, place: usize) -> Result<()> {
        let file = File::options().read(true).write(true).open(CONTROL).doing(format!("open {CONTROL}"))?;
        let mut packet = Packet::new(HELLO, place, hello());
        // SAFETY: the request writes to its own structure.
        unsafe { libc::ioctl(file.as_raw_fd(), packet.number.into(), packet.words.as_mut_ptr()) };
        let old = self.files[place].swap(file.into_raw_fd(), Relaxed);
        if old >= 0 {
            // SAFETY: it was opened here and swapped out by nobody else. Who uses the number later finds
            // no file or another one, which is as good.
            drop(unsafe { <OwnedFd as std::os::fd::FromRawFd>::from_raw_fd(old) });
        }
        Ok(())
    }

    /// Keeps a handle in mind, in the place of another.
    pub(super) fn remember(&self, draw: &mut Draw, kind: Kind, file: usize, handle: u32) {
        let place = &self.known[kind as usize][draw.index(REMEMBERED)];
        place.store((file as u64) << 32 | u64::from(handle), Relaxed);
    }

    /// Some handle with the place of its file; a wrong one where nothing was met.
    pub(super) fn recall(&self, draw: &mut Draw, kind: Kind) -> (usize, u32) {
        let known = &self.known[kind as usize];
        let mut found = 0;
        for _ in 0..REMEMBERED {
            found = known[draw.index(REMEMBERED)].load(Relaxed);
            if found != 0 {
                break;
            }
        }
        ((found >> 32) as usize % FILES, (found & 0xffff_ffff) as u32)
    }

    /// Its thing is gone.
    pub(super) fn forget(&self, kind: Kind, file: usize, handle: u32) {
        let gone = (file as u64) << 32 | u64::from(handle);
        for place in &self.known[kind as usize] {
            // That it is another's by now is fine.
            let _ = place.compare_exchange(gone, 0, Relaxed, Relaxed);
        }
    }

    /// The number of an eventfd.
    pub(super) fn event(&self) -> u32 {
        let number: RawFd = std::os::fd::AsFd::as_fd(&self.event).as_raw_fd();
        number.cast_unsigned()
    }

    /// A process whose pages may be asked for: our own mostly, or a child; or one that has none of them.
    pub(super) fn process(&self, draw: &mut Draw) -> u32 {
        match draw.below32(12) {
            0 => draw.of(&[0, KERNEL_THREAD, u32::MAX, getppid().as_raw().cast_unsigned()]),
            1..=4 => self.children[draw.index(CHILDREN)].load(Relaxed),
            _ => std::process::id(),
        }
    }
}
