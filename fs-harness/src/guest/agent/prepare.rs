// SPDX-License-Identifier: MIT OR Apache-2.0

//! What the guest needs before a cell can run.

use std::ffi::CString;
use std::fs::{self, File};
use std::io::Write;
use std::os::fd::AsRawFd;

use nix::kmod::{ModuleInitFlags, finit_module};
use nix::mount::{MsFlags, mount};
use nix::sys::time::TimeSpec;
use nix::sys::utsname::uname;
use nix::time::{ClockId, clock_settime};

use crate::guest::error::{Doing, Result};

const DRIVER: &str = "/pinblk.ko";

const MOUNTS: &[(&str, &str)] = &[
    ("proc", "/proc"),
    ("sysfs", "/sys"),
    ("devtmpfs", "/dev"),
    ("debugfs", "/sys/kernel/debug"),
    ("configfs", "/sys/kernel/config"),
    ("tmpfs", "/tmp"),
    ("tmpfs", "/run"),
    ("tmpfs", "/mnt"),
];

/// Knobs of the kernel that would otherwise act on their own time.
const QUIET: &[(&str, &str)] = &[
    // No periodic writeback: what is written is written because a scenario asked.
    ("/proc/sys/vm/dirty_writeback_centisecs", "0"),
];

pub(super) fn mount_all() -> Result<()> {
    for (kind, target) in MOUNTS {
        fs::create_dir_all(target).doing(format!("make {target}"))?;
        mount(Some(*kind), *target, Some(*kind), MsFlags::empty(), None::<&str>)
            .doing(format!("mount {kind} at {target}"))?;
    }
    Ok(())
}

pub(in crate::guest) fn load_driver() -> Result<()> {
    let module = File::open(DRIVER).doing(format!("open {DRIVER}"))?;
    finit_module(&module, &CString::default(), ModuleInitFlags::empty()).doing(format!("load {DRIVER}"))
}

pub(super) fn quiet() -> Result<()> {
    for (path, value) in QUIET {
        fs::write(path, value).doing(format!("write {value} to {path}"))?;
    }
    Ok(())
}

/// Tells a guest that may have been saved what time it is, and stirs its entropy: every guest that is
/// restored from one checkpoint would draw the same numbers.
pub(super) fn wake_up(unix_seconds: u64, nonce: &str) -> Result<()> {
    let seconds = i64::try_from(unix_seconds).unwrap_or_default();
    clock_settime(ClockId::CLOCK_REALTIME, TimeSpec::new(seconds, 0)).doing("set the clock")?;
    let mut random = File::options().write(true).open("/dev/urandom").doing("open /dev/urandom")?;
    random.write_all(nonce.as_bytes()).doing("stir the entropy")?;
    // Without a reseed the generator would go on as it was saved, for a while.
    // SAFETY: the request takes no argument.
    unsafe { reseed(random.as_raw_fd()) }.doing("reseed the kernel's random generator")?;
    Ok(())
}

nix::ioctl_none!(reseed, b'R', 0x07);

pub(super) fn kernel_release() -> Result<String> {
    Ok(uname().doing("ask for the kernel's release")?.release().to_string_lossy().into_owned())
}
