// SPDX-License-Identifier: GPL-2.0

//! The ioctls of the log of a disk.

use super::{
    Argument,
    Control, //
};
use crate::abi;
use kernel::{
    prelude::*,
    uaccess::{
        UserPtr,
        UserSlice, //
    }, //
};

impl Control {
    pub(super) fn log_state(&self, argument: &Argument) -> Result {
        let asked: abi::LogState = argument.read()?;
        if asked.reserved != 0 {
            return Err(EINVAL);
        }
        let (entries, flags) = self.disk(&asked.disk)?.media.log.state();
        argument.write(&abi::LogState {
            entries,
            flags,
            ..asked
        })
    }

    pub(super) fn log_entry(&self, argument: &Argument) -> Result {
        let asked: abi::LogEntry = argument.read()?;
        let (head, data) = self.disk(&asked.disk)?.media.log.entry(asked.index)?;
        if let Some(data) = data {
            let at = UserPtr::from_addr(asked.address as usize);
            UserSlice::new(at, data.len())
                .writer()
                .write_slice(&data[..])?;
        }
        argument.write(&abi::LogEntry {
            first_sector: head.sectors.start,
            end_sector: head.sectors.end,
            bio: head.bio,
            kind: head.kind,
            flags: head.flags,
            ..asked
        })
    }
}
