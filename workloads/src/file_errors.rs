// SPDX-License-Identifier: MIT OR Apache-2.0

//! What a filesystem makes of an I/O error of its disk: whoever asked for the data is told.

use std::os::unix::fs::FileExt;

use fs_harness::cell::Setup;
use fs_harness::guest::device::{Bios, Stage};
use fs_harness::guest::error::Doing;
use fs_harness::guest::file::TestFile;
use fs_harness::guest::in_flight::InFlight;
use fs_harness::guest::memory::{Memory, PAGE};
use fs_harness::guest::{Bed, Result};
use fs_harness::pattern::Pattern;
use fs_harness::record::Class;
use nix::errno::Errno;

use crate::catalogue::{LARGE_BLOCK, Scenario};
use crate::direct_io::miscounted_on_vfat;

pub(crate) const SCENARIOS: &[Scenario] = &[Scenario {
    name: "file_errors",
    about: "An injected error of the sectors of a page reaches who reads it, who writes it past the page cache, and by fsync everybody who had the file open: each once.",
    source: "mm/filemap.c: file_check_and_advance_wb_err(); lib/errseq.c",
    setups: &[Setup::Ext4, Setup::Ext4Small, Setup::Xfs, Setup::Vfat],
    not: &[
        (&[Setup::None], "there is no file"),
        (&[Setup::Bdev], "the errors of a bare disk are in injected_errors"),
        LARGE_BLOCK,
        (&[Setup::Tmpfs], "there is no disk that fails"),
        (
            &[Setup::Ext4Journal, Setup::XfsStable, Setup::Btrfs],
            "which sectors to fail is found by a direct write, and its direct writes carry copies or are none",
        ),
        (
            &[Setup::F2fs],
            "blocks of its own are among the bios, as many as its checkpoints want at that moment",
        ),
        (&[Setup::BtrfsNoDataSum], "it writes to other sectors each time, and these are good"),
        (Setup::FUSE, "the errors are those of what is below"),
    ],
    known: &[
        miscounted_on_vfat("the kernel and the driver count the same pins"),
        miscounted_on_vfat("every pin is released"),
    ],
    run: file_errors,
    ..Scenario::PLAIN
}];

const BEFORE: Pattern = Pattern(1);
const AFTER: Pattern = Pattern(2);

/// The page of the file whose sectors fail.
const BAD: u64 = PAGE as u64;
/// One that does not.
const GOOD: u64 = 3 * PAGE as u64;

fn file_errors(bed: &mut Bed) -> Result<()> {
    let disk = bed.require_disk()?;
    let file = bed.file("data", BEFORE, 4)?;
    let (direct, buffered, other) = (file.direct()?, file.buffered()?, file.buffered()?);
    let buffer = bed.anonymous(BEFORE, 1)?;
    let sectors = sectors_of_bad_page(bed, &file, &buffer)?;

    disk.write("errors", &format!("read {sectors}"))?;
    let read = InFlight::read(&direct, BAD, &buffer, 0..PAGE)?.wait().doing("read");
    bed.check_refused("a direct read of the page fails with EIO", Errno::EIO, read)?;
    let mut found = [0; PAGE];
    let read = buffered.read_at(&mut found, BAD).doing("read");
    bed.check_refused("a read of it fails with EIO", Errno::EIO, read)?;
    let read = buffered.read_at(&mut found, GOOD);
    let is_whole = read.as_ref().is_ok_and(|count| *count == PAGE);
    bed.check_that("another page of the file can be read", is_whole, || format!("{read:?}"))?;
    disk.write("errors", "none")?;
    let read = buffered.read_at(&mut found, BAD).doing("read")?;
    bed.check("it can be read when the fault is gone", read == PAGE)?;
    bed.check_data("it holds what was written to it before", BEFORE, &found)?;

    disk.write("errors", &format!("write {sectors} 1"))?;
    let write = InFlight::write(&direct, BAD, &buffer, 0..PAGE)?.wait().doing("write");
    bed.check_refused("a direct write of the page fails with EIO", Errno::EIO, write)?;
    bed.check("that was one error, and no more are left", disk.read("errors")? == "none")?;

    for line in error_lines(bed.setup()) {
        bed.expect_log(line)?;
    }
    buffered.write_all_at(&AFTER.bytes(0, PAGE), BAD).doing("write")?;
    disk.write("errors", &format!("write {sectors} 1"))?;
    bed.check_refused(
        "fsync of a written page fails with EIO",
        Errno::EIO,
        buffered.sync_all().doing("fsync"),
    )?;
    bed.check("that was one error, and no more are left", disk.read("errors")? == "none")?;
    bed.check_refused("so it does for who had the file open", Errno::EIO, other.sync_all().doing("fsync"))?;
    bed.check("each of them is told once", buffered.sync_all().is_ok() && other.sync_all().is_ok())?;
    buffered.write_all_at(&AFTER.bytes(0, PAGE), BAD).doing("write")?;
    bed.check("the page can be written when the fault is gone", buffered.sync_all().is_ok())?;
    let found = bed.read_back(&file)?;
    let bad = usize::try_from(BAD).expect("it is a few pages");
    bed.check_data("the media hold what was written last", AFTER, &found[bad..bad + PAGE])
}

/// What a filesystem says when writeback of a page fails.
fn error_lines(setup: Setup) -> &'static [&'static str] {
    match setup {
        Setup::Ext4 => &[
            "EXT4-fs warning (device pinblk0): ext4_end_bio:",
            "Buffer I/O error on device pinblk0, logical block",
        ],
        // One line for each of the four blocks of the page.
        Setup::Ext4Small => &[
            "EXT4-fs warning (device pinblk0): ext4_end_bio:",
            "Buffer I/O error on device pinblk0, logical block",
            "Buffer I/O error on device pinblk0, logical block",
            "Buffer I/O error on device pinblk0, logical block",
            "Buffer I/O error on device pinblk0, logical block",
        ],
        Setup::Xfs => &["pinblk0: writeback error on inode"],
        _ => &[],
    }
}

/// Where on the disk the bad page lies, as the disk's `errors` take it: it is looked up from a bio that
/// writes it.
fn sectors_of_bad_page(bed: &mut Bed, file: &TestFile, buffer: &Memory) -> Result<String> {
    let direct = file.direct()?;
    let gate = bed.close_gate(Stage::Arrival, &Bios::writes().class(Class::UserPinned))?;
    let write = InFlight::write(&direct, BAD, buffer, 0..PAGE)?;
    gate.wait_for(1)?;
    let bio = gate.bio(0)?;
    gate.open()?;
    let written = write.wait().doing("write")?;
    bed.require("a bio of one page writes the page", written == PAGE && bio.bytes == 4096)?;
    Ok(format!("{}-{}", bio.sector, bio.sector + 7))
}
