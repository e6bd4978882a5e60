// SPDX-License-Identifier: MIT OR Apache-2.0

//! The states of power cuts by a second method: dm-log-writes, which is the kernel's own and knows nothing of pinblk,
//! logs the same disk, and is replayed by its own rules.

use std::collections::BTreeMap;

use fs_harness::cell::{Acquisition, Policy, Setup};
use fs_harness::crash::agreement::{self, Moment};
use fs_harness::crash::history::History;
use fs_harness::guest::crash::Both;
use fs_harness::guest::{Bed, Result};

use super::verdict::Fault;
use super::{faults_of, look, workload};
use crate::catalogue::{LARGE_BLOCK, Scenario, Violated, Why};
use crate::pinned_writeback::not_either;

const SETUPS: &[Setup] = &[Setup::Ext4, Setup::Xfs];

const SAME: &str = "both logs have the same writes, and at each moment the same of them on the media, but for what had not ended when the flush was sent";

pub(super) const SCENARIO: Scenario = Scenario {
    name: "crash_states_by_dm_log_writes",
    about: "While files are written, held and synced, the driver and dm-log-writes each log the disk; at each moment at which a flush, a write through the cache or a call ends, both say the same of what a power cut would leave.",
    source: "Documentation/admin-guide/device-mapper/log-writes.rst; drivers/md/dm-log-writes.c",
    setups: SETUPS,
    acquisitions: &[Acquisition::Pin],
    policies: &[Policy::Observe, Policy::Drop],
    not: not_either!((
        &[Setup::Btrfs, Setup::F2fs],
        "what is compared is the driver's log with another, and two filesystems write all that it can hold"
    )),
    known: &[Violated {
        on: SETUPS,
        under: &[Policy::Drop],
        check: SAME,
        why: Why::Control("the disk says of what it has dropped that it was written"),
    }],
    run,
    ..Scenario::PLAIN
};

/// Makes what is written: the same as in `crash_states`.
const SEED: u64 = 1;

/// How many moments are made on disks and mounted, by each log.
const VISITED: usize = 10;

fn run(bed: &mut Bed) -> Result<()> {
    let second = bed.log_writes()?;
    let (recorded, history) = workload::run(bed, SEED, 1, Some(second.clone()))?;
    bed.unmount()?;
    let logged = second.end()?;
    let both = Both::begin(&recorded, &logged)?;
    let moments = both.moments();
    bed.check_that(SAME, moments.is_ok(), || moments.as_ref().err().cloned().unwrap_or_default())?;
    // What does not agree cannot be compared any further.
    let Ok(moments) = moments else { return Ok(()) };
    tell(bed, &moments)?;
    visit(bed, both, &history, &moments)
}

fn visit(bed: &mut Bed, mut both: Both<'_>, history: &History, moments: &[Moment]) -> Result<()> {
    let visited = agreement::spread(moments, VISITED);
    bed.check_that(&format!("{VISITED} moments are visited"), visited.len() == VISITED, || {
        format!("there are only {}", visited.len())
    })?;
    let (mut different, mut judged_otherwise, mut wrong) = (None, None, None);
    for (number, moment) in visited.iter().enumerate() {
        let at = format!("at position {}", moment.position);
        bed.doing(&format!("moment {} of {}: {at}", number + 1, visited.len()))?;
        let pair = both.visit(moment, |folder| look(folder, history, moment.position, &[]))?;
        if moment.late.is_empty() && different.is_none() {
            different = pair.difference.map(|difference| format!("{at} {difference}"));
        }
        let [first, second] = [pair.first, pair.second].map(|visited| told(&faults_of(visited)));
        if first != second && judged_otherwise.is_none() {
            judged_otherwise = Some(format!("{at} by the driver's log: {first}; by the other: {second}"));
        }
        if !first.is_empty() && wrong.is_none() {
            wrong = Some(format!("{at} {first}"));
        }
    }
    let [by_driver, by_dm] = both.end()?;
    let checks = [
        ("the disks that both logs make of a moment hold the same, byte by byte", different),
        ("the filesystem on either disk is judged alike", judged_otherwise),
        ("it is whole, and what was promised is there", wrong),
        ("the driver's log leads to the media that the disk has in the end", by_driver),
        ("that of dm-log-writes leads there, too", by_dm),
    ];
    checks
        .into_iter()
        .try_for_each(|(text, found)| bed.check_that(text, found.is_none(), || found.unwrap_or_default()))
}

fn told(faults: &[Fault]) -> String {
    faults.iter().map(|fault| fault.text.as_str()).collect::<Vec<_>>().join("; ")
}

/// Says how many moments were compared.
fn tell(bed: &Bed, moments: &[Moment]) -> Result<()> {
    let late = moments.iter().filter(|moment| !moment.late.is_empty()).count();
    bed.doing(&format!(
        "{} moments are the same in both logs, {late} of them but for what was late",
        moments.len()
    ))?;
    let count = |moments: usize| moments as u64;
    let counts = BTreeMap::from([
        ("compared".to_owned(), count(moments.len())),
        ("of these with something late".to_owned(), count(late)),
        ("visited".to_owned(), count(VISITED)),
    ]);
    bed.answers(BTreeMap::from([("moments".to_owned(), counts)]))
}
