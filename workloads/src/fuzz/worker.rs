// SPDX-License-Identifier: MIT OR Apache-2.0

//! A process whose threads make requests, while their memory, their files and their children change.

use std::ffi::c_void;
use std::os::fd::AsRawFd;
use std::ptr::null_mut;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;

use fs_harness::guest::device::abi;
use fs_harness::guest::error::{Doing, Error};
use fs_harness::guest::memory::PAGE;
use fs_harness::guest::{Result, compat};
use nix::errno::Errno;
use nix::libc;
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, SigmaskHow, Signal, sigaction, sigprocmask};
use nix::unistd::{Pid, ftruncate, setpgid};

use super::draw::Draw;
use super::requests::{
    CLOSE_DISK, CLOSE_GATE, HOLD, IO, OPEN_DISK, OPEN_GATE, Packet, RELEASE, SEGMENTS, WAIT,
};
use super::tally::Tally;
use super::world::{Kind, World};

/// Threads of a process.
pub(super) const THREADS: usize = 3;

/// The corner of each thread: where its structures lie, below 4 GiB for the sake of 32-bit callers, and
/// where the kernel and the allocator put nothing by themselves.
const CORNER: usize = 0x6000_0000;
const CORNER_BYTES: usize = 0x10_0000;

/// In a corner: the structure, the segments of an I/O, and the page of the structure once more, where it may
/// only be read: pinblk finds its request there, and cannot answer. What follows is not there.
const SEGMENTS_AT: usize = PAGE;
const READ_ONLY_AT: usize = 2 * PAGE;

/// Makes that many requests in each thread, and ends. Signals come all the time.
pub(super) fn work(tally: &'static Tally, seed: u64, round: u64, requests: usize) -> Result<()> {
    // Who waits for this process kills what it leaves behind.
    setpgid(Pid::from_raw(0), Pid::from_raw(0)).doing("lead a process group")?;
    let world = World::make(tally)?;
    let mut draw = Draw::new(seed, &[round]);
    let interrupt = SigAction::new(SigHandler::Handler(interrupted), SaFlags::empty(), SigSet::empty());
    // SAFETY: the handler does nothing.
    unsafe { sigaction(Signal::SIGALRM, &interrupt) }.doing("handle SIGALRM")?;
    thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|thread| {
                let (world, draw) = (&world, Draw::new(seed, &[round, 1 + thread as u64]));
                scope.spawn(move || Thread::make(world, thread, draw).map(|mut thread| thread.run(requests)))
            })
            .collect();
        // From here on they are for the others.
        sigprocmask(SigmaskHow::SIG_BLOCK, Some(&SigSet::from(Signal::SIGALRM)), None)
            .doing("block SIGALRM")?;
        interrupt_every(2_000 + draw.below(30_000))?;
        let results = threads.into_iter().map(thread::ScopedJoinHandle::join);
        for result in results.collect::<Vec<_>>() {
            result.map_err(|_| Error::Unexpected("a thread of the fuzzer panicked".to_owned()))??;
        }
        Ok(())
    })
}

extern "C" fn interrupted(_: i32) {}

fn interrupt_every(microseconds: u64) -> Result<()> {
    let every = libc::timeval { tv_sec: 0, tv_usec: microseconds.cast_signed() };
    let timer = libc::itimerval { it_interval: every, it_value: every };
    // SAFETY: the timer is read, and nothing is written.
    Errno::result(unsafe { libc::setitimer(libc::ITIMER_REAL, &raw const timer, null_mut()) })
        .map(drop)
        .doing("start a timer")
}

/// Maps a page that may be there already.
fn map(address: usize, protection: i32, flags: i32, file: i32) -> Result<()> {
    let place = address as *mut c_void;
    // SAFETY: it replaces nothing but pages of the thread's own corner.
    let mapped = unsafe { libc::mmap(place, PAGE, protection, flags | libc::MAP_FIXED, file, 0) };
    if mapped == place { Ok(()) } else { Err(Errno::last()).doing(format!("map a page at {place:?}")) }
}

struct Thread<'a> {
    world: &'a World,
    number: usize,
    draw: Draw,
    corner: usize,
    made: usize,
}

