// SPDX-License-Identifier: MIT OR Apache-2.0

//! What goes on in pinblk after the call that began it has returned.

use std::io;

use nix::errno::Errno;
use pinblk_abi as abi;

use super::Device;
use crate::guest::error::{Doing, Result};

/// An operation that goes on. Dropping it does not end it.
pub struct Pending {
    device: Device,
    number: u32,
}

/// How an operation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// What it failed with, if it did.
    pub error: Option<Errno>,
    /// How many bios it took.
    pub bios: u32,
    /// How many bytes were transferred.
    pub bytes: u64,
}

impl Pending {
    pub(super) fn new(device: Device, number: u32) -> Self {
        Self { device, number }
    }

    /// Waits for its end.
    pub fn wait(self) -> Result<Ended> {
        self.ask(0).doing("wait for what pinblk was told to do")
    }

    /// How it ended; none if it still goes on. That it ended is told once.
    pub fn try_wait(&self) -> Result<Option<Ended>> {
        match self.ask(abi::WAIT_NOT) {
            Err(error) if error.raw_os_error() == Some(Errno::EAGAIN as i32) => Ok(None),
            ended => ended.map(Some).doing("look at what pinblk was told to do"),
        }
    }

    fn ask(&self, flags: u32) -> io::Result<Ended> {
        let mut wait = abi::Wait { pending: self.number, flags, ..abi::Wait::default() };
        self.device.call(abi::WAIT, &mut wait)?;
        let error = (wait.error != 0).then(|| Errno::from_raw(wait.error.cast_signed()));
        Ok(Ended { error, bios: wait.bios, bytes: wait.bytes })
    }
}
