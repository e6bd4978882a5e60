// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which distribution this is, from `/etc/os-release`.

use std::fs;

/// The part of os-release that decides how packages are named and installed.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct OsRelease {
    /// For example `debian`.
    pub id: String,
    /// What the distribution descends from, for example `["debian"]` for Ubuntu.
    pub id_like: Vec<String>,
    /// For example `bookworm`; empty where there is none.
    pub codename: String,
}

impl OsRelease {
    /// Reads the running system's; a system without the file is none that we know.
    pub fn of_host() -> Self {
        fs::read_to_string("/etc/os-release").map(|text| Self::parse(&text)).unwrap_or_default()
    }

    fn parse(text: &str) -> Self {
        let value = |key: &str| {
            let lines = text.lines().filter_map(|line| line.split_once('='));
            let mut values = lines.filter(|(name, _)| *name == key).map(|(_, value)| value);
            values
                .next_back()
                .map(|value| value.trim().trim_matches(['"', '\'']).to_owned())
                .unwrap_or_default()
        };
        Self {
            id: value("ID"),
            id_like: value("ID_LIKE").split_whitespace().map(str::to_owned).collect(),
            codename: value("VERSION_CODENAME"),
        }
    }

    /// Whether packages have Debian's names.
    pub fn is_debian_kin(&self) -> bool {
        self.id == "debian" || self.id_like.iter().any(|id| id == "debian")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debian_and_its_kin_are_known() {
        let debian = OsRelease::parse("PRETTY_NAME=\"Debian\"\nID=debian\nVERSION_CODENAME=bookworm\n");
        assert_eq!(debian.codename, "bookworm");
        assert!(debian.is_debian_kin());
        let ubuntu = OsRelease::parse("ID=ubuntu\nID_LIKE=\"debian\"\nVERSION_CODENAME=noble\n");
        assert!(ubuntu.is_debian_kin());
        assert!(OsRelease::parse("ID='mint'\nID_LIKE=\"ubuntu debian\"").is_debian_kin());
    }

    #[test]
    fn others_are_not() {
        assert!(!OsRelease::parse("ID=fedora\n").is_debian_kin());
        assert!(!OsRelease::parse("NAME=debian\n").is_debian_kin());
        assert_eq!(OsRelease::parse(""), OsRelease::default());
    }
}
