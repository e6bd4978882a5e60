// SPDX-License-Identifier: MIT OR Apache-2.0

//! Random requests to pinblk, in great numbers, by seed: whatever it is asked, it stays whole.

mod arena;
mod disks;
mod draw;
mod requests;
mod tally;
mod worker;
mod world;

use std::fs;
use std::time::{Duration, Instant};

use fs_harness::cell::Setup;
use fs_harness::guest::counters::Counters;
use fs_harness::guest::error::{Doing, Error};
use fs_harness::guest::{Bed, Result, kmemleak};
use nix::errno::Errno;
use nix::libc;
use nix::sys::signal::{SigSet, SigmaskHow, Signal, kill, killpg, sigprocmask};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork};

use self::draw::Draw;
use self::requests::{NAMES, NONE};
use self::tally::Tally;
use crate::catalogue::{NO_FILE, Scenario};

pub(crate) const RANDOM: Scenario = Scenario {
    name: "random_requests",
    about: "Whatever pinblk is asked, by several threads whose memory, files and disks change meanwhile, it answers, leaks nothing and can be unloaded.",
    source: "kmod-blk/abi/src/lib.rs",
    setups: &[Setup::None],
    not: NO_FILE,
    run,
    ..Scenario::PLAIN
};

/// Requests of each thread of a process: a round.
const REQUESTS: usize = 1000;

/// So many requests more than were asked for are made before it is a fault that one has never succeeded: few bios
/// stay at a gate for long, and how many do depends on how fast the guest is.
const MORE: u64 = 400_000;

/// How long a round may go on without a request.
const PATIENCE: Duration = Duration::from_mins(2);

/// What is to be done: the numbers behind the scenario's name.
struct Plan {
    seed: u64,
    /// The first round, and the requests of all of them.
    round: u64,
    requests: u64,
}

impl Plan {
    fn of(called: &str) -> Result<Self> {
        let numbers: Vec<u64> = called.rsplit('_').map_while(|word| word.parse().ok()).take(3).collect();
        let &[requests, round, seed] = numbers.as_slice() else {
            return Err(Error::Unexpected(format!(
                "{called} does not name a seed, a round and a number of requests"
            )));
        };
        Ok(Self { seed, round, requests })
    }
}

fn run(bed: &mut Bed) -> Result<()> {
    let plan = Plan::of(bed.called())?;
    kmemleak::forget()?;
    let tally = Tally::shared()?;
    sigprocmask(SigmaskHow::SIG_BLOCK, Some(&SigSet::from(Signal::SIGCHLD)), None).doing("block SIGCHLD")?;
    // Children of the processes that make requests are waited for here when those have died.
    nix::sys::prctl::set_child_subreaper(true).doing("become the reaper of all children")?;
    disks::make()?;
    let (taint, base) = (taint()?, Counters::read(bed.device(), None)?);
    let mut round = plan.round;
    let at_most = plan.requests.saturating_add(MORE);
    while tally.made() < plan.requests || tally.made() < at_most && !tally.has_each_succeeded() {
        bed.doing(&format!("round {round} of seed {}, after {} requests", plan.seed, tally.made()))?;
        let ended = make_round(tally, plan.seed, round)?;
        // No open file can have any page now.
        let (pins, references) = Counters::left(bed.device(), base, 0)?;
        let is_left = (pins, references) != (0, 0);
        let (_, disagreement) = Counters::settled(bed.device(), None, base, 0)?;
        let complaint = ended
            .or(is_left.then(|| format!("{pins} pins and {references} references are left")))
            .or(disagreement.map(|disagreement| disagreement.to_string()))
            .or((self::taint()? != taint).then(|| "the kernel has complained in its log".to_owned()));
        if let Some(complaint) = complaint {
            bed.check_that(&format!("round {round} of seed {}", plan.seed), false, || {
                format!("{complaint}; last requests: {}", tally.last())
            })?;
            break;
        }
        round += 1;
    }
    bed.answers(tally.answers())?;
    for (which, name) in NAMES[..NONE].iter().enumerate() {
        let (made, succeeded) = tally.of(which);
        bed.check_that(&format!("{name} was made and succeeded"), succeeded > 0, || {
            format!("it was made {made} times")
        })?;
    }
    disks::remove()?;
    let found = bed.while_unloaded(kmemleak::found)?;
    bed.check_that("no memory is lost once pinblk is unloaded", found.is_empty(), || found)
}

/// Runs a process that makes requests to its end, or kills it on the way. Tells what was wrong with it.
fn make_round(tally: &'static Tally, seed: u64, round: u64) -> Result<Option<String>> {
    let mut draw = Draw::new(seed, &[round, u64::MAX]);
    let killed_after = draw.one_in(4).then(|| tally.made() + draw.below(3 * REQUESTS as u64));
    // SAFETY: this process has one thread, so that no lock is held by another; the child leaves without
    // returning.
    let worker = match unsafe { fork() }.doing("fork")? {
        ForkResult::Parent { child } => child,
        ForkResult::Child => {
            let worked = worker::work(tally, seed, round, REQUESTS);
            if let Err(error) = &worked {
                eprintln!("{error}");
            }
            // SAFETY: it takes a number and does not return: nothing of the parent's is dropped.
            unsafe { libc::_exit(worked.is_err().into()) }
        }
    };
    let (mut made, mut sign) = (tally.made(), Instant::now());
    loop {
        if let Some(status) = reap(worker)? {
            return Ok(match status {
                WaitStatus::Exited(_, 0) | WaitStatus::Signaled(_, Signal::SIGKILL, _) => None,
                status => Some(format!("a process that made requests ended with {status:?}")),
            });
        }
        if draw.one_in(4) {
            disks::stir(&mut draw);
        }
        if tally.made() != made {
            (made, sign) = (tally.made(), Instant::now());
        }
        if killed_after.is_some_and(|end| made >= end) {
            kill(worker, Signal::SIGKILL).doing("kill a process that makes requests")?;
        }
        if sign.elapsed() > PATIENCE {
            return Ok(Some(format!("no request has returned for {} s", PATIENCE.as_secs())));
        }
        wait_for_a_child();
    }
}

/// Takes all children that have ended; tells how the worker did, if it has. Then all its children are gone.
fn reap(worker: Pid) -> Result<Option<WaitStatus>> {
    let mut worker_ended = None;
    loop {
        // Once the worker has ended its children are ours.
        let flags = if worker_ended.is_none() { WaitPidFlag::WNOHANG } else { WaitPidFlag::empty() };
        match waitpid(None, Some(flags)) {
            Ok(WaitStatus::StillAlive) => return Ok(None),
            Ok(status) if status.pid() == Some(worker) => {
                worker_ended = Some(status);
                // That it left no child is fine.
                let _ = killpg(worker, Signal::SIGKILL);
            }
            Ok(_) => {}
            Err(Errno::ECHILD) => return Ok(worker_ended),
            Err(error) => return Err(error).doing("wait for children"),
        }
    }
}

/// Returns when a child has ended, or after three milliseconds.
fn wait_for_a_child() {
    let (ended, short) = (SigSet::from(Signal::SIGCHLD), libc::timespec { tv_sec: 0, tv_nsec: 3_000_000 });
    // SAFETY: both are read for the time of the call, and nothing is written.
    unsafe { libc::sigtimedwait(ended.as_ref(), std::ptr::null_mut(), &raw const short) };
}

/// What the kernel says of its own health: a bit for each kind of complaint.
fn taint() -> Result<String> {
    fs::read_to_string("/proc/sys/kernel/tainted").doing("read /proc/sys/kernel/tainted")
}
