// SPDX-License-Identifier: GPL-2.0

//! User pages as userspace asks for them, and counted.

use crate::{
    abi::{
        self,
        MODE_GET,
        MODE_LONGTERM,
        MODE_PIN,
        PATH_FAST,
        PATH_REMOTE,
        PATH_SLOW, //
    },
    counters::HoldCounters,
    sys::{
        acquire::{
            Acquisition,
            Path,
            UserPages,
            Wanted, //
        },
        process::Process, //
    }, //
};
use core::ops::Deref;
use kernel::{
    prelude::*,
    sync::Arc, //
};

/// How pages are acquired.
#[derive(Clone, Copy)]
pub(crate) enum Mode {
    /// By reference.
    Get,
    /// By pin.
    Pin,
    /// By pin for long.
    LongTerm,
}

/// What userspace says of it.
pub(crate) struct How {
    pub(crate) mode: Mode,
    pub(crate) path: Path,
}

impl How {
    /// Fails with `EINVAL` for what is not defined, and as [`Process::find`] does.
    pub(crate) fn parse(how: &abi::Acquire) -> Result<Self> {
        let mode = match how.mode {
            MODE_GET => Mode::Get,
            MODE_PIN => Mode::Pin,
            MODE_LONGTERM => Mode::LongTerm,
            _ => return Err(EINVAL),
        };
        let path = match (how.path, how.pid) {
            (PATH_FAST, 0) => Path::Fast,
            (PATH_SLOW, 0) => Path::Slow,
            (PATH_REMOTE, pid) => Path::Remote(Process::find(pid)?),
            _ => return Err(EINVAL),
        };
        Ok(Self { mode, path })
    }
}

/// User pages whose acquisition and release are counted.
pub(crate) struct CountedPages<A: Acquisition> {
    // Dropped before the entry is: what counts as released is released.
    pages: UserPages<A>,
    entry: Entry,
}

/// What the counters know of it.
struct Entry {
    counters: Arc<HoldCounters>,
    mode: u32,
    path: u32,
    pages: u64,
}

impl<A: Acquisition> CountedPages<A> {
    /// Acquires pages, as [`UserPages::acquire`] does.
    pub(crate) fn acquire(
        counters: &Arc<HoldCounters>,
        path: &Path,
        wanted: &Wanted,
    ) -> Result<Self> {
        let pages = UserPages::<A>::acquire(path, wanted)?;
        let entry = Entry {
            counters: counters.clone(),
            mode: A::MODE,
            path: path_number(path),
            pages: pages.counted(),
        };
        counters.add_acquired(entry.mode, entry.path, entry.pages);
        Ok(Self { pages, entry })
    }

    /// Releases them as written to by the device.
    pub(crate) fn release_dirty(self) {
        let Self { pages, entry } = self;
        pages.release_dirty();
        drop(entry);
    }
}

impl<A: Acquisition> Deref for CountedPages<A> {
    type Target = UserPages<A>;

    fn deref(&self) -> &UserPages<A> {
        &self.pages
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.counters.add_released(self.mode, self.path, self.pages);
    }
}

fn path_number(path: &Path) -> u32 {
    match path {
        Path::Fast => PATH_FAST,
        Path::Slow => PATH_SLOW,
        Path::Remote(_) => PATH_REMOTE,
    }
}
