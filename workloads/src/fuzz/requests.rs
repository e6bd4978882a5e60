// SPDX-License-Identifier: MIT OR Apache-2.0

//! Requests to pinblk, drawn as a program would make them, and then spoilt now and then.

use fs_harness::guest::device::abi;

use super::arena::{Arena, PAGES};
use super::disks;
use super::draw::Draw;
use super::world::{Kind, World};

/// Every request by its name, and one that is none.
pub(super) const NAMES: [&str; 20] = [
    "HELLO",
    "STATISTICS",
    "HOLD_STATISTICS",
    "HOLD",
    "DMA",
    "RELEASE",
    "DUMP",
    "WAIT",
    "OPEN_DISK",
    "CLOSE_DISK",
    "IO",
    "CLOSE_GATE",
    "WAIT_GATE",
    "LET_GO",
    "OPEN_GATE",
    "HELD_BIO",
    "HELD_PAGE",
    "LOG_STATE",
    "LOG_ENTRY",
    "no request",
];

const NUMBERS: [u32; NONE] = [
    abi::HELLO,
    abi::STATISTICS,
    abi::HOLD_STATISTICS,
    abi::HOLD,
    abi::DMA,
    abi::RELEASE,
    abi::DUMP,
    abi::WAIT,
    abi::OPEN_DISK,
    abi::CLOSE_DISK,
    abi::IO,
    abi::CLOSE_GATE,
    abi::WAIT_GATE,
    abi::LET_GO,
    abi::OPEN_GATE,
    abi::HELD_BIO,
    abi::HELD_PAGE,
    abi::LOG_STATE,
    abi::LOG_ENTRY,
];

/// How often each is drawn. What is dumped fills the kernel's log.
const WEIGHTS: [u32; NAMES.len()] =
    [20, 20, 20, 260, 140, 200, 3, 130, 60, 40, 180, 50, 30, 45, 45, 40, 40, 20, 40, 15];

/// Indices into [`NAMES`].
pub(super) const HELLO: usize = 0;
pub(super) const HOLD: usize = 3;
pub(super) const RELEASE: usize = 5;
pub(super) const WAIT: usize = 7;
pub(super) const OPEN_DISK: usize = 8;
pub(super) const CLOSE_DISK: usize = 9;
pub(super) const IO: usize = 10;
pub(super) const CLOSE_GATE: usize = 11;
pub(super) const OPEN_GATE: usize = 14;
const DMA: usize = 4;

/// The index of what is no request.
pub(super) const NONE: usize = NAMES.len() - 1;

/// More pins of one page in one request than that take too long; its count must not overflow either.
const TIMES: u64 = 1 << 11;

/// Room for the structure of every request.
pub(super) const WORDS: usize = 64;

/// The most segments of an I/O that is drawn.
pub(super) const SEGMENTS: usize = 8;

/// A request with its structure.
pub(super) struct Packet {
    /// Its place in [`NAMES`].
    pub(super) which: usize,
    /// Its number.
    pub(super) number: u32,
    /// The open file: a place in [`World::files`].
    pub(super) file: usize,
    /// The structure.
    pub(super) words: [u64; WORDS],
    /// What an I/O's structure points to.
    pub(super) segments: [abi::IoSegment; SEGMENTS],
}

impl Packet {
    /// A request that is as it should be, on its own file.
    pub(super) fn new<T: Copy>(which: usize, file: usize, structure: T) -> Self {
        const { assert!(size_of::<T>() <= WORDS * 8 && align_of::<T>() <= 8) }
        let mut words = [0; WORDS];
        // SAFETY: there is room for the structure, which is made of numbers without gaps.
        unsafe { words.as_mut_ptr().cast::<T>().write(structure) };
        let number = NUMBERS.get(which).copied().unwrap_or_default();
        Self { which, number, file, words, segments: [abi::IoSegment::default(); SEGMENTS] }
    }

