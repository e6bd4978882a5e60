// SPDX-License-Identifier: MIT OR Apache-2.0
//! Packages of Debian suites that the host itself does not use, through a private apt state under the
//! cache: own source list, package lists and archives. The host's apt configuration is only read.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use nix::unistd::Uid;

use super::command::Command;
use super::os_release::OsRelease;
use crate::cache;

/// The suites that have current kernels and current Rust, in the order in which they are asked.
pub const SUITES: &[&str] = &["trixie-backports", "sid"];

/// Where Debian's own keys are when the host's source list names none.
const DEBIAN_KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// One version of a package, as the lists of a suite have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Package {
    /// Debian's version, for example `7.3.4-1~bpo13+1`.
    pub version: String,
    /// The SHA-256 of the .deb file, in hex.
    pub sha256: String,
}

/// A suite whose package lists are up to date.
pub struct Suite {
    name: String,
    state: PathBuf,
}

/// Where packages come from, and whose signature they bear.
#[derive(Debug, PartialEq, Eq)]
struct Mirror {
    uri: String,
    keyring: PathBuf,
}

impl Suite {
    /// Fetches the suite's package lists into the cache.
    pub fn open(name: &str) -> Result<Self> {
        let mirror = mirror()?;
        let suite = Self { name: name.to_owned(), state: cache::folder(&format!("apt/{name}"))? };
        for folder in ["lists/partial", "archives/partial"] {
            cache::folder(&format!("apt/{name}/{folder}"))?;
        }
        let list = format!("deb [signed-by={}] {} {name} main\n", mirror.keyring.display(), mirror.uri);
        cache::write_whole(&suite.state.join("sources.list"), list.as_bytes())?;
        cache::write_whole(&suite.state.join("status"), b"")?;
        let _lock = cache::lock(&format!("apt-{name}"))?;
        in_words_of_apt(suite.apt("apt-get").args(["-q", "update"]).read()).with_context(|| {
            format!("cannot read the package lists of {name} from {}; check the network", mirror.uri)
        })?;
        Ok(suite)
    }

    /// Every version of a package in this suite, newest first; none when there is no such package.
    pub fn versions(&self, package: &str) -> Result<Vec<Package>> {
        if !self.names(package)?.iter().any(|name| name == package) {
            return Ok(Vec::new());
        }
        self.apt("apt-cache").args(["show", package]).read().map(|text| parse_packages(&text))
    }

    /// The names of the suite's packages that begin with `prefix`.
    pub fn names(&self, prefix: &str) -> Result<Vec<String>> {
        let text = self.apt("apt-cache").args(["pkgnames", prefix]).read()?;
        Ok(text.lines().map(str::to_owned).collect())
    }

    /// Downloads one version into a folder and returns the .deb file. apt checks it against the
    /// suite's signed lists.
    pub fn download(&self, package: &str, version: &str, into: &Path) -> Result<PathBuf> {
        let wanted = format!("{package}={version}");
        let downloaded = self.apt("apt-get").args(["-q", "download", &wanted]).current_dir(into).read();
        in_words_of_apt(downloaded).with_context(|| {
            format!("cannot download {wanted} of {}; check the network and the disk", self.name)
        })?;
        let files = fs::read_dir(into).with_context(|| format!("cannot read {}", into.display()))?;
        let mut debs = files.flatten().map(|entry| entry.path());
        debs.find(|path| path.extension().is_some_and(|extension| extension == "deb"))
            .with_context(|| format!("apt-get left no package in {}", into.display()))
    }

    /// A program of apt that works on the private state.
    fn apt(&self, program: &str) -> Command {
        Command::new(program).args(self.options())
    }

    fn options(&self) -> Vec<String> {
        let state = self.state.display();
        let mut options = vec![
            format!("Dir::Etc::SourceList={state}/sources.list"),
            "Dir::Etc::SourceParts=/dev/null".to_owned(),
            format!("Dir::State::Lists={state}/lists"),
            format!("Dir::State::status={state}/status"),
            format!("Dir::Cache={state}"),
            "Dir::Cache::pkgcache=".to_owned(),
            "Dir::Cache::srcpkgcache=".to_owned(),
            "Acquire::Languages=none".to_owned(),
            "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false".to_owned(),
            "Acquire::Retries=2".to_owned(),
            // Without it apt-get calls an update that fetched nothing a success.
            "APT::Update::Error-Mode=any".to_owned(),
        ];
        if Uid::effective().is_root() {
            // apt's own user cannot write to a cache below root's home.
            options.push("APT::Sandbox::User=root".to_owned());
        }
        options.into_iter().flat_map(|option| ["-o".to_owned(), option]).collect()
    }
}

