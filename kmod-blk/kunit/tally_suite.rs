// SPDX-License-Identifier: GPL-2.0

//! Numbers that are counted on each processor and read as one.

use crate::{
    sys::{
        beside::beside,
        worker::{
            let_others_run,
            run_and_wait, //
        }, //
    },
    tally::Tally, //
};
use kernel::{
    prelude::*,
    processor::cpu_relax,
    sync::atomic::{
        Atomic,
        Relaxed, //
    },
    time::{
        Delta,
        Instant,
        Monotonic, //
    }, //
};

const NUMBERS: usize = 16;

/// How often the numbers must have changed between two looks.
const CHANGES: u64 = 4000;

fn add_to_all(tally: &Tally<NUMBERS>) {
    tally.add(0, &[1; NUMBERS]);
}

/// What was seen of numbers that are always added to together.
#[derive(Default)]
struct Looks {
    /// They had changed since the look before.
    changes: u64,
    /// They were not all the same.
    torn: u64,
}

/// Adds to the numbers once for each look, until it is told that it is enough.
///
/// After another while each time, so that it meets looks at each of their moments. No more often: a
/// look begins again as long as it is disturbed.
fn add_between(tally: &Tally<NUMBERS>, looks: &Atomic<u64>, enough: &Atomic<bool>) {
    let (mut last, mut pause) = (0, 0);
    while !enough.load(Relaxed) {
        let now = looks.load(Relaxed);
        if now == last {
            cpu_relax();
            continue;
        }
        last = now;
        pause = (pause + 1) % 64;
        (0..pause).for_each(|_| cpu_relax());
        add_to_all(tally);
        let_others_run();
    }
}

/// Looks until the numbers have changed often enough, or for a minute, and counts how often.
fn look(tally: &Tally<NUMBERS>, count: &Atomic<u64>) -> Looks {
    let (begun, most) = (Instant::<Monotonic>::now(), Delta::from_secs(60));
    let mut looks = Looks::default();
    let mut last = 0;
    while looks.changes < CHANGES && begun.elapsed() < most {
        let sums = tally.sums();
        looks.torn += u64::from(sums.iter().any(|sum| *sum != sums[0]));
        looks.changes += u64::from(sums[0] != last);
        last = sums[0];
        count.store(count.load(Relaxed) + 1, Relaxed);
        let_others_run();
    }
    looks
}

#[kunit_tests(pinblk_tally)]
mod tests {
    use super::*;

    #[test]
    fn what_threads_add_is_summed() -> Result {
        let tally = Tally::<NUMBERS>::new()?;
        assert_eq!(tally.sums(), [0; NUMBERS]);
        add_to_all(&tally);
        beside(|| add_to_all(&tally), || ())?;
        run_and_wait(|| tally.add(3, &[40, 50]))?;
        let mut expected = [2; NUMBERS];
        expected[3] += 40;
        expected[4] += 50;
        assert_eq!(tally.sums(), expected);
        Ok(())
    }

    #[test]
    fn a_look_sees_additions_of_another_processor_whole() -> Result {
        let tally = Tally::<NUMBERS>::new()?;
        let (count, enough) = (Atomic::new(0), Atomic::new(false));
        let add = || add_between(&tally, &count, &enough);
        let looks = beside(add, || {
            let looks = look(&tally, &count);
            enough.store(true, Relaxed);
            looks
        })?;
        assert_eq!(looks.torn, 0);
        // Else nothing was added while it was looked at, and the above says nothing.
        assert_eq!(looks.changes, CHANGES);
        Ok(())
    }
}
