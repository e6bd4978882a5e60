// SPDX-License-Identifier: MIT OR Apache-2.0

//! Buffers that are registered with `io_uring`: pinned once and for long, whatever is done with them then.

use fs_harness::cell::{Acquisition, Setup};
use fs_harness::guest::device::{Release, Take};
use fs_harness::guest::error::Doing;
use fs_harness::guest::memory::Memory;
use fs_harness::guest::uring::Ring;
use fs_harness::guest::{Bed, Result};
use fs_harness::pattern::Pattern;
use fs_harness::record::{Counted, Step};
use nix::errno::Errno;
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::mman::ProtFlags;
use nix::unistd::ftruncate;

use crate::catalogue::{LARGE_BLOCK, MAPPED, NO_FILE, NOT_MAPPED, NotOn, Scenario};

const FILLED: Pattern = Pattern(1);
const PAGES: usize = 16;
/// Pages of a huge page.
const HUGE: u64 = 512;

const SOURCE: &str =
    "io_uring/memmap.c: io_pin_pages(); io_uring/rsrc.c: io_sqe_buffer_register(), io_release_ubuf()";
const COALESCED: &str = "io_uring/rsrc.c: io_check_coalesce_buffer(), io_coalesce_buffer()";

const NO_MAPPING: &[NotOn] = &[
    (&[Setup::None], "there is no file"),
    LARGE_BLOCK,
    (&[Setup::Tmpfs], "its pages are memory and written back nowhere: uring_fixed_memfd"),
    NOT_MAPPED,
];

/// Where a file can be mapped privately, and is on a disk.
const FILES: &[Setup] = &[
    Setup::Bdev,
    Setup::Ext4,
    Setup::Ext4Small,
    Setup::Ext4Journal,
    Setup::Xfs,
    Setup::XfsStable,
    Setup::Btrfs,
    Setup::BtrfsNoDataSum,
    Setup::F2fs,
    Setup::Vfat,
    Setup::FuseDirectExt4,
    Setup::FuseDirectXfs,
    Setup::FuseWritebackExt4,
    Setup::FuseWritebackXfs,
    Setup::FusePassthroughExt4,
    Setup::FusePassthroughXfs,
    Setup::FuseRingExt4,
    Setup::FuseRingXfs,
    Setup::FuseZeroCopyExt4,
    Setup::FuseZeroCopyXfs,
];

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "uring_fixed_anon",
        row: Some(25),
        about: "A registered buffer of single pages is pinned once, page by page, until it is given up.",
        source: SOURCE,
        setups: &[Setup::None],
        not: NO_FILE,
        run: |bed| register_single(bed, &bed.anonymous(FILLED, PAGES)?),
        ..Scenario::PLAIN
    },
    Scenario {
        name: "uring_fixed_thp",
        row: Some(26),
        about: "A registered huge page is pinned 512 times, and all but one of these pins are given back at once.",
        source: COALESCED,
        setups: &[Setup::None],
        not: NO_FILE,
        run: |bed| register_huge(bed, &Memory::huge()?),
        ..Scenario::PLAIN
    },
    Scenario {
        name: "uring_fixed_hugetlb",
        row: Some(27),
        about: "A registered huge page of hugetlb is pinned 512 times, and all but one of these pins are given back at once.",
        source: COALESCED,
        setups: &[Setup::None],
        not: NO_FILE,
        run: |bed| register_huge(bed, &Memory::hugetlb(false)?),
        ..Scenario::PLAIN
    },
    Scenario {
        name: "uring_fixed_memfd",
        row: Some(28),
        about: "A shared mapping of a file in memory can be registered: nobody writes it back.",
        source: "mm/gup.c: writable_file_mapping_allowed(), gup_fast_folio_allowed(); mm/vma.c: vma_needs_dirty_tracking()",
        setups: &[Setup::None, Setup::Tmpfs],
        not: &[
            (&[Setup::Bdev], "its page cache is written back: uring_fixed_file_shared"),
            LARGE_BLOCK,
            (Setup::ON_DISK, "its page cache is written back: uring_fixed_file_shared"),
            (Setup::FUSE, "its page cache, if it has one, is written back: uring_fixed_file_shared"),
        ],
        run: register_memfd,
        ..Scenario::PLAIN
    },
    Scenario {
        name: "uring_fixed_file_shared",
        row: Some(29),
        about: "A shared mapping of a file that is written back cannot be registered, written to or not.",
        source: "mm/gup.c: writable_file_mapping_allowed(), gup_fast_pte_range()",
        setups: MAPPED,
        not: NO_MAPPING,
        run: refuse_shared,
        ..Scenario::PLAIN
    },
    Scenario {
        name: "uring_fixed_file_private",
        row: Some(30),
        about: "A private mapping of a file can be registered: what is pinned are copies of the process's own.",
        source: "mm/gup.c: check_vma_flags(), faultin_page(); mm/memory.c: do_cow_fault()",
        setups: FILES,
        not: &[
            (&[Setup::None], "there is no file"),
            LARGE_BLOCK,
            (&[Setup::Tmpfs], "there is no disk on which the file could be as it was"),
        ],
        run: register_private,
        ..Scenario::PLAIN
    },
    Scenario {
        name: "uring_fixed_ro",
        row: Some(31),
        about: "Memory that may only be read cannot be registered, not even to write it to a file.",
        source: "io_uring/memmap.c: io_pin_pages(): FOLL_WRITE; mm/gup.c: check_vma_flags()",
        setups: &[Setup::None],
        not: NO_FILE,
        run: refuse_read_only,
        ..Scenario::PLAIN
    },
];

