// SPDX-License-Identifier: MIT OR Apache-2.0

//! Everything that can be heard of a guest, as one stream of events: its ports, its console, QMP, the
//! end of QEMU, a deadline, and the user.

use std::fmt;
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use fs_harness::kernel_log::LogRecord;
use fs_harness::protocol::{self, TerminalSize, ToGuest};
use futures::StreamExt;
use qapi::futures::{QapiEvents, QapiService, QmpStreamTokio};
use qapi::qmp;
use tokio::io::{AsyncWriteExt, ReadHalf, WriteHalf, split};
use tokio::net::{UnixListener, UnixStream};
use tokio::process::Child;
use tokio::time::{sleep_until, timeout};

use super::lines::{Lines, Said};
use super::relay::Relay;
use crate::interrupt::Interrupt;

/// The harness listens and QEMU connects: no byte can be lost, for the guest does not run before that.
pub(super) struct Listeners {
    agent: UnixListener,
    kmsg: UnixListener,
    stream: UnixListener,
    console: UnixListener,
    qmp: UnixListener,
}

impl Listeners {
    pub(super) fn bind(folder: &Path) -> Result<Self> {
        let bind = |name: &str| {
            let path = folder.join(format!("{name}.sock"));
            UnixListener::bind(&path).with_context(|| format!("listen at {}", path.display()))
        };
        Ok(Self {
            agent: bind("agent")?,
            kmsg: bind("kmsg")?,
            stream: bind("stream")?,
            console: bind("console")?,
            qmp: bind("qmp")?,
        })
    }

    /// The guest's channels; none where QEMU did not connect them in 30 seconds.
    pub(super) async fn accept(&self) -> Result<Option<Channels>> {
        let accept = async |listener: &UnixListener| Ok::<_, std::io::Error>(listener.accept().await?.0);
        let all = async {
            let (agent, kmsg) = (accept(&self.agent).await?, accept(&self.kmsg).await?);
            let stream = accept(&self.stream).await?;
            let (console, qmp) = (accept(&self.console).await?, accept(&self.qmp).await?);
            Ok::<_, std::io::Error>([agent, kmsg, stream, console, qmp])
        };
        let opened = async {
            Ok::<_, anyhow::Error>(Channels::open(all.await.context("accept QEMU's connections")?).await)
        };
        timeout(Duration::from_secs(30), opened).await.ok().transpose()
    }
}

/// How much of each channel is read, in bytes. An ordinary cell says some tens of KiB on each; who says
/// more than this says nothing that is worth the host's memory.
const AGENT_BYTES: u64 = 16 << 20;
const LOG_BYTES: u64 = 16 << 20;
/// The console is slow: a flood of it is told early.
const CONSOLE_BYTES: u64 = 1 << 20;

type Port = Lines<ReadHalf<UnixStream>>;

/// A channel of which more came than is read at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flood {
    /// The agent's port.
    Agent,
    /// The kernel's log.
    Log,
    /// The console.
    Console,
}

impl fmt::Display for Flood {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (bytes, place) = match self {
            Self::Agent => (AGENT_BYTES, "on the agent's port"),
            Self::Log => (LOG_BYTES, "in its kernel log"),
            Self::Console => (CONSOLE_BYTES, "on its console"),
        };
        write!(f, "more than {} MiB {place}", bytes >> 20)
    }
}

type Events = QapiEvents<QmpStreamTokio<ReadHalf<UnixStream>>>;
type Qmp = QapiService<QmpStreamTokio<WriteHalf<UnixStream>>>;
type Command = Pin<Box<dyn Future<Output = Result<(), qapi::ExecuteError>>>>;

/// What is heard.
pub(super) enum Event {
    /// A line on the agent's port.
    Agent(String),
    /// The last of the agent's port is no whole line.
    Cut(String),
    /// More came on a channel than is read at all.
    TooMuch(Flood),
    /// A record of the kernel's log.
    Log(LogRecord),
    /// A line on the console.
    Console(String),
    /// QMP tells of a panic.
    Panicked,
    /// The guest's state was saved.
    Saved,
    /// The guest runs, after its state was restored or after it stood still.
    Resumed,
    /// QEMU refused to save or to restore.
    Refused(String),
    /// QEMU ended.
    Ended(ExitStatus),
    /// The deadline passed.
    Expired,
    /// The user's terminal has another size now.
    Resized(TerminalSize),
    /// What a program writes can be passed on no more.
    Unheard(io::Error),
    /// The user wants no more; told once.
    Interrupted,
}

