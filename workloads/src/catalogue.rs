// SPDX-License-Identifier: MIT OR Apache-2.0

//! Every scenario, and the cells that they make. The catalogue is code: listing it touches nothing.

use fs_harness::cell::{Acquisition, Cell, Policy, Setup};
use fs_harness::guest::{Bed, Result};
use fs_harness::record::Known;

/// A workload with its checks.
pub struct Scenario {
    /// Names it everywhere.
    pub name: &'static str,
    /// Its row in the scenario matrix.
    pub row: Option<u16>,
    /// What it validates, in one sentence.
    pub about: &'static str,
    /// Where the kernel says so.
    pub source: &'static str,
    /// Where it runs.
    pub setups: &'static [Setup],
    /// Who takes the pages.
    pub acquisitions: &'static [Acquisition],
    /// Under which policies of the driver.
    pub policies: &'static [Policy],
    /// Why it does not run on the other setups.
    pub not: &'static [NotOn],
    /// Checks that are known not to hold.
    pub known: &'static [Violated],
    /// The workload itself.
    pub run: fn(&mut Bed) -> Result<()>,
}

/// A check of a scenario that is known to be violated.
pub struct Violated {
    /// Where.
    pub on: &'static [Setup],
    /// Under which policies of the driver.
    pub under: &'static [Policy],
    /// Its words.
    pub check: &'static str,
    /// Why.
    pub why: Why,
}

