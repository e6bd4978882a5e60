// SPDX-License-Identifier: MIT OR Apache-2.0

//! Which accelerator runs the guests: decided by having one execute code, never by what a device file says.

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};

use super::PROGRAM;
use super::machine::Machine;
use crate::host::command::end_with_parent;

/// A kernel that runs on hardware has panicked for want of an initramfs long before that.
const DEADLINE: Duration = Duration::from_secs(10);

/// The first words of every kernel.
const FIRST_WORDS: &str = "Linux version";

/// What the user asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wish {
    /// KVM if guests run under it, else TCG.
    #[default]
    Auto,
    /// KVM, or an error.
    Kvm,
    /// Emulation.
    Tcg,
}

/// What guests run under, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accelerator {
    /// QEMU's name for it: "kvm" or "tcg".
    pub name: String,
    /// The reason, in words.
    pub why: String,
}

impl Accelerator {
    /// Chooses one that this kernel runs under.
    pub fn choose(wish: Wish, kernel: &Path) -> Result<Self> {
        if wish == Wish::Tcg {
            return Ok(Self { name: "tcg".to_owned(), why: "asked for".to_owned() });
        }
        match (kvm_problem(kernel)?, wish) {
            (None, _) => Ok(Self { name: "kvm".to_owned(), why: "the kernel booted under it".to_owned() }),
            (Some(problem), Wish::Kvm) => {
                bail!("KVM does not work here: {problem}; leave --accel out to use emulation")
            }
            (Some(problem), _) => Ok(Self { name: "tcg".to_owned(), why: problem }),
        }
    }

    /// Deadlines are for emulated guests; hardware needs less.
    pub fn is_emulation(&self) -> bool {
        self.name == "tcg"
    }
}

/// Why guests cannot run under KVM, if so.
fn kvm_problem(kernel: &Path) -> Result<Option<String>> {
    let device = Path::new("/dev/kvm");
    if !device.exists() {
        return Ok(Some("there is no /dev/kvm".to_owned()));
    }
    if let Err(error) = File::options().read(true).write(true).open(device) {
        return Ok(Some(format!("/dev/kvm cannot be opened: {error}")));
    }
    let (console, complaint) = boot("kvm", kernel)?;
    Ok(problem(&console, &complaint))
}

/// Boots the kernel alone, on the machine that guests will have, and returns what it said on its
/// console and what QEMU complained of. A smaller guest proves nothing: some hosts run 16-bit code
/// under KVM, and abort or stall with a kernel.
fn boot(accelerator: &str, kernel: &Path) -> Result<(String, String)> {
    let folder = tempfile::tempdir().context("make a temporary folder")?;
    let (console, complaint) = (folder.path().join("console"), folder.path().join("complaint"));
    let stderr = File::create(&complaint).with_context(|| format!("make {}", complaint.display()))?;
    let mut command = Command::new(PROGRAM);
    // SAFETY: it makes system calls only, and does not allocate.
    unsafe { command.pre_exec(end_with_parent(Signal::SIGKILL)) };
    let mut qemu = command
        .args(["-accel", accelerator, "-M", Machine::TYPE, "-cpu", "host", "-m", "256", "-nodefaults"])
        .args(["-no-reboot", "-display", "none", "-append", "earlyprintk=ttyS0 panic=-1 reboot=t"])
        .arg("-serial")
        .arg(format!("file:{}", console.display()))
        .arg("-kernel")
        .arg(kernel)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(stderr)
        .spawn()
        .with_context(|| format!("start {PROGRAM} (is it installed? `cargo xtask doctor` tells)"))?;
    let deadline = Instant::now() + DEADLINE;
    while qemu.try_wait().context("look after the probe")?.is_none() {
        if Instant::now() > deadline || read(&console).contains(FIRST_WORDS) {
            qemu.kill().context("end the probe")?;
            qemu.wait().context("wait for the probe")?;
        } else {
            thread::park_timeout(Duration::from_millis(10));
        }
    }
    Ok((read(&console), read(&complaint)))
}

/// A file that QEMU may not have made.
fn read(path: &Path) -> String {
    fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}

fn problem(console: &str, complaint: &str) -> Option<String> {
    if console.contains(FIRST_WORDS) {
        return None;
    }
    let error = complaint.lines().find(|line| line.contains("error") || line.contains("Assertion"));
    Some(match error {
        Some(line) => format!("QEMU fails with KVM: {}", line.trim_start_matches("qemu-system-x86_64: ")),
        None => format!("a kernel under KVM said nothing in {} s", DEADLINE.as_secs()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn emulation_can_be_asked_for_and_says_so() {
        let chosen = Accelerator::choose(Wish::Tcg, Path::new("/no/kernel")).unwrap();
        assert_eq!((chosen.name.as_str(), chosen.why.as_str()), ("tcg", "asked for"));
    }

    #[test]
    fn only_a_kernel_that_spoke_has_run() {
        assert_eq!(problem("[    0.000000] Linux version 7.3.4", ""), None);
        assert_eq!(problem("", "").unwrap(), "a kernel under KVM said nothing in 10 s");
        let abort = "qemu-system-x86_64: error: failed to set MSR 0x10a to 0x69\nqemu: Assertion failed";
        assert_eq!(
            problem("SeaBIOS", abort).unwrap(),
            "QEMU fails with KVM: error: failed to set MSR 0x10a to 0x69"
        );
    }
}
