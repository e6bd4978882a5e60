// SPDX-License-Identifier: MIT OR Apache-2.0

//! Runs one cell, for everybody: `cargo xtask run` and the tests only schedule it.

use std::fmt::Write as _;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use fs_harness::cell::Cell;
use fs_harness::kernel_log;
use fs_harness::protocol::AgentFault;
use fs_harness::record::{Outcome, OutcomeKind, Record, SCHEMA};
use fs_harness::render::render;
use serde::Deserialize;

use crate::bench::{self, Bench, Isolation};
use crate::host::command::quoted;
use crate::interrupt::Interrupted;
use crate::qemu::checkpoint;
use crate::qemu::guest;
use crate::qemu::keep::Keep;
use crate::qemu::limits::Limits;
use crate::qemu::machine::Channels;
use crate::qemu::script::Script;
use crate::qemu::seen::Seen;
use crate::{artefacts, cache};

/// The record in a cell's folder.
pub const RECORD: &str = "record.json";

/// What a cell leaves in its folder for people, the record first.
pub const ARTEFACTS: &[&str] =
    &[RECORD, "snapshot.txt", "dump_page.txt", "kernel.log", "console.log", "command.sh"];

/// Holds the process id of QEMU while a cell runs.
pub const PID: &str = "qemu.pid";

/// A cell to run.
#[derive(Clone, Debug)]
pub struct Task {
    /// Which.
    pub cell: Cell,
    /// A fault of the agent, for the self-test.
    pub fault: Option<AgentFault>,
    /// Deadlines.
    pub limits: Limits,
    /// Where its artefacts go.
    pub folder: PathBuf,
    /// The guest stays if the cell does not pass, with this for the user.
    pub keep: Option<Arc<Keep>>,
}

/// The folder of a cell's artefacts.
pub fn folder(cell: &Cell) -> PathBuf {
    artefacts().join("cells").join(cell.path())
}

/// Runs a cell in a guest of its own and writes down everything that it left behind. An error means
/// that nothing could be written down, or that the user interrupted; all else is an outcome.
pub fn run(bench: &Bench, task: &Task) -> Result<Record> {
    let mut record = begin(bench, task)?;
    match guest(bench, task) {
        Ok(seen) => {
            record.outcome = seen.outcome();
            take_over(&mut record, &task.folder, seen)?;
        }
        Err(error) if error.is::<Interrupted>() => return Err(error),
        Err(error) => {
            let detail = format!("{error:#}");
            record.outcome = Outcome { kind: OutcomeKind::HarnessError, detail };
        }
    }
    save(&task.folder, &record)?;
    Ok(record)
}

/// A guest of its own for the cell: booted, or restored from the checkpoint of its setup.
fn guest(bench: &Bench, task: &Task) -> Result<Seen> {
    let Task { cell, fault, limits, folder, keep } = task;
    let checkpoint = match bench.isolation {
        Isolation::Boot => None,
        Isolation::Checkpoint => {
            let qemu = bench.environment.get("qemu").map_or("", String::as_str);
            match checkpoint::ensure(&bench.machine, qemu, cell.setup, *limits)? {
                Ok(checkpoint) => Some(checkpoint),
                Err(seen) => return Ok(*seen),
            }
        }
    };
    let start = checkpoint.as_ref().map(|checkpoint| checkpoint.files.clone());
    let script = Script::run(cell.clone(), *fault, start).keeping(keep.clone());
    let mut seen = guest::run(&bench.machine, script, *limits, &folder.join(PID))?;
    if let Some(checkpoint) = checkpoint {
        let failed_by_itself = seen.exit.is_some_and(|status| status.code().is_some_and(|code| code != 0));
        if !seen.begun && (failed_by_itself || seen.fault.is_some()) {
            seen.fault = Some(format!(
                "the checkpoint of {} did not come back to life, and is removed{}",
                cell.setup,
                seen.fault.map(|fault| format!(": {fault}")).unwrap_or_default()
            ));
            checkpoint.forget()?;
        }
        checkpoint.precede(&mut seen);
    }
    Ok(seen)
}

/// The ordinary task for a cell.
pub fn task(bench: &Bench, cell: &Cell) -> Task {
    let limits = Limits::of(&bench.machine);
    Task { cell: cell.clone(), fault: None, limits, folder: folder(cell), keep: None }
}

