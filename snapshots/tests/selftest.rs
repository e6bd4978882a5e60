// SPDX-License-Identifier: MIT OR Apache-2.0

//! The harness is shown every way in which a cell can end, and must call each by its name.

use std::fs;
use std::path::Path;
use std::sync::LazyLock;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use fs_harness::cell::Setup;
use fs_harness::protocol::AgentFault;
use fs_harness::record::{OutcomeKind, Record};
use libtest_mimic::{Arguments, Failed, Trial};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use workloads::catalogue;
use xtask::bench::{Bench, Isolation};
use xtask::cell::{self, Task};
use xtask::qemu::checkpoint;

static BENCH: LazyLock<Result<Bench, String>> =
    LazyLock::new(|| Bench::load().map_err(|error| format!("{error:#}")));

/// A guest that is made to hang must not be waited for as long as one that may only be slow.
const SHORT: Duration = Duration::from_secs(10);

/// One thing that the harness must notice.
struct Case {
    name: &'static str,
    scenario: &'static str,
    fault: Option<AgentFault>,
    outcome: OutcomeKind,
    /// What the detail must say.
    says: &'static str,
}

const fn case(
    name: &'static str,
    scenario: &'static str,
    fault: Option<AgentFault>,
    outcome: OutcomeKind,
    says: &'static str,
) -> Case {
    Case { name, scenario, fault, outcome, says }
}

const CASES: &[Case] = &[
    case("all_is_well", "selftest_holds", None, OutcomeKind::Passed, ""),
    case("a_violated_check", "selftest_violated", None, OutcomeKind::Failed, "the first: all is well"),
    case("no_check_at_all", "selftest_checks_nothing", None, OutcomeKind::Failed, "checked nothing"),
    case("a_leaked_pin", "selftest_leaks_a_pin", None, OutcomeKind::Failed, "every pin is released"),
    case("a_damaged_filesystem", "selftest_damages_ext4", None, OutcomeKind::Failed, "e2fsck finds"),
    case("a_scenario_that_prints", "selftest_prints", None, OutcomeKind::Failed, "is no message"),
    case("a_missing_requirement", "selftest_skips", None, OutcomeKind::Skipped, "lacks what no kernel has"),
    case("a_kernel_warning", "selftest_warns", None, OutcomeKind::Failed, "lkdtm"),
    case(
        "a_kernel_panic",
        "selftest_panics_kernel",
        None,
        OutcomeKind::GuestPanicked,
        "sysrq triggered crash",
    ),
    case("a_kernel_that_spins", "selftest_spins", None, OutcomeKind::GuestHung, "running selftest_spins"),
    case("a_scenario_that_crashes", "selftest_sigbus", None, OutcomeKind::Failed, "SIGBUS"),
    case("a_scenario_that_panics", "selftest_panics", None, OutcomeKind::Failed, "on purpose"),
    case(
        "no_verdict",
        "selftest_holds",
        Some(AgentFault::NoVerdict),
        OutcomeKind::HarnessError,
        "without a verdict",
    ),
    case(
        "two_verdicts",
        "selftest_holds",
        Some(AgentFault::TwoVerdicts),
        OutcomeKind::HarnessError,
        "2 verdicts",
    ),
    case(
        "garbage_on_the_port",
        "selftest_holds",
        Some(AgentFault::Garbage),
        OutcomeKind::HarnessError,
        "this is not a message",
    ),
];

fn main() {
    let arguments = Arguments::from_args();
    let mut trials: Vec<Trial> = CASES
        .iter()
        .map(|case| Trial::test(format!("selftest::{}", case.name), move || check(case)))
        .collect();
    trials.push(Trial::test("selftest::qemu_killed_from_outside", kill_qemu));
    trials.push(Trial::test("selftest::a_kernel_that_panics_at_boot", panics_at_boot));
    trials.push(Trial::test("selftest::an_agent_that_never_speaks", never_ready));
    trials.push(Trial::test("selftest::a_record_starts_as_died", starts_as_died));
    trials.push(Trial::test("selftest::a_truncated_checkpoint", truncated_checkpoint));
    libtest_mimic::run(&arguments, trials).exit();
}

fn check(case: &Case) -> Result<(), Failed> {
    let mut task = task(case.name, case.scenario)?;
    task.fault = case.fault;
    if case.outcome == OutcomeKind::GuestHung {
        task.limits.progress = SHORT;
    }
    expect(&run(BENCH.as_ref()?, &task)?, case.outcome, case.says)
}

/// A guest waits for ever, and its QEMU is killed meanwhile.
fn kill_qemu() -> Result<(), Failed> {
    let task = task("qemu_killed_from_outside", "selftest_waits")?;
    let pid_file = task.folder.join(cell::PID);
    let waiting = thread::spawn(move || run(BENCH.as_ref()?, &task));
    let pid = wait_for(&pid_file, &waiting)?;
    kill(Pid::from_raw(pid), Signal::SIGKILL).map_err(|error| format!("kill QEMU: {error}"))?;
    let record = waiting.join().map_err(|_| "the thread of the guest panicked")??;
    expect(&record, OutcomeKind::HarnessError, "QEMU was killed by SIGKILL")
}

