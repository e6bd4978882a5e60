// SPDX-License-Identifier: MIT OR Apache-2.0

//! The commands for a person, as a person calls them: programs and shells in guests, and cells that run again.

use std::env;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use libtest_mimic::{Arguments, Failed, Trial};
use xtask::bench::Bench;
use xtask::cell;
use xtask::host::tools::find_program;
use xtask::list;

use crate::terminal::Terminal;

mod kept;
mod terminal;
mod verified;

type Test = fn() -> Result<(), Failed>;

const TESTS: &[(&str, Test)] = &[
    ("exec_passes_on_the_exit_code", exec_passes_on_the_exit_code),
    ("exec_streams_apart", exec_streams_apart),
    ("exec_passes_on_bytes_as_they_are", exec_passes_on_bytes),
    ("exec_counts_pins", exec_counts_pins),
    ("exec_tells_of_a_panic", exec_tells_of_a_panic),
    ("exec_tells_of_a_guest_that_ends_before_the_program", exec_tells_of_a_reboot),
    ("shell_goes_through_a_scenario_step_by_step", shell_steps),
    ("shell_needs_a_terminal", shell_needs_a_terminal),
    ("replay_compares_with_the_record", replay_compares),
];

fn main() {
    let arguments = Arguments::from_args();
    let mut trials: Vec<Trial> =
        TESTS.iter().map(|(name, test)| Trial::test(format!("at_hand::{name}"), test)).collect();
    let without_gdb = find_program("gdb").is_none();
    for (name, test) in kept::TESTS.iter().chain(verified::TESTS) {
        trials.push(Trial::test(format!("at_hand::{name}"), test));
    }
    for (name, test) in DEBUGGER_TESTS {
        trials.push(Trial::test(format!("at_hand::{name}"), test).with_ignored_flag(without_gdb));
    }
    libtest_mimic::run(&arguments, trials).exit();
}

/// These need what pinbed itself does without.
const DEBUGGER_TESTS: &[(&str, Test)] = &[
    ("gdb_stops_in_the_filesystem_and_in_pinblk", gdb_stops),
    ("gdb_ends_the_guest", gdb_ends_the_guest),
    ("keep_opens_gdb_on_a_panicked_guest", kept::gdb),
];

fn exec_passes_on_the_exit_code() -> Result<(), Failed> {
    for (script, code) in [("exit 7", 7), ("kill -SEGV $$", 139)] {
        let output = run(&["exec", "--fs", "none", "--", "sh", "-c", script], b"")?;
        demand(output.status.code() == Some(code), &format!("'{script}' gave {}", output.status))?;
    }
    let output = run(&["exec", "--", "no-such-program-here"], b"")?;
    demand(output.status.code() == Some(127), &format!("no program gave {}", output.status))
}

fn exec_streams_apart() -> Result<(), Failed> {
    let output = run(&["exec", "--", "sh", "-c", "pwd; echo complaint >&2; test -b $PINBED_DISK"], b"")?;
    demand(output.stdout == b"/mnt/ext4\n", "stdout has something else than the folder")?;
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    demand(errors.contains("complaint\nthe program ended with exit code 0\n"), &errors)
}

