// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo xtask setup`: installs what the host lacks.

use std::env;
use std::ffi::OsStr;

use anyhow::{Result, bail};

use super::apt;
use super::os_release::OsRelease;
use super::paths;
use super::toolchain::Toolchain;
use super::tools::{Need, TOOLS, Tool};
use crate::kernel::flavour::Flavour;
use crate::{note, say};

/// Installs what the host lacks, and puts bindgen and Rust's library source into the cache.
pub fn main() -> Result<()> {
    ensure(Flavour::Standard)?;
    Toolchain::ensure(Flavour::Standard)?;
    say!("everything is there");
    Ok(())
}

/// Makes sure that the host's folders can be worked with and that every tool is there that this flavour
/// of the kernel requires. Quick when all is well.
pub fn ensure(flavour: Flavour) -> Result<()> {
    paths::check()?;
    let missing = missing_tools(flavour);
    if missing.is_empty() {
        return Ok(());
    }
    let names = names(&missing);
    let packages = packages(&missing);
    if !OsRelease::of_host().is_debian_kin() {
        bail!("missing: {names}; install them (on Debian they come with {})", packages.join(" "));
    }
    if env::var_os("PINBED_NO_INSTALL").is_some_and(|value| forbids(&value)) {
        bail!(
            "missing: {names}; PINBED_NO_INSTALL forbids installing, so run `{}` yourself",
            apt::install_line(&packages)
        );
    }
    note!("missing: {names}");
    apt::install(&packages)?;
    let missing = missing_tools(flavour);
    if !missing.is_empty() {
        bail!("still missing after the installation: {}; see `cargo xtask doctor`", self::names(&missing));
    }
    Ok(())
}

/// Whoever sets the variable to "yes" or "true" means it too.
fn forbids(value: &OsStr) -> bool {
    !value.is_empty() && value != "0"
}

fn missing_tools(flavour: Flavour) -> Vec<&'static Tool> {
    let is_required = |tool: &&Tool| match tool.need {
        Need::Required => true,
        Need::Llvm => flavour.is_built_by_llvm(),
        Need::Optional => false,
    };
    TOOLS.iter().filter(is_required).filter(|tool| !tool.is_present()).collect()
}

fn names(tools: &[&Tool]) -> String {
    tools.iter().map(|tool| tool.name).collect::<Vec<_>>().join(", ")
}

/// The packages of some tools, each once.
fn packages(tools: &[&'static Tool]) -> Vec<&'static str> {
    let mut packages: Vec<_> = tools.iter().map(|tool| tool.debian).collect();
    packages.sort_unstable();
    packages.dedup();
    packages
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_but_none_and_zero_forbids() {
        for (value, forbidden) in [("1", true), ("yes", true), ("0", false), ("", false)] {
            assert_eq!(forbids(OsStr::new(value)), forbidden, "{value:?}");
        }
    }

    #[test]
    fn a_package_is_installed_once() {
        let xfs: Vec<_> = TOOLS.iter().filter(|tool| tool.purpose == "xfs in the guest").collect();
        assert_eq!(names(&xfs), "mkfs.xfs, xfs_repair");
        assert_eq!(packages(&xfs), ["xfsprogs"]);
    }
}
