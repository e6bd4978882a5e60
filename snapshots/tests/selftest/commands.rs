// SPDX-License-Identifier: MIT OR Apache-2.0

//! `cargo xtask` as a user runs it: as a process, in a place of its own, so that it neither waits for
//! the run around it nor disturbs it.

use std::env;
use std::fs;
use std::io::Read;
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use libtest_mimic::Failed;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

/// Names the xtask that runs; `cargo xtask test` sets it.
const XTASK: &str = "PINBED_XTASK";

/// A cell that is quick, for runs of which only the end matters.
pub(crate) const QUICK: &str = "pin_order0::none";

/// How long a process may outlive the end of a run: the kernel ends it, but not at once.
const AFTERLIFE: Duration = Duration::from_secs(10);

/// How long any command may take: guests are few, and the host may be busy.
pub(crate) const PATIENCE: Duration = Duration::from_mins(3);

/// A folder for artefacts and one for temporary files, which nobody else uses. The cache is the user's.
pub(crate) struct Place {
    folder: TempDir,
}

impl Place {
    pub(crate) fn new() -> Result<Self, Failed> {
        let folder = tempfile::Builder::new()
            .prefix("pb-")
            .tempdir()
            .map_err(|error| format!("make a folder: {error}"))?;
        let place = Self { folder };
        fs::create_dir(place.temporary()).map_err(|error| format!("make a temporary folder: {error}"))?;
        place.furnish()?;
        Ok(place)
    }

    /// Lends the place what was built by the run around it, and takes a minute to build.
    pub(crate) fn furnish(&self) -> Result<(), Failed> {
        let artefacts = self.artefacts();
        fs::create_dir_all(&artefacts).map_err(|error| format!("make {}: {error}", artefacts.display()))?;
        for built in ["guest", "module"] {
            symlink(xtask::artefacts().join(built), artefacts.join(built))
                .map_err(|error| format!("lend the folder '{built}': {error}"))?;
        }
        Ok(())
    }

    /// What `CARGO_TARGET_DIR` is here.
    pub(crate) fn target(&self) -> PathBuf {
        self.folder.path().join("target")
    }

    pub(crate) fn artefacts(&self) -> PathBuf {
        self.target().join("pinbed")
    }

    fn temporary(&self) -> PathBuf {
        self.folder.path().join("tmp")
    }

    /// `cargo xtask` with these words, in a process group of its own as a shell starts it.
    pub(crate) fn xtask(&self, words: &[&str]) -> Result<Command, Failed> {
        let program = env::var_os(XTASK)
            .ok_or_else(|| format!("{XTASK} must name the xtask program, as `cargo xtask test` does"))?;
        let mut command = self.command(Path::new(&program));
        command.args(words);
        Ok(command)
    }

    /// A program that finds this place in its environment.
    pub(crate) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        for (name, _) in env::vars_os() {
            // What Cargo and nextest tell a test is not for a command that calls Cargo again.
            let text = name.to_string_lossy().into_owned();
            if (text.starts_with("CARGO") && text != "CARGO_HOME") || text.starts_with("NEXTEST") {
                command.env_remove(name);
            }
        }
        command.env("CARGO_TARGET_DIR", self.target()).env("TMPDIR", self.temporary());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        command
    }

    /// The processes that were started here and live, by their names.
    fn processes(&self) -> Vec<(String, Pid)> {
        let mark = format!("TMPDIR={}", self.temporary().display());
        let of_here = |pid: &Path| {
            let environment = fs::read(pid.join("environ")).unwrap_or_default();
            environment.split(|byte| *byte == 0).any(|variable| variable == mark.as_bytes())
        };
        let all = fs::read_dir("/proc").into_iter().flatten().flatten().map(|entry| entry.path());
        let named = |process: PathBuf| {
            let name = fs::read_to_string(process.join("comm")).ok()?.trim_end().to_owned();
            Some((name, Pid::from_raw(process.file_name()?.to_str()?.parse().ok()?)))
        };
        all.filter(|pid| of_here(pid)).filter_map(named).collect()
    }

    /// Waits until a process of that name was started here; false where `run` ended before.
    pub(crate) fn wait_for(&self, name: &str, run: &mut Child) -> bool {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline && run.try_wait().is_ok_and(|status| status.is_none()) {
            if self.processes().iter().any(|(found, _)| found.starts_with(name)) {
                return true;
            }
            thread::park_timeout(Duration::from_millis(5));
        }
        false
    }

    /// Nothing lives on here, and all that stays is in its place: a run of the cells that `next` names works,
    /// and has swept what a killed one had begun, and the folders of its guests. One that could tidy up left no
    /// temporary folder.
    pub(crate) fn expect_order(&self, tidied: bool, next: &str) -> Result<(), Failed> {
        let deadline = Instant::now() + AFTERLIFE;
        while !self.processes().is_empty() {
            if Instant::now() > deadline {
                return Err(format!("processes are left: {:?}", self.processes()).into());
            }
            thread::park_timeout(Duration::from_millis(10));
        }
        let left: Vec<String> = names(&self.temporary());
        if tidied && !left.is_empty() {
            return Err(format!("temporary folders are left: {}", left.join(", ")).into());
        }
        let output = finish(self.xtask(&["run", next])?)?;
        if !output.status.success() {
            return Err(format!("the next run does not work: {}", told(&output)).into());
        }
        let of_guests: Vec<String> =
            names(&self.temporary()).into_iter().filter(|name| name.starts_with("pinbed-")).collect();
        if !of_guests.is_empty() {
            return Err(format!("folders of guests stay for ever: {}", of_guests.join(", ")).into());
        }
        let partial: Vec<PathBuf> = partials(&self.artefacts());
        if !partial.is_empty() {
            return Err(format!("unfinished folders stay for ever: {partial:?}").into());
        }
        Ok(())
    }
}

impl Drop for Place {
    /// A case that failed must not leave what it complains of.
    fn drop(&mut self) {
        for (_, pid) in self.processes() {
            // That it has ended meanwhile is fine.
            let _ = kill(pid, Signal::SIGKILL);
        }
    }
}

/// Runs a command to its end.
pub(crate) fn finish(mut command: Command) -> Result<Output, Failed> {
    let child = command.spawn().map_err(|error| format!("start {command:?}: {error}"))?;
    let output = child.wait_with_output();
    output.map_err(|error| format!("wait for {command:?}: {error}").into())
}

/// Waits for the end of a run that should end soon.
pub(crate) fn end(run: &mut Child) -> Result<ExitStatus, Failed> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(status) = run.try_wait().map_err(|error| format!("look after the run: {error}"))? {
            return Ok(status);
        }
        if Instant::now() > deadline {
            return Err("the run did not end".into());
        }
        thread::park_timeout(Duration::from_millis(5));
    }
}

/// What a process that ended had said on its standard error.
pub(crate) fn complaint(run: &mut Child) -> String {
    let mut text = String::new();
    if let Some(mut stderr) = run.stderr.take() {
        // Half of a complaint is better than none.
        let _ = stderr.read_to_string(&mut text);
    }
    text
}

/// Both streams of an output, for an error.
pub(crate) fn told(output: &Output) -> String {
    let text = [&output.stdout[..], &output.stderr[..]].concat();
    format!("{}: {}", output.status, String::from_utf8_lossy(&text).trim_end())
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

/// Unfinished folders below a folder; what is lent is not looked at.
fn partials(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if entry.file_name().to_string_lossy().starts_with(".partial-") {
            found.push(path);
        } else if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            found.extend(partials(&path));
        }
    }
    found
}
