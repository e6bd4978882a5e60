// SPDX-License-Identifier: MIT OR Apache-2.0

//! The catalogue and the reviewed snapshots name the same cells.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use workloads::catalogue;

#[test]
fn each_cell_has_a_snapshot_and_each_snapshot_a_cell() {
    let cells: BTreeSet<String> = catalogue::cells().map(|(cell, _)| cell.path()).collect();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../snapshots");
    let files: BTreeSet<String> = scenarios(&folder).flat_map(|scenario| snapshots(&scenario)).collect();
    let missing: Vec<_> = cells.difference(&files).collect();
    let orphaned: Vec<_> = files.difference(&cells).collect();
    assert!(missing.is_empty(), "cells without a snapshot: {missing:?}");
    assert!(orphaned.is_empty(), "snapshots without a cell: {orphaned:?}");
}

/// The folders that hold snapshots; the crate has others.
fn scenarios(folder: &Path) -> impl Iterator<Item = PathBuf> {
    entries(folder).filter(|path| path.is_dir() && path.file_name().is_some_and(|name| name != "tests"))
}

fn snapshots(scenario: &Path) -> Vec<String> {
    let name = scenario.file_name().expect("a folder has a name").to_string_lossy().into_owned();
    entries(scenario)
        .filter(|path| path.extension().is_some_and(|kind| kind == "snap"))
        .map(|path| format!("{name}/{}", path.file_stem().expect("a snapshot has a name").to_string_lossy()))
        .collect()
}

fn entries(folder: &Path) -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir(folder).expect("the folder can be listed");
    entries.map(|entry| entry.expect("the folder can be listed").path())
}
