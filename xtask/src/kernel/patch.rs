// SPDX-License-Identifier: MIT OR Apache-2.0
//! Patches of the kernel's source: what would become of a finding if the kernel did otherwise.

use std::fs;
use std::path::{self, Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};

use super::source::Source;
use crate::host::command::Command;
use crate::progress::Progress;
use crate::{cache, workspace};

/// A patch, as `patch -p1` reads it.
struct Patch {
    name: String,
    file: PathBuf,
    text: Vec<u8>,
}

/// The source with all of the patches, each named as one of `xtask/kernel/patches` or by its path.
pub(super) fn apply(source: Source, names: &[String]) -> Result<Source> {
    if names.is_empty() {
        return Ok(source);
    }
    let patches = names.iter().map(|name| find(name)).collect::<Result<Vec<_>>>()?;
    let sha256 = identity(&source, &patches);
    let tree = cache::folder("patched")?.join(&sha256[..16]);
    if !tree.is_dir() {
        let _guard = cache::lock("patched-source")?;
        if !tree.is_dir() {
            make(&source, &patches, &tree)?;
        }
    }
    let patches = patches.into_iter().map(|patch| patch.name).collect();
    Ok(Source { version: source.version, patches, sha256, tree })
}

/// A name by which [`apply`] finds the same patch from every folder.
pub(super) fn whole_name(name: &str) -> String {
    if folder().join(format!("{name}.patch")).is_file() {
        return name.to_owned();
    }
    path::absolute(name).map_or_else(|_| name.to_owned(), |path| path.to_string_lossy().into_owned())
}

/// Where pinbed's own patches are.
fn folder() -> PathBuf {
    workspace().join("xtask/kernel/patches")
}

fn find(name: &str) -> Result<Patch> {
    let own = folder().join(format!("{name}.patch"));
    let file = if own.is_file() { own } else { PathBuf::from(name) };
    if !file.is_file() {
        bail!("there is no patch '{name}': give the path of a file, or one of {}", known()?.join(", "));
    }
    let text = fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
    // The tree is patched from within another folder.
    let file = file.canonicalize().with_context(|| format!("cannot find {}", file.display()))?;
    let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    Ok(Patch { name, file, text })
}

/// The names of pinbed's own patches, sorted.
fn known() -> Result<Vec<String>> {
    let folder = folder();
    let entries = fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let files = entries.flatten().map(|entry| entry.path());
    let patches = files.filter(|path| path.extension().is_some_and(|extension| extension == "patch"));
    let mut names: Vec<String> =
        patches.filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned())).collect();
    names.sort_unstable();
    Ok(names)
}

/// Names the source and what was done to it, in this order.
fn identity(source: &Source, patches: &[Patch]) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update(source.sha256.as_bytes());
    for patch in patches {
        // The length keeps neighbours apart.
        hasher.update(&patch.text.len().to_le_bytes()).update(&patch.text);
    }
    hasher.finalize().to_hex().to_string()
}

/// The patched tree shares the files that no patch touches with the other one: `patch` writes anew what it
/// changes, and nothing else ever writes to a source tree.
fn make(source: &Source, patches: &[Patch], tree: &Path) -> Result<()> {
    cache::sweep_partials(tree)?;
    let scratch = cache::scratch_beside(tree)?;
    let patched = scratch.path().join("tree");
    let progress = Progress::spinner(format!("patching Linux {}", source.version));
    Command::new("cp").arg("-al").arg(&source.tree).arg(&patched).run()?;
    for patch in patches {
        change(&patched, patch, &source.version, &[])?;
    }
    cache::publish_for_good(&patched, tree)?;
    progress.finish(&format!("patched Linux {}", source.version));
    Ok(())
}

/// Whether each of pinbed's own patches applies to the source, which stays as it is.
pub(super) fn check(source: &Source) -> Result<()> {
    let names = known()?;
    if names.is_empty() {
        bail!("there is no patch in {}", folder().display());
    }
    for name in names {
        change(&source.tree, &find(&name)?, &source.version, &["--dry-run"])?;
    }
    Ok(())
}

