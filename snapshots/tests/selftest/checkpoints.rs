// SPDX-License-Identifier: MIT OR Apache-2.0

//! Checkpoints that are not what they were when they were saved.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use fs_harness::record::OutcomeKind;
use libtest_mimic::{Failed, Trial};

use crate::guest::{expect, own_checkpoints, run, state, task};

pub(crate) fn trials() -> [Trial; 4] {
    [
        Trial::test("selftest::a_truncated_checkpoint", truncated_checkpoint),
        Trial::test("selftest::a_changed_checkpoint", changed_checkpoint),
        Trial::test("selftest::a_checkpoint_with_changed_memory", changed_memory),
        Trial::test("selftest::a_checkpoint_that_qemu_refuses", refused_checkpoint),
    ]
}

/// Half of a checkpoint is not restored, but made anew.
fn truncated_checkpoint() -> Result<(), Failed> {
    is_made_anew("a_truncated_checkpoint", "state", |state| state.set_len(state.metadata()?.len() / 2))
}

/// A byte that somebody changed in a checkpoint would be a byte of the kernel under test.
fn changed_checkpoint() -> Result<(), Failed> {
    is_made_anew("a_changed_checkpoint", "state", |state| invert(state, state.metadata()?.len() / 2))
}

/// The memory is in a file of its own.
fn changed_memory() -> Result<(), Failed> {
    is_made_anew("a_checkpoint_with_changed_memory", "memory", |memory| {
        invert(memory, memory.metadata()?.len() / 2)
    })
}

/// A checkpoint that QEMU does not restore, for it is no state at all, is a harness error, and gone
/// afterwards. Its time is set back: nothing else tells that it was changed.
fn refused_checkpoint() -> Result<(), Failed> {
    let task = task("a_checkpoint_that_qemu_refuses", "selftest_holds")?;
    let bench = own_checkpoints(&task)?;
    let path = state(&bench, &task)?;
    change(&path, |state| {
        let modified = state.metadata()?.modified()?;
        invert(state, 0)?;
        state.set_modified(modified)
    })?;
    expect(&run(&bench, &task)?, OutcomeKind::HarnessError, "did not come back to life")?;
    expect(&run(&bench, &task)?, OutcomeKind::Passed, "")
}

/// The cell passes, and not in the guest that was tampered with.
fn is_made_anew(name: &str, file: &str, tamper: fn(&File) -> io::Result<()>) -> Result<(), Failed> {
    let task = task(name, "selftest_holds")?;
    let bench = own_checkpoints(&task)?;
    let path = state(&bench, &task)?.with_file_name(file);
    change(&path, tamper)?;
    let written = |path: &Path| fs::metadata(path).and_then(|data| data.modified());
    let tampered = written(&path).map_err(|error| format!("look at the state: {error}"))?;
    expect(&run(&bench, &task)?, OutcomeKind::Passed, "")?;
    if written(&path).map_err(|error| format!("look at the state: {error}"))? == tampered {
        return Err("the cell passed in a guest that was tampered with".into());
    }
    Ok(())
}

fn invert(state: &File, offset: u64) -> io::Result<()> {
    let mut byte = [0];
    state.read_exact_at(&mut byte, offset)?;
    state.write_all_at(&[!byte[0]], offset)
}

fn change(path: &Path, tamper: impl FnOnce(&File) -> io::Result<()>) -> Result<(), Failed> {
    let changed = File::options().read(true).write(true).open(path).and_then(|state| tamper(&state));
    changed.map_err(|error| format!("change {}: {error}", path.display()).into())
}
