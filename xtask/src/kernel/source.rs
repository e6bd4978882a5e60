// SPDX-License-Identifier: MIT OR Apache-2.0
//! The kernel's source: Debian's `linux-source` packages, unpacked into the cache.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::lock::{Lock, Pin};
use crate::cache;
use crate::host::command::Command;
use crate::host::suite::{Package, SUITES, Suite};
use crate::note;
use crate::progress::Progress;

/// What the package, its archive and the unpacked tree take at most, together.
const SPACE: u64 = 2_500_000_000;

/// An unpacked source tree.
pub(super) struct Source {
    /// The package's version; says so when it is not the pinned one.
    pub(super) version: String,
    /// The names of the patches that were applied to it, in their order.
    pub(super) patches: Vec<String>,
    /// Names all of this: the SHA-256 of the package, or of that and the patches.
    pub(super) sha256: String,
    /// The tree.
    pub(super) tree: PathBuf,
}

impl Source {
    /// What it is, with the name of every patch.
    pub(super) fn described(&self) -> String {
        match self.patches.as_slice() {
            [] => self.version.clone(),
            patches => format!("{} with {}", self.version, patches.join(" and ")),
        }
    }

    /// The same for a line of progress, in which many names leave no room for the progress.
    pub(super) fn described_in_short(&self) -> String {
        match self.patches.len() {
            0 | 1 => self.described(),
            count => format!("{} with {count} patches", self.version),
        }
    }
}

/// Finds the pinned source of a series in the cache, or downloads it. When the pinned version has left
/// the mirror, the newest of its series stands in for it.
pub(super) fn ensure(series: Option<&str>) -> Result<Source> {
    let lock = Lock::read()?;
    let Some(pin) = lock.pin(series) else {
        return Err(unknown_series(&lock, series.unwrap_or_default()));
    };
    if let Some(source) = cached(pin)? {
        return Ok(source);
    }
    let _guard = cache::lock("kernel-source")?;
    if let Some(source) = cached(pin)? {
        return Ok(source);
    }
    cache::require_space(SPACE, "unpacking a kernel")?;
    let suite = Suite::open(&pin.suite)?;
    let package = choose(pin, &suite.versions(&package_name(&pin.series))?)?;
    if !tree(&package.version)?.is_dir() {
        unpack(&suite, &pin.series, &package)?;
    }
    if package.version != pin.version {
        cache::write_whole(&stand_in(pin)?, format!("{} {}\n", package.version, package.sha256).as_bytes())?;
    }
    cached(pin)?.with_context(|| format!("the source of {} is not where it was unpacked", package.version))
}

/// Moves the pin of a series, or of the default one, to the newest package, and tells what it did.
pub(super) fn update(series: Option<&str>) -> Result<String> {
    let mut lock = Lock::read()?;
    let series = match (series, lock.pin(None)) {
        (Some(series), _) => series.to_owned(),
        (None, Some(pin)) => pin.series.clone(),
        (None, None) => bail!("the lock file names no kernel"),
    };
    for name in SUITES {
        let newest = Suite::open(name)?.versions(&package_name(&series))?.into_iter().next();
        if let Some(Package { version, sha256 }) = newest {
            let old = lock.pin(Some(&series)).map_or("nothing", |pin| &pin.version).to_owned();
            if old == version {
                return Ok(format!("{series} stays at {version}"));
            }
            let said = format!("{series} moves from {old} to {version} of {name}");
            lock.set(Pin { series, version, suite: (*name).to_owned(), sha256 });
            lock.write()?;
            return Ok(said);
        }
    }
    bail!("no suite has kernel {series}; there are {}", series_of_suites()?.join(", "))
}

/// What to say about a series that is not pinned: whether it could be.
fn unknown_series(lock: &Lock, series: &str) -> anyhow::Error {
    let pinned = lock.series().join(", ");
    match series_of_suites() {
        Ok(there) if there.iter().any(|name| name == series) => anyhow::anyhow!(
            "kernel {series} is not pinned; `cargo xtask kernel --series {series} --update` pins it (pinned: {pinned})"
        ),
        Ok(there) => anyhow::anyhow!("no suite has kernel {series}; there are {}", there.join(", ")),
        Err(_) => anyhow::anyhow!("kernel {series} is not pinned; choose one of {pinned}"),
    }
}

/// Every series that some suite has, newest first.
fn series_of_suites() -> Result<Vec<String>> {
    let mut found = Vec::new();
    for name in SUITES {
        let names = Suite::open(name)?.names("linux-source-")?;
        found.extend(names.iter().filter_map(|name| series_of_package(name)));
    }
    found.sort_unstable();
    found.dedup();
    found.reverse();
    Ok(found.into_iter().map(|(major, minor)| format!("{major}.{minor}")).collect())
}

