// SPDX-License-Identifier: MIT OR Apache-2.0

//! The disks that requests are about: powered, cut, set up and removed while they are used.

use fs_harness::guest::Result;
use fs_harness::guest::device::abi;
use fs_harness::guest::disk::{Attributes, Disk};
use nix::errno::Errno;

use super::draw::Draw;

const DISKS: [Disk; 4] = [Disk::of("fuzz0"), Disk::of("fuzz1"), Disk::of("fuzz2"), Disk::of("fuzz3")];

/// What is written to attributes, right and wrong.
const VALUES: &[(&str, &[&str])] = &[
    ("power", &["0", "1", "2", ""]),
    ("size", &["1", "16", "1048576", "0", "1048577", "-1", "4294967296"]),
    ("blocksize", &["512", "4096", "1024", "0"]),
    ("write_cache", &["0", "1", "yes"]),
    ("fua", &["0", "1", " 1 "]),
    ("stable_writes", &["0", "1", "\u{0}"]),
    ("nowait", &["0", "1", "01"]),
    ("late_transfer", &["0", "2", "60001"]),
    ("power_cut", &["1", "0", "0", "\u{fffd}"]),
    ("log", &["1", "1", "0", "2"]),
    ("log", &["1"]),
    ("errors", &["none", "read 0-100 3", "write 8-8 1", "any 0-18446744073709551615", "write 9-8", "none"]),
];

/// The name of one of them, or of none.
pub(super) fn name(draw: &mut Draw) -> [u8; abi::DISK_NAME_BYTES] {
    let mut name = [0; abi::DISK_NAME_BYTES];
    if draw.one_in(50) {
        name.fill(b'f');
        return name;
    }
    let disk = &DISKS[draw.index(DISKS.len())];
    name[..disk.name().len()].copy_from_slice(disk.name().as_bytes());
    name
}

/// Makes them all, each of its own kind.
pub(super) fn make() -> Result<()> {
    (0..DISKS.len()).try_for_each(make_one)
}

/// Removes them all.
pub(super) fn remove() -> Result<()> {
    DISKS.iter().try_for_each(|disk| match disk.remove() {
        // The last that was done to it was that.
        Err(error) if error.errno() == Some(Errno::ENOENT) => Ok(()),
        removed => removed,
    })
}

/// Does something to one of them. Whether it succeeds depends on who uses it.
pub(super) fn stir(draw: &mut Draw) {
    let number = draw.index(DISKS.len());
    let disk = &DISKS[number];
    let done = match draw.below32(8) {
        0 => disk.remove().and_then(|()| make_one(number)),
        1 => disk.write("power", "0"),
        2..=4 => {
            // As it is to be for the most part of the time.
            let _ = disk.write("power_cut", "0");
            let _ = disk.write("errors", "none");
            disk.write("power", "1")
        }
        5 => disk.write("power_cut", draw.of(&["0", "1"])),
        _ => {
            let (attribute, values) = draw.of(VALUES);
            let written = disk.write(attribute, draw.of(values));
            drop(disk.read(attribute));
            written
        }
    };
    drop(done);
}

/// Makes one of them. Two have a log of all that is written to them.
fn make_one(number: usize) -> Result<()> {
    let disk = &DISKS[number];
    disk.make(&attributes(number))?;
    if matches!(number, 0 | 2) { disk.write("log", "1") } else { Ok(()) }
}

fn attributes(number: usize) -> Attributes {
    let usual = Attributes { size_mib: 16, ..Attributes::default() };
    match number {
        0 => usual,
        1 => Attributes { block_size: 4096, write_cache: false, ..usual },
        2 => Attributes { late_ms: 2, ..usual },
        _ => Attributes { size_mib: 1 << 20, nowait: false, stable_writes: true, ..usual },
    }
}
