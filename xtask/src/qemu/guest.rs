// SPDX-License-Identifier: MIT OR Apache-2.0

//! One guest from its start to its end: a single event loop over its ports, QMP, its console, its
//! process and a deadline. What was seen is judged afterwards, in [`ending`](super::ending).

use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};
use std::{fmt, fs};

use anyhow::{Context, Result};
use fs_harness::cell::Cell;
use fs_harness::kernel_log::LogRecord;
use fs_harness::protocol::{self, AgentFault, FromGuest, ToGuest};
use fs_harness::record::{Check, Outcome, Step, Timing};
use futures::StreamExt;
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use qapi::futures::{QapiEvents, QmpStreamTokio};
use qapi::qmp;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, ReadHalf, Split, WriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{sleep_until, timeout};

use super::ending;
use super::machine::{Channels, Machine};

/// What a guest is to do, and how long it may take.
#[derive(Clone, Debug)]
pub struct Task {
    /// The cell to run.
    pub cell: Cell,
    /// A fault to commit, for the self-test.
    pub fault: Option<AgentFault>,
    /// Deadlines.
    pub limits: Limits,
    /// Where its artefacts go.
    pub folder: PathBuf,
}

/// How long a guest may take. Between two signs of progress, not in all: a busy host slows a guest
/// down, but does not keep it from going on.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// From the start of QEMU until the agent speaks.
    pub boot: Duration,
    /// From one message of the agent to the next.
    pub progress: Duration,
}

/// Everything seen of a guest.
#[derive(Debug, Default)]
pub struct Seen {
    /// Release of the kernel, once the agent spoke.
    pub ready: Option<String>,
    /// The agent speaks another version of the protocol.
    pub wrong_protocol: Option<u32>,
    /// What the guest did last.
    pub doing: String,
    /// Steps, in order.
    pub steps: Vec<Step>,
    /// Checks, in order.
    pub checks: Vec<Check>,
    /// Verdicts with their marks: exactly one, if all is well.
    pub verdicts: Vec<(Outcome, String)>,
    /// Lines on the agent's port that are no messages.
    pub garbage: Vec<String>,
    /// The kernel's log.
    pub log: Vec<LogRecord>,
    /// The console.
    pub console: String,
    /// QMP told of a panic.
    pub panicked: bool,
    /// The deadline that passed.
    pub expired: Option<Duration>,
    /// How QEMU ended.
    pub exit: Option<ExitStatus>,
    /// What QEMU wrote to its standard error.
    pub complaint: String,
    /// Seconds from the start to named moments.
    pub timings: Vec<Timing>,
}

impl Seen {
    /// How the cell ended.
    pub fn outcome(&self) -> Outcome {
        ending::judge(self)
    }
}

/// The user wants no more.
#[derive(Debug)]
pub struct Interrupted;

impl fmt::Display for Interrupted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("interrupted: the guests were ended, and nothing is left behind")
    }
}

impl std::error::Error for Interrupted {}

/// Set once by whichever guest sees the signal: those that wait for their turn must not start.
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Runs a guest in a private folder of its own. While it lives, `pid_file` holds QEMU's process id.
pub fn run(machine: &Machine, task: &Task, pid_file: &Path) -> Result<Seen> {
    let folder =
        tempfile::Builder::new().prefix("pinbed-").tempdir().context("make a folder for the guest")?;
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("start an event loop")?;
    let seen = runtime.block_on(supervise(machine, task, folder.path(), pid_file));
    // A process id that is no longer QEMU's must not be left behind; that it was never written is fine.
    let _ = fs::remove_file(pid_file);
    seen
}

async fn supervise(machine: &Machine, task: &Task, folder: &Path, pid_file: &Path) -> Result<Seen> {
    let listeners = Listeners::bind(folder)?;
    let started = Instant::now();
    let mut qemu = start(machine, folder)?;
    fs::write(pid_file, qemu.id().unwrap_or_default().to_string())
        .with_context(|| format!("write {}", pid_file.display()))?;
    let mut seen = Seen::default();
    match timeout(Duration::from_secs(30), listeners.accept()).await {
        Ok(channels) => follow(&mut seen, channels?, &mut qemu, task, started).await?,
        // QEMU did not even connect: why stands in its complaint.
        Err(_) => seen.exit = Some(end(&mut qemu).await?),
    }
    seen.complaint = fs::read_to_string(folder.join("stderr")).unwrap_or_default();
    Ok(seen)
}

