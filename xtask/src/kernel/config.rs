// SPDX-License-Identifier: MIT OR Apache-2.0
//! The kernel's configuration: a fragment of what is wanted, everything else off.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

use super::flavour::Flavour;
use super::source::Source;
use crate::host::toolchain::Toolchain;
use crate::{cache, workspace};

/// Every option that a flavour wants.
pub(super) fn wanted(flavour: Flavour) -> Result<String> {
    let folder = workspace().join("xtask/kernel");
    let read = |name: &&str| {
        let path = folder.join(name);
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
    };
    flavour.fragments().iter().map(read).collect()
}

/// Writes `.config` into the build folder, and checks that every wanted option is in it.
pub(super) fn configure(source: &Source, toolchain: &Toolchain, wanted: &str, build: &Path) -> Result<()> {
    let fragment = build.join("wanted.config");
    cache::write_whole(&fragment, wanted.as_bytes())?;
    make(source, toolchain, build)?.env("KCONFIG_ALLCONFIG", &fragment).arg("allnoconfig").run()?;
    let got = build.join(".config");
    let got = fs::read_to_string(&got).with_context(|| format!("cannot read {}", got.display()))?;
    let lost = lost_options(wanted, &got);
    if lost.is_empty() {
        return Ok(());
    }
    // Without a usable Rust the kernel only drops the options; this says why.
    if lost.contains(&"CONFIG_RUST=y") {
        make(source, toolchain, build)?
            .arg("rustavailable")
            .run()
            .context("the kernel cannot use this Rust")?;
    }
    bail!("the kernel's configuration did not keep {}; correct xtask/kernel/*.config", lost.join(", "));
}

/// A make in the source tree that builds into the build folder.
pub(super) fn make(
    source: &Source,
    toolchain: &Toolchain,
    build: &Path,
) -> Result<crate::host::command::Command> {
    Ok(toolchain.make()?.arg("-C").arg(&source.tree).arg(format!("O={}", build.display())))
}

/// The wanted options that a configuration does not have as they are wanted.
fn lost_options<'a>(wanted: &'a str, got: &str) -> Vec<&'a str> {
    let got: Vec<&str> = got.lines().map(str::trim_end).collect();
    let holds = |option: &&str| match unset(option) {
        // An option whose dependencies are off is not even mentioned.
        Some(name) => {
            !got.iter().any(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with('=')))
        }
        None => got.contains(option),
    };
    let options = wanted.lines().map(str::trim_end);
    let options = options.filter(|line| line.starts_with("CONFIG_") || unset(line).is_some());
    options.filter(|option| !holds(option)).collect()
}

/// The name in a line like `# CONFIG_IPV6 is not set`.
fn unset(line: &str) -> Option<&str> {
    line.strip_prefix("# ")?.strip_suffix(" is not set").filter(|name| name.starts_with("CONFIG_"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lost_options_are_named() {
        let wanted = "# why\nCONFIG_BUG=y\nCONFIG_KUNIT=y\n\nCONFIG_NULL=m\n# CONFIG_IPV6 is not set\n";
        let check = |got, lost: &[&str]| assert_eq!(lost_options(wanted, got), lost);
        check("CONFIG_BUG=y\nCONFIG_KUNIT=y\nCONFIG_NULL=m\n", &[]);
        check(
            "CONFIG_BUG=y\n# CONFIG_KUNIT is not set\nCONFIG_NULL=y\n",
            &["CONFIG_KUNIT=y", "CONFIG_NULL=m"],
        );
        check("CONFIG_BUG=y\nCONFIG_KUNIT=y\nCONFIG_NULL=m\nCONFIG_IPV6=y\n", &["# CONFIG_IPV6 is not set"]);
        check("CONFIG_BUG=y\nCONFIG_KUNIT=y\nCONFIG_NULL=m\nCONFIG_IPV6_SIT=y\n", &[]);
    }
}
