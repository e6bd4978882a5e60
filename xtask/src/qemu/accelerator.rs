// SPDX-License-Identifier: MIT OR Apache-2.0

//! Which accelerator runs the guests: decided by having one execute code, never by what a device file says.

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
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
use crate::{cache, qemu};

/// A kernel that runs on hardware has panicked for want of an initramfs long before that, and so has an
/// emulated one: a KVM that needs longer is of no use.
const DEADLINE: Duration = Duration::from_secs(10);

/// The first words of every kernel.
const FIRST_WORDS: &str = "Linux version";

/// The last words of a kernel that has initialised everything and finds no root filesystem.
const LAST_WORDS: &str = "Unable to mount root fs";

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
        match (kvm_problem(wish, kernel)?, wish) {
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
fn kvm_problem(wish: Wish, kernel: &Path) -> Result<Option<String>> {
    let device = Path::new("/dev/kvm");
    if !device.exists() {
        return Ok(Some("there is no /dev/kvm".to_owned()));
    }
    if let Err(error) = File::options().read(true).write(true).open(device) {
        return Ok(Some(format!("/dev/kvm cannot be opened: {error}")));
    }
    // Who asks for KVM may have changed something meanwhile.
    let remembered = remembered(kernel)?;
    if wish == Wish::Auto
        && let Ok(problem) = fs::read_to_string(&remembered)
    {
        return Ok(Some(problem));
    }
    let (console, complaint) = boot("kvm", kernel)?;
    let problem = problem(&console, &complaint);
    match &problem {
        Some(problem) => cache::write_whole(&remembered, problem.as_bytes())?,
        // Whatever it was, it is over.
        None if remembered.exists() => {
            fs::remove_file(&remembered)
                .with_context(|| format!("cannot remove {}", remembered.display()))?;
        }
        None => {}
    }
    Ok(problem)
}

/// The file that says what the problem was when this kernel was tried last, by this QEMU since this host booted: to
/// find that a guest does not get on takes until the deadline.
fn remembered(kernel: &Path) -> Result<PathBuf> {
    let boot = fs::read("/proc/sys/kernel/random/boot_id").context("ask which boot of the host this is")?;
    let mut hasher = blake3::Hasher::new();
    hasher.update(&boot).update(qemu::version()?.as_bytes()).update(kernel.as_os_str().as_encoded_bytes());
    Ok(cache::folder("kvm-problems")?.join(cache::short_hex(hasher.finalize())))
}

/// Boots the kernel alone, on the machine that guests will have, and returns what it said on its
/// console and what QEMU complained of. Less proves nothing: some hosts run 16-bit code under KVM and abort
/// with a kernel, and others stall in the midst of one.
fn boot(accelerator: &str, kernel: &Path) -> Result<(String, String)> {
    let folder = tempfile::tempdir().context("make a temporary folder")?;
    let (console, complaint) = (folder.path().join("console"), folder.path().join("complaint"));
    let stderr = File::create(&complaint).with_context(|| format!("make {}", complaint.display()))?;
    let mut command = Command::new(PROGRAM);
    // SAFETY: it makes system calls only, and does not allocate.
    unsafe { command.pre_exec(end_with_parent(Signal::SIGKILL)) };
    let mut qemu = command
        .args(["-accel", accelerator, "-M", Machine::TYPE, "-cpu", "host", "-m", "256", "-nodefaults"])
        .args(["-no-reboot", "-display", "none", "-append", "earlyprintk=ttyS0,keep panic=-1 reboot=t"])
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
        if Instant::now() > deadline || read(&console).contains(LAST_WORDS) {
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
    if console.contains(LAST_WORDS) {
        return None;
    }
    let error = complaint.lines().find(|line| line.contains("error") || line.contains("Assertion"));
    let seconds = DEADLINE.as_secs();
    Some(match error {
        Some(line) => format!("QEMU fails with KVM: {}", line.trim_start_matches("qemu-system-x86_64: ")),
        None if console.contains(FIRST_WORDS) => {
            format!("a kernel under KVM had not come to its end after {seconds} s")
        }
        None => format!("a kernel under KVM said nothing in {seconds} s"),
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
    fn only_a_kernel_that_came_to_its_end_has_run() {
        let begun = "[    0.000000] Linux version 7.3.4";
        let ended = "Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)";
        assert_eq!(problem(&format!("{begun}\n{ended}"), ""), None);
        assert_eq!(problem(begun, "").unwrap(), "a kernel under KVM had not come to its end after 10 s");
        assert_eq!(problem("", "").unwrap(), "a kernel under KVM said nothing in 10 s");
        let abort = "qemu-system-x86_64: error: failed to set MSR 0x10a to 0x69\nqemu: Assertion failed";
        assert_eq!(
            problem("SeaBIOS", abort).unwrap(),
            "QEMU fails with KVM: error: failed to set MSR 0x10a to 0x69"
        );
    }
}
