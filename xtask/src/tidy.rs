// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo xtask tidy`: the rules of the house that no compiler checks. `cargo test` runs them too.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::say;
use crate::workspace;
use rules::RULES;

mod code;
mod rules;

/// Folders without files of ours.
const SKIPPED: &[&str] = &["target", ".git"];

/// Names and extensions of the files that people write and review here.
const NAMES: &[&str] = &["Makefile", "Kbuild", "kernel.lock"];
const EXTENSIONS: &[&str] = &["rs", "c", "h", "sh", "toml", "md", "config", "conf", "yml", "yaml"];

/// A file under review.
struct Source {
    /// Relative to the checkout, with slashes.
    path: String,
    text: String,
}

/// One place where a rule is broken.
#[derive(Debug, PartialEq, Eq)]
struct Violation {
    /// Counted from 1.
    line: usize,
    what: String,
}

/// A rule of the house.
struct Rule {
    id: &'static str,
    /// Why the rule is there, in one line.
    rationale: &'static str,
    check: fn(&Source) -> Vec<Violation>,
}

/// Prints every violation as `path:line: [id] text`, and tells whether there is none.
pub fn main() -> Result<bool> {
    let report = review(&sources(&workspace())?);
    for line in &report {
        say!("{line}");
    }
    Ok(report.is_empty())
}

/// One line for each violation, and one for each rule that was broken, with its rationale.
fn review(sources: &[Source]) -> Vec<String> {
    let mut report = Vec::new();
    let mut rationales = Vec::new();
    for rule in RULES {
        let before = report.len();
        for source in sources {
            let lines = (rule.check)(source).into_iter();
            report.extend(
                lines.map(|Violation { line, what }| format!("{}:{line}: [{}] {what}", source.path, rule.id)),
            );
        }
        if report.len() > before {
            rationales.push(format!("[{}] {}", rule.id, rule.rationale));
        }
    }
    report.append(&mut rationales);
    report
}

fn sources(root: &Path) -> Result<Vec<Source>> {
    let mut paths = Vec::new();
    collect(root, &mut paths)?;
    paths.sort();
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let path = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().into_owned();
        Ok(Source { path, text })
    };
    paths.into_iter().map(read).collect()
}

fn collect(folder: &Path, paths: &mut Vec<PathBuf>) -> Result<()> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    for entry in entries {
        let path = entry.with_context(|| format!("cannot read {}", folder.display()))?.path();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if path.is_dir() && !SKIPPED.contains(&name.as_str()) {
            collect(&path, paths)?;
        } else if path.is_file() && is_ours(&name) {
            paths.push(path);
        }
    }
    Ok(())
}

fn is_ours(name: &str) -> bool {
    let extension = name.rsplit_once('.').map(|(_, extension)| extension);
    NAMES.contains(&name) || extension.is_some_and(|extension| EXTENSIONS.contains(&extension))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checkout_is_tidy() {
        let report = review(&sources(&workspace()).unwrap());
        assert!(report.is_empty(), "\n{}", report.join("\n"));
    }

    #[test]
    fn violations_name_path_line_rule_and_rationale() {
        let source = Source { path: "docs/x.md".into(), text: "fine\nnot fine \n".into() };
        let report = review(&[source]);
        assert!(report[0].starts_with("docs/x.md:2: [trailing-space] "), "{report:?}");
        assert!(report[1].starts_with("[trailing-space] "), "{report:?}");
    }

    #[test]
    fn the_walk_finds_this_file_and_no_artefacts() {
        let sources = sources(&workspace()).unwrap();
        assert!(sources.iter().any(|source| source.path == "xtask/src/tidy.rs"));
        assert!(!sources.iter().any(|source| source.path.starts_with("target/")));
    }
}
