// SPDX-License-Identifier: MIT OR Apache-2.0

//! `cargo xtask list`: the catalogue. It is code: nothing is touched.

use crate::say;
use anyhow::{Context, Result, bail};
use comfy_table::{ContentArrangement, Table, presets};
use fs_harness::cell::{Cell, Setup};
use serde::Serialize;
use workloads::catalogue::{self, Scenario};

/// Which cells, and how to show them.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// Substrings of cell names [default: all cells]
    #[arg(value_name = "FILTER")]
    filters: Vec<String>,
    /// Print an array of objects
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
}

/// Lists the cells that the arguments name.
pub fn main(arguments: &Arguments) -> Result<()> {
    let cells = select(&arguments.filters)?;
    if arguments.json {
        let rows: Vec<Listed<'_>> = cells.iter().map(|(cell, scenario)| listed(cell, scenario)).collect();
        say!("{}", serde_json::to_string_pretty(&rows).context("turn the catalogue into JSON")?);
        return Ok(());
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(["cell", "what it validates"]);
    for (cell, scenario) in &cells {
        table.add_row([cell.to_string(), scenario.about.to_owned()]);
    }
    say!("{table}");
    Ok(())
}

/// The cells that the filters name, among them those of the self-test where a filter is the whole name of
/// one; an error where a filter names none.
pub fn select(filters: &[String]) -> Result<Vec<(Cell, &'static Scenario)>> {
    let (parts, named): (Vec<String>, Vec<String>) =
        filters.iter().cloned().partition(|filter| exactly(filter).is_none());
    for filter in &parts {
        if catalogue::matching(std::slice::from_ref(filter)).is_empty() {
            let setups: Vec<&str> = Setup::ALL.iter().map(|setup| setup.name()).collect();
            bail!(
                "no cell's name contains '{filter}'; names are scenario::setup::acquisition::policy, with setups {}: \
                 `cargo xtask list` shows them all",
                setups.join(", ")
            );
        }
    }
    let named: Vec<(Cell, &Scenario)> = named.iter().filter_map(|name| exactly(name)).collect();
    let only_named = !named.is_empty() && parts.is_empty();
    let matching = if only_named { Vec::new() } else { catalogue::matching(&parts) };
    let others = named.into_iter().filter(|(cell, _)| !matching.iter().any(|(found, _)| found == cell));
    Ok(matching.iter().cloned().chain(others).collect())
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
    }
}

#[cfg(test)]
mod tests {
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
    fn each_filter_must_name_a_cell() {
        let filters = ["pin_order0".to_owned(), "::zfs::".to_owned()];
        let error = select(&filters).err().map(|error| error.to_string()).unwrap();
        assert!(error.starts_with("no cell's name contains '::zfs::'; "), "{error}");
        assert!(error.contains(", ext4, ") && error.contains(", xfs, "), "{error}");
    }
}
