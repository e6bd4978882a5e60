// SPDX-License-Identifier: MIT OR Apache-2.0

//! The harness is shown every way in which a cell or a run can end, and must call each by its name.
//!
//! What each case plants, what the harness must say, and how the case was seen to fail is in
//! `docs/self-tests.md`.

use libtest_mimic::{Arguments, Trial};

mod boots;
mod checkpoints;
mod commands;
mod disks;
mod endings;
mod floods;
mod guest;
mod interrupted;
mod killed;
mod neighbours;

fn main() {
    xtask::host::command::end_with_runner();
    let arguments = Arguments::from_args();
    let trials: Vec<Trial> = endings::trials()
        .chain(boots::trials())
        .chain(killed::trials())
        .chain(checkpoints::trials())
        .chain(floods::trials())
        .chain(interrupted::trials())
        .chain(neighbours::trials())
        .chain(disks::trials())
        .collect();
    libtest_mimic::run(&arguments, trials).exit();
}