fn register_single(bed: &mut Bed, memory: &Memory) -> Result<()> {
    let pages = PAGES as u64;
    let reference = bed.device().hold(memory.pages_of(0, 1), looking())?;
    let before = bed.observe("the first page, looked at through one reference", Some(&reference))?;
    let ring = Ring::with(memory)?;
    bed.kernel_holds(PAGES);
    let registered = bed.observe("the buffer is registered", Some(&reference))?;
    bed.check("each page was pinned once", registered.pins == Counted { acquired: pages, released: 0 })?;
    let references = registered.pages[0].dump.refcount - before.pages[0].dump.refcount;
    bed.check_that("the first page has one pin more", references == 1024, || {
        format!("it has {references} references more")
    })?;
    bed.check("it looks DMA-pinned", registered.pages[0].state.maybe_dma_pinned)?;
    bed.check("the memory holds what it held", FILLED.difference(0, &memory.bytes()).is_none())?;
    ring.unregister()?;
    bed.kernel_holds(0);
    let after = bed.observe("the buffer is given up", Some(&reference))?;
    bed.check("each pin was released", after.pins == Counted { acquired: 0, released: pages })?;
    let counts = |step: &Step| step.pages[0].dump.refcount;
    bed.check("the first page's references are what they were", counts(&after) == counts(&before))?;
    reference.release(Release::Clean)
}

fn register_huge(bed: &mut Bed, memory: &Memory) -> Result<()> {
    memory.fill(FILLED);
    let reference = bed.device().hold(memory.pages_of(0, 1), looking())?;
    let before = bed.observe("the huge page, looked at through one reference", Some(&reference))?;
    bed.require("it is a huge page", before.pages[0].state.order == 9)?;
    let ring = Ring::with(memory)?;
    bed.kernel_holds(1);
    let registered = bed.observe("the buffer is registered", Some(&reference))?;
    bed.check(
        "each page was pinned, and all but one were released",
        registered.pins == Counted { acquired: HUGE, released: HUGE - 1 },
    )?;
    bed.check("the huge page counts one pin", registered.pages[0].state.pincount == Some(1))?;
    ring.unregister()?;
    bed.kernel_holds(0);
    let after = bed.observe("the buffer is given up", Some(&reference))?;
    bed.check("the pin was released", after.pins == Counted { acquired: 0, released: 1 })?;
    bed.check("the huge page counts none", after.pages[0].state.pincount == Some(0))?;
    reference.release(Release::Clean)
}

fn register_memfd(bed: &mut Bed) -> Result<()> {
    let memory = if bed.setup() == Setup::Tmpfs {
        bed.file("data", FILLED, PAGES)?.map()?
    } else {
        let file = memfd_create(c"data", MFdFlags::empty()).doing("make a file in memory")?;
        let length = i64::try_from(PAGES * 4096).unwrap_or(i64::MAX);
        ftruncate(&file, length).doing("size a file in memory")?;
        Memory::shared(&file, PAGES)?
    };
    memory.fill(FILLED);
    register_single(bed, &memory)
}

