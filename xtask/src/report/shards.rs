// SPDX-License-Identifier: MIT OR Apache-2.0

//! `cargo xtask report`: what the cells left behind on several machines, as one report.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use fs_harness::cell::Cell;
use fs_harness::record::Record;
use workloads::catalogue;

use super::{Demand, Ending, Report, text};
use crate::{bench, cell, report, say};

/// What must be the same for all cells of one run.
const SAME: &[&str] = &["kernel", "config", "module", "image"];

/// Where the results are.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// Folders of artefacts, one for each shard: copies of its target/pinbed or target/pinbed/cells
    #[arg(value_name = "FOLDER", required = true)]
    folders: Vec<PathBuf>,
}

/// Merges the shards and reports as `cargo xtask run` does.
pub fn main(arguments: &Arguments) -> Result<ExitCode> {
    report::forget()?;
    let report = merge(&arguments.folders)?;
    say!("{}", bench::header(|name| text::common(&report.endings, name).to_owned()));
    report.show();
    report.conclude()?;
    Ok(if report.is_fine() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// One report of all shards, with the cells in the order of the catalogue.
fn merge(folders: &[PathBuf]) -> Result<Report> {
    let mut endings = Vec::new();
    for folder in folders {
        endings.extend(read(folder)?);
    }
    let (complaints, demand) = (complaints(&endings), demand(&endings));
    endings.extend(missing(&endings, &folders[0]));
    let order: Vec<Cell> = catalogue::cells().map(|(cell, _)| cell).collect();
    endings.sort_by_key(|ending| order.iter().position(|cell| *cell == ending.record.cell));
    Ok(Report { endings, demand, complaints })
}

/// The records of one shard.
pub fn read(folder: &Path) -> Result<Vec<Ending>> {
    let cells = Some(folder.join("cells")).filter(|cells| cells.is_dir());
    let cells = cells.unwrap_or_else(|| folder.to_owned());
    let mut endings = Vec::new();
    for scenario in subfolders(&cells)? {
        for folder in subfolders(&scenario)? {
            if let Some(record) = cell::load(&folder)? {
                endings.push(Ending { record, folder, round: 0 });
            }
        }
    }
    if endings.is_empty() {
        bail!(
            "{} has no records; name folders that are copies of a shard's target/pinbed/cells",
            folder.display()
        );
    }
    Ok(endings)
}

fn subfolders(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut folders: Vec<PathBuf> =
        entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
    folders.sort();
    Ok(folders)
}

/// Tests compare each cell with its snapshot, and `run` compares none. Where one cell was compared all had to be.
fn demand(endings: &[Ending]) -> Demand {
    let compared = endings.iter().any(|ending| ending.record.snapshot.is_some());
    if compared { Demand::MatchSnapshot } else { Demand::Pass }
}

/// A cell of the catalogue without a record has died with its machine.
fn missing(endings: &[Ending], folder: &Path) -> Vec<Ending> {
    let found: BTreeSet<_> = endings.iter().map(|ending| &ending.record.cell).collect();
    let missing = catalogue::cells().map(|(cell, _)| cell).filter(|cell| !found.contains(cell));
    let died = |cell: Cell| {
        // Where it would be: nothing is there.
        let folder = folder.join(cell.path());
        let mut record = Record::new(cell, BTreeMap::new());
        "no folder has a record of it".clone_into(&mut record.outcome.detail);
        Ending { record, folder, round: 0 }
    };
    missing.map(died).collect()
}

/// What keeps the records from being those of one run, in a sentence each.
fn complaints(endings: &[Ending]) -> Vec<String> {
    let mut complaints = Vec::new();
    let known: BTreeSet<_> = catalogue::cells().map(|(cell, _)| cell).collect();
    let mut seen = BTreeMap::new();
    for Ending { record, folder, .. } in endings {
        let cell = &record.cell;
        if !known.contains(cell) {
            let folder = folder.display();
            complaints
                .push(format!("{cell} in {folder} is no cell here: report in the checkout that was run"));
        }
        if let Some(earlier) = seen.insert(cell, folder) {
            complaints.push(format!(
                "{cell} ran twice: in {} and in {}; each cell belongs to one shard, and what an earlier run left to none",
                earlier.display(),
                folder.display()
            ));
        }
    }
    for name in SAME {
        let mut values: BTreeMap<&str, &Path> = BTreeMap::new();
        for Ending { record, folder, .. } in endings {
            let value = record.environment.get(*name).map_or("unknown", String::as_str);
            values.entry(value).or_insert(folder);
        }
        if values.len() > 1 {
            let values: Vec<String> =
                values.iter().map(|(value, folder)| format!("'{value}' in {}", folder.display())).collect();
            complaints.push(format!("the shards differ in {name}: {}", values.join(", ")));
        }
    }
    complaints
}

#[cfg(test)]
mod tests {
    use fs_harness::record::{Outcome, OutcomeKind, SnapshotMatch};

    use super::*;
    use crate::report::ktap;

    /// All cells, passed.
    fn whole() -> Vec<Ending> {
        let ending = |cell: Cell| {
            let environment = [("kernel", "7.3.4"), ("module", "abc")];
            let environment =
                environment.map(|(name, value)| (name.to_owned(), value.to_owned())).into_iter().collect();
            let folder = Path::new("shard").join(cell.path());
            let outcome = Outcome { kind: OutcomeKind::Passed, detail: String::new() };
            Ending { record: Record { outcome, ..Record::new(cell, environment) }, folder, round: 0 }
        };
        catalogue::cells().map(|(cell, _)| ending(cell)).collect()
    }

    #[test]
    fn a_whole_run_is_not_complained_about() {
        assert_eq!(complaints(&whole()), Vec::<String>::new());
        assert_eq!(missing(&whole(), Path::new("shard")).len(), 0);
    }

    #[test]
    fn shards_come_to_the_bytes_of_one_run() {
        let disk = tempfile::tempdir().unwrap();
        let shards = ["shard-1", "shard-2/cells"].map(|name| disk.path().join(name));
        for (index, ending) in whole().iter().enumerate() {
            cell::save(&shards[index % 2].join(ending.record.cell.path()), &ending.record).unwrap();
        }
        let folders = ["shard-2", "shard-1"].map(|name| disk.path().join(name));
        let merged = merge(&folders).unwrap();
        assert!(merged.is_fine());
        let whole = Report::new(whole(), Demand::Pass);
        assert_eq!(ktap::render(&merged), ktap::render(&whole));
        assert!(!merge(&folders[..1]).unwrap().is_fine());
    }

    #[test]
    fn a_cell_that_is_missing_died() {
        let mut endings = whole();
        let gone = endings.remove(3);
        let missing = missing(&endings, Path::new("shard"));
        assert_eq!(missing.len(), 1);
        assert_eq!(missing[0].record.cell, gone.record.cell);
        assert_eq!(missing[0].record.outcome.kind, OutcomeKind::Died);
        assert!(!Report::new(missing, Demand::Pass).is_fine());
    }

    #[test]
    fn a_cell_that_ran_twice_and_one_of_another_checkout_are_named() {
        let mut endings = whole();
        let mut again = endings[0].clone();
        again.folder = Path::new("other").to_owned();
        endings.push(again);
        endings[1].record.cell.scenario = "unheard_of".to_owned();
        let complaints = complaints(&endings).join("\n");
        assert!(
            complaints.contains("ran twice: in shard/") && complaints.contains("and in other;"),
            "{complaints}"
        );
        assert!(complaints.contains("unheard_of::"), "{complaints}");
    }

    #[test]
    fn another_module_is_named_with_where_it_ran() {
        let mut endings = whole();
        endings[2].record.environment.insert("module".to_owned(), "def".to_owned());
        let complaints = complaints(&endings);
        assert_eq!(complaints.len(), 1);
        assert!(complaints[0].starts_with("the shards differ in module: 'abc' in shard/"), "{complaints:?}");
    }

    #[test]
    fn where_one_cell_was_compared_each_must_be() {
        let mut endings = whole();
        assert_eq!(demand(&endings), Demand::Pass);
        endings[0].record.snapshot = Some(SnapshotMatch::Same);
        let demand = demand(&endings);
        assert!(!Report::new(endings, demand).is_fine());
    }

    #[test]
    fn a_folder_without_records_is_bad_input() {
        let folder = tempfile::tempdir().unwrap();
        assert!(read(folder.path()).unwrap_err().to_string().contains("has no records"));
        assert!(read(&folder.path().join("none")).unwrap_err().to_string().starts_with("cannot read"));
    }
}
