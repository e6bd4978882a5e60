// SPDX-License-Identifier: MIT OR Apache-2.0

//! Cells that run again and again: how each run ended and the hash of the text that it left, kept for one
//! run of pinbed, or in a log from which a later one goes on.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

use anyhow::{Context, Result, bail};
use fs_harness::cell::Cell;
use fs_harness::record::{OutcomeKind, Record};
use fs_harness::render::render;
use serde::{Deserialize, Serialize};

use crate::bench::Bench;
use crate::qemu::machine::Channels;
use crate::report::text;
use crate::{cache, cell};

/// One run of one cell: a line of the log.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Entry {
    cell: Cell,
    /// Names all that the cell ran on; runs of another kernel, module, image or machine do not count.
    key: String,
    /// Hash of the rendered text.
    text: String,
    outcome: OutcomeKind,
    seconds: Option<f64>,
}

/// How every line of a log begins.
const BEGINNING: &str = "{\"cell\":";

/// A log of runs, read and held by this run alone.
pub struct Log {
    file: File,
    entries: Vec<Entry>,
}

impl Log {
    /// Reads the log, or begins it. A file that is no log is left as it is.
    pub fn open(path: &Path) -> Result<Self> {
        Self::read(path).with_context(|| format!("cannot use the log {}", path.display()))
    }

    fn read(path: &Path) -> Result<Self> {
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        if file.try_lock().is_err() {
            bail!("another run writes to it; wait for that, or name another file");
        }
        let mut text = String::new();
        file.read_to_string(&mut text)?;
        let (whole, half) = text.split_at(text.rfind('\n').map_or(0, |end| end + 1));
        let mut entries = Vec::new();
        for (number, line) in (1..).zip(whole.lines()) {
            let entry =
                serde_json::from_str(line).with_context(|| format!("line {number} is no line of a log"))?;
            entries.push(entry);
        }
        if !half.starts_with(BEGINNING) && !BEGINNING.starts_with(half) {
            bail!("its last line is no line of a log");
        }
        // The run that wrote half a line was killed meanwhile, and counts as not made.
        file.set_len(whole.len() as u64)?;
        file.seek(SeekFrom::End(0))?;
        Ok(Self { file, entries })
    }
}

/// Every run so far that counts.
pub struct Rounds {
    key: String,
    entries: Vec<Entry>,
    file: Option<File>,
}

impl Rounds {
    /// Goes on where the log ended; without a log nothing is kept.
    pub fn new(bench: &Bench, log: Option<Log>) -> Self {
        let key = key(bench);
        let (file, mut entries) = log.map_or_else(Default::default, |log| (Some(log.file), log.entries));
        entries.retain(|entry| entry.key == key);
        Self { key, entries, file }
    }

    /// Whether no cell has run.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How often a cell has run.
    pub fn count(&self, cell: &Cell) -> usize {
        self.of(cell).count()
    }

    /// The record of a cell's first run, if there was one and its folder still has that record and not another one.
    pub fn kept(&self, cell: &Cell, folder: &Path) -> Result<Option<Record>> {
        if self.count(cell) == 0 {
            return Ok(None);
        }
        Ok(cell::load(folder)?.filter(|record| self.is_as_first(record)))
    }

    /// Keeps how a cell ended.
    pub fn add(&mut self, record: &Record) -> Result<()> {
        let entry = Entry {
            cell: record.cell.clone(),
            key: self.key.clone(),
            text: hash(record),
            outcome: record.outcome.kind,
            seconds: text::end(record),
        };
        if let Some(file) = &mut self.file {
            let line = serde_json::to_string(&entry).context("turn a run into a line of the log")?;
            file.write_all(format!("{line}\n").as_bytes()).context("cannot write to the log")?;
        }
        self.entries.push(entry);
        Ok(())
    }

    /// Whether a cell left the text that its first run left.
    pub fn is_as_first(&self, record: &Record) -> bool {
        self.of(&record.cell).next().is_some_and(|first| first.text == hash(record))
    }

    /// That every run passed and each cell left one text, or a sentence for each cell of which that is not so.
    pub fn verdict(&self, cells: &[Cell]) -> Result<String, Vec<String>> {
        let mut faults = Vec::new();
        let mut runs = 0;
        for cell in cells {
            let texts = tally(self.of(cell).map(|entry| entry.text.clone()));
            let outcomes = tally(self.of(cell).map(|entry| entry.outcome));
            runs += self.count(cell);
            if texts.len() != 1 {
                faults.push(format!("{cell} left {} texts: {}", texts.len(), counts(&texts)));
            }
            if outcomes.keys().any(|outcome| *outcome != OutcomeKind::Passed) {
                faults.push(format!("{cell} did not always pass: {}", counts(&outcomes)));
            }
        }
        if faults.is_empty() {
            return Ok(format!(
                "{} cells, {runs} runs: all passed, and each cell left one text",
                cells.len()
            ));
        }
        Err(faults)
    }

