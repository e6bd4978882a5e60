// SPDX-License-Identifier: MIT OR Apache-2.0

//! `cargo xtask list`: the catalogue. It is code: nothing is touched.

mod explain;

use std::collections::BTreeSet;

use anyhow::{Context, Result, bail};
use fs_harness::cell::{Cell, Setup};
use fs_harness::record::Known;
use serde::Serialize;
use textwrap::{Options, WordSplitter};
use workloads::catalogue::{self, Scenario};

use crate::{say, tty};

/// Which cells, and how to show them.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// Substrings of cell names [default: all cells]
    #[arg(value_name = "FILTER")]
    filters: Vec<String>,
    /// Say of each scenario where its expectation comes from, and why it does not run elsewhere
    #[arg(long)]
    explain: bool,
    /// Print an array of objects: one for each cell, or with --explain for each scenario
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Listed<'a> {
    name: String,
    row: Option<u16>,
    scenario: &'a str,
    setup: &'a str,
    acquisition: &'a str,
    policy: &'a str,
    about: &'a str,
    source: &'a str,
    known: Vec<KnownViolation<'a>>,
}

/// A check of a cell that is known to be violated.
#[derive(Serialize)]
struct KnownViolation<'a> {
    check: &'a str,
    why: Known,
}

/// Lists the cells that the arguments name.
pub fn main(arguments: &Arguments) -> Result<()> {
    if arguments.explain {
        return explain::main(&arguments.filters, arguments.json);
    }
    let cells = select(&arguments.filters)?;
    if arguments.json {
        return say_json(&cells.iter().map(|(cell, scenario)| listed(cell, scenario)).collect::<Vec<_>>());
    }
    say!("{}", by_scenario(&cells, width()).trim_end());
    Ok(())
}

/// Columns to write in: those of the terminal, if it is one. Who reads by a program gets whole lines.
fn width() -> usize {
    tty::size().map_or(usize::MAX, |size| usize::from(size.columns))
}

/// The words in so many columns, with what stands before the first line and before the others. Names stay whole.
fn wrapped(words: &str, width: usize, first: &str, others: &str) -> String {
    let options = Options::new(width)
        .break_words(false)
        .word_splitter(WordSplitter::NoHyphenation)
        .initial_indent(first)
        .subsequent_indent(others);
    textwrap::fill(words, options) + "\n"
}

fn say_json(rows: &impl Serialize) -> Result<()> {
    say!("{}", serde_json::to_string_pretty(rows).context("turn the catalogue into JSON")?);
    Ok(())
}