/// Writes a record and its rendering into a cell's folder.
pub fn save(folder: &Path, record: &Record) -> Result<()> {
    let json = serde_json::to_vec_pretty(record).context("turn a record into JSON")?;
    cache::write_whole(&folder.join("snapshot.txt"), render(record).as_bytes())?;
    cache::write_whole(&folder.join(RECORD), &json)
}

/// The record in a cell's folder; none where it was not run.
pub fn load(folder: &Path) -> Result<Option<Record>> {
    let path = folder.join(RECORD);
    if !path.exists() {
        return Ok(None);
    }
    let json = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    parse(&json).with_context(|| path.display().to_string()).map(Some)
}

/// A record of this version, from its JSON.
fn parse(json: &[u8]) -> Result<Record> {
    #[derive(Deserialize)]
    struct Version {
        schema: u32,
    }
    let Version { schema } = serde_json::from_slice(json).context("this is no record")?;
    if schema != SCHEMA {
        bail!(
            "the record has version {schema} and this pinbed reads version {SCHEMA}; read it with the pinbed \
             that wrote it, or run the cell again"
        );
    }
    serde_json::from_slice(json).context("the record is damaged")
}

/// Removes what earlier runs left in a cell's folder.
pub fn forget(folder: &Path) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("cannot empty {}", folder.display()))?;
    }
    Ok(())
}

/// Whatever happens from here on, the record says that the cell died until it says more.
fn begin(bench: &Bench, task: &Task) -> Result<Record> {
    let Task { cell, folder, .. } = task;
    forget(folder)?;
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let mut environment = bench.environment.clone();
    environment.insert("host load".to_owned(), bench::host_load());
    let record = Record::new(cell.clone(), environment);
    save(folder, &record)?;
    // The agent takes the cell's name from the kernel's command line where no harness tells it.
    let words = bench.machine.command_line(Channels::Person, &format!("PINBED_CELL={cell}"));
    let quoted: Vec<String> = words.iter().map(|word| quoted(word)).collect();
    let script = format!(
        "#!/bin/sh\n# Runs this cell by hand: the console is here, the agent's messages go to agent.out.\nexec {}\n",
        quoted.join(" ")
    );
    let path = folder.join("command.sh");
    cache::write_whole(&path, script.as_bytes())?;
    fs::set_permissions(&path, Permissions::from_mode(0o755))
        .with_context(|| format!("cannot make {} executable", path.display()))?;
    Ok(record)
}

fn take_over(record: &mut Record, folder: &Path, seen: Seen) -> Result<()> {
    record.log =
        seen.log.iter().filter(|record| !seen.allows(record)).filter_map(kernel_log::judge).collect();
    record.steps = seen.steps;
    record.checks = seen.checks;
    record.answers = seen.answers;
    record.timings = seen.timings;
    record.resources = seen.resources;
    let mut log = String::new();
    for line in &seen.log {
        // Writing to a String never fails.
        let _ = writeln!(
            log,
            "{} [{:5}.{:06}] {}",
            line.seq,
            line.micros / 1_000_000,
            line.micros % 1_000_000,
            line.text
        );
    }
    cache::write_whole(&folder.join("kernel.log"), log.as_bytes())?;
    cache::write_whole(&folder.join("console.log"), seen.console.as_bytes())?;
    cache::write_whole(&folder.join("dump_page.txt"), dumps(record).as_bytes())
}

/// Every `dump_page()` report of a record, as the kernel printed it.
fn dumps(record: &Record) -> String {
    let mut text = String::new();
    for step in &record.steps {
        for page in &step.pages {
            let _ = writeln!(text, "# {}: {}\n{}\n", step.name, page.name, page.raw.join("\n"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn a_record_of_another_version_is_refused_in_one_sentence() {
        let (cell, _) = workloads::catalogue::cells().next().unwrap();
        let record = Record::new(cell, BTreeMap::new());
        let mut json = serde_json::to_value(&record).unwrap();
        assert_eq!(parse(json.to_string().as_bytes()).unwrap(), record);
        for other in [SCHEMA - 1, SCHEMA + 1] {
            json["schema"] = other.into();
            let error = format!("{:#}", parse(json.to_string().as_bytes()).unwrap_err());
            assert!(
                error.starts_with(&format!("the record has version {other} and this pinbed reads")),
                "{error}"
            );
        }
        json["schema"] = SCHEMA.into();
        json["outcome"] = "fine".into();
        let error = format!("{:#}", parse(json.to_string().as_bytes()).unwrap_err());
        assert!(error.starts_with("the record is damaged: "), "{error}");
    }
}
