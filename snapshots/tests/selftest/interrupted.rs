// SPDX-License-Identifier: MIT OR Apache-2.0

//! Runs that are ended from outside at one moment or another: by Ctrl-C, by a signal, by the loss of the
//! terminal or of whoever reads their output. Nothing lives on, and the next run works.

use std::env;
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Read;
use std::path::Path;
use std::process::Child;
use std::thread;
use std::time::{Duration, Instant};

use libtest_mimic::{Failed, Trial};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::commands::{PATIENCE, Place, QUICK, complaint, end};

/// How many further moments are tried, spread over a whole run with the making of checkpoints.
const MOMENTS: &str = "PINBED_SELFTEST_MOMENTS";

/// Cells of several setups: their checkpoints are made first.
const CELLS: &str = "hold_sync_dma_unhold";

/// How long such a run takes.
const SPAN: Duration = Duration::from_secs(12);

/// A way to end a run.
#[derive(Clone, Copy, Debug)]
struct Way {
    name: &'static str,
    signal: Signal,
    /// The whole process group hears of it, as it does of a Ctrl-C.
    group: bool,
}

const WAYS: &[Way] = &[
    Way { name: "ctrl_c", signal: Signal::SIGINT, group: true },
    Way { name: "a_signal_to_terminate", signal: Signal::SIGTERM, group: false },
    Way { name: "a_terminal_that_is_gone", signal: Signal::SIGHUP, group: true },
    Way { name: "a_run_that_is_killed", signal: Signal::SIGKILL, group: true },
    Way { name: "a_leader_that_is_killed", signal: Signal::SIGKILL, group: false },
];

impl Way {
    fn end(self, run: &Child) {
        let pid = run.id().cast_signed();
        // That it has ended meanwhile is fine.
        let _ = kill(Pid::from_raw(if self.group { -pid } else { pid }), self.signal);
    }

    /// Whoever is killed cannot tidy up.
    fn is_deadly(self) -> bool {
        self.signal == Signal::SIGKILL
    }
}

pub(crate) fn trials() -> impl Iterator<Item = Trial> {
    let ways = WAYS.iter().map(|way| Trial::test(format!("selftest::{}", way.name), || among_guests(*way)));
    let number: u64 = env::var(MOMENTS).ok().and_then(|text| text.parse().ok()).unwrap_or_default();
    let moments = (0..number).map(|seed| {
        Trial::test(format!("selftest::interrupted_at_moment_{seed}"), move || at_some_moment(seed))
    });
    let unheard = [
        Trial::test("selftest::nobody_reads_what_a_run_prints", || unheard(true)),
        Trial::test("selftest::nobody_reads_what_a_run_complains", || unheard(false)),
    ];
    let runner = Trial::test("selftest::a_test_runner_that_is_killed", killed_runner);
    let shown = Trial::test("selftest::an_interrupted_run_shows_what_had_ended", shows_what_had_ended);
    let lost = Trial::test("selftest::words_for_a_full_disk", lost_words);
    ways.chain(moments).chain(unheard).chain([runner, shown, lost])
}

/// While checkpoints are made, some time after the first QEMU was started.
fn among_guests(way: Way) -> Result<(), Failed> {
    let place = Place::new()?;
    let mut run = start(&place)?;
    if !place.wait_for("qemu-system", &mut run) {
        return Err(format!("the run ended before it started a guest: {}", complaint(&mut run)).into());
    }
    wait(&mut run, Duration::from_millis(draw(way.name) % 4000));
    way.end(&run);
    let status = end(&mut run)?;
    let complaint = complaint(&mut run);
    if status.success() || complaint.contains("panicked") {
        return Err(format!("the run ended with {status}: {complaint}").into());
    }
    if !way.is_deadly() && !complaint.contains("interrupted") {
        return Err(format!("the run did not say that it was interrupted: {complaint}").into());
    }
    place.expect_order(!way.is_deadly(), CELLS)
}