/// The open channels of a guest.
pub(super) struct Channels {
    agent: Port,
    to_agent: WriteHalf<UnixStream>,
    log: Port,
    /// Until a relay takes it.
    stream: Option<UnixStream>,
    /// Between the user and the user's program.
    relay: Option<Relay>,
    console: Port,
    /// Without QMP a panic is still seen on the console, and QEMU's end by its process.
    qmp: Option<(Qmp, Events)>,
    /// A QMP command under way.
    command: Option<Command>,
    /// None once the user has interrupted.
    interrupt: Option<Interrupt>,
}

impl Channels {
    async fn open([agent, kmsg, stream, console, qmp]: [UnixStream; 5]) -> Self {
        let negotiated = async { QmpStreamTokio::open(qmp).await?.negotiate().await };
        let (agent, to_agent) = split(agent);
        Self {
            agent: Lines::of(agent, AGENT_BYTES),
            to_agent,
            log: Lines::of(split(kmsg).0, LOG_BYTES),
            console: Lines::of(split(console).0, CONSOLE_BYTES),
            stream: Some(stream),
            relay: None,
            qmp: negotiated.await.ok().map(qapi::futures::QapiStream::into_parts),
            command: None,
            interrupt: Some(Interrupt::watch()),
        }
    }

    /// Waits for the next event.
    pub(super) async fn next(&mut self, qemu: &mut Child, deadline: Instant) -> Result<Event> {
        loop {
            let event = tokio::select! {
                said = self.agent.next() => said.map(of_agent),
                said = self.log.next() => said.and_then(of_log),
                said = self.console.next() => said.map(of_console),
                event = next_of(&mut self.qmp) => event,
                Some(why) = refusal(&mut self.command) => Some(Event::Refused(why)),
                status = qemu.wait() => Some(Event::Ended(status.context("wait for QEMU")?)),
                () = sleep_until(deadline.into()) => Some(Event::Expired),
                said = said_by(&mut self.relay) => Some(said),
                () = come(&mut self.interrupt) => Some(Event::Interrupted),
            };
            if let Some(event) = event {
                return Ok(event);
            }
        }
    }

    /// What QEMU passed on before it ended is still in the sockets: the next of it, until there is no more.
    pub(super) async fn rest(&mut self) -> Option<Event> {
        let rest = async {
            while self.agent.is_open() || self.log.is_open() || self.console.is_open() {
                let event = tokio::select! {
                    said = self.agent.next() => said.map(of_agent),
                    said = self.log.next() => said.and_then(of_log),
                    said = self.console.next() => said.map(of_console),
                };
                if event.is_some() {
                    return event;
                }
            }
            None
        };
        // A socket that QEMU's death did not close is nobody's any more.
        timeout(Duration::from_secs(5), rest).await.ok().flatten()
    }

    /// Says something to the agent.
    pub(super) async fn say(&mut self, message: &ToGuest) -> Result<()> {
        let line = protocol::line(message);
        self.to_agent.write_all(line.as_bytes()).await.context("speak to the agent")
    }

    /// Begins to pass the luggage, and then the user's input and a program's output, over the port of the streams.
    pub(super) fn relay(&mut self, luggage: Vec<u8>, on_terminal: bool) -> Result<()> {
        let stream = self.stream.take().context("the port of the streams is in use")?;
        self.relay = Some(Relay::start(stream, luggage, on_terminal)?);
        Ok(())
    }

    /// Waits until the user has all that a program wrote, or wants no more. QEMU has ended.
    pub(super) async fn drain(&mut self) {
        if let Some(relay) = &mut self.relay {
            tokio::select! {
                () = relay.drained() => {}
                () = come(&mut self.interrupt) => {}
            }
        }
    }

    /// Asks QEMU to end.
    pub(super) async fn quit(&mut self) {
        let Some((qmp, _)) = &self.qmp else { return };
        let quit = qmp.execute(qmp::quit {});
        self.queue(async move { quit.await.map(|_| ()) });
        let Self { command, qmp, .. } = self;
        let answers = async {
            while qmp.is_some() {
                next_of(qmp).await;
            }
        };
        // Where it cannot answer, it is killed.
        tokio::select! {
            _ = refusal(command) => {}
            () = answers => {}
        }
    }

    /// Has a command follow the one under way, if there is one: QMP takes one at a time.
    fn queue(&mut self, next: impl Future<Output = Result<(), qapi::ExecuteError>> + 'static) {
        let under_way = self.command.take();
        self.command = Some(Box::pin(async move {
            if let Some(command) = under_way {
                command.await?;
            }
            next.await
        }));
    }

    /// Has the guest stand still.
    pub(super) fn pause(&mut self) -> Result<()> {
        let (qmp, _) = self.qmp.as_ref().context("QEMU does not answer on QMP")?;
        let stop = qmp.execute(qmp::stop {});
        self.queue(async move { stop.await.map(|_| ()) });
        Ok(())
    }