impl<'a> Thread<'a> {
    fn make(world: &'a World, number: usize, draw: Draw) -> Result<Self> {
        let corner = CORNER + number * CORNER_BYTES;
        let page = memfd_create(c"corner", MFdFlags::MFD_CLOEXEC).doing("make a memfd")?;
        ftruncate(&page, (PAGE as u64).cast_signed()).doing("resize a memfd")?;
        let file = page.as_raw_fd();
        let (shared, own) = (libc::MAP_SHARED, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        let writable = libc::PROT_READ | libc::PROT_WRITE;
        map(corner, writable, shared, file)?;
        map(corner + READ_ONLY_AT, libc::PROT_READ, shared, file)?;
        map(corner + SEGMENTS_AT, writable, own, -1)?;
        Ok(Self { world, number, draw, corner, made: 0 })
    }

    fn run(&mut self, requests: usize) {
        for _ in 0..requests {
            if self.draw.one_in(16) {
                self.stir();
            }
            let mut packet = Packet::draw(&mut self.draw, self.world, (self.corner + SEGMENTS_AT) as u64);
            let answer = self.ask(&mut packet);
            if answer.is_ok() {
                self.learn(&packet);
            }
        }
    }

    /// Makes the request, as a 64-bit or as a 32-bit program.
    fn ask(&mut self, packet: &mut Packet) -> std::result::Result<(), Errno> {
        let file = self.world.files[packet.file].load(Relaxed);
        let corner = self.corner as *mut u64;
        let segments = (self.corner + SEGMENTS_AT) as *mut [abi::IoSegment; SEGMENTS];
        // SAFETY: both lie in the corner, which is this thread's own and is reached by copies only.
        unsafe {
            corner.copy_from_nonoverlapping(packet.words.as_ptr(), packet.words.len());
            segments.write(packet.segments);
        }
        self.world.tally.begin(self.number, self.made, packet);
        self.made += 1;
        let argument = self.argument(packet);
        let by_32_bits = u32::try_from(argument).ok().filter(|_| self.draw.one_in(4));
        // SAFETY: what pinblk may write to is the structure, in the corner, or the arena: no other
        // address is drawn that is anybody's.
        let answer = unsafe {
            match by_32_bits {
                Some(argument) => compat::ioctl(file, packet.number, argument)
                    .map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(0))),
                None => Errno::result(libc::ioctl(file, packet.number.into(), argument)).map(drop),
            }
        };
        // SAFETY: as above.
        unsafe { packet.words.as_mut_ptr().copy_from_nonoverlapping(corner, packet.words.len()) };
        self.world.tally.end(packet.which, answer);
        answer
    }

    /// Where the structure is; or a wrong place.
    fn argument(&mut self, packet: &Packet) -> usize {
        if !self.draw.one_in(60) {
            return self.corner;
        }
        let end_of_memory = self.corner + READ_ONLY_AT + PAGE - packet.size() / 2;
        let places =
            [0, 1, self.corner + READ_ONLY_AT, end_of_memory, usize::MAX, 0xffff_8880_0000_0000, 0xffff_f000];
        self.draw.of(&places)
    }

    /// Keeps in mind what the answer says.
    fn learn(&mut self, packet: &Packet) {
        let (kind, is_new, handle) = match packet.which {
            HOLD => (Kind::Hold, true, packet.structure::<abi::Hold>().handle),
            RELEASE => (Kind::Hold, false, packet.structure::<abi::Release>().handle),
            OPEN_DISK => (Kind::Disk, true, packet.structure::<abi::OpenDisk>().handle),
            CLOSE_DISK => (Kind::Disk, false, packet.structure::<abi::CloseDisk>().handle),
            IO => (Kind::Pending, true, packet.structure::<abi::Io>().pending),
            WAIT => (Kind::Pending, false, packet.structure::<abi::Wait>().pending),
            CLOSE_GATE => (Kind::Gate, true, packet.structure::<abi::CloseGate>().gate),
            OPEN_GATE => (Kind::Gate, false, packet.structure::<abi::OpenGate>().gate),
            _ => {
                let pending = packet.structure::<abi::Dma>().pending;
                (Kind::Pending, packet.number == abi::DMA && pending != 0, pending)
            }
        };
        if is_new {
            self.world.remember(&mut self.draw, kind, packet.file, handle);
        } else if !self.draw.one_in(8) {
            self.world.forget(kind, packet.file, handle);
        }
    }

    /// Changes what the requests are about.
    fn stir(&mut self) {
        if self.draw.one_in(25) {
            let place = self.draw.index(self.world.files.len());
            // Where no more files can be opened, the old one stays.
            let _ = self.world.open(place);
        } else if self.draw.one_in(40) {
            self.fork();
        } else {
            self.world.arena.change(&mut self.draw);
        }
    }

    /// Has a child with a copy of the memory in the place of another, which is killed. It makes some
    /// requests first.
    fn fork(&mut self) {
        // SAFETY: the child of a process with threads may only do what a signal handler may: it makes
        // system calls and writes to its stack, to its corner and to atomic numbers.
        let child = unsafe { libc::fork() };
        if child == 0 {
            // The page of structures is shared with the parent, which goes on with it.
            let own = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
            let is_own = map(self.corner, libc::PROT_READ | libc::PROT_WRITE, own, -1).is_ok()
                && map(self.corner + READ_ONLY_AT, libc::PROT_READ, own, -1).is_ok();
            for _ in 0..if is_own { self.draw.below32(6) } else { 0 } {
                let mut packet = Packet::draw(&mut self.draw, self.world, (self.corner + SEGMENTS_AT) as u64);
                let _ = self.ask(&mut packet);
            }
            loop {
                // SAFETY: it waits for a signal.
                unsafe { libc::pause() };
            }
        }
        let Ok(child) = u32::try_from(child) else { return };
        let place = self.draw.index(self.world.children.len());
        let old = self.world.children[place].swap(child, Relaxed);
        if let Some(old) = i32::try_from(old).ok().filter(|old| *old > 0) {
            // SAFETY: the number is that of a child that nobody has waited for: it was swapped out here.
            unsafe {
                libc::kill(old, libc::SIGKILL);
                libc::waitpid(old, null_mut(), 0);
            }
        }
    }
}