/// Why a check is violated.
pub enum Why {
    /// The kernel under test does wrong; the entry of `docs/findings.md`.
    Finding(&'static str),
    /// It is done wrong on purpose, to see that the check can tell; what, in words.
    Control(&'static str),
}

impl Scenario {
    /// What most scenarios have in common, for those that say the rest.
    pub const PLAIN: Self = Self {
        name: "",
        row: None,
        about: "",
        source: "",
        setups: &[],
        acquisitions: &[Acquisition::Kernel],
        policies: &[Policy::Observe],
        not: &[],
        known: &[],
        run: |_| Ok(()),
    };

    /// The checks of a cell that are known to be violated, by their words.
    pub fn known(&self, cell: &Cell) -> Vec<(&'static str, Known)> {
        let of_cell = self
            .known
            .iter()
            .filter(|violated| violated.on.contains(&cell.setup) && violated.under.contains(&cell.policy));
        of_cell.map(|violated| (violated.check, violated.why.known())).collect()
    }

    /// Why it does not run on a setup; none where it does.
    pub fn why_not(&self, setup: Setup) -> Option<&'static str> {
        let reasons = if self.setups.contains(&setup) { &[] } else { self.not };
        reasons.iter().find(|(not, _)| not.contains(&setup)).map(|(_, why)| *why)
    }
}

impl Why {
    fn known(&self) -> Known {
        match self {
            Self::Finding(name) => Known::Finding((*name).to_owned()),
            Self::Control(what) => Known::Control((*what).to_owned()),
        }
    }
}

/// Setups, and why a scenario does not run on those of them that it does not name as its own.
pub type NotOn = (&'static [Setup], &'static str);

/// Why few scenarios run on a disk with large blocks.
pub(crate) const LARGE_BLOCK: NotOn =
    (Setup::LARGE_BLOCK, "the size of the logical block changes nothing here");

/// Where a file can be mapped shared, and what is written there has to be written back.
pub(crate) const MAPPED: &[Setup] = &[
    Setup::Bdev,
    Setup::Ext4,
    Setup::Ext4Small,
    Setup::Ext4Journal,
    Setup::Xfs,
    Setup::XfsStable,
    Setup::Btrfs,
    Setup::BtrfsNoDataSum,
    Setup::F2fs,
    Setup::Vfat,
    Setup::FuseWritebackExt4,
    Setup::FuseWritebackXfs,
    Setup::FusePassthroughExt4,
    Setup::FusePassthroughXfs,
];

/// Why no FUSE setup is of those but the ones named there.
pub(crate) const NOT_MAPPED: NotOn = (Setup::FUSE, "a FUSE file with direct I/O cannot be mapped shared");

/// Where the page cache of a file has large folios.
pub(crate) const LARGE_FOLIOS: &[Setup] =
    &[Setup::Ext4, Setup::Ext4Small, Setup::Xfs, Setup::XfsStable, Setup::Btrfs, Setup::BtrfsNoDataSum];

/// Why a scenario with memory alone runs on the setup `none` only.
pub(crate) const NO_FILE: &[NotOn] = &[
    (&[Setup::Bdev], "anonymous memory only: no device takes part"),
    LARGE_BLOCK,
    (&[Setup::Tmpfs], "anonymous memory only: no file takes part"),
    (Setup::ON_DISK, "anonymous memory only: no file takes part"),
    (Setup::FUSE, "anonymous memory only: no file takes part"),
];

/// The scenarios of the catalogue, by area.
pub fn scenarios() -> impl Iterator<Item = &'static Scenario> {
    [
        crate::after_cut::SCENARIOS,
        crate::bad_input::SCENARIOS,
        crate::checksum_race::SCENARIOS,
        crate::classes::SCENARIOS,
        crate::cost::SCENARIOS,
        crate::counting::SCENARIOS,
        crate::crash::SCENARIOS,
        crate::defragment::SCENARIOS,
        crate::defer::SCENARIOS,
        crate::deferred_commit::SCENARIOS,
        crate::delayed::SCENARIOS,
        crate::direct_io::SCENARIOS,
        crate::direct_over_hold::SCENARIOS,
        crate::dying::SCENARIOS,
        crate::fast_or_slow::SCENARIOS,
        crate::file_errors::SCENARIOS,
        crate::fixed_buffers::SCENARIOS,
        crate::fixed_io::SCENARIOS,
        crate::frozen::SCENARIOS,
        crate::fuse::SCENARIOS,
        crate::fuse_cache::SCENARIOS,
        crate::hold::SCENARIOS,
        crate::huge::SCENARIOS,
        crate::in_flight::SCENARIOS,
        crate::journal::SCENARIOS,
        crate::leak::SCENARIOS,
        crate::lifetime::SCENARIOS,
        crate::mapped_buffers::SCENARIOS,
        crate::media::SCENARIOS,
        crate::new_file::SCENARIOS,
        crate::nowait::SCENARIOS,
        crate::over_limits::SCENARIOS,
        crate::over_stash::SCENARIOS,
        crate::overflow::SCENARIOS,
        crate::own_pages::SCENARIOS,
        crate::pinned_writeback::SCENARIOS,
        crate::process::SCENARIOS,
        crate::ptrace::SCENARIOS,
        crate::read_only::SCENARIOS,
        crate::reclaim::SCENARIOS,
        crate::removal::SCENARIOS,
        crate::skip::SCENARIOS,
        crate::transfer::SCENARIOS,
        crate::transfer_in_flight::SCENARIOS,
        crate::transfer_interrupted::SCENARIOS,
        crate::truncate::SCENARIOS,
        crate::under_writeback::SCENARIOS,
        crate::unplug::SCENARIOS,
        crate::while_deferred::SCENARIOS,
        crate::zero_copy::SCENARIOS,
    ]
    .into_iter()
    .flatten()
}

/// Scenarios that do what no scenario may, to see that it is noticed.
pub fn selftest() -> impl Iterator<Item = &'static Scenario> {
    crate::selftest::SCENARIOS.iter()
}

/// Scenarios that hunt for faults, of the driver or of a filesystem, for as long as they are told: numbers
/// stand behind their name.
pub fn hunts() -> impl Iterator<Item = &'static Scenario> {
    [&crate::fuzz::RANDOM, &crate::allocations::FAILING, &crate::crash::STATES].into_iter()
}

/// The scenario of that name, from the catalogue, the self-test, the driver's own suites or the hunts.
pub fn find(name: &str) -> Option<&'static Scenario> {
    let others = scenarios().chain(selftest()).chain(crate::kunit::SCENARIOS);
    let is_hunt = |hunt: &&Scenario| {
        let rest = name.strip_prefix(hunt.name);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('_'))
    };
    others.filter(|scenario| scenario.name == name).chain(hunts().filter(is_hunt)).next()
}