    /// Lets a guest that stands still go on.
    pub(super) fn go_on(&mut self) -> Result<()> {
        let (qmp, _) = self.qmp.as_ref().context("QEMU does not answer on QMP")?;
        let go_on = qmp.execute(qmp::cont {});
        self.queue(async move { go_on.await.map(|_| ()) });
        Ok(())
    }

    /// Begins to save the guest's state without its memory, which is in a file of its own;
    /// [`Event::Saved`] tells of the end.
    pub(super) fn save(&mut self, into: &str) -> Result<()> {
        let (qmp, _) = self.qmp.as_ref().context("QEMU does not answer on QMP")?;
        let prepare = qmp.execute(capabilities([
            qmp::MigrationCapability::events,
            qmp::MigrationCapability::x_ignore_shared,
        ]));
        let uri = Some(into.to_owned());
        let migrate = qmp.execute(qmp::migrate { uri, channels: None, detach: None, resume: None });
        self.command = Some(Box::pin(async move {
            prepare.await?;
            migrate.await.map(|_| ())
        }));
        Ok(())
    }

    /// Begins to restore a guest; [`Event::Resumed`] tells when it runs. What is said to it before
    /// that can be lost: an interrupt that a port raises may be overwritten by the saved interrupt controller.
    /// A guest that stands still does not run by itself: [`Event::Saved`] tells when it is all there.
    pub(super) fn restore(&mut self, from: &str, stands_still: bool) -> Result<()> {
        let (qmp, _) = self.qmp.as_ref().context("QEMU does not answer on QMP")?;
        let prepare = qmp.execute(capabilities([qmp::MigrationCapability::x_ignore_shared]));
        let announce = qmp.execute(capabilities([qmp::MigrationCapability::events]));
        let uri = Some(from.to_owned());
        let restore = qmp.execute(qmp::migrate_incoming { uri, channels: None, exit_on_error: None });
        self.command = Some(Box::pin(async move {
            prepare.await?;
            if stands_still {
                announce.await?;
            }
            restore.await.map(|_| ())
        }));
        Ok(())
    }
}

fn of_agent(said: Said) -> Event {
    match said {
        Said::Line(line) => Event::Agent(line),
        Said::Cut(line) => Event::Cut(line),
        Said::TooMuch => Event::TooMuch(Flood::Agent),
    }
}

/// None where the line is not the beginning of a record.
fn of_log(said: Said) -> Option<Event> {
    match said {
        Said::Line(line) => LogRecord::parse(&line).map(Event::Log),
        // A record without its end may be half of one: the log ends before it.
        Said::Cut(_) => None,
        Said::TooMuch => Some(Event::TooMuch(Flood::Log)),
    }
}

fn of_console(said: Said) -> Event {
    match said {
        Said::Line(line) | Said::Cut(line) => Event::Console(line),
        Said::TooMuch => Event::TooMuch(Flood::Console),
    }
}

async fn said_by(relay: &mut Option<Relay>) -> Event {
    match relay {
        Some(relay) => relay.next().await,
        None => std::future::pending().await,
    }
}

/// An interruption, once.
async fn come(interrupt: &mut Option<Interrupt>) {
    let Some(watched) = interrupt else { return std::future::pending().await };
    watched.come().await;
    *interrupt = None;
}

fn capabilities<const N: usize>(wanted: [qmp::MigrationCapability; N]) -> qmp::migrate_set_capabilities {
    let on = |capability| qmp::MigrationCapabilityStatus { capability, state: true };
    qmp::migrate_set_capabilities { capabilities: wanted.map(on).to_vec() }
}

async fn next_of(qmp: &mut Option<(Qmp, Events)>) -> Option<Event> {
    let Some((_, events)) = qmp else { return std::future::pending().await };
    match events.next().await {
        Some(Ok(qmp::Event::GUEST_PANICKED { .. })) => Some(Event::Panicked),
        Some(Ok(qmp::Event::MIGRATION { data, .. })) => match data.status {
            qmp::MigrationStatus::completed => Some(Event::Saved),
            qmp::MigrationStatus::failed => Some(Event::Refused("the migration failed".to_owned())),
            _ => None,
        },
        Some(Ok(qmp::Event::RESUME { .. })) => Some(Event::Resumed),
        Some(Ok(_)) => None,
        Some(Err(_)) | None => {
            *qmp = None;
            None
        }
    }
}

/// Why QEMU refused the command under way, once; nothing ever where there is none. That QEMU did not live
/// to answer is no refusal: its end is an event of its own.
async fn refusal(command: &mut Option<Command>) -> Option<String> {
    let Some(running) = command else { return std::future::pending().await };
    let result = running.await;
    *command = None;
    match result {
        Err(qapi::ExecuteError::Qapi(error)) => Some(error.to_string()),
        Err(qapi::ExecuteError::Io(_)) | Ok(()) => None,
    }
}
