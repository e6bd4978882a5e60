// SPDX-License-Identifier: MIT OR Apache-2.0

//! QEMU as a process of the host: its start, its end, and the memory that it takes.

use std::fs::{self, File};
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use fs_harness::record::Resources;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::channels::Channels;
use crate::host::command::end_with_parent;

/// What QEMU writes to its standard error goes there.
const COMPLAINT: &str = "stderr";

/// How long QEMU may take to end after it was asked, and to die after it was killed.
const PATIENCE: Duration = Duration::from_secs(2);

/// Starts QEMU in a private folder. It does not outlive the harness.
pub(super) fn start(words: &[String], folder: &Path) -> Result<Child> {
    let (program, arguments) = words.split_first().context("an empty command line")?;
    let stderr = File::create(folder.join(COMPLAINT)).context("make a file for QEMU's complaints")?;
    let mut command = Command::new(program);
    // In a group of its own: a terminal's Ctrl-C is for the harness, which then ends its guests.
    command.args(arguments).current_dir(folder).kill_on_drop(true).process_group(0);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr);
    // SAFETY: it makes system calls only, and does not allocate.
    unsafe { command.pre_exec(end_with_parent(Signal::SIGKILL)) };
    command.spawn().with_context(|| format!("start {program} (is it installed? `cargo xtask doctor` tells)"))
}

/// What QEMU complained of.
pub(super) fn complaint(folder: &Path) -> String {
    fs::read(folder.join(COMPLAINT))
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .unwrap_or_default()
}

/// Ends QEMU: asked by QMP, asked by a signal, then killed. Each of them is waited for, and none for ever.
pub(super) async fn end(qemu: &mut Child, channels: Option<&mut Channels>) -> Result<ExitStatus> {
    if let Some(channels) = channels {
        let quit = async {
            channels.quit().await;
            qemu.wait().await
        };
        if let Ok(status) = timeout(PATIENCE, quit).await {
            return status.context("wait for QEMU");
        }
    }
    for signal in [Signal::SIGTERM, Signal::SIGKILL] {
        if let Some(pid) = qemu.id() {
            // That it has ended meanwhile is fine.
            let _ = kill(Pid::from_raw(pid.cast_signed()), signal);
        }
        if let Ok(status) = timeout(PATIENCE, qemu.wait()).await {
            return status.context("wait for QEMU");
        }
    }
    let pid = qemu.id().unwrap_or_default();
    bail!(
        "QEMU, process {pid}, was killed and does not end: the host's kernel holds it, see /proc/{pid}/stack"
    )
}

/// The memory that a process takes; none where it has ended.
pub(super) fn resources(pid: u32) -> Option<Resources> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let kib = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().strip_suffix(" kB")?.parse().ok()
    };
    Some(Resources { peak_resident_kib: kib("VmHWM:")?, anonymous_kib: kib("RssAnon:")? })
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use super::*;

    #[test]
    fn what_is_deaf_to_sigterm_is_killed() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let words = ["sh", "-c", "trap '' TERM; echo deaf >&2; while :; do sleep 1; done"].map(str::to_owned);
        let status = runtime.block_on(async {
            let mut child = start(&words, folder.path()).unwrap();
            let deaf = async {
                while complaint(folder.path()).is_empty() {
                    tokio::task::yield_now().await;
                }
            };
            timeout(Duration::from_secs(30), deaf).await.unwrap();
            end(&mut child, None).await.unwrap()
        });
        assert_eq!(status.signal(), Some(9));
    }

    #[test]
    fn a_living_process_takes_memory_and_a_dead_one_none() {
        let own = resources(std::process::id()).unwrap();
        assert!(own.peak_resident_kib >= own.anonymous_kib && own.anonymous_kib > 0, "{own:?}");
        assert_eq!(resources(u32::MAX), None);
    }
}