/// Every cell of the catalogue with its scenario, in the order in which they are listed.
pub fn cells() -> impl Iterator<Item = (Cell, &'static Scenario)> {
    scenarios().flat_map(cells_of)
}

/// The cells of one scenario.
pub fn cells_of(scenario: &'static Scenario) -> impl Iterator<Item = (Cell, &'static Scenario)> {
    scenario.setups.iter().flat_map(move |&setup| {
        scenario.acquisitions.iter().flat_map(move |&acquisition| {
            scenario.policies.iter().map(move |&policy| {
                let name = scenario.name.to_owned();
                (Cell { scenario: name, setup, acquisition, policy }, scenario)
            })
        })
    })
}

/// The cells whose name contains one of the filters; all of them where there is no filter.
pub fn matching(filters: &[String]) -> Vec<(Cell, &'static Scenario)> {
    cells()
        .filter(|(cell, _)| {
            let name = cell.to_string();
            filters.is_empty() || filters.iter().any(|filter| name.contains(filter.as_str()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_are_unique_and_survive_parsing() {
        let mut seen = HashSet::new();
        for (cell, _) in cells() {
            let name = cell.to_string();
            assert_eq!(name.parse::<Cell>().unwrap(), cell);
            assert!(seen.insert(name.clone()), "{name} is listed twice");
        }
        assert!(seen.len() >= 14);
    }

    #[test]
    fn what_a_scenario_validates_is_said_without_another() {
        let leans =
            |scenario: &&Scenario| scenario.about.is_empty() || scenario.about.starts_with("The same");
        let leaning: Vec<_> = scenarios().filter(leans).map(|scenario| scenario.name).collect();
        assert!(leaning.is_empty(), "{leaning:?}");
    }

    #[test]
    fn each_scenario_accounts_for_every_setup() {
        let mut complaints = Vec::new();
        for scenario in scenarios() {
            for setup in Setup::ALL {
                let runs = scenario.setups.contains(setup);
                let excused = scenario.not.iter().filter(|(not, _)| not.contains(setup)).count();
                if !runs && excused == 0 {
                    complaints.push(format!("{} says nothing of {setup}", scenario.name));
                }
                if excused > 1 {
                    complaints.push(format!("{} says twice why it does not run on {setup}", scenario.name));
                }
            }
            for (not, why) in scenario.not {
                if not.iter().all(|setup| scenario.setups.contains(setup)) {
                    complaints.push(format!("{} runs where it says that it does not: {why}", scenario.name));
                }
            }
        }
        assert!(complaints.is_empty(), "{}", complaints.join("\n"));
    }

    /// Where it is written down how the checks of the scenarios were seen to fail.
    const SEEN_TO_FAIL: &str =
        concat!(include_str!("../../docs/scenario-tests.md"), include_str!("../../docs/driver-tests.md"));

    #[test]
    fn each_scenario_was_seen_to_fail() {
        let is_named = |scenario: &&Scenario| {
            let name = format!("`{}", scenario.name);
            ["`", "::"].iter().any(|end| SEEN_TO_FAIL.contains(&format!("{name}{end}")))
        };
        let missing: Vec<&str> =
            scenarios().filter(|scenario| !is_named(scenario)).map(|scenario| scenario.name).collect();
        assert!(missing.is_empty(), "docs/scenario-tests.md and docs/driver-tests.md lack {missing:?}");
    }

    #[test]
    fn a_filter_is_a_substring_and_several_are_ored() {
        assert_eq!(
            matching(&["::bdev::".into()]).len(),
            cells().filter(|(cell, _)| cell.setup == Setup::Bdev).count()
        );
        assert!(matching(&["no such cell".into()]).is_empty());
        let both = matching(&["pin_order0".into(), "get_order0".into()]);
        assert_eq!(both.len(), 2);
    }
}
