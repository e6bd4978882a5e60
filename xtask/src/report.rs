// SPDX-License-Identifier: MIT OR Apache-2.0

//! What a run comes to: shown to a person, and written down for machines. All of it is made from records.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use fs_harness::record::{OutcomeKind, Record, SnapshotMatch};

use crate::{artefacts, cache, cell, say};

pub mod junit;
pub mod ktap;
pub mod shards;
pub mod text;

/// One run of one cell.
#[derive(Clone, Debug)]
pub struct Ending {
    /// What it left behind.
    pub record: Record,
    /// Where its artefacts are.
    pub folder: PathBuf,
    /// Which run of this cell it is, from 0.
    pub round: usize,
}

impl Ending {
    /// The cell, and which run of it where there are several.
    pub fn name(&self) -> String {
        match self.round {
            0 => self.record.cell.to_string(),
            round => format!("{} round {round}", self.record.cell),
        }
    }
}

/// What a cell has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Demand {
    /// To pass.
    Pass,
    /// To pass, and to look as its reviewed snapshot does.
    MatchSnapshot,
}

impl Demand {
    /// Whether a cell did that.
    pub fn is_met(self, record: &Record) -> bool {
        let looks_right = self == Self::Pass || record.snapshot == Some(SnapshotMatch::Same);
        record.outcome.kind == OutcomeKind::Passed && looks_right
    }
}

/// All cells of a run.
pub struct Report {
    /// In the order in which they are shown.
    pub endings: Vec<Ending>,
    /// What was demanded of each.
    pub demand: Demand,
    /// What is wrong beside them, in a sentence each.
    pub complaints: Vec<String>,
}

/// What a report with complaints fails at, beside its cells.
const AS_A_WHOLE: &str = "the run as a whole";

/// Removes the report of an earlier run, which must not stand for one that came to no end.
pub fn forget() -> Result<()> {
    cell::forget(&folder())
}

fn folder() -> PathBuf {
    artefacts().join("report")
}

impl Report {
    /// What one run of cells came to.
    pub fn new(endings: Vec<Ending>, demand: Demand) -> Self {
        Self { endings, demand, complaints: Vec::new() }
    }

    /// Whether every cell did what was demanded, and nothing else is wrong.
    pub fn is_fine(&self) -> bool {
        self.complaints.is_empty() && self.endings.iter().all(|ending| self.demand.is_met(&ending.record))
    }

    /// Prints a table and a screen for each cell that fell short.
    pub fn show(&self) {
        say!("{}", text::table(self));
        for ending in self.endings.iter().filter(|ending| !self.demand.is_met(&ending.record)) {
            say!("{}", text::failure(ending));
        }
        for complaint in &self.complaints {
            say!("{complaint}");
        }
    }

    /// Writes the report for machines and prints the last words of a run.
    pub fn conclude(&self) -> Result<()> {
        let folder = folder();
        self.write(&folder)?;
        say!("report: {}/{{cells.ktap,junit.xml,records.jsonl}}", folder.display());
        say!("{}", text::summary(self));
        Ok(())
    }

    fn write(&self, folder: &Path) -> Result<()> {
        let mut lines = String::new();
        for ending in &self.endings {
            let line = serde_json::to_string(&ending.record).context("turn a record into JSON")?;
            // Writing to a String never fails.
            let _ = writeln!(lines, "{line}");
        }
        cache::write_whole(&folder.join("cells.ktap"), ktap::render(self).as_bytes())?;
        cache::write_whole(&folder.join("junit.xml"), junit::render(self)?.as_bytes())?;
        cache::write_whole(&folder.join("records.jsonl"), lines.as_bytes())
    }
}
