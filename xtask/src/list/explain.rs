// SPDX-License-Identifier: MIT OR Apache-2.0

//! `cargo xtask list --explain`: of each scenario what it validates, where that comes from, where it runs, and
//! why not elsewhere.

use anyhow::{Result, bail};
use fs_harness::cell::{Cell, Policy, Setup};
use serde::Serialize;
use workloads::catalogue::{self, Scenario};

use super::{KnownViolation, wrapped};
use crate::say;

/// Stands before each further line of a text that says something of a scenario.
const INDENT: &str = "             ";

/// A scenario, as far as filters ask for it.
#[derive(Serialize)]
struct Explained {
    scenario: &'static str,
    row: Option<u16>,
    about: &'static str,
    source: &'static str,
    /// The names of the cells.
    cells: Vec<String>,
    /// Where it does not run.
    not: Vec<LeftOut>,
    /// Checks that are known to be violated, and where.
    known: Vec<KnownOn>,
}

#[derive(Serialize)]
struct LeftOut {
    setup: Setup,
    why: &'static str,
}

#[derive(Serialize)]
struct KnownOn {
    setup: Setup,
    policies: Vec<Policy>,
    #[serde(flatten)]
    violation: KnownViolation<'static>,
}

/// Explains the scenarios that the filters name. What runs nowhere has a name too: `scenario::setup::`.
pub(super) fn main(filters: &[String], json: bool) -> Result<()> {
    for filter in filters {
        if explained(std::slice::from_ref(filter)).is_empty() {
            bail!(super::nothing_matches(filter));
        }
    }
    let scenarios = explained(filters);
    if json {
        return super::say_json(&scenarios);
    }
    let width = super::width();
    let texts: Vec<String> = scenarios.iter().map(|scenario| scenario.text(width)).collect();
    say!("{}", texts.join("\n").trim_end());
    Ok(())
}

/// What the filters name; all where there are none.
fn explained(filters: &[String]) -> Vec<Explained> {
    let is_asked =
        |name: &str| filters.is_empty() || filters.iter().any(|filter| name.contains(filter.as_str()));
    let scenarios = catalogue::scenarios().map(|scenario| explain(scenario, is_asked));
    scenarios.filter(|scenario| !scenario.cells.is_empty() || !scenario.not.is_empty()).collect()
}

fn explain(scenario: &'static Scenario, is_asked: impl Fn(&str) -> bool) -> Explained {
    let all = catalogue::cells_of(scenario).map(|(cell, _)| cell);
    let asked: Vec<Cell> = all.filter(|cell| is_asked(&cell.to_string())).collect();
    let left_out = Setup::ALL.iter().filter_map(|&setup| {
        let why = scenario.why_not(setup)?;
        is_asked(&format!("{}::{setup}::", scenario.name)).then_some(LeftOut { setup, why })
    });
    Explained {
        scenario: scenario.name,
        row: scenario.row,
        about: scenario.about,
        source: scenario.source,
        cells: asked.iter().map(Cell::to_string).collect(),
        not: left_out.collect(),
        known: known(scenario, &asked),
    }
}

/// The violations that are known of these cells: each once for a setup, with the policies under which it is.
fn known(scenario: &Scenario, cells: &[Cell]) -> Vec<KnownOn> {
    let mut known: Vec<KnownOn> = Vec::new();
    for cell in cells {
        for (check, why) in scenario.known(cell) {
            let same = |known: &&mut KnownOn| known.setup == cell.setup && known.violation.check == check;
            match known.iter_mut().find(same) {
                Some(known) if known.policies.contains(&cell.policy) => {}
                Some(known) => known.policies.push(cell.policy),
                None => known.push(KnownOn {
                    setup: cell.setup,
                    policies: vec![cell.policy],
                    violation: KnownViolation { check, why },
                }),
            }
        }
    }
    known
}

