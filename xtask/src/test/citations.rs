// SPDX-License-Identifier: MIT OR Apache-2.0

//! Whether what scenarios name as the source of their expectations is there: files of the pinned kernel and of
//! pinbed, and functions in them.

use std::fs;
use std::path::Path;

use anyhow::{Result, bail};
use workloads::catalogue;

use crate::{kernel, workspace};

/// Looks each citation up in the source of the default kernel, for which they are.
pub(super) fn check() -> Result<()> {
    let tree = kernel::source_tree()?;
    let mut complaints = Vec::new();
    for scenario in catalogue::scenarios() {
        for citation in scenario.source.split("; ") {
            if let Err(complaint) = look_up(citation, &tree) {
                complaints.push(format!("{}: {complaint}", scenario.name));
            }
        }
    }
    if !complaints.is_empty() {
        bail!("scenarios name sources that are not there:\n  {}", complaints.join("\n  "));
    }
    Ok(())
}

/// A citation begins with the path of a file, if it names one: `mm/gup.c:1053: check_vma_flags(), in words`.
fn look_up(citation: &str, tree: &Path) -> Result<(), String> {
    let citation = citation.trim_start_matches("pinbed: ");
    let end = citation.find([':', ' ', ',']).unwrap_or(citation.len());
    let (path, rest) = citation.split_at(end);
    if !path.contains('/') {
        return Ok(());
    }
    let Some(place) = [tree, &workspace()].map(|root| root.join(path)).into_iter().find(|file| file.exists())
    else {
        return Err(format!("there is no {path}"));
    };
    let text = fs::read_to_string(&place).unwrap_or_default();
    match functions(rest).find(|name| !text.contains(&format!("{name}("))) {
        Some(name) => Err(format!("{path} does not have {name}()")),
        None => Ok(()),
    }
}

/// The names before each `()`.
fn functions(text: &str) -> impl Iterator<Item = &str> {
    let before_call = text.match_indices("()").map(|(at, _)| &text[..at]);
    before_call.filter_map(|text| text.rsplit(|c: char| !c.is_alphanumeric() && c != '_').next())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_or_a_function_that_is_not_there_is_named() {
        let tree = tempfile::tempdir().unwrap();
        fs::create_dir(tree.path().join("mm")).unwrap();
        fs::write(tree.path().join("mm/gup.c"), "int pin(void)\nstatic void put(int x)\n").unwrap();
        let look_up = |citation| look_up(citation, tree.path()).err();
        for fine in [
            "mm/gup.c",
            "mm/gup.c:12: pin(), put() in words",
            "mm/gup.c: REQ_IDLE",
            "fsync(2)",
            "what() nobody has",
            "pinbed: kmod-blk/README.md",
        ] {
            assert_eq!(look_up(fine), None, "{fine}");
        }
        assert_eq!(look_up("mm/swap.c: put()").unwrap(), "there is no mm/swap.c");
        assert_eq!(look_up("mm/gup.c: put(), pull()").unwrap(), "mm/gup.c does not have pull()");
    }
}
