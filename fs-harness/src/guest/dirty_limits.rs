// SPDX-License-Identifier: MIT OR Apache-2.0

//! How much of memory may be dirty before the kernel writes it back, and before writers have to wait.

use std::fs;

use super::error::{Doing, Result};
use super::memory::PAGE;

/// The limits in bytes, each with the one in percent that holds while that in bytes is zero.
const LIMITS: [(&str, &str); 2] = [
    ("/proc/sys/vm/dirty_background_bytes", "/proc/sys/vm/dirty_background_ratio"),
    ("/proc/sys/vm/dirty_bytes", "/proc/sys/vm/dirty_ratio"),
];

/// Limits of the scenario's own, while this exists.
pub struct DirtyLimits {
    percents: Vec<String>,
}

impl DirtyLimits {
    /// More dirty pages than `background` are written back; who writes waits where there are more than `most`.
    pub fn set(background: usize, most: usize) -> Result<Self> {
        let percents =
            LIMITS.iter().map(|(_, ratio)| fs::read_to_string(ratio).doing(format!("read {ratio}")));
        let limits = Self { percents: percents.collect::<Result<_>>()? };
        for ((bytes, _), pages) in LIMITS.iter().zip([background, most]) {
            write(bytes, &(pages * PAGE).to_string())?;
        }
        Ok(limits)
    }
}

impl Drop for DirtyLimits {
    fn drop(&mut self) {
        for ((_, ratio), percent) in LIMITS.iter().zip(&self.percents) {
            let restored = write(ratio, percent);
            debug_assert!(restored.is_ok(), "a value that was read can be written");
        }
    }
}

fn write(path: &str, value: &str) -> Result<()> {
    fs::write(path, value).doing(format!("write {value} to {path}"))
}