/// Applies a patch to the tree of that version, line by line as it says; or only tries to.
fn change(tree: &Path, patch: &Patch, version: &str, options: &[&str]) -> Result<()> {
    let applied = Command::new("patch")
        .args(["--strip=1", "--forward", "--batch", "--fuzz=0", "--no-backup-if-mismatch", "--reject-file=-"])
        .args(options)
        .arg("--directory")
        .arg(tree)
        .arg("--input")
        .arg(&patch.file)
        .run();
    applied.map_err(|error| {
        let said = error.to_string();
        // Without the command line, which may name a folder that is gone by now.
        let why: Vec<&str> = said.lines().skip(1).map(str::trim).collect();
        anyhow!("{} does not apply to Linux {version}: {}", patch.file.display(), why.join("; "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHANGE: &str = "--- a/kernel/file.c\n+++ b/kernel/file.c\n@@ -1 +1 @@\n-old\n+new\n";

    fn tree(folder: &Path) -> Source {
        let tree = folder.join("sources/1");
        fs::create_dir_all(tree.join("kernel")).unwrap();
        fs::write(tree.join("kernel/file.c"), "old\n").unwrap();
        fs::write(tree.join("Makefile"), "all:\n").unwrap();
        Source { version: "1".into(), patches: Vec::new(), sha256: "aa".into(), tree }
    }

    fn patch(folder: &Path, text: &str) -> Patch {
        let file = folder.join("change.patch");
        fs::write(&file, text).unwrap();
        find(file.to_str().unwrap()).unwrap()
    }

    #[test]
    fn a_patched_tree_is_another_and_the_old_one_stays_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let source = tree(folder.path());
        let patched = folder.path().join("patched/2");
        make(&source, &[patch(folder.path(), CHANGE)], &patched).unwrap();
        assert_eq!(fs::read_to_string(patched.join("kernel/file.c")).unwrap(), "new\n");
        assert_eq!(fs::read_to_string(patched.join("Makefile")).unwrap(), "all:\n");
        assert_eq!(fs::read_to_string(source.tree.join("kernel/file.c")).unwrap(), "old\n");
    }

    #[test]
    fn a_patch_that_does_not_apply_is_an_error_and_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let source = tree(folder.path());
        let patched = folder.path().join("patched/2");
        for text in [CHANGE.replace("-old", "-other"), CHANGE.replace("file.c", "absent.c"), "hello\n".into()]
        {
            let error = make(&source, &[patch(folder.path(), &text)], &patched).unwrap_err().to_string();
            assert!(error.contains("change.patch does not apply to Linux 1: "), "{error}");
            assert_eq!(fs::read_dir(folder.path().join("patched")).unwrap().count(), 0);
        }
    }

    #[test]
    fn trying_a_patch_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let source = tree(folder.path());
        let try_it = |text: &str| change(&source.tree, &patch(folder.path(), text), "1", &["--dry-run"]);
        try_it(CHANGE).unwrap();
        let error = try_it(&CHANGE.replace("-old", "-other")).unwrap_err().to_string();
        assert!(error.contains("change.patch does not apply to Linux 1: "), "{error}");
        assert_eq!(fs::read_to_string(source.tree.join("kernel/file.c")).unwrap(), "old\n");
        assert_eq!(fs::read_dir(source.tree.join("kernel")).unwrap().count(), 1);
    }

    #[test]
    fn every_patch_and_their_order_make_another_kernel() {
        let folder = tempfile::tempdir().unwrap();
        let source = tree(folder.path());
        let [one, two] = ["one", "two"].map(|text| patch(folder.path(), text));
        let all = [identity(&source, &[]), identity(&source, std::slice::from_ref(&one))];
        assert_ne!(all[0], all[1]);
        let [forth, back] = [[one, two], ["two", "one"].map(|text| patch(folder.path(), text))];
        assert_ne!(identity(&source, &forth), identity(&source, &back));
        assert!(!all.contains(&identity(&source, &forth)));
    }

    #[test]
    fn an_unknown_patch_is_named_with_those_that_there_are() {
        let error = find("absent").err().unwrap().to_string();
        assert!(
            error.starts_with("there is no patch 'absent': give the path of a file, or one of "),
            "{error}"
        );
        assert!(error.contains("direct-io-leaks-trimmed-pins"), "{error}");
        assert_eq!(find("direct-io-leaks-trimmed-pins").unwrap().name, "direct-io-leaks-trimmed-pins");
    }
}
