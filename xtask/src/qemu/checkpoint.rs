// SPDX-License-Identifier: MIT OR Apache-2.0

//! Saved guests, from which cells start: one that has booted, and from it one for each setup, made and
//! mounted, with the agent waiting. Each is made once for all that it depends on.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use fs_harness::cell::Setup;
use fs_harness::kernel_log::LogRecord;
use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};

use super::guest;
use super::limits::Limits;
use super::machine::{Channels, Machine};
use super::memory;
use super::script::Script;
use super::seal::{self, Seal};
use super::seen::Seen;
use crate::{artefacts, cache, note};

/// Of how many benches the checkpoints are kept: they are some tens of MiB a setup, and three times that on the
/// sanitizer kernel.
const KEPT: usize = 3;

/// How a guest is saved: raised by any change of that, since older checkpoints may still be there.
const FORMAT: &str = "state and memory apart";

/// A saved guest.
pub struct Checkpoint {
    /// What QEMU restores.
    pub files: Files,
    past: Past,
}

/// The files of a saved guest. Nobody writes to them once the checkpoint is there: guests run on them.
#[derive(Clone)]
pub struct Files {
    /// The state of its processors and devices.
    pub state: PathBuf,
    /// Its memory.
    pub memory: PathBuf,
}

impl Files {
    fn of(folder: &Path) -> Self {
        Self { state: folder.join("state"), memory: folder.join("memory") }
    }
}

/// What the guest had said before it was saved, and what its files were like.
#[derive(Serialize, Deserialize)]
struct Past {
    seals: Vec<Seal>,
    log: Vec<LogRecord>,
    console: String,
}

impl Checkpoint {
    /// Removes a checkpoint that QEMU does not restore, so that the next run makes it anew.
    pub fn forget(&self) -> Result<()> {
        remove(self.files.state.parent().context("a checkpoint without a folder")?)
    }

    /// Puts what was said before the checkpoint in front of what was seen after it.
    pub fn precede(self, seen: &mut Seen) {
        seen.log.splice(0..0, self.past.log);
        seen.console.insert_str(0, &self.past.console);
    }
}

/// The checkpoint of a setup, made first if need be; or what was seen of the guest in which it could
/// not be made.
pub fn ensure(
    machine: &Machine,
    qemu: &str,
    setup: Setup,
    limits: Limits,
) -> Result<Result<Checkpoint, Box<Seen>>> {
    let key = key(machine, qemu);
    let folder = folder(&key)?.join(setup.name()).join("saved");
    if let Some(found) = load(&folder)? {
        return Ok(Ok(found));
    }
    let place = folder.parent().context("a checkpoint without a folder")?;
    let _guard = cache::lock_folder(place, &format!("the checkpoint of {setup} to be made"))?;
    if let Some(found) = load(&folder)? {
        return Ok(Ok(found));
    }
    if folder.exists() {
        note!("the checkpoint of {setup} is not as it was saved, and is made anew");
        remove(&folder)?;
    }
    let start = match setup {
        Setup::None => None,
        _ => match ensure(machine, qemu, Setup::None, limits)? {
            Ok(booted) => Some(booted),
            Err(seen) => return Ok(Err(seen)),
        },
    };
    make(machine, setup, start, &folder, limits)
}

fn make(
    machine: &Machine,
    setup: Setup,
    start: Option<Checkpoint>,
    folder: &Path,
    limits: Limits,
) -> Result<Result<Checkpoint, Box<Seen>>> {
    cache::sweep_partials(folder)?;
    let scratch = cache::scratch_beside(folder)?;
    let files = Files::of(scratch.path());
    if let Some(start) = &start {
        memory::copy(&start.files.memory, &files.memory)?;
    }
    let script = Script::save(setup, files.clone(), start.as_ref().map(|start| start.files.clone()));
    let mut seen = guest::run(machine, script, limits, &scratch.path().join("qemu.pid"))?;
    if let Some(start) = start {
        start.precede(&mut seen);
    }
    if killed_by_a_full_disk(&seen) {
        let folder = scratch.path().display();
        seen.fault =
            Some(format!("the memory of the guest cannot be written to {folder}: is the disk full?"));
    }
    if !seen.saved {
        return Ok(Err(Box::new(seen)));
    }
    wait_for(&files.state)?;
    memory::settle(&files.memory)?;
    let past = Past { seals: seal::all_in(scratch.path())?, log: seen.log, console: seen.console };
    let text = serde_json::to_vec(&past).context("turn a kernel log into JSON")?;
    cache::write_whole(&scratch.path().join("past.json"), &text)?;
    cache::publish(scratch.path(), folder)?;
    load(folder)?.context("the checkpoint that was just made is gone").map(Ok)
}

/// Memory that is a file has no place to go when the disk is full, and whoever writes to it gets a SIGBUS.
fn killed_by_a_full_disk(seen: &Seen) -> bool {
    seen.exit.and_then(|status| status.signal()) == Some(Signal::SIGBUS as i32)
}

/// QEMU has passed on all of the state; the program that writes it may be a little behind.
fn wait_for(state: &Path) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !state.exists() {
        if Instant::now() > deadline {
            bail!("the state of the guest could not be written to {}; is the disk full?", state.display());
        }
        thread::park_timeout(Duration::from_millis(5));
    }
    Ok(())
}

/// The checkpoint in a folder; none where there is none, or its files are not as they were.
fn load(folder: &Path) -> Result<Option<Checkpoint>> {
    let past = folder.join("past.json");
    if !past.exists() {
        return Ok(None);
    }
    let text = fs::read(&past).with_context(|| format!("cannot read {}", past.display()))?;
    let whole = serde_json::from_slice(&text).ok().filter(|past: &Past| seal::hold(folder, &past.seals));
    Ok(whole.map(|past| Checkpoint { files: Files::of(folder), past }))
}

fn remove(folder: &Path) -> Result<()> {
    fs::remove_dir_all(folder).with_context(|| format!("cannot remove {}", folder.display()))
}

/// All that a checkpoint depends on: the whole command line, which names the kernel and the image by
/// what they contain, and QEMU's version.
fn key(machine: &Machine, qemu: &str) -> String {
    let line = machine.command_line(Channels::Harness, "").join("\0");
    cache::short_hex(blake3::hash(format!("{FORMAT}\0{line}\0{qemu}").as_bytes()))
}

/// The folder of a bench's checkpoints; those of benches that were used long ago make room for it.
fn folder(key: &str) -> Result<PathBuf> {
    let all = artefacts().join("checkpoints");
    let folder = all.join(key);
    if !folder.exists() {
        let _guard = cache::lock("checkpoints")?;
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        cache::keep_newest(&all, KEPT)?;
    }
    cache::touch(&folder)?;
    Ok(folder)
}
