// SPDX-License-Identifier: MIT OR Apache-2.0

//! The states in which a power cut could leave a filesystem whose files are written, held, cleaned and
//! synced: in each of them the filesystem is whole, and what was promised is there.

mod data_lost;
mod second_log;
mod verdict;
mod workload;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::FileExt;
use std::path::Path;

use fs_harness::cell::{Acquisition, Policy, Setup};
use fs_harness::crash::history::Found;
use fs_harness::crash::{History, State, choose, shrink};
use fs_harness::guest::crash::{Recorded, Replay, Visited};
use fs_harness::guest::device::{Bios, Stage};
use fs_harness::guest::error::{Doing, Error};
use fs_harness::guest::in_flight::InFlight;
use fs_harness::guest::memory::PAGE;
use fs_harness::guest::{Bed, Result};
use fs_harness::pattern::Pattern;

use self::verdict::{Fault, Faults, Kind};
use crate::catalogue::{Scenario, Violated, Why};
use crate::pinned_writeback::{NOT, SETUPS};

const PROMISED: &str = "what the write promised is there after a power cut";

pub(crate) const SCENARIOS: &[Scenario] = &[
    STATES,
    second_log::SCENARIO,
    data_lost::SCENARIO,
    data_lost::STRICT,
    Scenario {
        name: "direct_dsync_by_io_uring",
        about: "A direct write with RWF_DSYNC by io_uring promises what it wrote when it completes.",
        source: "fs/iomap/direct-io.c:850: IOMAP_DIO_WRITE_THROUGH; fs/btrfs/file.c:1436: btrfs_do_write_iter()",
        setups: SETUPS,
        not: NOT,
        known: &[Violated {
            on: &[Setup::Btrfs],
            under: &[Policy::Observe],
            check: PROMISED,
            why: Why::Finding("btrfs-async-dsync-is-not-durable"),
        }],
        run: direct_dsync_by_io_uring,
        ..Scenario::PLAIN
    },
];

/// Numbers may stand behind its name: a seed, how often everything is done to the files, how many states are
/// visited, and the only one that is.
pub(crate) const STATES: Scenario = Scenario {
    name: "crash_states",
    row: Some(52),
    about: "Files are written, held by a device, cleaned and synced; in whatever state a power cut could leave the disk then, the filesystem is whole, what was promised is there, and nobody else's data shows.",
    source: "Documentation/block/writeback_cache_control.rst; fsync(2)",
    setups: SETUPS,
    acquisitions: &[Acquisition::Pin],
    policies: Policy::ALL,
    not: NOT,
    known: KNOWN,
    run,
};

/// btrfs has checksums, by which it tells what was never written. What F2FS shows of a previous tenant under `drop`
/// here, it shows without as well.
const KNOWN: &[Violated] =
    &[dropped(SETUPS, Kind::Broken), dropped(&[Setup::Ext4, Setup::Xfs], Kind::Tenant)];

const fn dropped(on: &'static [Setup], kind: Kind) -> Violated {
    let why = Why::Control("the policy drop loses data");
    Violated { on, under: &[Policy::Drop], check: kind.check(), why }
}

/// How btrfs names the disk of a state in the kernel's log.
const VISITED: &str = "(device pinblk2)";

/// What is to be done, by the name that the scenario was called by.
struct Plan {
    seed: u64,
    states: usize,
    /// How often everything is done to the files.
    rounds: usize,
    /// How many states are tried to find a small one.
    tries: usize,
    /// Only this state.
    state: Option<State>,
}

impl Plan {
    fn of(called: &str, policy: Policy) -> Result<Self> {
        let numbers = called.strip_prefix(STATES.name).unwrap_or_default();
        if numbers.is_empty() {
            // What `drop` breaks has to be among them.
            let states = if policy == Policy::Drop { 40 } else { 20 };
            return Ok(Self { seed: 1, states, rounds: 1, tries: 8, state: None });
        }
        let wrong = || {
            Error::Unexpected(format!(
                "{called} does not name a seed, rounds, a number of states and maybe one"
            ))
        };
        let mut words = numbers.trim_start_matches('_').split('_');
        let mut number = || words.next().and_then(|word| word.parse::<u64>().ok()).ok_or_else(wrong);
        let (seed, rounds, states) = (number()?, number()?, number()?);
        let [rounds, states] = [rounds, states].map(|number| usize::try_from(number).unwrap_or(usize::MAX));
        let state = words.next().map(|word| word.parse().map_err(|_| wrong())).transpose()?;
        Ok(Self { seed, states, rounds, tries: 40, state })
    }
}

fn run(bed: &mut Bed) -> Result<()> {
    let plan = Plan::of(bed.called(), bed.policy())?;
    let (recorded, history) = workload::run(bed, plan.seed, plan.rounds, None)?;
    bed.unmount()?;
    let states = match &plan.state {
        Some(state) => vec![state.clone()],
        None => choose(&recorded.log, plan.seed, plan.states),
    };
    let faults = visit_all(bed, &recorded, &history, &states, &plan)?;
    tell(bed, &recorded, &states, &faults)?;
    let wanted = if plan.state.is_some() { 1 } else { plan.states };
    bed.check_that(&format!("{wanted} states are visited"), states.len() == wanted, || {
        format!("the log has no more than {}", states.len())
    })?;
    let (setup, policy) = (bed.setup(), bed.policy());
    let again =
        format!("cargo xtask crash {setup}::pin::{policy} --seed {} --rounds {}", plan.seed, plan.rounds);
    // Blocks that another file had show its data when their own was dropped, and need not have had another.
    let may_show_others = |kind: &&Kind| policy == Policy::Drop && **kind == Kind::Foreign;
    for kind in Kind::ALL.iter().filter(|kind| !may_show_others(kind)) {
        let fault = faults.first(*kind);
        // A snapshot has that it is so, and not where: the log of btrfs is a little different each time.
        let is_shown = bed.called() != STATES.name || bed.policy() != Policy::Drop;
        bed.check_that(kind.check(), fault.is_none(), || {
            let Some((state, text)) = fault.filter(|_| is_shown) else { return String::new() };
            let count = faults.states_with(*kind);
            format!("{text}; so in {count} of {wanted} states; again: {again} --state {state}")
        })?;
    }
    Ok(())
}

