// SPDX-License-Identifier: MIT OR Apache-2.0

//! Memory that a device holds is to be reclaimed: a page of a file, and one that would be swapped out.

use fs_harness::cell::{Acquisition, Setup};
use fs_harness::guest::device::{Release, Take};
use fs_harness::guest::disk::{Attributes, Disk};
use fs_harness::guest::held_page::{BEFORE, BY_DEVICE, BY_PROCESSOR, HeldPage};
use fs_harness::guest::memory::PAGE;
use fs_harness::guest::swap::Swap;
use fs_harness::guest::{Bed, Result, pagemap};
use fs_harness::record::{Class, Direction};
use nix::errno::Errno;

use crate::catalogue::{LARGE_BLOCK, NotOn, Scenario};
use crate::media::OWN_DISKS;

const NO_FILE: NotOn = (&[Setup::None], "there is no file");
const NO_FILESYSTEM: NotOn = (&[Setup::Bdev], "what a filesystem loses is the question");
const NO_DISK: NotOn = (&[Setup::Tmpfs], "its pages are swapped out, as anonymous ones are: swap_under_pin");
const FUSE: NotOn =
    (Setup::FUSE, "a filesystem below it has the pages, or it has nothing attached to its own");

/// Where the filesystem finds nothing attached to a page that it must write, and can write it all the same.
const WRITES_BARE_PAGES: &[Setup] = &[Setup::Xfs, Setup::XfsStable, Setup::F2fs, Setup::Vfat];
/// Where it cannot.
const LOSES_BARE_PAGES: &[Setup] = &[Setup::Ext4, Setup::Ext4Small, Setup::Ext4Journal];
/// Where it refuses to.
const REFUSES_BARE_PAGES: &[Setup] = &[Setup::Btrfs, Setup::BtrfsNoDataSum];

/// The disk that is swapped to.
const SWAP: Disk = Disk::of("scratch0");
const SWAP_MIB: u32 = 16;

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "pageout_under_pin",
        row: Some(44),
        about: "A page of a file is to be reclaimed while a device pins it: it is unmapped and otherwise left alone, and what the device writes is saved.",
        source: "mm/vmscan.c:1365: shrink_folio_list() keeps what may be DMA-pinned, with all that its filesystem attached to it",
        setups: Setup::ON_DISK,
        acquisitions: &[Acquisition::Pin],
        not: &[NO_FILE, NO_FILESYSTEM, LARGE_BLOCK, NO_DISK, FUSE],
        run: pageout_under_pin,
        ..Scenario::PLAIN
    },
    Scenario {
        name: "pageout_under_reference",
        row: Some(43),
        about: "A page of a file is reclaimed under a device's reference, which reclaim does not know from any other: the filesystem lets go of the page, and writes it nevertheless when it is dirty again.",
        source: "mm/vmscan.c:1365; fs/iomap/buffered-io.c: iomap_release_folio(); fs/buffer.c: try_to_free_buffers()",
        setups: WRITES_BARE_PAGES,
        acquisitions: &[Acquisition::Get],
        not: &[
            NO_FILE,
            NO_FILESYSTEM,
            LARGE_BLOCK,
            NO_DISK,
            FUSE,
            (LOSES_BARE_PAGES, "it drops such a page: pageout_loses_reference"),
            (REFUSES_BARE_PAGES, "it does not write such a page: pageout_stops_reference"),
        ],
        run: pageout_under_reference,
        ..Scenario::PLAIN
    },
    Scenario {
        name: "pageout_loses_reference",
        row: Some(43),
        about: "Where the filesystem cannot write a page that it had let go of, what the device wrote is lost, and the kernel's log says so.",
        source: "fs/ext4/inode.c:3937: ext4_dirty_folio() warns, :2708: mpage_prepare_extent_to_map() drops what has no buffers",
        setups: LOSES_BARE_PAGES,
        acquisitions: &[Acquisition::Get],
        not: &[
            NO_FILE,
            NO_FILESYSTEM,
            LARGE_BLOCK,
            NO_DISK,
            FUSE,
            (WRITES_BARE_PAGES, "it writes such a page: pageout_under_reference"),
            (REFUSES_BARE_PAGES, "it keeps such a page: pageout_stops_reference"),
        ],
        run: pageout_loses_reference,
        ..Scenario::PLAIN
    },
    Scenario {
        name: "pageout_stops_reference",
        row: Some(43),
        about: "btrfs sees that such a page became dirty without its knowledge: each attempt to write it fails with EUCLEAN, and it stays dirty for ever.",
        source: "fs/btrfs/extent_io.c:2068: extent_writepage()",
        setups: REFUSES_BARE_PAGES,
        acquisitions: &[Acquisition::Get],
        not: &[
            NO_FILE,
            NO_FILESYSTEM,
            LARGE_BLOCK,
            NO_DISK,
            FUSE,
            (WRITES_BARE_PAGES, "it writes such a page: pageout_under_reference"),
            (LOSES_BARE_PAGES, "it drops such a page: pageout_loses_reference"),
        ],
        run: pageout_stops_reference,
        ..Scenario::PLAIN
    },
    Scenario {
        name: "swap_under_pin",
        about: "Anonymous memory is to be swapped out while a device pins it: it stays, and the process sees what the device writes.",
        source: "mm/vmscan.c:1263: shrink_folio_list() gives no swap space to what may be DMA-pinned",
        setups: &[Setup::None],
        acquisitions: &[Acquisition::Pin],
        not: OWN_DISKS,
        run: swap_under_pin,
        ..Scenario::PLAIN
    },
    Scenario {
        name: "swap_under_reference",
        about: "Anonymous memory is to be swapped out while a device has a reference to it: the page is unmapped and gets a place in the swap space, but is not written there; the process finds the same page again.",
        source: "mm/vmscan.c:641: pageout() keeps what has other references; mm/memory.c: do_swap_page() maps a page that was exclusive as exclusive",
        setups: &[Setup::None],
        acquisitions: &[Acquisition::Get],
        not: OWN_DISKS,
        run: swap_under_reference,
        ..Scenario::PLAIN
    },
];

