// SPDX-License-Identifier: MIT OR Apache-2.0

//! The kernel's injection of faults, set up for allocations of every kind.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;

use fs_harness::guest::Result;
use fs_harness::guest::error::{Doing, Error};

const DEBUG: &str = "/sys/kernel/debug";

/// By itself the kernel fails none that may wait for memory, none for userspace, and no single page.
const SETTINGS: &[(&str, &str)] = &[
    ("failslab/ignore-gfp-wait", "N"),
    ("failslab/verbose", "0"),
    ("fail_page_alloc/ignore-gfp-wait", "N"),
    ("fail_page_alloc/ignore-gfp-highmem", "N"),
    ("fail_page_alloc/verbose", "0"),
];

/// What is allocated. The two fail in walks of their own: objects take pages now and then, and a page
/// more or less would move an object out of the sight of a walk that counts both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Objects of the slab allocator: a call makes as many each time.
    Objects,
    /// Pages, also those that become objects.
    Pages,
}

impl Kind {
    pub(super) const ALL: [Self; 2] = [Self::Objects, Self::Pages];

    /// Has allocations of this kind fail and no others.
    pub(super) fn choose(self) -> Result<()> {
        // No cache is marked as one to be considered, and no allocation is of so many pages.
        let (filter, order) = match self {
            Self::Objects => ("N", "99"),
            Self::Pages => ("Y", "0"),
        };
        write("failslab/cache-filter", filter)?;
        write("fail_page_alloc/min-order", order)
    }

    /// How often each number fails: where the numbers may shift, one try could miss an allocation.
    pub(super) fn tries(self) -> u32 {
        match self {
            Self::Objects => 1,
            Self::Pages => 2,
        }
    }
}

/// A call with an allocation that was to fail.
pub(super) struct Tried<T> {
    pub(super) answer: Result<T>,
    /// There were as many allocations, so that one failed.
    pub(super) injected: bool,
}

/// The means to it.
pub(super) struct Faults {
    /// Fails the N-th allocation of this thread from now on.
    nth: File,
}

impl Faults {
    /// Sets the kernel up.
    pub(super) fn open() -> Result<Self> {
        for (setting, value) in SETTINGS {
            write(setting, value)?;
        }
        let path = "/proc/thread-self/fail-nth";
        let nth = File::options().read(true).write(true).open(path).doing(format!("open {path}"))?;
        Ok(Self { nth })
    }

    /// Makes a call whose `nth` allocation fails, if it has so many.
    pub(super) fn fail<T>(&self, nth: u32, call: impl FnOnce() -> Result<T>) -> Result<Tried<T>> {
        let text = nth.to_string();
        self.nth.write_all_at(text.as_bytes(), 0).doing("ask for a failure")?;
        let answer = call();
        // No allocation of this thread comes before the kernel has copied what is left.
        let mut left = [0; 12];
        let length = self.nth.read_at(&mut left, 0).doing("ask whether something failed")?;
        self.nth.write_all_at(b"0", 0).doing("ask for no more failures")?;
        let left = String::from_utf8_lossy(&left[..length]).trim().parse::<u32>();
        let left = left.map_err(|_| Error::Unexpected("fail-nth does not hold a number".to_owned()))?;
        Ok(Tried { answer, injected: left == 0 })
    }
}

/// Writes a setting of the injection.
pub(super) fn write(setting: &str, value: &str) -> Result<()> {
    let path = format!("{DEBUG}/{setting}");
    fs::write(&path, value).doing(format!("write {value} to {path}"))
}

/// Reads a number of the injection.
pub(super) fn read(setting: &str) -> Result<i64> {
    let path = format!("{DEBUG}/{setting}");
    let text = fs::read_to_string(&path).doing(format!("read {path}"))?;
    text.trim().parse().map_err(|_| Error::Unexpected(format!("{path} holds no number but {text:?}")))
}