fn visit_all(
    bed: &mut Bed,
    recorded: &Recorded,
    history: &History,
    states: &[State],
    plan: &Plan,
) -> Result<Faults> {
    let mut replay = recorded.replay()?;
    let mut faults = Faults::default();
    for (number, state) in states.iter().enumerate() {
        if number % 10 == 0 {
            bed.doing(&format!("state {} of {}: {state}", number + 1, states.len()))?;
        }
        let found = visit(bed, recorded, &mut replay, history, state)?;
        for fault in faults.new_kinds(&found) {
            let mut smallest = fault.clone();
            let small = shrink(&recorded.log, state.clone(), plan.tries, |smaller| {
                let found = visit(bed, recorded, &mut replay, history, smaller)?;
                let same = found.into_iter().find(|found| found.kind == fault.kind);
                Ok::<_, Error>(same.map(|same| smallest = same).is_some())
            })?;
            faults.smallest(small, smallest);
        }
        faults.add(&found);
    }
    let difference = replay.end()?;
    bed.check_that(
        "the log has everything: it leads to the media that the disk has in the end",
        difference.is_none(),
        || difference.unwrap_or_default(),
    )?;
    Ok(faults)
}

/// Visits a state: all that is wrong with it.
fn visit(
    bed: &mut Bed,
    recorded: &Recorded,
    replay: &mut Replay<'_>,
    history: &History,
    state: &State,
) -> Result<Vec<Fault>> {
    let lost = if bed.setup() == Setup::F2fs { recorded.lost(state) } else { Vec::new() };
    let visited = replay.visit(state, |folder| look(folder, history, state.position, &lost))?;
    let faults = faults_of(visited);
    if bed.setup() == Setup::Btrfs && faults.iter().any(|fault| fault.kind == Kind::Broken) {
        // Its checksums tell what was never written.
        bed.allow_log(VISITED)?;
    }
    Ok(faults)
}

fn faults_of(visited: Visited<Vec<Fault>>) -> Vec<Fault> {
    let mut faults = match visited.seen {
        Ok(faults) => faults,
        Err(error) => vec![Fault { kind: Kind::Mount, text: error.to_string() }],
    };
    if let Some(complaint) = visited.complaint {
        faults.push(Fault { kind: Kind::Check, text: complaint });
    }
    faults
}

fn direct_dsync_by_io_uring(bed: &mut Bed) -> Result<()> {
    let file = bed.file("data", Pattern(1), 1)?;
    let memory = bed.anonymous(Pattern(2), 1)?;
    let direct = file.direct()?;
    // The bio must not end before its submitter has gone on: then the write would end as one that is waited for.
    let gate = bed.close_gate(Stage::Arrival, &Bios::writes())?;
    let write = InFlight::write_durably(&direct, 0, &memory)?;
    gate.wait_for(1)?;
    write.wait_until_submitted()?;
    gate.open()?;
    let written = write.wait().doing("write with RWF_DSYNC")?;
    bed.check("the write wrote the page", written == PAGE)?;
    bed.check_after_power_cut(PROMISED, Pattern(2), &file)
}

/// Looks at every page of every file. A previous tenant's data in the place of one of the `lost` writes is known.
fn look(folder: &Path, history: &History, position: usize, lost: &[&[u8]]) -> Result<Vec<Fault>> {
    let mut faults = Vec::new();
    for (id, name, pages) in history.files() {
        let path = folder.join(name);
        let file = match File::open(&path) {
            Ok(file) => Some(file),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(error).doing(format!("open {}", path.display())),
        };
        for page in 0..pages {
            let mut bytes = [0; PAGE];
            let found = match file.as_ref().map(|file| file.read_at(&mut bytes, (page * PAGE) as u64)) {
                None => Found::Bytes(&[]),
                Some(Ok(length)) => Found::Bytes(&bytes[..length]),
                Some(Err(error)) => Found::Unreadable(error.to_string()),
            };
            let mut fault = history.judge(position, id, page, &found).map(Fault::from);
            if let Some(fault) = &mut fault
                && fault.kind == Kind::Tenant
                && lost.iter().any(|bytes| history.has_held(id, page, bytes))
            {
                fault.kind = Kind::OldBlock;
            }
            faults.extend(fault);
        }
    }
    Ok(faults)
}

/// Tells the host how many states were visited, and of how many.
fn tell(bed: &Bed, recorded: &Recorded, states: &[State], faults: &Faults) -> Result<()> {
    let (broken, known) = (faults.states() as u64, faults.known() as u64);
    let counts = BTreeMap::from([
        ("whole".to_owned(), states.len() as u64 - broken - known),
        ("broken".to_owned(), broken),
        ("known".to_owned(), known),
        ("possible".to_owned(), recorded.log.possible()),
        ("entries of the log".to_owned(), recorded.log.end() as u64),
    ]);
    bed.answers(BTreeMap::from([("states".to_owned(), counts)]))
}
