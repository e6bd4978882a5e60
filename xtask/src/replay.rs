// SPDX-License-Identifier: MIT OR Apache-2.0

//! `cargo xtask replay`: runs a recorded cell again, and compares what it leaves with the record.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use fs_harness::record::{Record, SCHEMA};
use fs_harness::render::render;

use crate::bench::Options;
use crate::cell::{self, Task};
use crate::report::text;
use crate::{artefacts, exec, list, note, say};

/// What a record says of the moment and not of the bench.
const OF_THE_MOMENT: &[&str] = &["host load"];

/// What to run again.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// The folder of a cell's artefacts, or the record.json in it
    #[arg(value_name = "ARTEFACT")]
    artefact: PathBuf,
}

/// Runs the cell again; success is the same text.
pub fn main(arguments: &Arguments) -> Result<ExitCode> {
    let recorded = read(&arguments.artefact)?;
    let cell = list::one(&recorded.cell.to_string())?;
    let typed = recorded.environment.get("options").map_or("", String::as_str);
    let mut bench = exec::prepare(&Options::parse(typed)?)?;
    if let Some(seed) = recorded.environment.get("seed").and_then(|seed| seed.parse().ok()) {
        bench.seed = seed;
        bench.environment.insert("seed".to_owned(), seed.to_string());
    }
    note!("{}", bench.header());
    for line in differences(&recorded.environment, &bench.environment) {
        say!("{line}");
    }
    // The artefacts that were given stay as they are.
    let folder = artefacts().join("replay").join(cell.path());
    let again = cell::run(&bench, &Task { folder: folder.clone(), ..cell::task(&bench, &cell) })?;
    let (before, now) = (render(&recorded), render(&again));
    say!("{}", text::line(&again, 1, 1));
    if before == now {
        say!("the same text as recorded");
        return Ok(ExitCode::SUCCESS);
    }
    say!("another text than recorded, see {}\n{}", folder.display(), text::difference(&before, &now));
    Ok(ExitCode::FAILURE)
}

fn read(artefact: &Path) -> Result<Record> {
    let path = if artefact.is_dir() { artefact.join(cell::RECORD) } else { artefact.to_owned() };
    let json = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let json: serde_json::Value =
        serde_json::from_slice(&json).with_context(|| format!("{} is no record", path.display()))?;
    match json.get("schema").and_then(serde_json::Value::as_u64) {
        Some(schema) if schema == u64::from(SCHEMA) => {}
        Some(other) => {
            bail!(
                "{} has schema {other}, and this pinbed reads {SCHEMA}; check out the one that wrote it",
                path.display()
            )
        }
        None => bail!("{} is no record: it names no schema", path.display()),
    }
    serde_json::from_value(json).with_context(|| format!("{} is no record", path.display()))
}

/// One line for each part of the environment that is another now.
fn differences(then: &BTreeMap<String, String>, now: &BTreeMap<String, String>) -> Vec<String> {
    let names = then.keys().chain(now.keys().filter(|name| !then.contains_key(*name)));
    let value = |of: &BTreeMap<String, String>, name: &str| {
        of.get(name).cloned().unwrap_or_else(|| "unknown".to_owned())
    };
    names
        .filter(|name| !OF_THE_MOMENT.contains(&name.as_str()) && then.get(*name) != now.get(*name))
        .map(|name| format!("{name} was {}, is {}", value(then, name), value(now, name)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    #[test]
    fn what_is_another_now_is_named_and_the_load_is_not() {
        let then = environment(&[("kernel", "7.3.4"), ("qemu", "7.2"), ("host load", "1"), ("gone", "x")]);
        let now = environment(&[("kernel", "7.3.6"), ("qemu", "7.2"), ("host load", "2")]);
        assert_eq!(differences(&then, &now), ["gone was x, is unknown", "kernel was 7.3.4, is 7.3.6"]);
        assert!(differences(&now, &now).is_empty());
    }

    #[test]
    fn what_is_no_record_is_called_so() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(cell::RECORD);
        let error = || format!("{:#}", read(folder.path()).unwrap_err());
        assert!(error().starts_with("cannot read "));
        fs::write(&path, "{").unwrap();
        assert!(error().contains(" is no record: "), "{}", error());
        fs::write(&path, r#"{"schema": 999}"#).unwrap();
        assert!(error().contains(" has schema 999"), "{}", error());
    }
}