fn series_of_package(name: &str) -> Option<(u32, u32)> {
    let (major, minor) = name.strip_prefix("linux-source-")?.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

fn package_name(series: &str) -> String {
    format!("linux-source-{series}")
}

/// The pinned version with the pinned hash, else the newest.
fn choose(pin: &Pin, packages: &[Package]) -> Result<Package> {
    if let Some(package) = packages.iter().find(|package| package.version == pin.version) {
        if package.sha256 != pin.sha256 {
            bail!(
                "{} has {} with SHA-256 {} and kernel.lock says {}; the mirror or the lock file is wrong",
                pin.suite,
                pin.version,
                package.sha256,
                pin.sha256
            );
        }
        return Ok(package.clone());
    }
    let newest = packages.first().with_context(|| {
        format!("{} has no kernel {} any more; try `cargo xtask kernel --update`", pin.suite, pin.series)
    })?;
    note!("{} has left {}; taking {} for it", pin.version, pin.suite, newest.version);
    Ok(newest.clone())
}

fn tree(version: &str) -> Result<PathBuf> {
    Ok(cache::path("sources")?.join(version))
}

/// The note that another version stands in for a pinned one that has left the mirror: without it every
/// run would ask the mirror again, and the kernel would change with the mirror.
fn stand_in(pin: &Pin) -> Result<PathBuf> {
    Ok(cache::path("sources")?.join(format!("{}.stand-in", pin.version)))
}

fn cached(pin: &Pin) -> Result<Option<Source>> {
    let found = tree(&pin.version)?;
    if found.is_dir() {
        return Ok(Some(Source {
            version: pin.version.clone(),
            patches: Vec::new(),
            sha256: pin.sha256.clone(),
            tree: found,
        }));
    }
    let Ok(note) = fs::read_to_string(stand_in(pin)?) else {
        return Ok(None);
    };
    let Some((version, sha256)) = note.trim().split_once(' ') else {
        return Ok(None);
    };
    let found = tree(version)?;
    Ok(found.is_dir().then(|| Source {
        version: format!("{version} (for {}, which has left the mirror)", pin.version),
        patches: Vec::new(),
        sha256: sha256.to_owned(),
        tree: found,
    }))
}

/// Downloads a package, checks it, and unpacks the tree inside.
fn unpack(suite: &Suite, series: &str, package: &Package) -> Result<()> {
    let name = package_name(series);
    let target = tree(&package.version)?;
    cache::sweep_partials(&target)?;
    let scratch = cache::scratch_beside(&target)?;

    let progress = Progress::spinner(format!("downloading {name} {}", package.version));
    let deb = suite.download(&name, &package.version, scratch.path())?;
    check_sha256(&deb, &package.sha256)?;
    progress.finish(&format!("downloaded {name} {}", package.version));

    let progress = Progress::spinner(format!("unpacking {name}"));
    Command::new("dpkg-deb").arg("-x").arg(&deb).arg(scratch.path()).run()?;
    let archive = scratch.path().join(format!("usr/src/{name}.tar.xz"));
    Command::new("tar").arg("-xf").arg(&archive).arg("-C").arg(scratch.path()).run()?;
    cache::publish_for_good(&scratch.path().join(&name), &target)?;
    progress.finish(&format!("unpacked {name}"));
    Ok(())
}

fn check_sha256(file: &Path, expected: &str) -> Result<()> {
    let said = Command::new("sha256sum").arg(file).read()?;
    let actual = said.split_whitespace().next().unwrap_or_default();
    if actual != expected {
        bail!("{} has SHA-256 {actual} and not {expected}; try again", file.display());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pin() -> Pin {
        Pin { series: "7.3".into(), version: "7.3.4-1".into(), suite: "sid".into(), sha256: "aa".into() }
    }

    fn package(version: &str, sha256: &str) -> Package {
        Package { version: version.into(), sha256: sha256.into() }
    }

    #[test]
    fn the_pinned_version_wins_over_a_newer_one() {
        let there = [package("7.3.5-1", "bb"), package("7.3.4-1", "aa")];
        assert_eq!(choose(&pin(), &there).unwrap(), there[1]);
    }

    #[test]
    fn the_newest_stands_in_for_a_version_that_is_gone() {
        let there = [package("7.3.6-1", "cc"), package("7.3.5-1", "bb")];
        assert_eq!(choose(&pin(), &there).unwrap(), there[0]);
        assert!(choose(&pin(), &[]).unwrap_err().to_string().contains("no kernel 7.3 any more"));
    }

    #[test]
    fn another_hash_under_the_pinned_version_is_refused() {
        let err = choose(&pin(), &[package("7.3.4-1", "bb")]).unwrap_err().to_string();
        assert!(err.contains("SHA-256 bb"), "{err}");
    }

    #[test]
    fn only_versioned_packages_are_series() {
        assert_eq!(series_of_package("linux-source-7.3"), Some((7, 3)));
        assert_eq!(series_of_package("linux-source-7.10"), Some((7, 10)));
        assert_eq!(series_of_package("linux-source"), None);
        assert_eq!(series_of_package("linux-source-7.3-doc"), None);
    }

    #[test]
    fn a_damaged_package_is_refused() {
        let err = check_sha256(Path::new("/dev/null"), &"0".repeat(64)).unwrap_err().to_string();
        assert!(err.contains("has SHA-256 e3b0c442"), "{err}");
    }
}