fn pageout_under_pin(bed: &mut Bed) -> Result<()> {
    let page = HeldPage::written_back(bed)?;
    let frame = pagemap::frame_of(&page.mapping, 0)?;
    let attached = reclaim(bed, &page)?;
    bed.check("what the filesystem attached to the page is still there", attached.before == attached.after)?;
    page.write_by_device()?;
    bed.check_data("the process sees what the device wrote", BY_DEVICE, &page.mapping.bytes())?;
    // While the page is held, no other page has its frame.
    bed.check("it has the same page again", pagemap::frame_of(&page.mapping, 0)? == frame)?;
    let (file, mapping) = page.release_dirty_and_write_back(bed)?;
    drop(mapping);
    let found = bed.read_back(&file)?;
    bed.check_data("the media hold what the device wrote last", BY_DEVICE, &found)
}

fn pageout_under_reference(bed: &mut Bed) -> Result<()> {
    let page = HeldPage::written_back(bed)?;
    let attached = reclaim(bed, &page)?;
    bed.check("the filesystem has nothing attached to the page", !attached.after)?;
    page.write_by_device()?;
    let (file, mapping) = page.release_dirty_and_write_back(bed)?;
    drop(mapping);
    let found = bed.read_back(&file)?;
    bed.check_data("the media hold what the device wrote last", BY_DEVICE, &found)
}

fn pageout_loses_reference(bed: &mut Bed) -> Result<()> {
    let page = forgotten_and_written_by_device(bed)?;
    let HeldPage { file, mapping, hold, .. } = page;
    let function = match bed.setup() {
        Setup::Ext4Journal => "ext4_journalled_dirty_folio",
        _ => "ext4_dirty_folio",
    };
    bed.expect_log(&format!("WARNING: fs/ext4/inode.c at {function}"))?;
    bed.expect_log("EXT4-fs warning (device pinblk0): mpage_prepare_extent_to_map")?;
    hold.release(Release::Dirty)?;
    bed.check("fsync returns 0", file.fsync().is_ok())?;
    let step = bed.observe("the page is released dirty, fsync returned", None)?;
    bed.check("nothing was written", step.traffic_of(Direction::Write, Class::PageCache).pages == 0)?;
    drop(mapping);
    let found = bed.read_back(&file)?;
    bed.check_data(
        "what the device wrote is lost: the media hold what was there before",
        BY_PROCESSOR,
        &found,
    )
}

fn pageout_stops_reference(bed: &mut Bed) -> Result<()> {
    let page = forgotten_and_written_by_device(bed)?;
    bed.expect_log("is marked dirty without notifying the fs")?;
    let HeldPage { file, mapping, hold, .. } = page;
    hold.release(Release::Dirty)?;
    bed.check_refused("fsync fails with EUCLEAN", Errno::EUCLEAN, file.fsync())?;
    let look = bed.device().hold(&mapping, Take::by(bed.acquisition()).read_only())?;
    let step = bed.observe("the page is released dirty, fsync returned", Some(&look))?;
    bed.check("nothing was written", step.traffic_of(Direction::Write, Class::PageCache).pages == 0)?;
    bed.check("the page is still dirty", step.pages[0].dump.has_flag("dirty"))?;
    bed.check_data("until it is gone, it shows what the device wrote", BY_DEVICE, &mapping.bytes())?;
    look.release(Release::Clean)?;
    // So that unmounting does not try to write it again, some times.
    file.truncate(0)
}

