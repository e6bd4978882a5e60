// SPDX-License-Identifier: MIT OR Apache-2.0

//! One guest from its start to its end: a single event loop. What was seen in it is judged afterwards, in
//! [`ending`](super::ending).

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use fs_harness::protocol::{self, FromGuest, ToGuest};
use fs_harness::record::Timing;
use tokio::process::Child;

use super::channels::{Channels, Event, Listeners};
use super::folder::Folder;
use super::keep;
use super::limits::Limits;
use super::machine::Machine;
use super::script::{Script, Turn};
use super::seen::{GivenUp, Seen};
use super::{debugger, process};
use crate::host::command::quoted;
use crate::interrupt::{Interrupt, Interrupted};
use crate::note;

mod kept;

/// How long a program has to end after it was interrupted.
const GRACE: Duration = Duration::from_secs(3);

/// How long what was said in time may wait to be read.
const UNREAD: Duration = Duration::from_secs(1);

/// Runs a guest in a private folder of its own. While it lives, `pid_file` holds QEMU's process id.
pub fn run(machine: &Machine, script: Script, limits: Limits, pid_file: &Path) -> Result<Seen> {
    if Interrupt::watch().has_come() {
        return Err(Interrupted.into());
    }
    let folder = Folder::new()?;
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("start an event loop")?;
    let seen = runtime.block_on(supervise(machine, script, limits, folder.path(), pid_file));
    // A process id that is no longer QEMU's must not be left behind; that it was never written is fine.
    let _ = fs::remove_file(pid_file);
    seen
}

async fn supervise(
    machine: &Machine,
    script: Script,
    limits: Limits,
    folder: &Path,
    pid_file: &Path,
) -> Result<Seen> {
    let listeners = Listeners::bind(folder)?;
    let started = Instant::now();
    let mut qemu = process::start(&script.command_line(machine), folder)?;
    fs::write(pid_file, qemu.id().unwrap_or_default().to_string())
        .with_context(|| format!("write {}", pid_file.display()))?;
    let mut guest =
        Guest { seen: Seen::default(), script, limits, started, folder, debugger: None, handed_over: false };
    let channels = tokio::select! {
        channels = listeners.accept() => channels?,
        // Why stands in its complaint.
        status = qemu.wait() => { guest.seen.exit = Some(status.context("wait for QEMU")?); None }
    };
    if let Some(mut channels) = channels {
        guest.follow(&mut channels, &mut qemu).await?;
    } else if guest.seen.exit.is_none() {
        guest.seen.exit = Some(process::end(&mut qemu, None).await?);
    }
    guest.seen.complaint = process::complaint(folder);
    Ok(guest.seen)
}

/// A guest under way.
struct Guest<'a> {
    seen: Seen,
    script: Script,
    limits: Limits,
    started: Instant,
    folder: &'a Path,
    debugger: Option<Child>,
    /// The user looks at the guest, or did: what it says from then on is not of the cell.
    handed_over: bool,
}