    fn of<'a>(&'a self, cell: &'a Cell) -> impl Iterator<Item = &'a Entry> {
        self.entries.iter().filter(move |entry| entry.cell == *cell)
    }
}

fn tally<T: Ord>(things: impl Iterator<Item = T>) -> BTreeMap<T, usize> {
    let mut counts = BTreeMap::new();
    for thing in things {
        *counts.entry(thing).or_default() += 1;
    }
    counts
}

fn counts<T: Display>(tally: &BTreeMap<T, usize>) -> String {
    let counts: Vec<String> = tally.iter().map(|(thing, count)| format!("{thing} {count} times")).collect();
    counts.join(", ")
}

fn hash(record: &Record) -> String {
    cache::short_hex(blake3::hash(render(record).as_bytes()))
}

/// Names all that cells run on: the machine, with the kernel and the image by what they contain, and what the
/// record says of it. The order in which cells start, and why an accelerator was chosen, change no cell.
fn key(bench: &Bench) -> String {
    let mut environment = bench.environment.clone();
    environment.retain(|name, _| !["accelerator", "options", "seed"].contains(&name.as_str()));
    let machine = bench.machine.command_line(Channels::Harness, "");
    cache::short_hex(blake3::hash(format!("{environment:?} {machine:?}").as_bytes()))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::bench;
    use crate::report::text::tests::ending;

    fn bench(module: &str, seed: u64) -> Bench {
        let mut bench = bench::tests::bench();
        bench.environment.insert("module".to_owned(), module.to_owned());
        bench.environment.insert("seed".to_owned(), seed.to_string());
        bench
    }

    fn record(kind: OutcomeKind) -> Record {
        ending(kind, None).record
    }

    #[test]
    fn a_log_goes_on_where_it_ended_and_counts_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let record = record(OutcomeKind::Passed);
        let open = |module, seed| Log::open(&log).map(|log| Rounds::new(&bench(module, seed), Some(log)));
        for round in 0..3 {
            let mut rounds = open("abc", round).unwrap();
            assert_eq!(rounds.count(&record.cell), usize::try_from(round).unwrap());
            rounds.add(&record).unwrap();
        }
        assert_eq!(open("another", 0).unwrap().count(&record.cell), 0);
        // Killed while it wrote: the half line is not there any more, and not run.
        let text = fs::read_to_string(&log).unwrap();
        fs::write(&log, &text[..text.len() - 5]).unwrap();
        let mut rounds = open("abc", 0).unwrap();
        assert_eq!(rounds.count(&record.cell), 2);
        let error = format!("{:#}", open("abc", 0).err().unwrap());
        assert!(error.contains("another run writes to it"), "{error}");
        rounds.add(&record).unwrap();
        drop(rounds);
        assert_eq!(fs::read_to_string(&log).unwrap().lines().count(), 3);
        for (nonsense, problem) in [
            ("nonsense\n", "line 1 is no line of a log"),
            ("notes, no line", "its last line is no line of a log"),
        ] {
            fs::write(&log, nonsense).unwrap();
            let error = format!("{:#}", open("abc", 0).err().unwrap());
            assert!(error.contains(problem), "{error}");
            assert_eq!(fs::read_to_string(&log).unwrap(), nonsense);
        }
    }

    #[test]
    fn a_record_of_another_run_is_not_the_one_that_was_logged() {
        let folder = tempfile::tempdir().unwrap();
        let (failed, passed) = (record(OutcomeKind::Failed), record(OutcomeKind::Passed));
        let mut rounds = Rounds::new(&bench("abc", 0), None);
        let kept = |rounds: &Rounds| rounds.kept(&failed.cell, folder.path()).unwrap().is_some();
        rounds.add(&failed).unwrap();
        assert!(!kept(&rounds));
        cell::save(folder.path(), &failed).unwrap();
        assert!(kept(&rounds));
        cell::save(folder.path(), &passed).unwrap();
        assert!(!kept(&rounds));
    }

    #[test]
    fn another_text_or_outcome_is_counted_and_named() {
        let cells = [record(OutcomeKind::Passed).cell];
        let verdict = |kinds: &[OutcomeKind]| {
            let mut rounds = Rounds::new(&bench("abc", 0), None);
            for &kind in kinds {
                rounds.add(&record(kind)).unwrap();
            }
            rounds.verdict(&cells)
        };
        let (passed, failed) = (OutcomeKind::Passed, OutcomeKind::Failed);
        let fine = "1 cells, 2 runs: all passed, and each cell left one text";
        assert_eq!(verdict(&[passed, passed]).unwrap(), fine);
        assert!(verdict(&[]).is_err());
        let faults = verdict(&[passed, passed, failed]).unwrap_err();
        // How a cell failed is part of its text.
        assert!(faults[0].contains(" left 2 texts: "), "{faults:?}");
        assert!(faults[1].ends_with("did not always pass: passed 2 times, failed 1 times"), "{faults:?}");
    }
}
