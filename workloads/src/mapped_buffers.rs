// SPDX-License-Identifier: MIT OR Apache-2.0

//! Direct I/O whose buffer is a mapping of another file: the page cache of that one is pinned.

use fs_harness::cell::{Acquisition, Policy, Setup};
use fs_harness::guest::device::{Bios, Gate, Hold, Release, Stage, Take};
use fs_harness::guest::error::Doing;
use fs_harness::guest::file::TestFile;
use fs_harness::guest::in_flight::InFlight;
use fs_harness::guest::memory::{Memory, PAGE};
use fs_harness::guest::{Bed, Result};
use fs_harness::pattern::Pattern;
use fs_harness::record::{Class, Counted, Direction};

use crate::catalogue::{LARGE_BLOCK, NotOn, Scenario, Violated, Why};
use crate::direct_io::miscounted_on_vfat;
use crate::hold::fsync_until_written;

const ON_THE_MEDIA: Pattern = Pattern(1);
const IN_THE_MAPPING: Pattern = Pattern(2);
const MEANWHILE: Pattern = Pattern(3);

const DIRECT: &[Setup] = &[
    Setup::Ext4,
    Setup::Ext4Small,
    Setup::Xfs,
    Setup::XfsStable,
    Setup::Btrfs,
    Setup::BtrfsNoDataSum,
    Setup::F2fs,
    Setup::Vfat,
    Setup::FusePassthroughExt4,
    Setup::FusePassthroughXfs,
];

const NOT: &[NotOn] = &[
    (&[Setup::None], "there is no file to read or write"),
    (&[Setup::Bdev], "there is no other file: dio_own_pages"),
    LARGE_BLOCK,
    (&[Setup::Tmpfs], "tmpfs accepts O_DIRECT, and copies"),
    (&[Setup::Ext4Journal], "it has no direct I/O: dio_write_buffered and dio_read_buffered"),
    (Setup::FUSE, "FUSE takes the client's pages itself: fuse_dio_write and fuse_dio_read"),
];

const SAME_COUNT: &str = "the kernel and the driver count the same pins";
const ALL_RELEASED: &str = "every pin is released";
const PINNED_ONCE: &str = "the page was pinned once and released once";
const READ_DIRECTLY: &str =
    "the device read into the page itself, and not into the page cache of what is read";

const COUNTED_WRONGLY: &[Violated] = &[miscounted_on_vfat(SAME_COUNT), miscounted_on_vfat(ALL_RELEASED)];

const NOT_READ_DIRECTLY: &[Violated] = &[
    miscounted_on_vfat(SAME_COUNT),
    miscounted_on_vfat(ALL_RELEASED),
    miscounted_on_vfat(PINNED_ONCE),
    buffered_on_btrfs(PINNED_ONCE),
    buffered_on_btrfs(READ_DIRECTLY),
];

const fn buffered_on_btrfs(check: &'static str) -> Violated {
    let why = Why::Finding("btrfs-direct-read-does-not-retry");
    Violated { on: &[Setup::Btrfs, Setup::BtrfsNoDataSum], under: Policy::ALL, check, why }
}

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "dio_read_during_msync",
        row: Some(20),
        about: "A page of a file is written back while a direct read into it is in flight: the end of the read finds it clean, and a worker dirties it again.",
        source: "block/bio.c: bio_set_pages_dirty(), bio_check_pages_dirty(), bio_dirty_fn(), bio_iov_iter_unbounce_read()",
        setups: DIRECT,
        not: NOT,
        known: COUNTED_WRONGLY,
        run: read_during_msync,
        ..Scenario::PLAIN
    },
    Scenario {
        name: "dio_read_other_file",
        row: Some(22),
        about: "A direct read into a mapping of another file pins that file's page cache, dirties it, and what it read is saved in that file.",
        source: "block/bio.c: bio_iov_iter_get_pages(), bio_set_pages_dirty()",
        setups: DIRECT,
        not: NOT,
        known: COUNTED_WRONGLY,
        run: read_into_other_file,
        ..Scenario::PLAIN
    },
    Scenario {
        name: "dio_read_clean_page",
        row: Some(22),
        about: "A direct read into a clean page of another file's mapping, which has to be faulted in for writing: it is, and pinned, and the device reads into it.",
        source: "mm/gup.c: faultin_page(); fs/btrfs/direct-io.c: btrfs_dio_iomap_end(), btrfs_direct_read()",
        setups: DIRECT,
        not: NOT,
        known: NOT_READ_DIRECTLY,
        run: read_into_clean_page,
        ..Scenario::PLAIN
    },
    Scenario {
        name: "dio_write_other_file",
        row: Some(22),
        about: "A direct write from a mapping of another file pins that file's page cache, unless it is copied: then what is written meanwhile to that file reaches just the one.",
        source: "block/bio.c: bio_iov_iter_get_pages(), bio_iov_iter_bounce()",
        setups: DIRECT,
        not: NOT,
        known: COUNTED_WRONGLY,
        run: write_from_other_file,
        ..Scenario::PLAIN
    },
];