impl Guest<'_> {
    /// Follows the guest to its end. An error of the harness ends it, and all that was seen stays.
    async fn follow(&mut self, channels: &mut Channels, qemu: &mut Child) -> Result<()> {
        match self.converse(channels, qemu).await {
            Err(error) if error.is::<Interrupted>() => return Err(error),
            Err(error) => self.seen.fault = Some(format!("{error:#}")),
            Ok(()) => {}
        }
        match self.script.keep() {
            Some(_) if self.seen.exit.is_some() => note!("the guest ended by itself, and cannot be kept"),
            Some(keep) if keep::is_wanted(&self.seen) => {
                // What goes wrong from here on is not of the cell.
                if let Err(error) = self.keep(&keep, channels, qemu).await {
                    note!("error: the guest cannot be kept: {error:#}");
                }
            }
            _ => {}
        }
        if self.seen.exit.is_none() {
            self.seen.exit = Some(process::end(qemu, Some(channels)).await?);
        }
        self.note("QEMU ended");
        while !self.handed_over
            && let Some(event) = channels.rest().await
        {
            match event {
                Event::Agent(line) => drop(self.agent_line(&line)),
                event => self.hear(event),
            }
        }
        channels.drain().await;
        Ok(())
    }

    /// The event loop: until QEMU ended, or there is nothing more to wait for.
    async fn converse(&mut self, channels: &mut Channels, qemu: &mut Child) -> Result<()> {
        let (mut last_sign, mut limit) = (self.started, self.limits.boot);
        let (mut began, mut overdue) = (None, None);
        self.take(self.script.opening(), channels).await?;
        loop {
            if self.script.keep().is_some() && (self.seen.panicked || keep::has_told_all(&self.seen)) {
                return Ok(());
            }
            let event = tokio::select! {
                event = channels.next(qemu, overdue.unwrap_or(last_sign + limit)) => event?,
                () = debugger::left(&mut self.debugger) => return Ok(()),
            };
            match event {
                Event::Agent(line) => {
                    if self.seen.given_up.is_none() {
                        (last_sign, limit, overdue) = (Instant::now(), self.limits.progress, None);
                    }
                    self.seen.stuck = None;
                    self.seen.weigh(qemu);
                    if let Some(message) = self.agent_line(&line) {
                        let turn = self.script.answer(&message, &mut self.seen);
                        self.take(turn, channels).await?;
                    }
                    // Whoever falls silent instead is called so.
                    if self.seen.begun && began.get_or_insert(last_sign).elapsed() > self.limits.whole {
                        self.seen.endless = Some(self.limits.whole);
                    }
                    let is_over = self.seen.mistaken.is_some() || self.seen.endless.is_some();
                    if is_over || !self.seen.garbage.is_empty() {
                        return Ok(());
                    }
                }
                Event::TooMuch(flood) => {
                    self.seen.flood = Some(flood);
                    return Ok(());
                }
                Event::Saved if let Some(words) = self.script.debugger() => {
                    self.debugger = Some(debugger::start(words, self.folder)?);
                }
                // With a debugger, what Ctrl-C means is the debugger's affair.
                Event::Interrupted if self.debugger.is_some() => {}
                // A debugger lets a guest go on many times.
                Event::Resumed if self.seen.begun => {}
                Event::Saved => {
                    self.seen.saved = true;
                    return Ok(());
                }
                Event::Resumed => {
                    self.note("the guest was restored");
                    let turn = self.script.speak_to_restored();
                    self.take(turn, channels).await?;
                }
                Event::Refused(why) => bail!("cannot save or restore the state of the guest: {why}"),
                Event::Ended(status) => {
                    self.seen.exit = Some(status);
                    return Ok(());
                }
                // Whoever was stopped or starved meanwhile has yet to read what came.
                Event::Expired if overdue.is_none() => overdue = Some(Instant::now() + UNREAD),
                Event::Expired => {
                    self.seen.expired = Some(limit);
                    return Ok(());
                }
                Event::Interrupted if self.script.is_for_the_user() && self.seen.begun => {
                    self.seen.given_up = Some(GivenUp::Interrupted);
                    (last_sign, limit, overdue) = (Instant::now(), GRACE, None);
                    channels.say(&ToGuest::Interrupt).await?;
                }
                Event::Interrupted => return Err(Interrupted.into()),
                Event::Unheard(error) => {
                    self.seen.given_up = Some(GivenUp::Unheard(error));
                    return Ok(());
                }
                Event::Resized(size) => channels.say(&ToGuest::Resize(size)).await?,
                event => {
                    let before = self.seen.stuck.is_some();
                    self.hear(event);
                    if !before && self.seen.stuck.is_some() && !self.script.is_for_the_user() {
                        limit = limit.min(last_sign.elapsed() + self.limits.stuck);
                    }
                }
            }
        }
    }

    async fn take(&mut self, turn: Turn, channels: &mut Channels) -> Result<()> {
        match turn {
            Turn::Listen => Ok(()),
            Turn::Say(message) => channels.say(&message).await,
            Turn::Relay { luggage, on_terminal } => channels.relay(luggage, on_terminal),
            Turn::Restore(file) => {
                let from = format!("exec:cat {}", quoted(&file.to_string_lossy()));
                channels.restore(&from, self.script.debugger().is_some())
            }
            Turn::Save(file) => {
                self.note("the state is being saved");
                // The final name appears when all of it is written, and not when QEMU has passed on the last of it.
                let (part, whole) = (file.with_extension("part"), file);
                let [part, whole] = [part, whole].map(|file| quoted(&file.to_string_lossy()));
                channels.save(&format!("exec:cat > {part} && mv {part} {whole}"))
            }
        }
    }

    /// What is only written down.
    fn hear(&mut self, event: Event) {
        match event {
            Event::Log(record) => {
                self.seen.note_stuck(&record.text);
                self.seen.log.push(record);
            }
            Event::Console(line) => {
                self.seen.note_stuck(&line);
                self.seen.console.push_str(&line);
                self.seen.console.push('\n');
            }
            Event::Cut(line) => self.seen.cut = Some(line),
            Event::TooMuch(flood) => self.seen.flood = Some(flood),
            Event::Panicked => self.seen.panicked = true,
            // Turns of the conversation, which the event loop takes itself.
            Event::Agent(_)
            | Event::Saved
            | Event::Resumed
            | Event::Refused(_)
            | Event::Ended(_)
            | Event::Expired
            | Event::Resized(_)
            | Event::Unheard(_)
            | Event::Interrupted => {}
        }
    }

    /// Takes in a line of the agent's port.
    fn agent_line(&mut self, line: &str) -> Option<FromGuest> {
        let Ok(message) = serde_json::from_str(line) else {
            self.seen.garbage.push(line.to_owned());
            return None;
        };
        match &message {
            FromGuest::Ready { protocol, kernel } => {
                self.note("the agent was ready");
                self.seen.ready = Some(kernel.clone());
                if *protocol != protocol::VERSION {
                    self.seen.mistaken = Some(format!(
                        "the guest image speaks version {protocol} of the protocol; rebuild it"
                    ));
                }
            }
            FromGuest::Made(setup) => self.note(&format!("{setup} was made")),
            FromGuest::Begun { .. } => self.note("the cell began"),
            FromGuest::Doing(doing) => self.seen.doing.clone_from(doing),
            FromGuest::Step(step) => {
                self.seen.doing = format!("past the step '{}'", step.name);
                self.seen.steps.push((**step).clone());
            }
            FromGuest::Check(check) => self.seen.checks.push(check.clone()),
            FromGuest::ExpectLog(line) => self.seen.expected_log.push(line.clone()),
            FromGuest::AllowLog(part) => self.seen.allowed_log.push(part.clone()),
            FromGuest::Skip(_) => {}
            FromGuest::Answers(answers) => self.seen.answers.clone_from(answers),
            FromGuest::Finished => self.seen.finished = true,
            FromGuest::Exited { code, problem } => {
                self.note("the program ended");
                self.seen.finished = true;
                self.seen.exited = Some((*code, problem.clone()));
            }
            FromGuest::Verdict { outcome, log_mark } => {
                self.note("the verdict came");
                self.seen.verdicts.push((outcome.clone(), log_mark.clone()));
            }
        }
        Some(message)
    }

    fn note(&mut self, what: &str) {
        let seconds = self.started.elapsed().as_secs_f64();
        self.seen.timings.push(Timing { what: what.to_owned(), seconds });
    }
}