fn refuse_shared(bed: &mut Bed) -> Result<()> {
    let file = bed.file("data", FILLED, PAGES)?;
    let mapping = file.map()?;
    bed.check_refused(
        "a mapping that was not touched is refused with EFAULT",
        Errno::EFAULT,
        Ring::with(&mapping),
    )?;
    let step = bed.observe("the untouched mapping was refused", None)?;
    bed.check("none of it was pinned", step.pins == Counted::default())?;
    mapping.fill(FILLED);
    bed.check_refused(
        "a mapping that was written to is refused with EFAULT",
        Errno::EFAULT,
        Ring::with(&mapping),
    )?;
    let step = bed.observe("the written mapping was refused", None)?;
    bed.check(
        "its first page was pinned and at once released: whose it is, is asked when it is taken",
        step.pins == Counted { acquired: 1, released: 1 },
    )?;
    mapping.protect(0, PAGES, ProtFlags::PROT_READ)?;
    bed.check_refused(
        "a mapping that may only be read is refused with EFAULT",
        Errno::EFAULT,
        Ring::with(&mapping),
    )?;
    let step = bed.observe("the read-only mapping was refused", None)?;
    bed.check("none of it was pinned then", step.pins == Counted::default())
}

fn register_private(bed: &mut Bed) -> Result<()> {
    const OWN: Pattern = Pattern(2);
    let file = bed.file("data", FILLED, PAGES)?;
    let mapping = Memory::private(file.buffered()?, PAGES)?;
    bed.check_data("the mapping holds what the file holds", FILLED, &mapping.bytes())?;
    let ring = Ring::with(&mapping)?;
    bed.kernel_holds(PAGES);
    let reference = bed.device().hold(mapping.pages_of(0, 1), looking())?;
    let registered = bed.observe("the mapping is registered", Some(&reference))?;
    let pages = PAGES as u64;
    bed.check("each page was pinned once", registered.pins == Counted { acquired: pages, released: 0 })?;
    let is_anonymous = registered.pages[0].state.flags.iter().any(|flag| flag == "anon");
    bed.check("what is pinned is the process's own: registering has copied it", is_anonymous)?;
    bed.check_data("it holds what the file holds", FILLED, &mapping.bytes())?;
    reference.release(Release::Clean)?;
    mapping.fill(OWN);
    ring.unregister()?;
    bed.kernel_holds(0);
    let after = bed.observe("the process wrote to it, and it is given up", None)?;
    bed.check("each pin was released", after.pins == Counted { acquired: 0, released: pages })?;
    drop(mapping);
    let found = bed.read_back(&file)?;
    bed.check_data("the file holds what it held", FILLED, &found)
}

fn refuse_read_only(bed: &mut Bed) -> Result<()> {
    let memory = bed.anonymous(FILLED, PAGES)?;
    memory.protect(0, PAGES, ProtFlags::PROT_READ)?;
    bed.check_refused("it is refused with EFAULT", Errno::EFAULT, Ring::with(&memory))?;
    let step = bed.observe("the buffer was refused", None)?;
    bed.check("none of it was pinned", step.pins == Counted::default())?;
    memory.protect(PAGES - 1, 1, ProtFlags::PROT_READ | ProtFlags::PROT_WRITE)?;
    memory.protect(0, PAGES - 1, ProtFlags::PROT_READ | ProtFlags::PROT_WRITE)?;
    memory.protect(PAGES - 1, 1, ProtFlags::PROT_READ)?;
    bed.check_refused(
        "it is refused also where just its last page may only be read",
        Errno::EFAULT,
        Ring::with(&memory),
    )?;
    let step = bed.observe("the buffer was refused for its last page", None)?;
    let others = PAGES as u64 - 1;
    bed.check(
        "the others were pinned and released",
        step.pins == Counted { acquired: others, released: others },
    )
}

/// How a page is looked at without changing what is done with it.
fn looking() -> Take {
    Take::by(Acquisition::Get).read_only()
}