/// A file with a page in the page cache, which is looked at through a reference.
struct Mapped {
    file: TestFile,
    mapping: Memory,
    reference: Hold,
}

fn read_during_msync(bed: &mut Bed) -> Result<()> {
    let source = bed.file("source", ON_THE_MEDIA, 1)?;
    let direct = source.direct()?;
    let mapped = map_dirty(bed)?;
    let (gate, mut read) = begin_read(bed, &direct, &mapped)?;
    mapped.mapping.msync()?;
    let synced = bed.observe("msync returned, the read is still in flight", Some(&mapped.reference))?;
    let writeback = synced.traffic_of(Direction::Write, Class::PageCache);
    bed.check(
        "msync wrote the page, and the device saw that it is pinned",
        writeback.pages == 1 && writeback.pinned_pages == 1,
    )?;
    bed.check("the page is clean", !synced.pages[0].dump.has_flag("dirty"))?;
    bed.check("the read is not complete", !read.is_complete())?;
    end_read(bed, gate, read, &mapped, "the page is dirty again: its cleaning was noticed")?;
    if !matches!(bed.setup(), Setup::Btrfs | Setup::BtrfsNoDataSum) {
        return check_saved(bed, mapped);
    }
    // Whether the next fsync already writes a page that was dirtied so late depends there on how soon a worker has
    // reserved its space. That it may not is shown by hold_sync_dma_unhold.
    let Mapped { file, mapping, reference } = mapped;
    reference.release(Release::Clean)?;
    drop(mapping);
    fsync_until_written(bed, &file)?;
    check_on_media(bed, &file)
}

fn read_into_other_file(bed: &mut Bed) -> Result<()> {
    let source = bed.file("source", ON_THE_MEDIA, 1)?;
    let direct = source.direct()?;
    let mapped = map_dirty(bed)?;
    let (gate, read) = begin_read(bed, &direct, &mapped)?;
    end_read(bed, gate, read, &mapped, "the page is still dirty")?;
    check_saved(bed, mapped)
}

fn read_into_clean_page(bed: &mut Bed) -> Result<()> {
    let source = bed.file("source", ON_THE_MEDIA, 1)?;
    let direct = source.direct()?;
    let mapped = map_dirty(bed)?;
    mapped.file.fsync()?;
    let synced = bed.observe("the mapped page is written back", Some(&mapped.reference))?;
    bed.check("the page is clean", !synced.pages[0].dump.has_flag("dirty"))?;
    let read = InFlight::read(&direct, 0, &mapped.mapping, 0..PAGE)?;
    let count = read.wait().doing("wait for the read")?;
    bed.check("the read read what it was asked for", count == PAGE)?;
    let step = bed.observe("the read is complete", Some(&mapped.reference))?;
    let pinned = step.traffic_of(Direction::Read, Class::UserPinned).pages;
    let cached = step.traffic_of(Direction::Read, Class::PageCache).pages;
    bed.check(PINNED_ONCE, step.pins == Counted { acquired: 1, released: 1 })?;
    bed.check(READ_DIRECTLY, pinned == 1 && cached == 0)?;
    bed.check("the page is dirty", step.pages[0].dump.has_flag("dirty"))?;
    bed.check_data("the mapping shows what was read", ON_THE_MEDIA, &mapped.mapping.bytes())?;
    check_saved(bed, mapped)
}

/// Starts the read and holds it before its data is copied.
fn begin_read<'a>(
    bed: &mut Bed,
    direct: &'a std::fs::File,
    mapped: &'a Mapped,
) -> Result<(Gate, InFlight<'a>)> {
    let gate = bed.close_gate(Stage::Transfer, &Bios::reads().class(Class::UserPinned))?;
    let read = InFlight::read(direct, 0, &mapped.mapping, 0..PAGE)?;
    gate.wait_for(1)?;
    bed.kernel_holds(1);
    let held = bed.observe("the read is in flight", Some(&mapped.reference))?;
    bed.check("the page is pinned", held.pages[0].state.maybe_dma_pinned)?;
    bed.check("the page is dirty before it is read into", held.pages[0].dump.has_flag("dirty"))?;
    check_carried(bed, &gate, mapped, bed.setup() == Setup::XfsStable)?;
    Ok((gate, read))
}