fn start(machine: &Machine, folder: &Path) -> Result<Child> {
    let words = machine.command_line(Channels::Harness, "");
    let (program, arguments) = words.split_first().context("an empty command line")?;
    let stderr = fs::File::create(folder.join("stderr")).context("make a file for QEMU's complaints")?;
    let mut command = Command::new(program);
    command.args(arguments).current_dir(folder).kill_on_drop(true);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr);
    // SAFETY: between fork and exec only async-signal-safe functions may run; prctl is one, and the
    // error is made from a number without allocating.
    unsafe { command.pre_exec(|| Ok(set_pdeathsig(Signal::SIGKILL)?)) };
    command.spawn().with_context(|| format!("start {program} (is it installed? `cargo xtask doctor` tells)"))
}

/// The harness listens and QEMU connects: no byte can be lost, for the guest does not run before that.
struct Listeners {
    agent: UnixListener,
    kmsg: UnixListener,
    console: UnixListener,
    qmp: UnixListener,
}

impl Listeners {
    fn bind(folder: &Path) -> Result<Self> {
        let bind = |name: &str| {
            let path = folder.join(format!("{name}.sock"));
            UnixListener::bind(&path).with_context(|| format!("listen at {}", path.display()))
        };
        Ok(Self { agent: bind("agent")?, kmsg: bind("kmsg")?, console: bind("console")?, qmp: bind("qmp")? })
    }

    async fn accept(&self) -> Result<Accepted> {
        let accept = async |listener: &UnixListener| Ok::<_, std::io::Error>(listener.accept().await?.0);
        let (agent, kmsg) = (accept(&self.agent).await?, accept(&self.kmsg).await?);
        let (console, qmp) = (accept(&self.console).await?, accept(&self.qmp).await?);
        Ok(Accepted { agent, kmsg, console, qmp })
    }
}

struct Accepted {
    agent: UnixStream,
    kmsg: UnixStream,
    console: UnixStream,
    qmp: UnixStream,
}

/// Lines of bytes, since consoles print what they like.
type Lines = Split<BufReader<ReadHalf<UnixStream>>>;

fn lines(stream: UnixStream) -> (Lines, WriteHalf<UnixStream>) {
    let (read, write) = tokio::io::split(stream);
    (BufReader::new(read).split(b'\n'), write)
}

/// The event loop.
async fn follow(
    seen: &mut Seen,
    channels: Accepted,
    qemu: &mut Child,
    task: &Task,
    started: Instant,
) -> Result<()> {
    let (mut agent, mut to_agent) = lines(channels.agent);
    let (mut kmsg, _keep_kmsg) = lines(channels.kmsg);
    let (mut console, _keep_console) = lines(channels.console);
    // Without events a panic is still seen on the console, and QEMU's end by its process.
    let mut events = events(channels.qmp).await.ok();
    let mut interrupt = signal(SignalKind::interrupt()).context("watch for Ctrl-C")?;
    let mut terminate = signal(SignalKind::terminate()).context("watch for SIGTERM")?;
    let mut deadline = started + task.limits.boot;
    let (mut agent_open, mut kmsg_open, mut console_open) = (true, true, true);
    loop {
        tokio::select! {
            line = agent.next_segment(), if agent_open => match text(line) {
                Some(line) => {
                    if seen.agent_line(&line, started) {
                        let run = ToGuest::Run { cell: task.cell.clone(), nonce: nonce(), fault: task.fault };
                        to_agent.write_all(protocol::line(&run).as_bytes()).await.context("answer the agent")?;
                    }
                    deadline = Instant::now() + task.limits.progress;
                }
                None => agent_open = false,
            },
            line = kmsg.next_segment(), if kmsg_open => match text(line) {
                Some(line) => seen.log.extend(LogRecord::parse(&line)),
                None => kmsg_open = false,
            },
            line = console.next_segment(), if console_open => match text(line) {
                Some(line) => seen.console_line(&line),
                None => console_open = false,
            },
            event = next(&mut events) => match event {
                Some(event) => seen.panicked |= matches!(event, qmp::Event::GUEST_PANICKED { .. }),
                None => events = None,
            },
            status = qemu.wait() => {
                seen.exit = Some(status.context("wait for QEMU")?);
                break;
            }
            () = sleep_until(deadline.into()) => {
                seen.expired = Some(if seen.ready.is_some() { task.limits.progress } else { task.limits.boot });
                seen.exit = Some(end(qemu).await?);
                break;
            }
            _ = interrupt.recv() => return Err(interrupted()),
            _ = terminate.recv() => return Err(interrupted()),
        }
    }
    seen.note("QEMU ended", started);
    let rest = async {
        while let Some(line) = text(agent.next_segment().await) {
            seen.agent_line(&line, started);
        }
        while let Some(line) = text(kmsg.next_segment().await) {
            seen.log.extend(LogRecord::parse(&line));
        }
        while let Some(line) = text(console.next_segment().await) {
            seen.console_line(&line);
        }
    };
    // What QEMU passed on before it ended is still in the sockets.
    timeout(Duration::from_secs(5), rest).await.context("read what the guest said last")
}