/// The filesystem has let go of a page that a device holds and then writes.
fn forgotten_and_written_by_device(bed: &mut Bed) -> Result<HeldPage> {
    let page = HeldPage::written_back(bed)?;
    let attached = reclaim(bed, &page)?;
    bed.check("the filesystem let go of the page", attached.before && !attached.after)?;
    page.write_by_device()?;
    Ok(page)
}

/// Whether the filesystem has something of its own attached to a page.
struct Attached {
    before: bool,
    after: bool,
}

/// Has the kernel reclaim the page, as far as it does. Ends two steps.
fn reclaim(bed: &mut Bed, page: &HeldPage) -> Result<Attached> {
    let before = bed.observe("before reclaim", Some(&page.hold))?;
    page.mapping.page_out()?;
    let after = bed.observe("reclaim has been there", Some(&page.hold))?;
    bed.check("reclaim unmapped the page", after.pages[0].state.mapcount == 0)?;
    let attached = |step: &fs_harness::record::Step| step.pages[0].dump.has_flag("private");
    Ok(Attached { before: attached(&before), after: attached(&after) })
}

fn swap_under_pin(bed: &mut Bed) -> Result<()> {
    let swap = make_swap()?;
    let memory = bed.anonymous(BEFORE, 1)?;
    let frame = pagemap::frame_of(&memory, 0)?;
    let hold = bed.device().hold(&memory, bed.acquisition())?;
    bed.observe("the page is held", Some(&hold))?;
    memory.page_out()?;
    bed.observe("reclaim has been there", Some(&hold))?;
    bed.check("the page is still mapped", pagemap::present_frame_of(&memory, 0)? == Some(frame))?;
    bed.check("nothing was swapped out", swapped_out(bed)? == 0)?;
    hold.dma(0, &BY_DEVICE.bytes(0, PAGE))?;
    bed.check_data("the process sees what the device wrote", BY_DEVICE, &memory.bytes())?;
    hold.release(Release::Dirty)?;
    memory.page_out()?;
    bed.observe("the page is released, and reclaim has been there", None)?;
    bed.check("now it is swapped out", pagemap::present_frame_of(&memory, 0)?.is_none())?;
    bed.check("that was one page", swapped_out(bed)? == 1)?;
    bed.check_data("swapped in, it holds what the device wrote", BY_DEVICE, &memory.bytes())?;
    swap.off()?;
    SWAP.remove()
}

fn swap_under_reference(bed: &mut Bed) -> Result<()> {
    let swap = make_swap()?;
    let memory = bed.anonymous(BEFORE, 1)?;
    let frame = pagemap::frame_of(&memory, 0)?;
    let hold = bed.device().hold(&memory, bed.acquisition())?;
    bed.observe("the page is held", Some(&hold))?;
    memory.page_out()?;
    let step = bed.observe("reclaim has been there", Some(&hold))?;
    bed.check("the page is not mapped any more", pagemap::present_frame_of(&memory, 0)?.is_none())?;
    // The flag has another name for each kind of page.
    bed.check("it is in the swap cache", step.pages[0].dump.has_flag("owner_priv_1"))?;
    bed.check("nothing was swapped out", swapped_out(bed)? == 0)?;
    memory.fill(BY_PROCESSOR);
    bed.observe("the process has written to it again", Some(&hold))?;
    bed.check("the process has the same page again", pagemap::frame_of(&memory, 0)? == frame)?;
    hold.dma(0, &BY_DEVICE.bytes(0, PAGE))?;
    bed.check_data("the process sees what the device wrote", BY_DEVICE, &memory.bytes())?;
    hold.release(Release::Dirty)?;
    bed.observe("the page is released", None)?;
    swap.off()?;
    SWAP.remove()
}

fn make_swap() -> Result<Swap> {
    SWAP.make(&Attributes { size_mib: SWAP_MIB, ..Attributes::PLAIN })?;
    Swap::on(&SWAP, SWAP_MIB)
}

/// Pages that were written to the swap space, without its header.
fn swapped_out(bed: &Bed) -> Result<u64> {
    let statistics = bed.device().statistics(&SWAP)?;
    let pages: u64 = statistics.writes.iter().map(|class| class.pages).sum();
    Ok(pages - 1)
}
