// SPDX-License-Identifier: MIT OR Apache-2.0

//! A state in which a power cut could leave a disk.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use super::log::{Entry, Log};

/// What the media have after a power cut: all that came before the last flush, what went through the cache
/// since then, and of the rest whatever was kept.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct State {
    /// When: the position in the log.
    pub position: usize,
    /// The volatile entries since the last flush that reached the media all the same.
    pub kept: BTreeSet<usize>,
    /// The number of entries of the log, by which another log is told.
    pub of: usize,
}

impl State {
    /// Whether it is a state of that log, or why not.
    pub fn check(&self, log: &Log) -> Result<(), String> {
        if self.of != log.end() {
            return Err(format!("the log has {} entries this time, and not {}", log.end(), self.of));
        }
        if self.position > log.end() {
            return Err(format!("position {} is behind the end of the log", self.position));
        }
        let open = log.open_at(self.position);
        let stray = |&&kept: &&usize| !open.contains(&kept) || !log.entries()[kept].is_volatile();
        match self.kept.iter().find(stray) {
            Some(stray) => Err(format!("entry {stray} cannot be lost or kept at position {}", self.position)),
            None => Ok(()),
        }
    }

    /// The entries since the last flush that are on the media, in order.
    pub fn survivors(&self, log: &Log) -> Vec<usize> {
        let is_there = |index: &usize| self.kept.contains(index) || !log.entries()[*index].is_volatile();
        log.open_at(self.position).filter(is_there).collect()
    }

    /// The entries since the last flush that are not on the media, in order.
    pub fn lost<'a>(&self, log: &'a Log) -> impl Iterator<Item = &'a Entry> {
        let is_lost = |index: &usize| log.entries()[*index].is_volatile() && !self.kept.contains(index);
        log.open_at(self.position).filter(is_lost).map(|index| &log.entries()[index])
    }

    /// The same state of an earlier moment since the same flush.
    #[must_use]
    pub fn at(&self, position: usize) -> Self {
        Self { position, kept: self.kept.range(..position).copied().collect(), of: self.of }
    }
}

/// As in `123of456+100-104+117`: at position 123 of a log with 456 entries, with these entries kept.
impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}of{}", self.position, self.of)?;
        let mut rest = self.kept.iter().copied().peekable();
        while let Some(first) = rest.next() {
            let mut last = first;
            while let Some(next) = rest.next_if_eq(&(last + 1)) {
                last = next;
            }
            if first == last { write!(f, "+{first}")? } else { write!(f, "+{first}-{last}")? }
        }
        Ok(())
    }
}

/// Why a text is no state.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a state such as 123of456+100-104+117")]
pub struct NotAState(String);

impl FromStr for State {
    type Err = NotAState;

    fn from_str(text: &str) -> Result<Self, NotAState> {
        parse(text).ok_or_else(|| NotAState(text.to_owned()))
    }
}

fn parse(text: &str) -> Option<State> {
    let mut parts = text.split('+');
    let (position, of) = parts.next()?.split_once("of")?;
    let mut state = State { position: position.parse().ok()?, of: of.parse().ok()?, kept: BTreeSet::new() };
    for part in parts {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
        // An entry is before the position: a typing error does not take all memory.
        if first > last || last >= state.position {
            return None;
        }
        state.kept.extend(first..=last);
    }
    Some(state)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::crash::log::tests::log;

    #[test]
    fn what_went_through_the_cache_survives_and_what_was_kept() {
        let log = log("a|bCde");
        let state: State = "5of6+2".parse().unwrap();
        assert_eq!(state.check(&log), Ok(()));
        assert_eq!(state.survivors(&log), [2, 3]);
        assert_eq!(state.lost(&log).collect::<Vec<_>>(), [&log.entries()[4]]);
        assert_eq!("3of6".parse::<State>().unwrap().survivors(&log), [] as [usize; 0]);
    }

    #[test]
    fn what_is_no_state_of_a_log_is_refused() {
        let log = log("a|bCde");
        for (text, why) in [
            ("5of7", "the log has 6 entries"),
            ("7of6", "behind the end"),
            ("5of6+0", "entry 0"),
            ("5of6+3", "entry 3"),
        ] {
            let refused = text.parse::<State>().unwrap().check(&log).unwrap_err();
            assert!(refused.contains(why), "{text}: {refused}");
        }
        for text in ["", "5", "5of", "of6", "5of6+", "5of6+4-3", "5of6+5", "5of6+1-99999999999"] {
            assert!(text.parse::<State>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_state_survives_the_way_there_and_back(position in 0_usize..200, kept: Vec<u8>) {
            let kept = kept.into_iter().map(usize::from).filter(|&kept| kept < position).collect();
            let state = State { position, kept, of: 300 };
            prop_assert_eq!(state.to_string().parse(), Ok(state));
        }
    }
}
