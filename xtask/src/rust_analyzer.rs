// SPDX-License-Identifier: MIT OR Apache-2.0

//! `cargo xtask rust-analyzer`: what an editor must know of the driver, which is no crate of cargo.
//!
//! The kernel's build system describes its own crates and the module; pinbed checks that all of it is there.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::host::setup;
use crate::kernel::{self, Kernel};
use crate::{cache, module, say, workspace};

/// The file, as rust-analyzer looks for it.
const FILE: &str = "rust-project.json";

/// The roots of the driver's two modules.
const ROOTS: [&str; 2] = ["kmod-blk/main.rs", "kmod-blk/kunit/main.rs"];

/// Writes the file beside the driver.
pub fn main(choice: &kernel::Choice) -> Result<()> {
    setup::ensure(choice.flavour)?;
    let description = describe(&kernel::ensure(choice)?)?;
    let file = workspace().join("kmod-blk").join(FILE);
    cache::write_whole(&file, description.as_bytes())?;
    say!("{}", file.display());
    Ok(())
}

/// The description of the driver, of its KUnit suites and of the kernel's crates, as JSON.
///
/// Fails if it lacks the driver, or names a file or folder that is not there.
pub fn describe(kernel: &Kernel) -> Result<String> {
    // Procedural macros are called as programs, and bindings are generated: both must have been built.
    let (make, objects) = module::make(kernel, "kmod-blk", "rust-analyzer")?;
    make.arg("rust-analyzer").run().context("the kernel's build system does not describe the driver")?;
    let file = objects.join(FILE);
    let text = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
    let roots = ROOTS.map(|root| workspace().join(root));
    check(&text, &roots).with_context(|| format!("{} is of no use", file.display()))?;
    Ok(text)
}

/// Whether it has these crates, and names nothing that is not there.
fn check(text: &str, roots: &[PathBuf]) -> Result<()> {
    let named = named_paths(&serde_json::from_str(text)?);
    if let Some(lacking) = roots.iter().find(|root| !named.contains(root)) {
        bail!("it lacks {}", lacking.display());
    }
    match named.iter().find(|path| !path.exists()) {
        Some(missing) => bail!("it names {}, which is not there", missing.display()),
        None => Ok(()),
    }
}

/// Every absolute path in it.
fn named_paths(description: &Value) -> Vec<PathBuf> {
    match description {
        Value::String(text) if Path::new(text).is_absolute() => vec![text.into()],
        Value::Array(values) => values.iter().flat_map(named_paths).collect(),
        Value::Object(fields) => fields.values().flat_map(named_paths).collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_lacking_or_not_there_is_named() {
        let roots = [workspace().join(ROOTS[0])];
        let root = roots[0].display();
        check(&format!("[\"{root}\", \"/\"]"), &roots).unwrap();
        let error = check("[\"/\"]", &roots).unwrap_err().to_string();
        assert_eq!(error, format!("it lacks {root}"));
        let error = check(&format!("[\"{root}\", \"/nowhere/lib.rs\"]"), &roots).unwrap_err().to_string();
        assert_eq!(error, "it names /nowhere/lib.rs, which is not there");
        assert!(check("{", &roots).is_err());
    }

    #[test]
    fn every_absolute_path_is_found_however_deep() {
        let description = serde_json::json!({
            "crates": [{ "root_module": "/a", "deps": [{ "crate": 0, "name": "core" }], "env": { "OBJTREE": "/b" } }],
            "sysroot": "/c",
        });
        assert_eq!(named_paths(&description), ["/b", "/a", "/c"].map(PathBuf::from));
    }
}
