// SPDX-License-Identifier: MIT OR Apache-2.0

//! `cargo xtask plan`: which machine runs which cells, so that all end at about the same time.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use fs_harness::cell::Cell;
use serde::Serialize;
use workloads::catalogue;

use crate::report::{Ending, shards, text};
use crate::{artefacts, say};

/// Over how many machines to spread the cells, and by what measure.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// Machines to spread the cells over
    #[arg(long, value_name = "N")]
    shards: NonZeroUsize,
    /// Folders of artefacts that say how long cells took [default: what ran here]
    #[arg(value_name = "FOLDER")]
    folders: Vec<PathBuf>,
    /// Print one line of JSON, as the matrix of a GitHub Actions job is written
    #[arg(long)]
    json: bool,
}

/// What one machine runs.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct Part {
    /// From 1.
    shard: usize,
    /// Seconds that its cells took when they were last run, one after the other; 0 where no cell was ever run.
    seconds: f64,
    /// Its cells, as a filterset of nextest.
    filter: String,
}

/// Prints a plan, the same for the same records.
pub fn main(arguments: &Arguments) -> Result<()> {
    let cells: Vec<Cell> = catalogue::cells().map(|(cell, _)| cell).collect();
    let count = arguments.shards.get();
    if count > cells.len() {
        bail!("{count} shards are more than there are cells: name at most {}", cells.len());
    }
    let took = took(&arguments.folders)?;
    let work: Vec<(Cell, f64)> = weighed(cells, &took);
    let shards: Vec<Part> =
        (1..).zip(spread(work, count)).map(|(shard, cells)| planned(shard, &cells)).collect();
    if arguments.json {
        let matrix = BTreeMap::from([("include", shards)]);
        say!("{}", serde_json::to_string(&matrix).context("turn the plan into JSON")?);
        return Ok(());
    }
    for Part { shard, seconds, filter } in shards {
        say!("# shard {shard} of {count}: {seconds:.1} s\n-E '{filter}'");
    }
    Ok(())
}

/// How long each cell took that ran, in seconds.
fn took(folders: &[PathBuf]) -> Result<BTreeMap<Cell, f64>> {
    let mut endings: Vec<Ending> = Vec::new();
    for folder in folders {
        endings.extend(shards::read(folder)?);
    }
    if folders.is_empty() && artefacts().join("cells").is_dir() {
        endings = shards::read(&artefacts())?;
    }
    let took = |ending: Ending| Some((ending.record.cell.clone(), text::end(&ending.record)?));
    Ok(endings.into_iter().filter_map(took).collect())
}

/// Each cell with its seconds; one that never ran counts as the mean of the others.
fn weighed(cells: Vec<Cell>, took: &BTreeMap<Cell, f64>) -> Vec<(Cell, f64)> {
    #[expect(clippy::cast_precision_loss, reason = "there are not that many cells")]
    let mean = if took.is_empty() { 0.0 } else { took.values().sum::<f64>() / took.len() as f64 };
    let weigh = |cell: Cell| {
        let seconds = took.get(&cell).copied().unwrap_or(mean);
        (cell, seconds)
    };
    cells.into_iter().map(weigh).collect()
}

/// Spreads work over shards: the longest first, each to the shard that has least to do, and of those to the
/// one with the fewest cells. What is left to spread at the end is short, so the shards end close together.
fn spread(mut work: Vec<(Cell, f64)>, shards: usize) -> Vec<Vec<(Cell, f64)>> {
    work.sort_by(|(cell, seconds), (other, others)| others.total_cmp(seconds).then_with(|| cell.cmp(other)));
    let mut spread: Vec<Vec<(Cell, f64)>> = vec![Vec::new(); shards];
    for piece in work {
        let least = spread
            .iter_mut()
            .min_by(|a, b| total(a).total_cmp(&total(b)).then_with(|| a.len().cmp(&b.len())));
        if let Some(least) = least {
            least.push(piece);
        }
    }
    spread
}

fn total(shard: &[(Cell, f64)]) -> f64 {
    shard.iter().map(|(_, seconds)| seconds).sum()
}

fn planned(shard: usize, cells: &[(Cell, f64)]) -> Part {
    let tests: Vec<String> = cells.iter().map(|(cell, _)| format!("test(={cell})")).collect();
    let seconds = (total(cells) * 10.0).round() / 10.0;
    Part { shard, seconds, filter: format!("binary(cells) & ({})", tests.join(" | ")) }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn cells() -> Vec<Cell> {
        catalogue::cells().map(|(cell, _)| cell).collect()
    }

    proptest! {
        #[test]
        fn every_cell_is_in_one_shard_and_none_has_more_than_its_last_piece_too_much(
            seconds in prop::collection::vec(0.0..100.0f64, 16),
            shards in 1..9usize,
        ) {
            let work: Vec<(Cell, f64)> = cells().into_iter().zip(seconds).collect();
            let spread = spread(work.clone(), shards);
            prop_assert_eq!(&spread, &super::spread(work.iter().rev().cloned().collect(), shards));
            let mut all: Vec<&Cell> = spread.iter().flatten().map(|(cell, _)| cell).collect();
            all.sort();
            let whole: Vec<&Cell> = work.iter().map(|(cell, _)| cell).collect::<BTreeSet<_>>().into_iter().collect();
            prop_assert_eq!(all, whole);
            let least = spread.iter().map(|shard| total(shard)).fold(f64::INFINITY, f64::min);
            for shard in &spread {
                // The longest first, and the last of a shard came to it when no other had less.
                prop_assert!(shard.windows(2).all(|pair| pair[0].1 >= pair[1].1));
                let (_, last) = shard.last().unwrap();
                prop_assert!(total(shard) - last <= least + 1e-9);
            }
        }
    }

    #[test]
    fn without_records_shards_are_of_one_size() {
        let spread = spread(weighed(cells(), &BTreeMap::new()), 3);
        let sizes: Vec<usize> = spread.iter().map(Vec::len).collect();
        assert!(sizes.iter().max().unwrap() - sizes.iter().min().unwrap() <= 1, "{sizes:?}");
    }

    #[test]
    fn a_cell_that_never_ran_counts_as_the_mean() {
        let cells = cells();
        let took = BTreeMap::from([(cells[0].clone(), 1.0), (cells[1].clone(), 3.0)]);
        let weighed = weighed(cells, &took);
        assert_eq!((weighed[0].1, weighed[1].1, weighed[2].1), (1.0, 3.0, 2.0));
    }

    #[test]
    fn a_shard_is_a_filterset() {
        let cells: Vec<(Cell, f64)> = cells().into_iter().take(2).map(|cell| (cell, 1.25)).collect();
        let shard = planned(2, &cells);
        let expected = format!("binary(cells) & (test(={}) | test(={}))", cells[0].0, cells[1].0);
        assert_eq!(shard, Part { shard: 2, seconds: 2.5, filter: expected });
    }
}
