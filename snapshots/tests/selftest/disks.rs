// SPDX-License-Identifier: MIT OR Apache-2.0

//! Artefacts on a disk that is full when something is to be written: never a pass, and once there is
//! room again, all is well. The disk is a small tmpfs in a mount namespace of its own.

use std::path::Path;
use std::process::Output;

use libtest_mimic::{Failed, Trial};

use crate::commands::{Place, QUICK, finish, told};

/// Where no mount namespace may be made, this leaves the case out, and the summary counts it as ignored.
const WITHOUT: &str = "PINBED_SELFTEST_NO_MOUNTS";

/// Runs `"$@"` after `mount $2 on $1`, with the steps that follow: each line is how much room there is, and
/// the run's status is told by a line of its own.
const SCRIPT: &str = r#"
target=$1 lend=$2; shift 2
mount -t tmpfs -o size=1g pinbed "$target" || exit 99
mkdir "$target/pinbed" && ln -s "$lend/guest" "$lend/module" "$target/pinbed/" || exit 99
room() { mount -o "remount,size=$1" "$target" || exit 99; }
used() { df --output=used -k "$target" | tail -n 1; }
try() { echo "== $1"; shift; "$@" 2>&1; echo "== status $?"; }
room 4m; try image "$@"
room "$(( $(used) + 20480 ))k"; try checkpoint "$@"
room 1g; try room "$@"
# What the run before left would make room for what this one writes.
rm -rf "$target/pinbed/cells" "$target/pinbed/report"
room "$(used)k"; try record "$@"
room 1g; try again "$@"
"#;

pub(crate) fn trials() -> [Trial; 1] {
    let left_out = std::env::var_os(WITHOUT).is_some();
    [Trial::test("selftest::artefacts_on_a_full_disk", full_disk).with_ignored_flag(left_out)]
}

fn full_disk() -> Result<(), Failed> {
    let place = Place::new()?;
    let program = place.xtask(&[])?.get_program().to_owned();
    let mut command = place.command(Path::new("unshare"));
    let own = ["--mount", "--map-root-user", "--user", "sh", "-c", SCRIPT, "sh"];
    command.args(own).arg(place.target()).arg(xtask::artefacts()).arg(program).args(["run", QUICK]);
    let output = finish(command)?;
    let said = told(&output);
    if output.status.code() != Some(0) {
        return Err(format!(
            "a full disk cannot be made here ({said}): allow user namespaces, or set {WITHOUT}=1 to leave this out"
        )
        .into());
    }
    for (stage, full) in
        [("image", true), ("checkpoint", true), ("room", false), ("record", true), ("again", false)]
    {
        check(stage, full, &output)?;
    }
    Ok(())
}

/// What one run of the script said: a full disk is named, and no cell passes on it.
fn check(stage: &str, full: bool, output: &Output) -> Result<(), Failed> {
    let text = String::from_utf8_lossy(&output.stdout);
    let said = text.split(&format!("== {stage}\n")).nth(1).unwrap_or_default();
    let (said, status) = said.split_once("== status ").unwrap_or((said, ""));
    let status = status.lines().next().unwrap_or_default();
    let fine = if full {
        ["1", "2"].contains(&status) && !said.contains("panicked") && !said.contains("1 passed")
    } else {
        status == "0"
    };
    let named =
        !full || ["No space left", "disk full", "disk is full"].iter().any(|words| said.contains(words));
    if fine && named {
        return Ok(());
    }
    Err(format!("stage {stage} ended with status {status}: {said}").into())
}
