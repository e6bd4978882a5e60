// SPDX-License-Identifier: MIT OR Apache-2.0

//! fio writes through pinblk and verifies what it reads back: a part of what `fio-verify.sh` does.

use std::process::Output;

use libtest_mimic::Failed;

use crate::{Test, demand, run};

pub(crate) const TESTS: &[(&str, Test)] = &[
    ("fio_verifies_the_disk", || verifies("bdev", "page cache of the device")),
    ("fio_verifies_ext4", || verifies("ext4", "page cache")),
    ("fio_notices_a_changed_byte", notices_a_changed_byte),
];

const SCRIPT: &str = "snapshots/tests/at_hand/fio-verify.sh";

/// Twelve jobs of 4 MiB, half of them direct.
fn verifies(setup: &str, buffered: &str) -> Result<(), Failed> {
    let output = run(&["exec", "--fs", setup, "--with", "fio", "--", SCRIPT, "4096"], b"")?;
    let errors = text(&output.stderr);
    demand(output.status.success(), &errors)?;
    let said = text(&output.stdout);
    demand(said.ends_with("fio verified 12 jobs, 48 MiB\n"), &said)?;
    // What was verified came from the disk, and nothing was left pinned.
    for class in ["user-pinned", buffered] {
        let read = bytes(&errors, &format!("read {class}: "));
        demand(read >= Some(24 << 20), &format!("{read:?} bytes read as '{class}': {errors}"))?;
    }
    demand(!errors.contains("warning: "), &errors)
}

fn notices_a_changed_byte() -> Result<(), Failed> {
    let words = ["exec", "--fs", "bdev", "--env", "DAMAGE=1", "--with", "fio", "--", SCRIPT, "4096"];
    let output: Output = run(&words, b"")?;
    let errors = text(&output.stderr);
    demand(output.status.code() == Some(1), &format!("a changed byte gave {}: {errors}", output.status))?;
    demand(errors.contains("crc32c: verify failed at file /dev/pinblk0 offset 4194304"), &errors)
}

/// How many bytes an account counts for these bios.
fn bytes(account: &str, bios: &str) -> Option<u64> {
    let line = account.lines().find_map(|line| line.split_once(bios))?.1;
    line.split_once("bytes ")?.1.split(' ').next()?.parse().ok()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
