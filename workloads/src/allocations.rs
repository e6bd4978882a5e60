// SPDX-License-Identifier: MIT OR Apache-2.0

//! Each allocation of memory that pinblk or the kernel makes for it fails once.

mod calls;
mod faults;
mod workers;

use std::fs;

use fs_harness::cell::Setup;
use fs_harness::guest::counters::Counters;
use fs_harness::guest::error::{Doing, Error};
use fs_harness::guest::kmsg::Tail;
use fs_harness::guest::{Bed, Result, kmemleak};
use nix::errno::Errno;

use self::faults::{Faults, Kind, Tried};
use crate::catalogue::{NO_FILE, Scenario};

pub(crate) const FAILING: Scenario = Scenario {
    name: "failing_allocations",
    about: "Of every call to pinblk each allocation fails once: the call says so or does without, nothing is lost, and the next call works.",
    source: "Documentation/fault-injection/fault-injection.rst: fail-nth",
    setups: &[Setup::None],
    not: NO_FILE,
    run,
    ..Scenario::PLAIN
};

/// More allocations than any call makes: one that never gets through would have its faults injected for ever.
const MOST: u32 = 3000;

/// What a call may answer whose memory is short.
const SHORT: &[Errno] = &[Errno::ENOMEM];

/// What became of a call whose allocations failed one after the other.
#[derive(Default)]
struct Walk {
    /// How many objects failed.
    objects: u32,
    /// How many pages did.
    pages: u32,
    /// How many of these failures the caller was told of.
    told: u32,
    /// What should not have happened.
    complaint: Option<String>,
}

fn run(bed: &mut Bed) -> Result<()> {
    kmemleak::forget()?;
    let faults = Faults::open()?;
    calls::run(bed, &faults)?;
    workers::run(bed)?;
    bed.doing("failing each allocation of loading pinblk")?;
    let mut log = Tail::start()?;
    let (loading, found) = bed.while_unloaded(|| {
        let loading = faults.each(calls::load, calls::unload)?;
        kmemleak::found().map(|found| (loading, found))
    })?;
    expect_complaints(bed, &mut log)?;
    tell(bed, "loading pinblk", &loading)?;
    bed.check_that("no memory is lost once pinblk is unloaded", found.is_empty(), || found)
}

/// Has each allocation of a call fail, and checks that nothing is left of it.
fn walk<T>(
    bed: &mut Bed,
    faults: &Faults,
    what: &str,
    call: impl FnMut() -> Result<T>,
    undo: impl FnMut(T) -> Result<()>,
) -> Result<()> {
    bed.doing(&format!("failing each allocation of {what}"))?;
    let (base, users) = (Counters::read(bed.device(), None)?, users()?);
    let mut log = Tail::start()?;
    let mut walk = faults.each(call, undo)?;
    expect_complaints(bed, &mut log)?;
    let (pins, references) = Counters::left(bed.device(), base, 0)?;
    let (_, disagreement) = Counters::settled(bed.device(), None, base, 0)?;
    if pins != 0 || references != 0 {
        walk.complaint.get_or_insert(format!("{pins} pins and {references} references are left"));
    }
    let left = self::users()? - users;
    if left != 0 {
        walk.complaint.get_or_insert(format!("{left} uses of the module are left"));
    }
    walk.complaint = walk.complaint.or(disagreement.map(|disagreement| disagreement.to_string()));
    tell(bed, what, &walk)
}

/// How many use the module, by the kernel's count.
fn users() -> Result<i64> {
    let path = "/sys/module/pinblk/refcnt";
    let text = fs::read_to_string(path).doing(format!("read {path}"))?;
    text.trim().parse().map_err(|_| Error::Unexpected(format!("{path} holds no number but {text:?}")))
}

/// What the kernel says of its own allocations that failed is no fault of anybody.
fn expect_complaints(bed: &mut Bed, log: &mut Tail) -> Result<()> {
    const SHORTAGES: [&str; 5] = [
        "kobject_add_internal failed",
        "kobject: can not set name properly!",
        "debugfs: out of free dentries",
        "kunit module: error filtering suites: -12",
        "workqueue: Failed to",
    ];
    for record in log.records()? {
        if let Some(shortage) = SHORTAGES.into_iter().find(|words| record.text.contains(words)) {
            bed.expect_log(shortage)?;
        }
    }
    Ok(())
}

fn tell(bed: &mut Bed, what: &str, walk: &Walk) -> Result<()> {
    let Walk { objects, pages, told, complaint } = walk;
    let text = format!("{what}: {objects} objects and {pages} pages failed, {told} were told of");
    bed.check_that(&text, complaint.is_none(), || complaint.clone().unwrap_or_default())
}

impl Faults {
    /// Makes the call until it gets through without a failure, each time with the next allocation failing.
    fn each<T>(
        &self,
        mut call: impl FnMut() -> Result<T>,
        mut undo: impl FnMut(T) -> Result<()>,
    ) -> Result<Walk> {
        let mut walk = Walk::default();
        for kind in Kind::ALL {
            kind.choose()?;
            let mut nth = 1;
            while self.nth(&mut walk, kind, nth, &mut call, &mut undo)? {
                nth += 1;
                if nth == MOST {
                    walk.complaint = Some(format!("after {MOST} failures it has not got through"));
                    break;
                }
            }
        }
        Ok(walk)
    }

    /// Has the N-th allocation fail. False if there are not so many.
    fn nth<T>(
        &self,
        walk: &mut Walk,
        kind: Kind,
        nth: u32,
        mut call: impl FnMut() -> Result<T>,
        mut undo: impl FnMut(T) -> Result<()>,
    ) -> Result<bool> {
        let mut any = false;
        for _ in 0..kind.tries() {
            let Tried { answer, injected } = self.fail(nth, &mut call)?;
            any |= injected;
            match kind {
                Kind::Objects => walk.objects += u32::from(injected),
                Kind::Pages => walk.pages += u32::from(injected),
            }
            match answer.and_then(&mut undo) {
                Ok(()) => {}
                Err(error) if injected && error.errno().is_some_and(|errno| SHORT.contains(&errno)) => {
                    walk.told += 1;
                }
                Err(error) => {
                    let failed = if injected { "failed" } else { "did not fail" };
                    walk.complaint.get_or_insert(format!("{kind:?}, allocation {nth} {failed}: {error}"));
                }
            }
        }
        Ok(any)
    }
}
