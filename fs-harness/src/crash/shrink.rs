// SPDX-License-Identifier: MIT OR Apache-2.0

//! From a state in which something is wrong to a small one in which it still is.

use super::log::Log;
use super::state::State;

/// Drops bios and then pieces as long as `is_bad` says that the state is bad without them, and goes back to
/// the earliest moment at which it is. Asks at most `tries` times; all states that it asks for have the same
/// last flush before them. An error of `is_bad` ends it.
pub fn shrink<E>(
    log: &Log,
    bad: State,
    tries: usize,
    mut is_bad: impl FnMut(&State) -> Result<bool, E>,
) -> Result<State, E> {
    let mut smallest = bad;
    let mut left = tries;
    let mut accept = |smallest: &mut State, smaller: State| {
        if left == 0 || smaller == *smallest {
            return Ok(false);
        }
        left -= 1;
        let accepted = is_bad(&smaller)?;
        if accepted {
            *smallest = smaller;
        }
        Ok(accepted)
    };
    let bare = State { kept: [].into(), ..smallest.clone() };
    if !accept(&mut smallest, bare)? {
        let bios = log.volatile_bios(log.open_at(smallest.position));
        let pieces = bios.iter().flatten().map(|&piece| vec![piece]);
        for dropped in bios.iter().cloned().chain(pieces) {
            let mut smaller = smallest.clone();
            smaller.kept.retain(|kept| !dropped.contains(kept));
            accept(&mut smallest, smaller)?;
        }
    }
    let (mut good, mut known) = (log.open_at(smallest.position).start, smallest.position);
    // Nothing says that a state is bad from some moment on; it mostly is.
    while good < known {
        let middle = good.midpoint(known);
        let earlier = smallest.at(middle);
        if accept(&mut smallest, earlier)? {
            known = middle;
        } else {
            good = middle + 1;
        }
    }
    Ok(smallest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crash::log::tests::log;

    fn shrunk(text: &str, bad: &str, is_bad: impl Fn(&State) -> bool) -> String {
        let smallest = shrink(&log(text), bad.parse().unwrap(), 100, |state| Ok::<_, ()>(is_bad(state)));
        smallest.unwrap().to_string()
    }

    #[test]
    fn only_what_is_needed_stays() {
        assert_eq!(shrunk("x|aabbcd", "8of8+2-7", |state| state.kept.contains(&5)), "6of8+5");
        assert_eq!(shrunk("x|aabbcd", "8of8+2-7", |state| state.position > 4), "5of8");
        assert_eq!(shrunk("x|aabbcd", "8of8+2-7", |_| true), "2of8");
    }

    #[test]
    fn a_state_is_asked_for_only_so_often() {
        let mut asked = 0;
        let bad = "8of8+2-7".parse().unwrap();
        let smallest = shrink(&log("x|aabbcd"), bad, 3, |_| {
            asked += 1;
            Ok::<_, ()>(false)
        });
        assert_eq!((smallest.unwrap().to_string().as_str(), asked), ("8of8+2-7", 3));
    }
}
