// SPDX-License-Identifier: MIT OR Apache-2.0

//! What the kernel keeps of pages, where a scenario needs that it keeps nothing.

use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::libc;
use nix::sys::mman::MmapAdvise;

use super::error::{Doing, Error, Result};
use super::memory::Memory;

/// The number of cachestat(2), which the crate does not have for this processor.
const SYS_CACHESTAT: libc::c_long = 451;

/// How long others may hold a page of a file that they have just written back.
const PATIENCE: Duration = Duration::from_secs(10);

/// Drops all clean page cache that is not mapped, and sees that none is left of the beginning of a file: a
/// worker that has just ended a page's writeback may still hold it, and then it is not dropped.
pub(super) fn drop_caches(path: &Path, bytes: u64) -> Result<()> {
    let file = File::open(path).doing(format!("open {}", path.display()))?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        fs::write("/proc/sys/vm/drop_caches", "1").doing("drop caches")?;
        let left = cached_pages(&file, bytes)?;
        if left == 0 {
            return Ok(());
        }
        if Instant::now() > deadline {
            let path = path.display();
            return Err(Error::Unexpected(format!(
                "{left} pages of {path} cannot be dropped from the page cache"
            )));
        }
        thread::yield_now();
    }
}

/// How many pages of the beginning of a file are in the page cache, by cachestat(2).
fn cached_pages(file: &File, bytes: u64) -> Result<u64> {
    // struct cachestat_range, and struct cachestat, of which the first number is what is cached.
    let range = [0, bytes];
    let mut found = [0_u64; 5];
    // SAFETY: the call reads two numbers and writes five, which are there.
    let returned =
        unsafe { libc::syscall(SYS_CACHESTAT, file.as_raw_fd(), range.as_ptr(), found.as_mut_ptr(), 0) };
    Errno::result(returned).doing("ask what of a file is cached")?;
    Ok(found[0])
}

/// Moves pages from this processor's batches to the LRU lists: a page in a batch has one more reference.
pub(super) fn drain_lru() -> Result<()> {
    // madvise_cold() drains before it looks at the range.
    Memory::anonymous(1)?.advise(MmapAdvise::MADV_COLD)
}
