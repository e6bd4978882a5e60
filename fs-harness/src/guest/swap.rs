// SPDX-License-Identifier: MIT OR Apache-2.0

//! A disk to which the kernel swaps.

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use nix::libc;

use super::disk::Disk;
use super::error::{Doing, Error, Result};
use super::memory::PAGE;

/// Where the header says which version it is of, and which page is the last: `union swap_header`.
const VERSION_AT: usize = 1024;
const LAST_PAGE_AT: usize = 1028;
const MAGIC: &[u8] = b"SWAPSPACE2";

/// Swap on a disk, until it is dropped.
pub struct Swap {
    node: CString,
}

impl Swap {
    /// Has the kernel swap to the disk, all of which is overwritten.
    pub fn on(disk: &Disk, size_mib: u32) -> Result<Self> {
        let doing = format!("make swap space of {}", disk.path());
        let file = File::options().write(true).open(disk.path()).doing(&doing)?;
        file.write_all_at(&header(size_mib), 0).and_then(|()| file.sync_all()).doing(&doing)?;
        let node = CString::new(disk.path()).map_err(|_| Error::Unexpected("a NUL in a name".to_owned()))?;
        // SAFETY: the name ends with a NUL and is only read.
        call(unsafe { libc::swapon(node.as_ptr(), 0) }).doing(format!("swap to {}", disk.path()))?;
        Ok(Self { node })
    }

    /// Has the kernel swap there no more: what it has swapped out is read back.
    pub fn off(self) -> Result<()> {
        let ended = self.end().doing("end the swapping");
        std::mem::forget(self);
        ended
    }

    fn end(&self) -> io::Result<()> {
        // SAFETY: the name ends with a NUL and is only read.
        call(unsafe { libc::swapoff(self.node.as_ptr()) })
    }
}

impl Drop for Swap {
    fn drop(&mut self) {
        // Only a scenario that stops early comes here, and what stopped it is told.
        let _ = self.end();
    }
}

fn header(size_mib: u32) -> Vec<u8> {
    let mut page = vec![0; PAGE];
    let last_page = (size_mib << 8) - 1;
    page[VERSION_AT..VERSION_AT + 4].copy_from_slice(&1_u32.to_ne_bytes());
    page[LAST_PAGE_AT..LAST_PAGE_AT + 4].copy_from_slice(&last_page.to_ne_bytes());
    page[PAGE - MAGIC.len()..].copy_from_slice(MAGIC);
    page
}

fn call(returned: libc::c_int) -> io::Result<()> {
    if returned < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
