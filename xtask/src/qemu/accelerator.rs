// SPDX-License-Identifier: MIT OR Apache-2.0

//! Which accelerator runs the guests: decided by having one execute code, never by what a device file says.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use super::PROGRAM;

/// A guest that executes anything at all does it at once.
const DEADLINE: Duration = Duration::from_secs(3);

/// What the user asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
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
    /// Chooses one.
    pub fn choose(wish: Wish) -> Result<Self> {
        if wish == Wish::Tcg {
            return Ok(Self { name: "tcg".to_owned(), why: "asked for".to_owned() });
        }
        match (kvm_problem()?, wish) {
            (None, _) => Ok(Self { name: "kvm".to_owned(), why: "a guest ran under it".to_owned() }),
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
fn kvm_problem() -> Result<Option<String>> {
    let device = Path::new("/dev/kvm");
    if !device.exists() {
        return Ok(Some("there is no /dev/kvm".to_owned()));
    }
    if let Err(error) = fs::File::options().read(true).write(true).open(device) {
        return Ok(Some(format!("/dev/kvm cannot be opened: {error}")));
    }
    run_probe("kvm")
}

/// Runs the probe under an accelerator; returns what went wrong.
fn run_probe(accelerator: &str) -> Result<Option<String>> {
    let folder = tempfile::tempdir().context("make a temporary folder")?;
    let rom = folder.path().join("probe.rom");
    fs::write(&rom, probe_rom()).with_context(|| format!("write {}", rom.display()))?;
    let mut probe = std::process::Command::new(PROGRAM)
        .args(["-accel", accelerator, "-M", "pc", "-nodefaults", "-display", "none", "-m", "16"])
        .args(["-device", "isa-debug-exit,iobase=0xf4,iosize=1", "-bios"])
        .arg(&rom)
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .with_context(|| format!("start {PROGRAM} (is it installed? `cargo xtask doctor` tells)"))?;
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(status) = probe.try_wait().context("look after the probe")? {
            let problem =
                format!("a guest under {accelerator} ended with {status} before it executed anything");
            return Ok((status.code() != Some(PROBE_STATUS)).then_some(problem));
        }
        if Instant::now() > deadline {
            probe.kill().context("kill the probe")?;
            probe.wait().context("wait for the probe")?;
            return Ok(Some(format!(
                "a guest under {accelerator} executed nothing in {} s",
                DEADLINE.as_secs()
            )));
        }
        std::thread::park_timeout(Duration::from_millis(10));
    }
}

/// What the probe writes to the debug port.
const PROBE_VALUE: u8 = 0x10;

/// How QEMU ends when it does.
const PROBE_STATUS: i32 = (PROBE_VALUE as i32) << 1 | 1;

/// Firmware whose first instructions end QEMU with a status that nothing else produces.
fn probe_rom() -> Vec<u8> {
    const SIZE: usize = 64 * 1024;
    /// Where the processor starts, 16 bytes below the end of the firmware.
    const RESET: usize = SIZE - 16;
    // mov dx, 0xf4; mov al, PROBE_VALUE; out dx, al; hlt; jmp to the hlt
    const CODE: [u8; 9] = [0xba, 0xf4, 0x00, 0xb0, PROBE_VALUE, 0xee, 0xf4, 0xeb, 0xfd];
    let mut rom = vec![0xf4; SIZE];
    rom[RESET..RESET + CODE.len()].copy_from_slice(&CODE);
    rom
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn emulation_can_be_asked_for_and_says_so() {
        let chosen = Accelerator::choose(Wish::Tcg).unwrap();
        assert_eq!((chosen.name.as_str(), chosen.why.as_str()), ("tcg", "asked for"));
    }

    #[test]
    fn the_probe_starts_at_the_reset_vector() {
        let rom = probe_rom();
        assert_eq!(rom.len(), 65536);
        assert_eq!(rom[65520..65526], [0xba, 0xf4, 0x00, 0xb0, 0x10, 0xee]);
    }
}