fn end_read(bed: &mut Bed, gate: Gate, read: InFlight<'_>, mapped: &Mapped, is_dirty: &str) -> Result<()> {
    gate.open()?;
    let count = read.wait().doing("wait for the read")?;
    bed.check("the read read what it was asked for", count == PAGE)?;
    bed.kernel_holds(0);
    let ended = bed.observe("the read is complete", Some(&mapped.reference))?;
    bed.check(is_dirty, ended.pages[0].dump.has_flag("dirty"))?;
    bed.check("the page is no longer pinned", !ended.pages[0].state.maybe_dma_pinned)?;
    bed.check_data("the mapping shows what was read", ON_THE_MEDIA, &mapped.mapping.bytes())
}

fn check_saved(bed: &mut Bed, mapped: Mapped) -> Result<()> {
    let Mapped { file, mapping, reference } = mapped;
    reference.release(Release::Clean)?;
    file.fsync()?;
    let step = bed.observe("fsync returned", None)?;
    let written = step.traffic_of(Direction::Write, Class::PageCache).pages;
    bed.check("fsync wrote what the read had left in the page cache", written == 1)?;
    drop(mapping);
    check_on_media(bed, &file)
}

fn check_on_media(bed: &mut Bed, file: &TestFile) -> Result<()> {
    let found = bed.read_back(file)?;
    bed.check_data("the file holds what was read into its mapping", ON_THE_MEDIA, &found)
}

fn write_from_other_file(bed: &mut Bed) -> Result<()> {
    let target = bed.file("target", ON_THE_MEDIA, 1)?;
    let direct = target.direct()?;
    let mapped = map_dirty(bed)?;
    let is_copied = matches!(bed.setup(), Setup::XfsStable | Setup::Btrfs);
    let class = if is_copied { Class::Other } else { Class::UserPinned };
    let gate = bed.close_gate(Stage::Transfer, &Bios::writes().class(class))?;
    let write = InFlight::write(&direct, 0, &mapped.mapping, 0..PAGE)?;
    gate.wait_for(1)?;
    bed.kernel_holds(usize::from(!is_copied));
    let held = bed.observe("the write is in flight", Some(&mapped.reference))?;
    let is_pinned = held.pages[0].state.maybe_dma_pinned;
    if is_copied {
        bed.check(
            "the page is not pinned: it was copied, since the data must not change any more",
            !is_pinned,
        )?;
    } else {
        bed.check("the page is pinned", is_pinned)?;
    }
    check_carried(bed, &gate, &mapped, is_copied)?;
    mapped.mapping.fill(MEANWHILE);
    gate.open()?;
    let count = write.wait().doing("wait for the write")?;
    bed.check("the write wrote what it was asked for", count == PAGE)?;
    bed.kernel_holds(0);
    let ended =
        bed.observe("the process wrote to the page, the write is complete", Some(&mapped.reference))?;
    bed.check("the page is not pinned any more", !ended.pages[0].state.maybe_dma_pinned)?;
    let Mapped { file, mapping, reference } = mapped;
    reference.release(Release::Clean)?;
    let found = bed.read_back(&target)?;
    if is_copied {
        bed.check_data("the target holds what was in the page when the write began", IN_THE_MAPPING, &found)?;
    } else {
        bed.check_data("the target holds what was written to the page meanwhile", MEANWHILE, &found)?;
    }
    file.fsync()?;
    drop(mapping);
    let found = bed.read_back(&file)?;
    bed.check_data("the file holds what was written to its mapping", MEANWHILE, &found)
}

fn map_dirty(bed: &mut Bed) -> Result<Mapped> {
    let file = bed.file("data", IN_THE_MAPPING, 1)?;
    let mapping = file.map()?;
    mapping.fill(IN_THE_MAPPING);
    let reference = bed.device().hold(&mapping, Take::by(Acquisition::Get).read_only())?;
    let step = bed.observe("a page of a file is mapped and written to", Some(&reference))?;
    bed.require("the page is dirty", step.pages[0].dump.has_flag("dirty"))?;
    Ok(Mapped { file, mapping, reference })
}

fn check_carried(bed: &mut Bed, gate: &Gate, mapped: &Mapped, is_copied: bool) -> Result<()> {
    let is_the_page = gate.page(0, 0)?.state.pfn == mapped.reference.dump(0)?.pfn;
    if is_copied {
        bed.check("the bio carries a page of the kernel", !is_the_page)
    } else {
        bed.check("the bio carries the page itself", is_the_page)
    }
}