    /// Draws a request. `segments` is where those of an I/O will lie.
    pub(super) fn draw(draw: &mut Draw, world: &World, segments: u64) -> Self {
        let which = draw.weighed(&WEIGHTS);
        let mut packet = match which {
            0 => Self::new(which, draw.index(world.files.len()), hello()),
            1 => Self::any_file(draw, world, which, statistics),
            2 => Self::any_file(draw, world, which, |_| abi::HoldStatistics::default()),
            HOLD => Self::any_file(draw, world, which, |draw| hold(draw, world)),
            DMA => Self::with(draw, world, which, Kind::Hold, dma),
            RELEASE => Self::with(draw, world, which, Kind::Hold, |draw, handle| abi::Release {
                handle,
                flags: draw.below32(2),
            }),
            6 => Self::with(draw, world, which, Kind::Hold, |draw, handle| abi::Dump {
                handle,
                page: draw.below32(2),
                ..abi::Dump::default()
            }),
            WAIT => Self::with(draw, world, which, Kind::Pending, |draw, pending| abi::Wait {
                pending,
                flags: u32::from(!draw.one_in(8)),
                ..abi::Wait::default()
            }),
            OPEN_DISK => Self::any_file(draw, world, which, open_disk),
            CLOSE_DISK => {
                Self::with(draw, world, which, Kind::Disk, |_, handle| abi::CloseDisk { handle, reserved: 0 })
            }
            IO => Self::io(draw, world, segments),
            CLOSE_GATE => Self::any_file(draw, world, which, close_gate),
            12 => Self::with(draw, world, which, Kind::Gate, |draw, gate| abi::WaitGate {
                gate,
                timeout: draw.below32(8),
                bios: draw.below(3),
                ..abi::WaitGate::default()
            }),
            13 => Self::with(draw, world, which, Kind::Gate, |draw, gate| abi::LetGo {
                gate,
                errno: if draw.one_in(4) { 5 } else { 0 },
                bios: draw.below(4),
            }),
            OPEN_GATE => {
                Self::with(draw, world, which, Kind::Gate, |_, gate| abi::OpenGate { gate, reserved: 0 })
            }
            15 => Self::with(draw, world, which, Kind::Gate, |_, gate| abi::HeldBio {
                gate,
                ..abi::HeldBio::default()
            }),
            16 => Self::with(draw, world, which, Kind::Gate, |draw, gate| abi::HeldPage {
                gate,
                flags: u32::from(draw.one_in(50)),
                ..abi::HeldPage::default()
            }),
            17 => Self::any_file(draw, world, which, |draw| abi::LogState {
                disk: disks::name(draw),
                ..abi::LogState::default()
            }),
            18 => Self::any_file(draw, world, which, |draw| abi::LogEntry {
                disk: disks::name(draw),
                index: draw.small(100),
                address: address(draw),
                ..abi::LogEntry::default()
            }),
            _ => Self::any_file(draw, world, which, |_| hello()),
        };
        if which == NONE {
            packet.number = NUMBERS[draw.index(NUMBERS.len())] ^ 1 << draw.below32(32);
        } else if draw.one_in(6) && (which != HELLO || packet.file == 0) {
            packet.spoil(draw);
        }
        packet
    }

    /// The structure of an answer.
    pub(super) fn structure<T: Copy>(&self) -> T {
        const { assert!(size_of::<T>() <= WORDS * 8 && align_of::<T>() <= 8) }
        // SAFETY: there are that many bytes, and any are a structure of numbers.
        unsafe { self.words.as_ptr().cast::<T>().read() }
    }

    /// The bytes that the number says the structure has.
    pub(super) fn size(&self) -> usize {
        (self.number >> 16 & 0x3fff) as usize
    }

    fn any_file<T: Copy>(
        draw: &mut Draw,
        world: &World,
        which: usize,
        structure: impl FnOnce(&mut Draw) -> T,
    ) -> Self {
        let file = draw.index(world.files.len());
        Self::new(which, file, structure(draw))
    }

    /// A request about a thing that some file has: on that file, but for a few.
    fn with<T: Copy>(
        draw: &mut Draw,
        world: &World,
        which: usize,
        kind: Kind,
        structure: impl FnOnce(&mut Draw, u32) -> T,
    ) -> Self {
        let (file, handle) = world.recall(draw, kind);
        let file = if draw.one_in(24) { draw.index(world.files.len()) } else { file };
        let structure = structure(draw, handle);
        Self::new(which, file, structure)
    }

    fn io(draw: &mut Draw, world: &World, segments: u64) -> Self {
        let count = 1 + draw.below32(4);
        let mut packet = Self::with(draw, world, IO, Kind::Disk, |draw, disk| {
            let event = if draw.one_in(4) { world.event() } else { 0 };
            abi::Io {
                disk,
                how: acquire(draw, world),
                segments,
                count,
                flags: draw.below32(2) | if event == 0 { 0 } else { abi::IO_EVENT },
                offset: draw.below(256) * 4096,
                event,
                pending: 0,
            }
        });
        for segment in &mut packet.segments[..count as usize] {
            *segment = abi::IoSegment { address: address(draw), length: draw.small(PAGES / 2) * 4096 };
            if draw.one_in(3) {
                segment.address += draw.below(8) * 512;
                segment.length = (1 + draw.below(16)) * 512;
            }
        }
        packet
    }

