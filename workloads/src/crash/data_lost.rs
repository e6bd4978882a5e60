// SPDX-License-Identifier: MIT OR Apache-2.0

//! The power cut during an fsync that loses the data, and nothing else.

use std::fs;

use fs_harness::cell::{Policy, Setup};
use fs_harness::crash::log::What;
use fs_harness::crash::{Log, State};
use fs_harness::guest::error::{Doing, Error};
use fs_harness::guest::{Bed, Result};
use fs_harness::pattern::Pattern;

use super::verdict::Kind;
use super::{faults_of, look, workload};
use crate::catalogue::{LARGE_BLOCK, Scenario, Violated, Why};
use crate::pinned_writeback::{NOT, SETUPS, not_either};

const NOBODY_ELSE: &str = "no previous tenant's data shows";

const KNOWN: &[Violated] = &[Violated {
    on: &[Setup::F2fs],
    under: &[Policy::Observe],
    check: NOBODY_ELSE,
    why: Why::Finding("f2fs-fsync-shows-old-blocks"),
}];

pub(super) const SCENARIO: Scenario = Scenario {
    name: "fsync_cut_before_data",
    about: "A new file is written and fsynced; the power fails before the disk was flushed, and of all that was sent until then the data is lost alone.",
    source: "Documentation/block/writeback_cache_control.rst; fs/f2fs/file.c:345: f2fs_do_sync_file()",
    setups: SETUPS,
    not: NOT,
    known: KNOWN,
    run,
    ..Scenario::PLAIN
};

pub(super) const STRICT: Scenario = Scenario {
    name: "fsync_cut_before_data_strict",
    about: "A new file is fsynced with fsync_mode=strict, by which F2FS is to keep the data before the node that says where it is; the power fails, and of all that was sent until then the data is lost alone.",
    source: "Documentation/filesystems/f2fs.rst: fsync_mode; fs/f2fs/file.c:345: f2fs_do_sync_file()",
    setups: &[Setup::F2fs],
    not: not_either!((&[Setup::Ext4, Setup::Xfs, Setup::Btrfs], "the mount option is of F2FS")),
    known: KNOWN,
    run: strict,
    ..Scenario::PLAIN
};

fn strict(bed: &mut Bed) -> Result<()> {
    const OPTION: &str = "fsync_mode=strict";
    bed.remount(OPTION)?;
    let mounts = fs::read_to_string("/proc/mounts").doing("read the mounts")?;
    bed.require("the filesystem goes by fsync_mode=strict", mounts.contains(OPTION))?;
    run(bed)
}

fn run(bed: &mut Bed) -> Result<()> {
    let (recorded, history, content) = workload::fsync_new_file(bed)?;
    bed.unmount()?;
    let state = all_but(&recorded.log, content)?;
    let mut replay = recorded.replay()?;
    let faults = faults_of(replay.visit(&state, |folder| look(folder, &history, state.position, &[]))?);
    let tenant = faults.iter().find(|fault| fault.kind == Kind::Tenant);
    bed.check_that(NOBODY_ELSE, tenant.is_none(), || tenant.map_or_else(String::new, |it| it.text.clone()))?;
    let other = faults.iter().find(|fault| fault.kind != Kind::Tenant);
    bed.check_that("the filesystem is whole, and what was there before is", other.is_none(), || {
        other.map_or_else(String::new, |fault| fault.text.clone())
    })?;
    // A log that lacked something would make a state that never could be.
    replay.end()?.map_or(Ok(()), |difference| Err(Error::Unexpected(difference)))
}

/// The state just before the flush behind the data, in which everything was kept but the data.
fn all_but(log: &Log, content: Pattern) -> Result<State> {
    let is_data = |index: &usize| matches!(&log.entries()[*index].what, What::Write(bytes) if content.difference(0, bytes).is_none());
    let none = || Error::Unexpected("the data is not in the log".to_owned());
    let epoch = log.epochs().find(|epoch| epoch.clone().any(|index| is_data(&index))).ok_or_else(none)?;
    let is_kept = |index: &usize| log.entries()[*index].is_volatile() && !is_data(index);
    Ok(State { position: epoch.end, kept: epoch.filter(is_kept).collect(), of: log.end() })
}
