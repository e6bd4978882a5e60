// SPDX-License-Identifier: MIT OR Apache-2.0
//! The lock file: which package each kernel series is.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use crate::{cache, workspace};

/// One series and the package that stands for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pin {
    /// For example `7.3`.
    pub(super) series: String,
    /// Debian's version of the package, for example `7.3.4-1~bpo13+1`.
    pub(super) version: String,
    /// The suite that has it, for example `trixie-backports`.
    pub(super) suite: String,
    /// The SHA-256 of the .deb file, in hex.
    pub(super) sha256: String,
}

/// The lock file's text, and what it says.
pub(super) struct Lock {
    text: String,
    pins: Vec<Pin>,
}

impl Lock {
    /// Reads `xtask/kernel/kernel.lock`.
    pub(super) fn read() -> Result<Self> {
        let path = path();
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        Self::parse(text).with_context(|| format!("cannot understand {}", path.display()))
    }

    /// Writes it back.
    pub(super) fn write(&self) -> Result<()> {
        cache::write_whole(&path(), self.text.as_bytes())
    }

    /// The pin of a series, or of the default one, which is the first.
    pub(super) fn pin(&self, series: Option<&str>) -> Option<&Pin> {
        self.pins.iter().find(|pin| series.is_none_or(|series| pin.series == series))
    }

    /// The series that are pinned, the default first.
    pub(super) fn series(&self) -> Vec<&str> {
        self.pins.iter().map(|pin| pin.series.as_str()).collect()
    }

    /// Replaces the pin of a series, or adds one at the end; comments stay.
    pub(super) fn set(&mut self, pin: Pin) {
        let row = format!("{:<9} {:<19} {:<17} {}", pin.series, pin.version, pin.suite, pin.sha256);
        let mut lines: Vec<&str> = self.text.lines().collect();
        match lines.iter().position(|line| line.split_whitespace().next() == Some(&pin.series)) {
            Some(at) => lines[at] = &row,
            None => lines.push(&row),
        }
        self.text = lines.join("\n") + "\n";
        match self.pins.iter_mut().find(|old| old.series == pin.series) {
            Some(old) => *old = pin,
            None => self.pins.push(pin),
        }
    }

    fn parse(text: String) -> Result<Self> {
        let rows =
            text.lines().enumerate().filter(|(_, line)| !line.starts_with('#') && !line.trim().is_empty());
        let pins = rows.map(|(index, line)| {
            let words: Vec<_> = line.split_whitespace().map(str::to_owned).collect();
            let words: [String; 4] =
                words.try_into().map_err(|_| anyhow::anyhow!("line {} has not four columns", index + 1))?;
            let [series, version, suite, sha256] = words;
            if sha256.len() != 64 || !sha256.chars().all(|c| c.is_ascii_hexdigit()) {
                bail!("line {} has no SHA-256 in its last column", index + 1);
            }
            Ok(Pin { series, version, suite, sha256 })
        });
        let pins = pins.collect::<Result<Vec<_>>>()?;
        if pins.is_empty() {
            bail!("no kernel is named there");
        }
        Ok(Self { text, pins })
    }
}

fn path() -> PathBuf {
    workspace().join("xtask/kernel/kernel.lock")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Lock {
        let hash = "ab".repeat(32);
        Lock::parse(format!("# a comment\n7.3  7.3.4-1  backports  {hash}\n\n7.2  7.2.9-1  sid  {hash}\n"))
            .unwrap()
    }

    #[test]
    fn the_first_series_is_the_default() {
        assert_eq!(sample().pin(None).unwrap().version, "7.3.4-1");
        assert_eq!(sample().pin(Some("7.2")).unwrap().suite, "sid");
        assert_eq!(sample().pin(Some("7")), None);
        assert_eq!(sample().series(), ["7.3", "7.2"]);
    }

    #[test]
    fn a_moved_pin_keeps_its_place_and_the_comments() {
        let mut lock = sample();
        let moved = Pin { version: "7.3.5-1".into(), ..lock.pin(None).unwrap().clone() };
        lock.set(moved.clone());
        lock.set(Pin { series: "7.4".into(), ..moved.clone() });
        let again = Lock::parse(lock.text.clone()).unwrap();
        assert!(again.text.starts_with("# a comment\n"));
        assert_eq!(again.pins, lock.pins);
        assert_eq!(again.pin(None), Some(&moved));
        assert_eq!(again.series(), ["7.3", "7.2", "7.4"]);
    }

    #[test]
    fn a_broken_file_is_refused_by_line() {
        let check = |text: &str, words: &str| {
            let err = Lock::parse(text.to_owned()).err().unwrap().to_string();
            assert!(err.contains(words), "{err}");
        };
        check("#\n7.3 7.3.4-1 sid\n", "line 2 has not four columns");
        check("7.3 7.3.4-1 sid abc\n", "line 1 has no SHA-256");
        check("# nothing\n", "no kernel is named");
    }

    #[test]
    fn the_lock_of_the_checkout_is_well_formed() {
        assert!(!Lock::read().unwrap().pins.is_empty());
    }
}
