// SPDX-License-Identifier: MIT OR Apache-2.0

//! Two runs at the same time: in one checkout the second waits and says so, in two checkouts that share
//! a cache neither disturbs the other.

use libtest_mimic::{Failed, Trial};

use crate::commands::{Place, QUICK, finish, told};

pub(crate) fn trials() -> [Trial; 2] {
    [
        Trial::test("selftest::two_runs_in_one_checkout", in_one_checkout),
        Trial::test("selftest::two_runs_in_two_checkouts", in_two_checkouts),
    ]
}

fn in_one_checkout() -> Result<(), Failed> {
    let place = Place::new()?;
    let mut first = place.xtask(&["run", QUICK])?.spawn().map_err(|error| format!("start a run: {error}"))?;
    if !place.wait_for("qemu-system", &mut first) {
        return Err("the first run ended before it started a guest".into());
    }
    let second = finish(place.xtask(&["run", QUICK])?)?;
    let first = first.wait_with_output().map_err(|error| format!("wait for the first run: {error}"))?;
    if !first.status.success() || !second.status.success() {
        return Err(format!("first {}\nsecond {}", told(&first), told(&second)).into());
    }
    if !told(&second).contains("waiting for another run in this checkout") {
        return Err(format!("the second run did not say that it waits: {}", told(&second)).into());
    }
    Ok(())
}

fn in_two_checkouts() -> Result<(), Failed> {
    let (one, other) = (Place::new()?, Place::new()?);
    let first = one.xtask(&["run", QUICK])?.spawn().map_err(|error| format!("start a run: {error}"))?;
    let second = finish(other.xtask(&["run", QUICK])?)?;
    let first = first.wait_with_output().map_err(|error| format!("wait for the first run: {error}"))?;
    if !first.status.success() || !second.status.success() {
        return Err(format!("first {}\nsecond {}", told(&first), told(&second)).into());
    }
    if told(&second).contains("waiting for another run in this checkout") {
        return Err("a run waited for one in another checkout".into());
    }
    Ok(())
}