/// A kernel that panics before the agent speaks, for its initramfs is empty.
fn panics_at_boot() -> Result<(), Failed> {
    let task = task("a_kernel_that_panics_at_boot", "selftest_holds")?;
    let mut bench = Bench { isolation: Isolation::Boot, ..BENCH.as_ref()?.clone() };
    bench.machine.image = std::env::temp_dir().join(format!("pinbed-empty-{}.cpio", std::process::id()));
    fs::write(&bench.machine.image, [0; 512]).map_err(|error| format!("write an empty image: {error}"))?;
    let record = run(&bench, &task);
    fs::remove_file(&bench.machine.image).map_err(|error| format!("remove the empty image: {error}"))?;
    expect(&record?, OutcomeKind::GuestPanicked, "the guest was booting")
}

/// A guest whose agent has not spoken when its time is over.
fn never_ready() -> Result<(), Failed> {
    let mut task = task("an_agent_that_never_speaks", "selftest_holds")?;
    task.limits.boot = Duration::from_millis(200);
    let bench = Bench { isolation: Isolation::Boot, ..BENCH.as_ref()?.clone() };
    expect(&run(&bench, &task)?, OutcomeKind::BootFailed, "the agent was not ready")
}

/// A checkpoint that QEMU cannot restore is a harness error, and gone afterwards.
fn truncated_checkpoint() -> Result<(), Failed> {
    let mut task = task("a_truncated_checkpoint", "selftest_holds")?;
    // Another command line has checkpoints of its own: those of the cells stay whole.
    let mut bench = BENCH.as_ref()?.clone();
    bench.machine.image = task.folder.with_extension("cpio");
    let copy = |from: &Path, to: &Path| {
        fs::create_dir_all(to.parent().unwrap_or(to)).and_then(|()| fs::copy(from, to))
    };
    copy(&BENCH.as_ref()?.machine.image, &bench.machine.image)
        .map_err(|error| format!("copy the image: {error}"))?;
    let make = || checkpoint::ensure(&bench.machine, "truncated", Setup::None, cell::limits(&bench));
    let made = make().map_err(|error| format!("{error:#}"))?.map_err(|_| "no checkpoint could be made")?;
    let whole = fs::metadata(&made.state).map_err(|error| format!("look at the state: {error}"))?.len();
    let state = fs::File::options()
        .write(true)
        .open(&made.state)
        .map_err(|error| format!("open the state: {error}"))?;
    state.set_len(whole / 2).map_err(|error| format!("truncate the state: {error}"))?;
    bench.environment.insert("qemu".to_owned(), "truncated".to_owned());
    task.limits.boot = SHORT;
    expect(&run(&bench, &task)?, OutcomeKind::HarnessError, "checkpoint")?;
    expect(&run(&bench, &task)?, OutcomeKind::Passed, "")
}

/// While a cell runs, and if its harness is killed, the record on disk says that it died.
fn starts_as_died() -> Result<(), Failed> {
    let task = task("a_record_starts_as_died", "selftest_holds")?;
    let folder = task.folder.clone();
    let running = thread::spawn(move || run(BENCH.as_ref()?, &task));
    wait_for(&folder.join(cell::PID), &running)?;
    let record = cell::load(&folder).map_err(|error| format!("{error:#}"))?.ok_or("there is no record")?;
    let ended = running.join().map_err(|_| "the thread of the guest panicked")??;
    expect(&record, OutcomeKind::Died, "never finished")?;
    expect(&ended, OutcomeKind::Passed, "")
}

fn task(case: &str, scenario: &str) -> Result<Task, Failed> {
    let found = catalogue::find(scenario).ok_or_else(|| format!("there is no {scenario}"))?;
    let (cell, _) = catalogue::cells_of(found).next().ok_or_else(|| format!("{scenario} has no cell"))?;
    let bench = BENCH.as_ref()?;
    let folder = xtask::artefacts().join("selftest").join(case);
    Ok(Task { folder, ..cell::task(bench, &cell) })
}

fn run(bench: &Bench, task: &Task) -> Result<Record, Failed> {
    cell::run(bench, task).map_err(|error| format!("{error:#}").into())
}

fn expect(record: &Record, kind: OutcomeKind, says: &str) -> Result<(), Failed> {
    let outcome = &record.outcome;
    if outcome.kind == kind && outcome.detail.contains(says) {
        return Ok(());
    }
    Err(format!("expected '{kind}' saying '{says}', but it {}: {}", outcome.kind, outcome.detail).into())
}

/// Waits until a process id stands in the file.
fn wait_for<T>(pid_file: &Path, running: &JoinHandle<T>) -> Result<i32, Failed> {
    let deadline = Instant::now() + Duration::from_secs(30);
    while Instant::now() < deadline && !running.is_finished() {
        if let Some(pid) = fs::read_to_string(pid_file).ok().and_then(|text| text.parse().ok()) {
            return Ok(pid);
        }
        thread::park_timeout(Duration::from_millis(10));
    }
    Err(format!("no process id appeared in {}", pid_file.display()).into())
}
