// SPDX-License-Identifier: MIT OR Apache-2.0

//! What the page about writing a scenario shows is what is compiled, run and reviewed.

use std::fs;
use std::path::Path;

const PAGE: &str = "docs/writing-a-scenario.md";

#[test]
fn the_page_shows_the_scenario_as_it_is() {
    let file = "workloads/src/truncate.rs";
    assert!(shown("rust") == read(file), "{PAGE} shows {file} otherwise than it is: copy it there");
}

#[test]
fn the_page_shows_the_snapshot_as_it_is() {
    let file = "snapshots/truncate_under_hold/ext4__pin__observe.snap";
    let reviewed = read(file);
    let text = reviewed.splitn(3, "---\n").nth(2).expect("a snapshot has a header");
    let is_same = shown("text").trim() == text.trim();
    assert!(is_same, "{PAGE} shows {file} otherwise than it is: copy its text there");
}

/// What stands in the page between the fences of its one block in that language.
fn shown(language: &str) -> String {
    let page = read(PAGE);
    let fence = format!("```{language}\n");
    let blocks: Vec<&str> = page.split(&fence).skip(1).collect();
    let [block] = blocks.as_slice() else {
        panic!("{PAGE} has {} blocks of {language}, and should have one", blocks.len());
    };
    block.split("```").next().unwrap_or_default().to_owned()
}

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("cannot read {}: {error}", path.display()))
}
