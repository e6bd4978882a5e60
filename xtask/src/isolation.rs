// SPDX-License-Identifier: MIT OR Apache-2.0

//! The test of the checkpoints themselves: cells that ran from one run again in a guest that boots, or
//! the other way round, and must leave the same text.

use anyhow::Result;
use fs_harness::render::render;

use crate::bench::{Bench, Isolation};
use crate::cell::{self, Task};
use crate::report::{Ending, text};
use crate::{artefacts, say, seed};

/// How many cells run both ways.
const SAMPLE: usize = 2;

/// Runs a sample of the cells again, and names each that did not leave the text that its record has.
pub fn check(bench: &Bench, endings: &[Ending]) -> Result<Vec<String>> {
    let (isolation, other) = match bench.isolation {
        Isolation::Boot => (Isolation::Checkpoint, "a checkpoint"),
        Isolation::Checkpoint => (Isolation::Boot, "a boot"),
    };
    let mut bench = Bench { isolation, ..bench.clone() };
    bench.environment.insert("isolation".to_owned(), isolation.to_string());
    let mut differences = Vec::new();
    for Ending { record, .. } in sample(endings, bench.seed) {
        let cell = &record.cell;
        let folder = artefacts().join("isolation").join(cell.path());
        let again = cell::run(&bench, &Task { folder, ..cell::task(&bench, cell) })?;
        let same = render(&again) == render(record);
        say!("{cell} from {other}: {}", if same { "the same" } else { "DIFFERENT" });
        if !same {
            say!("{}", text::difference(&render(record), &render(&again)));
            differences.push(format!("{cell} leaves another text when it starts from {other}"));
        }
    }
    Ok(differences)
}

/// The cells whose names the seed puts first.
fn sample(endings: &[Ending], seed: u64) -> Vec<&Ending> {
    let mut all: Vec<&Ending> = endings.iter().collect();
    seed::order(&mut all, seed, |ending| ending.record.cell.to_string());
    all.truncate(SAMPLE);
    all
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::PathBuf;

    use fs_harness::record::Record;

    use super::*;

    #[test]
    fn a_seed_always_names_the_same_cells_and_another_seed_others() {
        let ending =
            |cell| Ending { record: Record::new(cell, BTreeMap::new()), folder: PathBuf::new(), round: 0 };
        let endings: Vec<Ending> = workloads::catalogue::cells().map(|(cell, _)| ending(cell)).collect();
        let names = |seed| sample(&endings, seed).iter().map(|ending| ending.name()).collect::<Vec<_>>();
        assert_eq!(names(7).len(), SAMPLE);
        assert_eq!(names(7), names(7));
        assert!((0..8).any(|seed| names(seed) != names(7)));
    }
}