/// After the first of two rounds, of one cell that passes.
fn shows_what_had_ended() -> Result<(), Failed> {
    let place = Place::new()?;
    let log = place.target().join("log");
    let mut run = place.xtask(&["run", QUICK, "--jobs", "1", "--repeat", "1000", "--log"])?;
    let mut run = run.arg(&log).spawn().map_err(|error| format!("start a run: {error}"))?;
    let deadline = Instant::now() + PATIENCE;
    while fs::read_to_string(&log).unwrap_or_default().is_empty() && Instant::now() < deadline {
        wait(&mut run, Duration::from_millis(20));
    }
    WAYS[0].end(&run);
    let status = end(&mut run)?;
    let mut shown = String::new();
    run.stdout.take().ok_or("nobody hears the run")?.read_to_string(&mut shown).map_err(|e| e.to_string())?;
    let last = shown.lines().last().unwrap_or_default();
    let tells = shown.contains("more runs of cells did not come to their end");
    if status.code() != Some(2)
        || !tells
        || !last.starts_with("cells: ")
        || last.starts_with("cells: 0 passed")
    {
        return Err(format!("the run ended with {status} and showed: {shown}").into());
    }
    place.expect_order(true, QUICK)
}

/// At any moment, also before there is a guest, or after the last.
fn at_some_moment(seed: u64) -> Result<(), Failed> {
    let way = WAYS[usize::try_from(draw(("way", seed))).unwrap_or_default() % WAYS.len()];
    let moment = SPAN.mul_f64(f64::from(u32::try_from(draw(seed) % 10_000).unwrap_or_default()) / 10_000.0);
    let place = Place::new()?;
    let mut run = start(&place)?;
    wait(&mut run, moment);
    way.end(&run);
    end(&mut run)?;
    let complaint = complaint(&mut run);
    let what = format!("{} after {moment:?}", way.name);
    if complaint.contains("panicked") {
        return Err(format!("{what}: {complaint}").into());
    }
    // Before the first guest a signal has its default meaning.
    let tidied = complaint.contains("interrupted");
    place
        .expect_order(tidied, CELLS)
        .map_err(|error| format!("{what}: {}", error.message().unwrap_or_default()).into())
}

/// Whoever read the output is gone before the first line of it.
fn unheard(stdout: bool) -> Result<(), Failed> {
    let place = Place::new()?;
    let mut run = start(&place)?;
    if stdout {
        drop(run.stdout.take());
    } else {
        drop(run.stderr.take());
    }
    let status = end(&mut run)?;
    let complaint = complaint(&mut run);
    if complaint.contains("panicked") || status.code() == Some(101) {
        return Err(format!("the run ended with {status}: {complaint}").into());
    }
    place.expect_order(true, QUICK)
}

/// What is said goes to a disk that has no room for it.
fn lost_words() -> Result<(), Failed> {
    let place = Place::new()?;
    let full = File::create("/dev/full").map_err(|error| format!("open /dev/full: {error}"))?;
    let mut list = place.xtask(&["list", "--json"])?;
    let mut list = list.stdout(full).spawn().map_err(|error| format!("start a list: {error}"))?;
    let status = end(&mut list)?;
    let complaint = complaint(&mut list);
    if status.code() == Some(2) && complaint.contains("No space left") {
        return Ok(());
    }
    Err(format!("the list ended with {status}: {complaint}").into())
}

/// A test in a process of its own, whose runner is killed while a guest hangs.
fn killed_runner() -> Result<(), Failed> {
    let place = Place::new()?;
    let program = env::current_exe().map_err(|error| format!("find this program: {error}"))?;
    let mut runner = place.command(Path::new("sh"));
    runner.args(["-c", "\"$0\" --exact selftest::a_kernel_that_spins & wait"]).arg(program);
    let mut runner = runner.spawn().map_err(|error| format!("start a runner: {error}"))?;
    if !place.wait_for("qemu-system", &mut runner) {
        return Err(format!("the runner ended before it started a guest: {}", complaint(&mut runner)).into());
    }
    runner.kill().map_err(|error| format!("kill the runner: {error}"))?;
    end(&mut runner)?;
    place.expect_order(false, QUICK)
}

fn start(place: &Place) -> Result<Child, Failed> {
    place.xtask(&["run", CELLS])?.spawn().map_err(|error| format!("start a run: {error}").into())
}

/// Lets a run go on for a while, unless it ends.
fn wait(run: &mut Child, time: Duration) {
    let deadline = Instant::now() + time;
    while Instant::now() < deadline && run.try_wait().is_ok_and(|status| status.is_none()) {
        thread::park_timeout(Duration::from_millis(2));
    }
}

/// A number that looks random, and is the same in every run.
fn draw(seed: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    seed.hash(&mut hasher);
    hasher.finish()
}
