// SPDX-License-Identifier: MIT OR Apache-2.0

//! Direct reads into a buffer that ends in memory nobody may touch: what was taken before that is given back.

use fs_harness::cell::Setup;
use fs_harness::cell::{Acquisition, Policy};
use fs_harness::guest::device::{Release, Take};
use fs_harness::guest::io;
use fs_harness::guest::memory::{Memory, PAGE};
use fs_harness::guest::{Bed, Result};
use fs_harness::pattern::Pattern;
use nix::sys::mman::ProtFlags;

use crate::catalogue::{NotOn, Scenario, Violated, Why};
use crate::direct_io::miscounted_on_vfat;

/// How often the read is made: one that leaks shows that it does so each time.
const TIMES: usize = 100;

/// Of the buffer that can be touched, and of the rest: together two blocks of 4096 bytes.
const GOOD: usize = PAGE + PAGE / 2;
const BAD: usize = PAGE / 2;

const ON_THE_MEDIA: Pattern = Pattern(1);
const IN_THE_BUFFER: Pattern = Pattern(2);

const SOURCE: &str = "block/bio.c: bio_iov_iter_align_down(), bio_iov_iter_get_pages(); lib/iov_iter.c: get_contig_folio_len()";

const ALL_RELEASED: &str = "every page that was pinned for the reads is released";
const NOT_PINNED: &str = "the folio is not pinned any more";

/// Where the block layer takes the pages of a direct read, from 512 byte blocks on.
const SMALL_BLOCK: &[Setup] = &[
    Setup::Bdev,
    Setup::Ext4,
    Setup::Ext4Small,
    Setup::Xfs,
    Setup::F2fs,
    Setup::Vfat,
    Setup::FusePassthroughExt4,
    Setup::FusePassthroughXfs,
];

const NO_FILE: NotOn = (&[Setup::None], "there is no file to read");
const NO_DISK: NotOn = (&[Setup::Tmpfs], "tmpfs accepts O_DIRECT, and copies");
const FUSE: NotOn = (Setup::FUSE, "FUSE takes the client's pages itself, and makes no bios of them");
const NOTHING_CUT: &str = "with small blocks nothing is cut off: dio_leak_small_block";
const NOT: &[NotOn] = &[NO_FILE, NO_DISK, FUSE, (&[Setup::Bdev], NOTHING_CUT), (Setup::ON_DISK, NOTHING_CUT)];

/// The bio is cut back to whole blocks, and of a piece of several pages only one is let go.
const LEAKED: &[Violated] = &[
    leaked(ALL_RELEASED),
    leaked(NOT_PINNED),
    leaked("the kernel and the driver count the same pins"),
    leaked("every pin is released"),
];

const fn leaked(check: &'static str) -> Violated {
    Violated {
        on: Setup::LARGE_BLOCK,
        under: Policy::ALL,
        check,
        why: Why::Finding("direct-io-leaks-trimmed-pins"),
    }
}

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "dio_leak_partial_thp",
        row: Some(23),
        about: "A direct read into a huge page and on into memory nobody may touch gives back every page that it took.",
        source: SOURCE,
        setups: Setup::LARGE_BLOCK,
        not: NOT,
        known: LEAKED,
        run: |bed| read_past(bed, &Memory::huge()?),
        ..Scenario::PLAIN
    },
    Scenario {
        name: "dio_leak_single_pages",
        row: Some(24),
        about: "A direct read into single pages and on into memory nobody may touch: each page is a piece of its own, and none is forgotten.",
        source: SOURCE,
        setups: Setup::LARGE_BLOCK,
        not: NOT,
        run: |bed| read_past(bed, &bed.anonymous(IN_THE_BUFFER, 2)?),
        ..Scenario::PLAIN
    },
    Scenario {
        name: "dio_leak_small_block",
        row: Some(24),
        about: "A direct read into a huge page and on into memory nobody may touch, from a disk with small blocks: nothing is cut off, and nothing forgotten.",
        source: SOURCE,
        setups: SMALL_BLOCK,
        not: &[
            (Setup::LARGE_BLOCK, "its blocks are large: dio_leak_partial_thp"),
            NO_FILE,
            NO_DISK,
            FUSE,
            (&[Setup::Ext4Journal], "it has no direct I/O: dio_read_buffered"),
            (
                &[Setup::XfsStable],
                "XFS copies what it read, and dirties the buffer, just if the bio ends before the rest has failed",
            ),
            (
                &[Setup::Btrfs, Setup::BtrfsNoDataSum],
                "a read of less than its blocks of 4096 bytes is buffered",
            ),
        ],
        known: &[
            miscounted_on_vfat("the kernel and the driver count the same pins"),
            miscounted_on_vfat(ALL_RELEASED),
            miscounted_on_vfat("every pin is released"),
        ],
        run: |bed| read_past(bed, &Memory::huge()?),
        ..Scenario::PLAIN
    },
];

fn read_past(bed: &mut Bed, buffer: &Memory) -> Result<()> {
    let file = bed.file("data", ON_THE_MEDIA, 2)?;
    buffer.fill(IN_THE_BUFFER);
    let untouchable = Memory::anonymous(1)?;
    untouchable.protect(0, 1, ProtFlags::PROT_NONE)?;
    let direct = file.direct()?;
    let parts = [buffer.part(0, GOOD), untouchable.part(0, BAD)];
    let first = io::read_scattered(&direct, &parts);
    let others = (1..TIMES).filter(|_| io::read_scattered(&direct, &parts) != first).count();
    let step = bed.observe("the reads returned", None)?;
    let ending = match first {
        Ok(bytes) => format!("got {bytes} bytes"),
        Err(error) => format!("failed with {error:?}"),
    };
    bed.check(&format!("each read {ending}"), others == 0 && first != Ok(0))?;
    bed.check_that(ALL_RELEASED, step.pins.outstanding() == 0, || {
        format!("{} of {TIMES} reads are still pinned", step.pins.outstanding())
    })?;
    if let Ok(bytes) = first {
        let read = buffer.bytes_of(0..bytes);
        bed.check_data("the buffer holds as much of what was on the media", ON_THE_MEDIA, &read)?;
    }
    let look = bed.device().hold(buffer.pages_of(1, 1), Take::by(Acquisition::Get))?;
    let looked = bed.observe("the page after the first, looked at through one reference", Some(&look))?;
    bed.check(NOT_PINNED, !looked.pages[0].state.maybe_dma_pinned)?;
    look.release(Release::Clean)
}
