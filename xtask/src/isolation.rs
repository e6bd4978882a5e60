// SPDX-License-Identifier: MIT OR Apache-2.0

//! The test of the checkpoints themselves: cells that ran from one run again in a guest that boots, or
//! the other way round, and must leave the same text.

use anyhow::Result;
use fs_harness::cell::Cell;
use fs_harness::record::Record;
use fs_harness::render::render;

use crate::bench::{Bench, Isolation};
use crate::cell::{self, Task};
use crate::{artefacts, report, say};

/// How many cells run both ways.
const SAMPLE: usize = 2;

/// Runs a sample of the cells again; true where each left the text that its record has.
pub fn check(bench: &Bench, records: &[Record], seed: u64) -> Result<bool> {
    let (isolation, other) = match bench.isolation {
        Isolation::Boot => (Isolation::Checkpoint, "a checkpoint"),
        Isolation::Checkpoint => (Isolation::Boot, "a boot"),
    };
    let bench = Bench { isolation, ..bench.clone() };
    let mut fine = true;
    for record in sample(records, seed) {
        let cell = &record.cell;
        let folder = artefacts().join("isolation").join(cell.path());
        let booted = cell::run(&bench, &Task { folder, ..cell::task(&bench, cell) })?;
        let same = render(&booted) == render(record);
        say!("{cell} from {other}, seed {seed}: {}", if same { "the same" } else { "DIFFERENT" });
        if !same {
            say!("{}", report::difference(&render(record), &render(&booted)));
        }
        fine &= same;
    }
    Ok(fine)
}

/// The seed that the guest's image makes: another for each change of a scenario or of the driver, and the
/// same for the same tree.
pub fn seed(bench: &Bench) -> u64 {
    let image = bench.environment.get("image").map_or("", String::as_str);
    u64::from_str_radix(image.get(..8).unwrap_or_default(), 16).unwrap_or_default()
}

/// The cells whose names the seed puts first.
fn sample(records: &[Record], seed: u64) -> Vec<&Record> {
    let rank = |cell: &Cell| blake3::hash(format!("{seed} {cell}").as_bytes()).to_hex();
    let mut all: Vec<&Record> = records.iter().collect();
    all.sort_by_cached_key(|record| rank(&record.cell).to_string());
    all.truncate(SAMPLE);
    all
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn a_seed_always_names_the_same_cells_and_another_seed_others() {
        let records: Vec<Record> =
            workloads::catalogue::cells().map(|(cell, _)| Record::new(cell, BTreeMap::new())).collect();
        let names =
            |seed| sample(&records, seed).iter().map(|record| record.cell.to_string()).collect::<Vec<_>>();
        assert_eq!(names(7).len(), SAMPLE);
        assert_eq!(names(7), names(7));
        assert!((0..8).any(|seed| names(seed) != names(7)));
    }
}
