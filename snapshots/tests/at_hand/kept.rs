// SPDX-License-Identifier: MIT OR Apache-2.0

//! `cargo xtask run --keep`: the guest of a cell that does not pass stays, and is gone in the end.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use libtest_mimic::Failed;
use tempfile::TempDir;

use crate::terminal::Terminal;
use crate::{Test, demand, run, xtask_command};

const STOPS: &str = "selftest_stops::ext4::kernel::observe";
const PANICS: &str = "selftest_panics_kernel::none::kernel::observe";
const PASSES: &str = "selftest_holds::none::kernel::observe";

pub(crate) const TESTS: &[(&str, Test)] = &[
    ("keep_opens_a_shell_on_what_the_scenario_left", shell),
    ("keep_ends_the_guest_by_enter_and_by_ctrl_c", ends),
    ("keep_keeps_nothing_of_a_cell_that_passes", passes),
    ("keep_needs_a_terminal", needs_a_terminal),
];

/// A violated check has stopped the scenario: its filesystem is still mounted.
fn shell() -> Result<(), Failed> {
    let mut kept = Kept::of(STOPS)?;
    kept.terminal.wait_for("  s      a shell in it\r\n")?;
    kept.demand_a_guest()?;
    kept.terminal.type_in("what\r")?;
    kept.terminal.wait_for("'what' is not among")?;
    kept.terminal.type_in("s\r")?;
    kept.terminal.wait_for("kept # ")?;
    kept.terminal.type_in("pwd; cat left; grep -c ^/dev/pinblk0 /proc/mounts; exit\r")?;
    kept.terminal.wait_for("/mnt/ext4\r\nas it was\r\n1\r\n")?;
    kept.ends_as("failed")
}

/// The kernel stands where it panicked.
pub(crate) fn gdb() -> Result<(), Failed> {
    let mut kept = Kept::of(PANICS)?;
    kept.terminal.wait_for("  g      gdb on its kernel")?;
    kept.demand_a_guest()?;
    kept.terminal.type_in("s\r")?;
    kept.terminal.wait_for("nothing in this guest can start a shell any more")?;
    kept.terminal.type_in("g\r")?;
    kept.terminal.wait_for("(gdb) ")?;
    kept.terminal.type_in("set pagination off\r")?;
    kept.terminal.wait_for("(gdb) ")?;
    kept.terminal.type_in("backtrace\r")?;
    kept.terminal.wait_for("sysrq_handle_crash (")?;
    kept.terminal.wait_for("drivers/tty/sysrq.c:")?;
    kept.terminal.wait_for("(gdb) ")?;
    kept.terminal.type_in("quit\r")?;
    kept.terminal.wait_for("(y or n) ")?;
    kept.terminal.type_in("y\r")?;
    kept.ends_as("guest panicked")
}

fn ends() -> Result<(), Failed> {
    for key in ["\r", "\u{3}"] {
        let mut kept = Kept::of(STOPS)?;
        kept.terminal.wait_for("  Enter  end it")?;
        kept.demand_a_guest()?;
        kept.terminal.type_in(key)?;
        kept.ends_as("failed")?;
    }
    Ok(())
}

fn passes() -> Result<(), Failed> {
    let mut kept = Kept::of(PASSES)?;
    kept.terminal.wait_for("cells: 1 passed, 0 failed, 0 skipped")?;
    kept.terminal.end()
}

fn needs_a_terminal() -> Result<(), Failed> {
    let output = run(&["run", "--keep", PASSES], b"")?;
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    demand(output.status.code() == Some(2) && errors.contains("--keep needs a terminal"), &errors)
}

/// A run with --keep, in folders of its own.
struct Kept {
    terminal: Terminal,
    folder: TempDir,
}

impl Kept {
    fn of(cell: &str) -> Result<Self, Failed> {
        let folder = tempfile::Builder::new().prefix("pb-").tempdir();
        let folder = folder.map_err(|error| format!("make a folder: {error}"))?;
        let artefacts = folder.path().join("target/pinbed");
        fs::create_dir_all(&artefacts).map_err(|error| format!("make a folder: {error}"))?;
        for built in ["guest", "module"] {
            symlink(xtask::artefacts().join(built), artefacts.join(built))
                .map_err(|error| format!("lend the folder '{built}': {error}"))?;
        }
        let mut command = xtask_command(&["run", "--keep", cell])?;
        command.env("CARGO_TARGET_DIR", folder.path().join("target")).env("TMPDIR", folder.path());
        Ok(Self { terminal: Terminal::run(command)?, folder })
    }

    /// QEMU lives now: otherwise that it is gone later would mean nothing.
    fn demand_a_guest(&self) -> Result<(), Failed> {
        demand(!self.guests().is_empty(), "no QEMU runs in the run's folder")
    }

    /// The run must go on to its table, and leave no guest.
    fn ends_as(mut self, outcome: &str) -> Result<(), Failed> {
        self.terminal.wait_for("outcome ")?;
        self.terminal.wait_for(&format!("\n {outcome} "))?;
        self.terminal.wait_for("cells: 0 passed, 1 failed, 0 skipped")?;
        let guests = self.guests();
        demand(guests.is_empty(), &format!("left behind: {guests:?}"))?;
        self.terminal.end_with(1)
    }

    /// The QEMUs that work in the run's folder.
    fn guests(&self) -> Vec<PathBuf> {
        let all = fs::read_dir("/proc").into_iter().flatten().flatten().map(|entry| entry.path());
        let is_qemu = |process: &Path| {
            fs::read_to_string(process.join("comm")).is_ok_and(|name| name.starts_with("qemu-system"))
        };
        let is_here = |process: &Path| {
            fs::read_link(process.join("cwd")).is_ok_and(|folder| folder.starts_with(self.folder.path()))
        };
        all.filter(|process| is_qemu(process) && is_here(process)).collect()
    }
}
