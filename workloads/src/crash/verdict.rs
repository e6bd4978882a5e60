// SPDX-License-Identifier: MIT OR Apache-2.0

//! What is wrong with states, counted by kind.

use std::collections::{BTreeMap, BTreeSet};

use fs_harness::crash::history::Complaint;
use fs_harness::crash::{State, history};

/// In which way a state is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// The filesystem cannot be mounted, or not be looked at.
    Mount,
    /// Its own checker finds fault with it.
    Check,
    /// What was promised is not there.
    Broken,
    /// It shows what a previous tenant of the disk has left.
    Tenant,
    /// A file holds what was never written to it.
    Foreign,
    /// As `Tenant`, where F2FS had told of new blocks before their data was on the media: docs/findings.md has it.
    OldBlock,
}

impl Kind {
    /// All that must not be; what is known of the kernel under test is only counted.
    pub(super) const ALL: &[Self] = &[Self::Mount, Self::Check, Self::Broken, Self::Tenant, Self::Foreign];

    /// The check that tells whether no state is wrong in this way.
    pub(super) const fn check(self) -> &'static str {
        match self {
            Self::Mount => "the filesystem is mounted in each of them, and recovered",
            Self::Check => "its own checker finds each of them clean then",
            Self::Broken => "what was promised is there in each of them",
            Self::Tenant | Self::OldBlock => "no previous tenant's data shows in any of them",
            Self::Foreign => "no file holds in any of them what was never written to it",
        }
    }
}

/// One thing that is wrong with a state.
#[derive(Clone, Debug)]
pub(super) struct Fault {
    pub(super) kind: Kind,
    pub(super) text: String,
}

impl From<Complaint> for Fault {
    fn from(complaint: Complaint) -> Self {
        let kind = match complaint.kind {
            history::Kind::Broken => Kind::Broken,
            history::Kind::Tenant => Kind::Tenant,
            history::Kind::Foreign => Kind::Foreign,
        };
        Self { kind, text: complaint.to_string() }
    }
}

/// What is wrong with the states that were visited.
#[derive(Default)]
pub(super) struct Faults {
    states: usize,
    known: usize,
    by_kind: BTreeMap<Kind, usize>,
    smallest: BTreeMap<Kind, (State, String)>,
}

impl Faults {
    /// Counts a state, by what is wrong with it.
    pub(super) fn add(&mut self, found: &[Fault]) {
        if found.iter().any(|fault| Kind::ALL.contains(&fault.kind)) {
            self.states += 1;
        } else if !found.is_empty() {
            self.known += 1;
        }
        for kind in found.iter().map(|fault| fault.kind).collect::<BTreeSet<_>>() {
            *self.by_kind.entry(kind).or_default() += 1;
        }
    }

    /// The first fault of each kind that no state had until now.
    pub(super) fn new_kinds(&self, found: &[Fault]) -> Vec<Fault> {
        let first = |kind: &Kind| found.iter().find(|fault| fault.kind == *kind).cloned();
        Kind::ALL.iter().filter(|kind| !self.by_kind.contains_key(kind)).filter_map(first).collect()
    }

    /// The smallest state that was found with such a fault.
    pub(super) fn smallest(&mut self, state: State, fault: Fault) {
        self.smallest.insert(fault.kind, (state, fault.text));
    }

    /// That state, and what is wrong with it; none where no state has a fault of that kind.
    pub(super) fn first(&self, kind: Kind) -> Option<(&State, &str)> {
        self.smallest.get(&kind).map(|(state, text)| (state, text.as_str()))
    }

    /// How many states have a fault of that kind.
    pub(super) fn states_with(&self, kind: Kind) -> usize {
        self.by_kind.get(&kind).copied().unwrap_or_default()
    }

    /// How many states have no fault but one that is known.
    pub(super) fn known(&self) -> usize {
        self.known
    }

    /// How many states have a fault that must not be.
    pub(super) fn states(&self) -> usize {
        self.states
    }
}