/// The mirror that the host itself uses, or `PINBED_DEBIAN_MIRROR` on a host that uses none.
fn mirror() -> Result<Mirror> {
    let mirror = match env::var("PINBED_DEBIAN_MIRROR") {
        Ok(uri) if !uri.is_empty() => Some(Mirror { uri, keyring: DEBIAN_KEYRING.into() }),
        _ => mirror_of_host()?,
    };
    let mirror = mirror.context(
        "kernels come from Debian and this host's apt names no Debian mirror; set PINBED_DEBIAN_MIRROR to one's URL",
    )?;
    if !mirror.keyring.is_file() {
        bail!("there are no Debian keys in {}; install debian-archive-keyring", mirror.keyring.display());
    }
    Ok(mirror)
}

fn mirror_of_host() -> Result<Option<Mirror>> {
    let host = OsRelease::of_host();
    if host.id != "debian" {
        return Ok(None);
    }
    let format = "$(SITE)\t$(RELEASE)\t$(COMPONENT)\t$(SIGNED_BY)\t$(CODENAME)";
    let targets =
        Command::new("apt-get").args(["indextargets", "--format", format, "Created-By: Packages"]).read()?;
    Ok(pick_mirror(&targets, &host.codename))
}

/// Picks the site that serves `main` of the host's release, or for want of that the first that serves
/// `main` of anything: a host between releases names its suite otherwise.
fn pick_mirror(index_targets: &str, codename: &str) -> Option<Mirror> {
    let rows = || {
        let rows = index_targets.lines().map(|line| line.split('\t').collect::<Vec<_>>());
        rows.filter(|row| row.len() == 5 && row[2] == "main")
    };
    let of_host = rows().find(|row| row[1] == codename || row[4] == codename);
    let rolling = rows().find(|row| ["sid", "unstable", "testing", "stable"].contains(&row[1]));
    let row = of_host.or(rolling)?;
    // apt leaves the name of a field that has no value, and gives a key itself where it is inline.
    let keyring = if row[3].starts_with('/') { row[3] } else { DEBIAN_KEYRING };
    Some(Mirror { uri: row[0].to_owned(), keyring: keyring.into() })
}

/// Versions and hashes out of `apt-cache show`, in its order, which is newest first.
fn parse_packages(text: &str) -> Vec<Package> {
    let field = |paragraph: &str, name: &str| {
        paragraph.lines().find_map(|line| line.strip_prefix(name)).map(|value| value.trim().to_owned())
    };
    let packages = text.split("\n\n").filter_map(|paragraph| {
        Some(Package { version: field(paragraph, "Version:")?, sha256: field(paragraph, "SHA256:")? })
    });
    packages.collect()
}

/// Leaves apt's command line, here a dozen options long, out of an error.
fn in_words_of_apt(said: Result<String>) -> Result<String> {
    said.map_err(|err| match apt_errors(&err.to_string()) {
        Some(words) => anyhow::anyhow!(words),
        None => err,
    })
}

/// What apt itself says went wrong, on one line.
fn apt_errors(text: &str) -> Option<String> {
    let errors: Vec<_> = text.lines().filter_map(|line| line.trim().strip_prefix("E: ")).collect();
    (!errors.is_empty()).then(|| errors.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TARGETS: &str = "http://other/tools\tnodistro\tmain\t/usr/share/keyrings/tools.gpg\tnodistro
http://security/dist-security\tbookworm-security\tmain\t$(SIGNED_BY)\tbookworm-security
http://mirror/dist\tbookworm\tcontrib\t$(SIGNED_BY)\tbookworm
http://mirror/dist\tbookworm\tmain\t$(SIGNED_BY)\tbookworm";

    #[test]
    fn the_mirror_is_the_one_that_serves_the_release() {
        let mirror = pick_mirror(TARGETS, "bookworm").unwrap();
        assert_eq!(mirror, Mirror { uri: "http://mirror/dist".into(), keyring: DEBIAN_KEYRING.into() });
        assert_eq!(pick_mirror(TARGETS, "noble"), None);
        let aliased = "http://m/dist\tstable\tmain\t/k.gpg\tbookworm";
        assert_eq!(pick_mirror(aliased, "bookworm").unwrap().keyring, Path::new("/k.gpg"));
        let unread = "http://m/dist\tunstable\tmain\t$(SIGNED_BY)\t$(CODENAME)";
        assert_eq!(pick_mirror(unread, "forky").unwrap().uri, "http://m/dist");
    }

    #[test]
    fn packages_keep_their_order() {
        let text = "Package: x\nVersion: 2\nSHA256: bb\n\nPackage: x\nSHA256: aa\nVersion: 1\n";
        let versions: Vec<_> = parse_packages(text).into_iter().map(|p| (p.version, p.sha256)).collect();
        assert_eq!(versions, [("2".into(), "bb".into()), ("1".into(), "aa".into())]);
        assert_eq!(parse_packages(""), []);
    }

    #[test]
    fn only_the_errors_of_apt_are_kept() {
        assert_eq!(apt_errors("`apt-get` failed:\n  W: x\n  E: no\n  E: way").unwrap(), "no; way");
        assert_eq!(apt_errors("W: only a warning"), None);
    }
}