/// What each scenario validates, and below it its cells, each on a line of its own.
fn by_scenario(cells: &[(Cell, &'static Scenario)], width: usize) -> String {
    let mut text = String::new();
    for group in cells.chunk_by(|(one, _), (other, _)| one.scenario == other.scenario) {
        text += &wrapped(group[0].1.about, width, "", "");
        for (cell, _) in group {
            text.extend(["  ", &cell.to_string(), "\n"]);
        }
        text.push('\n');
    }
    text
}

/// The cells that the filters name, among them those of the self-test where a filter is the whole name of
/// one; an error where a filter names none.
pub fn select(filters: &[String]) -> Result<Vec<(Cell, &'static Scenario)>> {
    let (parts, named): (Vec<String>, Vec<String>) =
        filters.iter().cloned().partition(|filter| exactly(filter).is_none());
    for filter in &parts {
        if catalogue::matching(std::slice::from_ref(filter)).is_empty() {
            bail!(nothing_matches(filter));
        }
    }
    let mut named: Vec<(Cell, &Scenario)> = named.iter().filter_map(|name| exactly(name)).collect();
    let mut once = BTreeSet::new();
    named.retain(|(cell, _)| once.insert(cell.clone()));
    let only_named = !named.is_empty() && parts.is_empty();
    let matching = if only_named { Vec::new() } else { catalogue::matching(&parts) };
    let others = named.into_iter().filter(|(cell, _)| !matching.iter().any(|(found, _)| found == cell));
    Ok(matching.iter().cloned().chain(others).collect())
}

fn nothing_matches(filter: &str) -> String {
    let setups: Vec<&str> = Setup::ALL.iter().map(|setup| setup.name()).collect();
    format!(
        "no cell's name contains '{filter}'; names are scenario::setup::acquisition::policy, with setups {}: \
         `cargo xtask list` shows them all",
        setups.join(", ")
    )
}

/// The cell of exactly that name, which may be one of the self-test's.
fn exactly(name: &str) -> Option<(Cell, &'static Scenario)> {
    let cell: Cell = name.parse().ok()?;
    let scenario = catalogue::find(&cell.scenario)?;
    catalogue::cells_of(scenario).find(|(known, _)| *known == cell)
}

/// The one cell of that name, which may be one of the self-test's, or whose name alone begins with its parts
/// or contains it: `hold::ext4` is no part of `hold::ext4-1k::pin::observe`.
pub fn one(name: &str) -> Result<Cell> {
    let mut cells = select(&[name.to_owned()])?;
    let parts = format!("{name}::");
    if cells.iter().any(|(cell, _)| cell.to_string().starts_with(&parts)) {
        cells.retain(|(cell, _)| cell.to_string().starts_with(&parts));
    }
    match cells.as_slice() {
        [(cell, _)] => Ok(cell.clone()),
        several => {
            let names: Vec<String> = several.iter().map(|(cell, _)| cell.to_string()).collect();
            bail!("'{name}' is a part of several names; say which of {}", names.join(", "))
        }
    }
}

fn listed<'a>(cell: &'a Cell, scenario: &Scenario) -> Listed<'a> {
    Listed {
        name: cell.to_string(),
        row: scenario.row,
        scenario: &cell.scenario,
        setup: cell.setup.name(),
        acquisition: cell.acquisition.name(),
        policy: cell.policy.name(),
        about: scenario.about,
        source: scenario.source,
        known: scenario.known(cell).into_iter().map(|(check, why)| KnownViolation { check, why }).collect(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn whole_parts_of_a_name_go_first() {
        assert_eq!(
            one("hold_sync_dma_unhold::ext4").unwrap().to_string(),
            "hold_sync_dma_unhold::ext4::pin::observe"
        );
        let error = one("hold_sync_dma_unhold::ext").unwrap_err().to_string();
        assert!(error.contains("hold_sync_dma_unhold::ext4-1k::pin::observe"), "{error}");
    }

    #[test]
    fn one_cell_is_named_by_its_name_or_by_a_part_that_no_other_has() {
        let name = |part: &str| one(part).map(|cell| cell.to_string()).map_err(|error| error.to_string());
        assert_eq!(name("pin_order0").unwrap(), "pin_order0::none::pin::observe");
        assert_eq!(
            name("selftest_holds::none::kernel::observe").unwrap(),
            "selftest_holds::none::kernel::observe"
        );
        assert!(
            name("hold_sync_dma_unhold::").unwrap_err().contains("several names; say which of hold_sync")
        );
        assert!(name("pin_order0::ext4::pin::observe").unwrap_err().starts_with("no cell's name contains"));
    }

    #[test]
    fn a_cell_that_is_named_twice_is_one() {
        let name = "pin_order0::none::pin::observe".to_owned();
        assert_eq!(select(&[name.clone(), name.clone()]).unwrap().len(), 1);
        assert_eq!(select(&[name, "pin_order0".to_owned()]).unwrap().len(), 1);
    }

    #[test]
    fn a_terminal_of_80_columns_shows_each_name_on_one_line() {
        let cells = select(&[]).unwrap();
        let text = by_scenario(&cells, 80);
        assert_eq!(text.lines().find(|line| line.chars().count() > 80), None);
        let lines: HashSet<&str> = text.lines().map(str::trim).collect();
        for (cell, _) in &cells {
            assert!(lines.contains(cell.to_string().as_str()), "{cell} is not on a line of its own");
        }
    }

    #[test]
    fn what_is_known_of_a_cell_is_in_its_object() {
        let (cell, scenario) = &select(&["hold_sync_dma_unhold::btrfs::".to_owned()]).unwrap()[0];
        let object = serde_json::to_value(listed(cell, scenario)).unwrap();
        let known = serde_json::json!([{
            "check": "fsync wrote the page again, no longer pinned",
            "why": { "finding": "btrfs-fsync-misses-late-dirty" },
        }]);
        assert_eq!(object["known"], known);
        assert_eq!(object["row"], 40);
    }

    #[test]
    fn each_filter_must_name_a_cell() {
        let filters = ["pin_order0".to_owned(), "::zfs::".to_owned()];
        let error = select(&filters).err().map(|error| error.to_string()).unwrap();
        assert!(error.starts_with("no cell's name contains '::zfs::'; "), "{error}");
        assert!(error.contains(", ext4, ") && error.contains(", xfs, "), "{error}");
    }
}
