// SPDX-License-Identifier: MIT OR Apache-2.0

//! What a filesystem knows of its files is made durable, and nobody has asked for the data in them.

use std::fs::File;
use std::os::fd::AsRawFd;

use super::error::{Doing, Result};

mod request {
    nix::ioctl_none!(sync, 0x94, 8);
    nix::ioctl_none!(write_checkpoint, 0xf5, 7);
}

/// On btrfs: begins to clean what is dirty, waits for all that is being written, and commits the transaction.
pub fn transaction(file: &File) -> Result<()> {
    // SAFETY: the request has no argument.
    unsafe { request::sync(file.as_raw_fd()) }.map(drop).doing("commit the transaction by BTRFS_IOC_SYNC")
}

/// On F2FS: writes a checkpoint.
pub fn checkpoint(file: &File) -> Result<()> {
    // SAFETY: the request has no argument.
    unsafe { request::write_checkpoint(file.as_raw_fd()) }
        .map(drop)
        .doing("write a checkpoint by F2FS_IOC_WRITE_CHECKPOINT")
}