    /// Puts other numbers in the place of one or two of the structure, or of its segments.
    fn spoil(&mut self, draw: &mut Draw) {
        for _ in 0..=draw.below32(2) {
            if self.which == IO && draw.one_in(2) {
                let segment = &mut self.segments[draw.index(SEGMENTS / 2)];
                let number = if draw.one_in(2) { &mut segment.address } else { &mut segment.length };
                *number = draw.spoilt(*number);
                continue;
            }
            let word = &mut self.words[draw.index(self.size() / 8)];
            *word = match draw.below32(3) {
                0 => draw.spoilt(*word),
                1 => *word & 0xffff_ffff | draw.spoilt(*word >> 32) << 32,
                _ => *word & !0xffff_ffff | draw.spoilt(*word & 0xffff_ffff) & 0xffff_ffff,
            };
        }
        if self.which == HOLD {
            let mut hold: abi::Hold = self.structure();
            let pages = u64::from(hold.pages.clamp(1, abi::HOLD_PAGES_MAX));
            hold.times = u32::try_from(u64::from(hold.times).min(TIMES / pages)).unwrap_or(1);
            self.words = Self::new(HOLD, self.file, hold).words;
        }
    }
}

pub(super) fn hello() -> abi::Hello {
    abi::Hello { version: abi::VERSION, reserved: 0 }
}

fn statistics(draw: &mut Draw) -> abi::Statistics {
    abi::Statistics { disk: disks::name(draw), ..abi::Statistics::default() }
}

fn open_disk(draw: &mut Draw) -> abi::OpenDisk {
    abi::OpenDisk { disk: disks::name(draw), ..abi::OpenDisk::default() }
}

fn acquire(draw: &mut Draw, world: &World) -> abi::Acquire {
    let path = draw.below32(3);
    let pid = if path == abi::PATH_REMOTE { world.process(draw) } else { 0 };
    abi::Acquire { mode: draw.below32(3), path, pid }
}

fn hold(draw: &mut Draw, world: &World) -> abi::Hold {
    let how = acquire(draw, world);
    let pages = draw.small(PAGES / 2);
    let repeats = draw.one_in(6) && pages < 32;
    let adds = repeats && how.mode != abi::MODE_GET && draw.one_in(2);
    abi::Hold {
        address: address(draw),
        how,
        flags: draw.below32(4) | if adds { abi::HOLD_ADD } else { 0 },
        pages: u32::try_from(pages).unwrap_or(1),
        times: if repeats { 1 + draw.below32(12) } else { 1 },
        ..abi::Hold::default()
    }
}

fn dma(draw: &mut Draw, handle: u32) -> abi::Dma {
    let fills = draw.one_in(2);
    abi::Dma {
        handle,
        flags: u32::from(fills),
        offset: draw.below(4096),
        length: if draw.one_in(50) { 1 + draw.below(abi::DMA_BYTES_MAX) } else { 1 + draw.below(2000) },
        source: if fills { draw.below(256) } else { address(draw) },
        delay: if draw.one_in(3) { draw.below32(20) } else { 0 },
        pending: 0,
    }
}

fn close_gate(draw: &mut Draw) -> abi::CloseGate {
    abi::CloseGate {
        disk: disks::name(draw),
        stage: draw.below32(2),
        kinds: if draw.one_in(3) { 1 + draw.below32(31) } else { 3 },
        classes: if draw.one_in(3) { 1 + draw.below32(15) } else { abi::CLASSES_ALL },
        gate: 0,
        first_sector: if draw.one_in(3) { draw.below(2048) } else { 0 },
        end_sector: u64::MAX,
        most: 1 + draw.below(3),
    }
}

/// An address in the arena, or one that is not.
fn address(draw: &mut Draw) -> u64 {
    const ELSEWHERE: &[u64] =
        &[0, 0xffff_8880_0000_0000, 0x8000_0000_0000_0000, u64::MAX - 4095, 0x7fff_ffff_f000];
    if draw.one_in(40) { draw.of(ELSEWHERE) } else { Arena::address(draw.below(PAGES)) }
}