fn exec_passes_on_bytes() -> Result<(), Failed> {
    let bytes: Vec<u8> =
        (0..5_000_000_u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let output = run(&["exec", "--fs", "xfs", "--", "sh", "-c", "cat > file; cat file"], &bytes)?;
    demand(output.stdout == bytes, "what came back is not what went in")
}

/// O_DIRECT pins the pages that it writes from.
fn exec_counts_pins() -> Result<(), Failed> {
    let script = "dd if=/dev/zero of=file bs=4096 count=3 oflag=direct 2>/dev/null";
    let output = run(&["exec", "--with", "dd", "--", "sh", "-c", script], b"")?;
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    demand(errors.contains("pins      acquired +3 released +3\n"), &errors)?;
    demand(errors.contains("write user-pinned: bios 3 pages 3 bytes 12288 maybe-dma-pinned 3"), &errors)
}

fn exec_tells_of_a_panic() -> Result<(), Failed> {
    let output =
        run(&["exec", "--fs", "none", "--", "sh", "-c", "echo c > /proc/sysrq-trigger; sleep 60"], b"")?;
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    demand(output.status.code() == Some(2), &format!("a panic gave {}", output.status))?;
    demand(
        errors.contains("error: guest panicked: Kernel panic - not syncing: sysrq triggered crash"),
        &errors,
    )
}

fn exec_tells_of_a_reboot() -> Result<(), Failed> {
    let output = run(&["exec", "--fs", "none", "--", "sh", "-c", "reboot -f"], b"")?;
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    demand(output.status.code() == Some(2), &format!("a reboot gave {}", output.status))?;
    demand(errors.contains("error: the guest ended before the program did\n"), &errors)?;
    demand(errors.contains("  bench     accelerator "), &errors)
}

fn shell_steps() -> Result<(), Failed> {
    let mut terminal = Terminal::open(&["shell", "hold_sync_dma_unhold::ext4"])?;
    terminal.wait_for("observe # ")?;
    terminal.type_in("stty size; scenario --step\r")?;
    terminal.wait_for("\n33 77\r\n")?;
    terminal.wait_for("step the mapped page is held\r\n")?;
    terminal.wait_for("[Enter: go on")?;
    terminal.type_in("sh\r")?;
    terminal.wait_for("observe # ")?;
    terminal.type_in("grep foll_pin_acquired /proc/vmstat; exit\r")?;
    terminal.wait_for("nr_foll_pin_acquired 1\r\n")?;
    for _ in 0..5 {
        terminal.wait_for("[Enter: go on")?;
        terminal.type_in("\r")?;
    }
    terminal.wait_for("hold_sync_dma_unhold::ext4::pin::observe passed")?;
    terminal.wait_for("observe # ")?;
    terminal.type_in("exit\r")?;
    terminal.wait_for("exit code 0\r\n")?;
    terminal.end()
}

fn shell_needs_a_terminal() -> Result<(), Failed> {
    let output = run(&["shell", "--fs", "none"], b"")?;
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    demand(output.status.code() == Some(2) && errors.contains("a shell needs a terminal"), &errors)
}

fn replay_compares() -> Result<(), Failed> {
    let bench = Bench::load().map_err(|error| format!("{error:#}"))?;
    let cell = list::one("pin_order0").map_err(|error| format!("{error:#}"))?;
    let folder = xtask::artefacts().join("at_hand/replay");
    let task = cell::Task { folder: folder.clone(), ..cell::task(&bench, &cell) };
    let mut record = cell::run(&bench, &task).map_err(|error| format!("{error:#}"))?;
    let folder_text = folder.to_string_lossy().into_owned();
    let same = run(&["replay", &folder_text], b"")?;
    demand(same.status.code() == Some(0), &String::from_utf8_lossy(&same.stdout))?;
    record.checks.pop();
    record.environment.insert("kernel".to_owned(), "another".to_owned());
    cell::save(&folder, &record).map_err(|error| format!("{error:#}"))?;
    let other = run(&["replay", &folder_text], b"")?;
    let text = String::from_utf8_lossy(&other.stdout).into_owned();
    demand(other.status.code() == Some(1), &format!("a changed record gave {}", other.status))?;
    demand(text.starts_with("kernel was another, is ") && text.contains("\n+  holds "), &text)
}

fn gdb_stops() -> Result<(), Failed> {
    let stop = |cell: &str, function: &str| {
        let breakpoint = format!("break {function}");
        let words = ["gdb", cell, "--", "-batch", "-ex", &breakpoint, "-ex", "continue", "-ex", "bt 3"];
        run(&words, b"").map(|output| String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let text = stop("hold_sync_dma_unhold::ext4", "ext4_sync_file")?;
    demand(text.contains("Breakpoint 1, ext4_sync_file (file=") && text.contains("fs/ext4/fsync.c:"), &text)?;
    let text = stop("pin_order0", "pinblk_folio_maybe_dma_pinned")?;
    demand(text.contains("Folio::maybe_dma_pinned") && text.contains("kmod-blk/sys/folio.rs:"), &text)
}

fn gdb_ends_the_guest() -> Result<(), Failed> {
    let mut terminal = Terminal::open(&["gdb", "selftest_waits::none::kernel::observe"])?;
    terminal.wait_for("(gdb) ")?;
    terminal.type_in("tbreak __do_sys_pause\r")?;
    terminal.wait_for("(gdb) ")?;
    terminal.type_in("continue\r")?;
    terminal.wait_for("Temporary breakpoint 1, ")?;
    terminal.wait_for("(gdb) ")?;
    terminal.type_in("quit\r")?;
    terminal.wait_for("(y or n) ")?;
    terminal.type_in("y\r")?;
    terminal.end()
}

/// The command: the one that `cargo xtask test` names, or else the one beside this test.
fn xtask_command(arguments: &[&str]) -> Result<Command, Failed> {
    let this = env::current_exe().map_err(|error| format!("where is this test: {error}"))?;
    let beside = || this.ancestors().nth(2).map(|folder| folder.join("xtask"));
    let program = env::var_os("PINBED_XTASK").map(PathBuf::from).or_else(beside);
    let program = program.filter(|path| path.is_file());
    let program = program.ok_or("there is no xtask beside this test; `cargo build -p xtask` makes it")?;
    let mut command = Command::new(program);
    command.args(arguments).current_dir(xtask::workspace());
    Ok(command)
}

fn run(arguments: &[&str], input: &[u8]) -> Result<Output, Failed> {
    let mut command = xtask_command(arguments)?;
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| format!("start xtask: {error}"))?;
    let mut stdin = child.stdin.take().ok_or("xtask has no stdin")?;
    let input = input.to_vec();
    // A command that reads none of it is fine.
    let writer = std::thread::spawn(move || drop(stdin.write_all(&input)));
    let output = child.wait_with_output().map_err(|error| format!("wait for xtask: {error}"))?;
    writer.join().map_err(|_| "the thread that writes panicked")?;
    Ok(output)
}

fn demand(holds: bool, otherwise: &str) -> Result<(), Failed> {
    if holds { Ok(()) } else { Err(otherwise.into()) }
}
