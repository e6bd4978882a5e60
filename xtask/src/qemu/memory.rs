// SPDX-License-Identifier: MIT OR Apache-2.0

//! The file that holds the memory of a saved guest. It is as long as the memory and has holes where the
//! memory is zero. Guests that start from it share what they do not write to.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, fallocate};
use nix::unistd::{Whence, lseek};

/// What holes are made of: the guest's pages.
const PAGE: usize = 4096;

/// Copies a file of memory, with its holes; where the filesystem can, the copy shares the blocks.
pub(super) fn copy(from: &Path, to: &Path) -> Result<()> {
    let copied = || -> io::Result<()> {
        let (mut source, mut target) = (File::open(from)?, File::create_new(to)?);
        target.set_len(source.metadata()?.len())?;
        let mut end = 0;
        while let Some(data) = next_data(&source, end)? {
            end = data.end;
            source.seek(SeekFrom::Start(data.start))?;
            target.seek(SeekFrom::Start(data.start))?;
            io::copy(&mut (&source).take(data.end - data.start), &mut target)?;
        }
        Ok(())
    };
    copied().with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))
}

/// Gives back the blocks of pages that hold nothing but zeros, and waits until the rest is on the disk:
/// what is kept must not be lost by a crash of the host and then be taken for the memory of a guest.
pub(super) fn settle(path: &Path) -> Result<()> {
    let settled = || -> io::Result<()> {
        let file = File::options().read(true).write(true).open(path)?;
        let mut end = 0;
        while let Some(data) = next_data(&file, end)? {
            end = data.end;
            dig(&file, data.start, data.end)?;
        }
        file.sync_all()
    };
    settled().with_context(|| format!("cannot write {}; is the disk full?", path.display()))
}

/// Makes holes of the pages between two offsets that hold nothing but zeros.
fn dig(file: &File, start: u64, end: u64) -> io::Result<()> {
    let mut page = [0; PAGE];
    // The first of the zero pages before `offset`.
    let mut zeros: Option<u64> = None;
    let mut offset = start;
    while offset < end {
        file.read_exact_at(&mut page, offset)?;
        if page == [0; PAGE] {
            zeros.get_or_insert(offset);
        } else if let Some(first) = zeros.take() {
            punch(file, first, offset)?;
        }
        offset += PAGE as u64;
    }
    zeros.map_or(Ok(()), |first| punch(file, first, end))
}

fn punch(file: &File, start: u64, end: u64) -> io::Result<()> {
    let flags = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
    match fallocate(file, flags, start.cast_signed(), (end - start).cast_signed()) {
        // A filesystem that has no holes keeps the zeros.
        Ok(()) | Err(Errno::EOPNOTSUPP) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// The first range at or behind `offset` that is no hole.
fn next_data(file: &File, offset: u64) -> io::Result<Option<std::ops::Range<u64>>> {
    let start = match lseek(file, offset.cast_signed(), Whence::SeekData) {
        Ok(start) => start,
        Err(Errno::ENXIO) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let end = lseek(file, start, Whence::SeekHole)?;
    Ok(Some(start.cast_unsigned()..end.cast_unsigned()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn a_copy_has_the_same_bytes_and_the_same_holes() {
        const MIB: u64 = 1 << 20;
        let folder = tempfile::tempdir().unwrap();
        let [memory, copied] = ["memory", "copied"].map(|name| folder.path().join(name));
        let file = File::create_new(&memory).unwrap();
        file.set_len(64 * MIB).unwrap();
        file.write_all_at(&vec![0; 8 << 20], 8 * MIB).unwrap();
        file.write_all_at(b"first", 9 * MIB).unwrap();
        file.write_all_at(b"last", 64 * MIB - 4).unwrap();
        settle(&memory).unwrap();
        copy(&memory, &copied).unwrap();
        for path in [&memory, &copied] {
            let data = path.metadata().unwrap();
            assert_eq!(data.len(), 64 * MIB);
            assert!(data.blocks() * 512 < MIB, "{} takes {} blocks", path.display(), data.blocks());
        }
        assert_eq!(std::fs::read(&memory).unwrap(), std::fs::read(&copied).unwrap());
        let mut last = [0; 4];
        File::open(&copied).unwrap().read_exact_at(&mut last, 64 * MIB - 4).unwrap();
        assert_eq!(&last, b"last");
    }
}