fn interrupted() -> anyhow::Error {
    INTERRUPTED.store(true, Ordering::Relaxed);
    Interrupted.into()
}

/// A line, or none at the end of the stream.
fn text(line: std::io::Result<Option<Vec<u8>>>) -> Option<String> {
    let bytes = line.ok().flatten()?;
    Some(String::from_utf8_lossy(&bytes).trim_end_matches('\r').to_owned())
}

type Events = QapiEvents<QmpStreamTokio<ReadHalf<UnixStream>>>;

async fn events(qmp: UnixStream) -> std::io::Result<Events> {
    let (_, events) = QmpStreamTokio::open(qmp).await?.negotiate().await?.into_parts();
    Ok(events)
}

/// The next event; never one where there are none to come.
async fn next(events: &mut Option<Events>) -> Option<qmp::Event> {
    match events {
        Some(events) => events.next().await.and_then(std::io::Result::ok),
        None => std::future::pending().await,
    }
}

/// Ends QEMU: asked first, then killed.
async fn end(qemu: &mut Child) -> Result<ExitStatus> {
    if let Some(pid) = qemu.id() {
        // That it has ended meanwhile is fine.
        let _ = kill(Pid::from_raw(pid.cast_signed()), Signal::SIGTERM);
    }
    if let Ok(status) = timeout(Duration::from_secs(3), qemu.wait()).await {
        return status.context("wait for QEMU");
    }
    qemu.kill().await.context("kill QEMU")?;
    qemu.wait().await.context("wait for QEMU")
}

/// Tells one run from every other.
fn nonce() -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    format!("{:x}-{:x}", std::process::id(), now.as_nanos())
}

impl Seen {
    /// Takes in a line of the agent's port; true where the agent has just become ready.
    fn agent_line(&mut self, line: &str, started: Instant) -> bool {
        match serde_json::from_str(line) {
            Ok(FromGuest::Ready { protocol, kernel }) => {
                self.note("the agent was ready", started);
                self.ready = Some(kernel);
                self.wrong_protocol = (protocol != protocol::VERSION).then_some(protocol);
                return self.wrong_protocol.is_none();
            }
            Ok(FromGuest::Doing(doing)) => self.doing = doing,
            Ok(FromGuest::Step(step)) => {
                self.doing = format!("past the step '{}'", step.name);
                self.steps.push(*step);
            }
            Ok(FromGuest::Check(check)) => self.checks.push(check),
            Ok(FromGuest::Skip(_)) => {}
            Ok(FromGuest::Verdict { outcome, log_mark }) => {
                self.note("the verdict came", started);
                self.verdicts.push((outcome, log_mark));
            }
            Err(_) => self.garbage.push(line.to_owned()),
        }
        false
    }

    fn console_line(&mut self, line: &str) {
        self.console.push_str(line);
        self.console.push('\n');
    }

    fn note(&mut self, what: &str, started: Instant) {
        self.timings.push(Timing { what: what.to_owned(), seconds: started.elapsed().as_secs_f64() });
    }
}
