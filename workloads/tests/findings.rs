// SPDX-License-Identifier: MIT OR Apache-2.0

//! Each finding that a scenario names has its entry, and each patch is told of.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use workloads::catalogue::{self, Why};

/// The headings of the findings, which stand before those that were refuted.
fn described() -> BTreeSet<String> {
    let text = fs::read_to_string(root().join("docs/findings.md")).expect("the findings can be read");
    let (findings, _) = text.split_once("\n# Refuted\n").expect("what was refuted stands apart");
    findings.lines().filter_map(|line| line.strip_prefix("## ")).map(str::to_owned).collect()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

#[test]
fn each_finding_of_a_scenario_is_described() {
    let described = described();
    for scenario in catalogue::scenarios() {
        for violated in scenario.known {
            if let Why::Finding(name) = violated.why {
                assert!(described.contains(name), "{} names the finding '{name}'", scenario.name);
            }
        }
    }
}

#[test]
fn each_patch_is_of_a_finding_or_a_policy() {
    let described = described();
    let policies = fs::read_to_string(root().join("docs/policies.md")).expect("the policies can be read");
    let patches = fs::read_dir(root().join("xtask/kernel/patches")).expect("the patches can be listed");
    for patch in patches.map(|entry| entry.expect("the patches can be listed").path()) {
        let name = patch.file_stem().expect("a patch has a name").to_string_lossy().into_owned();
        let is_told_of = described.contains(&name) || policies.contains(&format!("patches/{name}.patch)"));
        assert!(is_told_of, "no finding has the patch '{name}', and docs/policies.md does not link to it");
    }
}