impl Explained {
    fn text(&self, width: usize) -> String {
        let row = self.row.map_or_else(String::new, |row| format!(", row {row}"));
        let mut text = format!("{}{row}\n", self.scenario);
        let mut say = |first: &str, words: &str| {
            text += &wrapped(words, width, &format!("{first:0$}", INDENT.len()), INDENT);
        };
        say("  validates", self.about);
        say("  source", self.source);
        for (place, cell) in self.cells.iter().enumerate() {
            say(if place == 0 { "  runs as" } else { "" }, cell);
        }
        for (place, (why, setups)) in self.reasons().iter().enumerate() {
            say(if place == 0 { "  not on" } else { "" }, &format!("{}: {why}", setups.join(", ")));
        }
        for (place, known) in self.known.iter().enumerate() {
            let KnownViolation { check, why } = &known.violation;
            let policies: Vec<&str> = known.policies.iter().map(|policy| policy.name()).collect();
            let under = policies.join(", ");
            let words = format!("{} under {under}: \"{check}\" is violated, {why}", known.setup);
            say(if place == 0 { "  known on" } else { "" }, &words);
        }
        text
    }

    /// Each reason once, with its setups, in the order in which these are listed.
    fn reasons(&self) -> Vec<(&'static str, Vec<&'static str>)> {
        let mut reasons: Vec<(&str, Vec<&str>)> = Vec::new();
        for LeftOut { setup, why } in &self.not {
            match reasons.iter_mut().find(|(known, _)| known == why) {
                Some((_, setups)) => setups.push(setup.name()),
                None => reasons.push((why, vec![setup.name()])),
            }
        }
        reasons
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setup_of_every_scenario_runs_or_says_why_not() {
        let all = explained(&[]);
        assert_eq!(all.len(), catalogue::scenarios().count());
        for scenario in all {
            for setup in Setup::ALL {
                let runs = scenario.cells.iter().any(|cell| cell.contains(&format!("::{setup}::")));
                let excused = scenario.not.iter().any(|left_out| left_out.setup == *setup);
                assert!(runs != excused, "{} on {setup}", scenario.scenario);
            }
        }
    }

    #[test]
    fn a_setup_shows_what_runs_there_and_what_does_not() {
        let all = explained(&["::vfat::".to_owned()]);
        assert_eq!(all.len(), catalogue::scenarios().count());
        let find = |name: &str| all.iter().find(|explained| explained.scenario == name).unwrap();
        assert_eq!(find("hold_sync_dma_unhold").cells, ["hold_sync_dma_unhold::vfat::pin::observe"]);
        assert!(find("hold_sync_dma_unhold").not.is_empty());
        let frozen = find("late_dirty_while_frozen");
        assert!(frozen.cells.is_empty() && frozen.not.len() == 1);
        assert!(frozen.text(usize::MAX).contains("\n  not on     vfat: it cannot be frozen\n"));
    }

    #[test]
    fn what_is_known_under_any_policy_is_told() {
        let all = explained(&["crash_states::".to_owned()]);
        let lost = |known: &&KnownOn| known.setup == Setup::Ext4 && known.policies == [Policy::Drop];
        assert_eq!(all[0].known.iter().filter(lost).count(), 2);
        assert!(all[0].text(usize::MAX).contains("ext4 under drop: \"what was promised is there"));
        let all = explained(&["dma_after_cleaning::btrfs".to_owned()]);
        assert_eq!(all[0].known[0].policies, [Policy::Skip, Policy::Drop]);
    }

    #[test]
    fn a_terminal_of_80_columns_is_wide_enough() {
        for scenario in explained(&[]) {
            let text = scenario.text(80);
            let long = text.lines().find(|line| line.chars().count() > 80 && line.trim().contains(' '));
            assert_eq!(long, None);
            let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
            assert_eq!(words(&text), words(&scenario.text(usize::MAX)), "nothing is cut off");
        }
    }
}
