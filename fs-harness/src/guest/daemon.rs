// SPDX-License-Identifier: MIT OR Apache-2.0

//! The FUSE daemon as a process: its start, and its end.

use std::os::fd::{AsFd, FromRawFd, OwnedFd};
use std::process::{Child, Command};
use std::time::{Duration, Instant};
use std::{fs, io};

use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::error::{Doing, Error, Result};
use super::fuse::Mode;

/// The first argument of this program as the daemon; then its mode, the backing folder and the mountpoint.
pub const COMMAND: &str = "fuse-daemon";

/// Where the process id of the daemon is left for the scenario's process.
const PID: &str = "/run/fuse.pid";

/// Starts the daemon as a process of its own, and waits until its mount is there.
pub fn start(mode: Mode, backing: &str, mountpoint: &str) -> Result<()> {
    fs::create_dir_all(mountpoint).doing(format!("make {mountpoint}"))?;
    let mut daemon = Command::new("/proc/self/exe")
        .args([COMMAND, mode.name(), backing, mountpoint])
        .spawn()
        .doing("start the FUSE daemon")?;
    fs::write(PID, daemon.id().to_string()).doing(format!("write {PID}"))?;
    let deadline = Instant::now() + Duration::from_secs(10);
    while !is_mounted(mountpoint)? {
        give_up_without(&mut daemon, deadline)?;
        std::thread::yield_now();
    }
    Ok(())
}

/// Waits until the daemon has ended. It lets go of the backing files only then, which is after the unmounting.
pub fn wait_for_end() -> Result<()> {
    let pid = fs::read_to_string(PID).doing(format!("read {PID}"))?;
    let pid: i32 = pid.parse().map_err(|_| Error::Unexpected(format!("'{pid}' is no process id")))?;
    // SAFETY: the call takes two integers and returns a new descriptor or an error.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    let fd = i32::try_from(fd).expect("descriptors are small numbers");
    if fd < 0 {
        return Err(io::Error::last_os_error()).doing("watch the FUSE daemon");
    }
    // SAFETY: the descriptor was made above and belongs to nobody else.
    let daemon = unsafe { OwnedFd::from_raw_fd(fd) };
    let mut ended = [PollFd::new(daemon.as_fd(), PollFlags::POLLIN)];
    match poll(&mut ended, PollTimeout::from(10_000_u16)).doing("wait for the FUSE daemon")? {
        0 => Err(Error::Unexpected("the FUSE daemon did not end in 10 s after its unmounting".to_owned())),
        _ => Ok(()),
    }
}

fn is_mounted(mountpoint: &str) -> Result<bool> {
    let mounts = fs::read_to_string("/proc/self/mounts").doing("read /proc/self/mounts")?;
    Ok(mounts.lines().any(|line| line.split(' ').nth(1) == Some(mountpoint)))
}

fn give_up_without(daemon: &mut Child, deadline: Instant) -> Result<()> {
    if let Some(status) = daemon.try_wait().doing("look after the FUSE daemon")? {
        return Err(Error::Unexpected(format!("the FUSE daemon ended with {status} before it mounted")));
    }
    if Instant::now() > deadline {
        return Err(Error::Unexpected("the FUSE daemon did not mount in 10 s".to_owned()));
    }
    Ok(())
}
