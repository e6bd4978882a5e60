// SPDX-License-Identifier: MIT OR Apache-2.0

//! Which states are visited. A log has too many for all: these are chosen by rules, the same for the same
//! log and seed.

use std::collections::BTreeSet;

use fastrand::Rng;

use super::log::Log;
use super::state::State;

/// After so many rounds in which nothing new was drawn, nothing new is expected.
const FRUITLESS: usize = 20;

/// At most `count` different states, in the order of their positions:
///
/// - at the end of each epoch nothing that a power cut can lose,
/// - after each piece all that came until then,
/// - and by the seed, from each epoch in turn, some bios as a whole, and some pieces of bios.
///
/// Where the first rule alone makes too many, half of all are by it, spread over the log; so the second.
pub fn choose(log: &Log, seed: u64, count: usize) -> Vec<State> {
    let mut chosen = BTreeSet::new();
    let epochs: Vec<_> = log.epochs().collect();
    let bare = epochs.iter().map(|epoch| state(log, epoch.end, []));
    add(&mut chosen, spread(bare.collect(), count / 2), count);
    let after = |position| state(log, position, log.open_at(position));
    let left = count - chosen.len();
    add(&mut chosen, spread((0..=log.end()).map(after).collect(), left / 2), count);
    let mut draw = Rng::with_seed(seed);
    let mut fruitless = 0;
    while chosen.len() < count && fruitless < FRUITLESS {
        let before = chosen.len();
        for epoch in &epochs {
            let bios = log.volatile_bios(epoch.clone());
            let some: Vec<usize> = bios.iter().filter(|_| draw.bool()).flatten().copied().collect();
            let position = draw.usize(epoch.start..=epoch.end);
            let pieces: Vec<usize> = epoch.clone().filter(|_| draw.bool()).collect();
            add(&mut chosen, vec![state(log, epoch.end, some), state(log, position, pieces)], count);
        }
        fruitless = if chosen.len() == before { fruitless + 1 } else { 0 };
    }
    chosen.into_iter().collect()
}

/// The state at a position with those of these entries kept that can be.
fn state(log: &Log, position: usize, kept: impl IntoIterator<Item = usize>) -> State {
    let can_be = |index: &usize| *index < position && log.entries()[*index].is_volatile();
    State { position, kept: kept.into_iter().filter(can_be).collect(), of: log.end() }
}

fn add(chosen: &mut BTreeSet<State>, states: Vec<State>, count: usize) {
    for state in states {
        if chosen.len() < count {
            chosen.insert(state);
        }
    }
}

/// At most `most` of them, evenly.
fn spread(states: Vec<State>, most: usize) -> Vec<State> {
    let all = states.len();
    if all <= most {
        return states;
    }
    let mut states: Vec<Option<State>> = states.into_iter().map(Some).collect();
    (0..most).filter_map(|number| states[number * all / most].take()).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::crash::log::tests::log;

    #[test]
    fn a_short_log_has_all_its_states_visited() {
        let all: Vec<String> = choose(&log("ab|c"), 1, 100).iter().map(ToString::to_string).collect();
        assert_eq!(
            all,
            ["0of4", "1of4", "1of4+0", "2of4", "2of4+0", "2of4+0-1", "2of4+1", "3of4", "4of4", "4of4+3"]
        );
    }

    #[test]
    fn the_end_of_each_epoch_comes_first() {
        let all: Vec<String> = choose(&log("ab|cd|ef"), 1, 6).iter().map(ToString::to_string).collect();
        for bare in ["2of8", "5of8", "8of8"] {
            assert!(all.iter().any(|state| state == bare), "{bare} in {all:?}");
        }
        assert_eq!(all.len(), 6);
    }

    proptest! {
        #[test]
        fn states_are_of_the_log_and_the_same_again(text in "[a-dA-B|]{0,40}", seed: u64, count in 0_usize..80) {
            let log = log(&text);
            let states = choose(&log, seed, count);
            prop_assert!(states.len() <= count);
            prop_assert!(states.windows(2).all(|pair| pair[0] < pair[1]));
            for state in &states {
                prop_assert_eq!(state.check(&log), Ok(()));
            }
            prop_assert_eq!(states, choose(&log, seed, count));
        }
    }
}
