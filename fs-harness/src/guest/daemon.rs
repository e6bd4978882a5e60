// SPDX-License-Identifier: MIT OR Apache-2.0

//! The FUSE daemon as a process: its start, and its end.

use std::os::fd::{AsFd, FromRawFd, OwnedFd};
use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};
use std::{fs, io};

use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::error::{Doing, Error, Result};
use super::fuse::{self, Mode};
use super::fuse_ring::{self, Transport};
use super::threads;

/// The first argument of this program as a daemon; then which one, the backing folder and the mountpoint.
pub const COMMAND: &str = "fuse-daemon";

/// Where the process id of the daemon is left for the scenario's process.
const PID: &str = "/run/fuse.pid";

/// Where a daemon leaves word of what the kernel lacks.
const LACKING: &str = "/run/fuse.lacking";

/// Which daemon serves a mount.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Daemon {
    /// One that reads its requests from `/dev/fuse`.
    Fuser(Mode),
    /// One that gets them over `io_uring`.
    Ring(Transport),
}

const DAEMONS: [(&str, Daemon); 5] = [
    ("direct", Daemon::Fuser(Mode::Direct)),
    ("writeback", Daemon::Fuser(Mode::Writeback)),
    ("passthrough", Daemon::Fuser(Mode::Passthrough)),
    ("ring", Daemon::Ring(Transport::Copied)),
    ("ring-zerocopy", Daemon::Ring(Transport::ZeroCopy)),
];

/// Is the daemon of that name until its filesystem is unmounted.
pub fn serve(name: &str, backing: &Path, mountpoint: &Path) -> Result<()> {
    let served = match DAEMONS.iter().find(|(known, _)| *known == name) {
        Some((_, Daemon::Fuser(mode))) => fuse::serve(*mode, backing, mountpoint),
        Some((_, Daemon::Ring(transport))) => fuse_ring::serve(*transport, backing, mountpoint),
        None => Err(Error::Unexpected(format!("there is no FUSE daemon '{name}'"))),
    };
    if let Err(Error::Lacking(what)) = &served {
        fs::write(LACKING, what).doing(format!("write {LACKING}"))?;
    }
    served
}

/// Starts the daemon as a process of its own, and waits until its mount is there and answers.
pub fn start(daemon: Daemon, backing: &str, mountpoint: &str) -> Result<()> {
    fs::create_dir_all(mountpoint).doing(format!("make {mountpoint}"))?;
    let name = DAEMONS.iter().find(|(_, known)| *known == daemon).map_or("", |(name, _)| name);
    let mut process = Command::new("/proc/self/exe")
        .args([COMMAND, name, backing, mountpoint])
        .spawn()
        .doing("start the FUSE daemon")?;
    fs::write(PID, process.id().to_string()).doing(format!("write {PID}"))?;
    let deadline = Instant::now() + Duration::from_secs(10);
    while !is_mounted(mountpoint)? {
        give_up_without(&mut process, deadline)?;
        std::thread::yield_now();
    }
    // Whoever asks sleeps until the daemon answers, or has ended.
    let answered = fs::metadata(mountpoint);
    if let Err(error) = answered {
        wait_for_end()?;
        return match fs::read_to_string(LACKING) {
            Ok(what) => Err(Error::Lacking(what)),
            Err(_) => Err(error).doing(format!("ask the FUSE daemon for {mountpoint}")),
        };
    }
    Ok(())
}

/// Waits until each thread of the daemon sleeps: one that has just answered a request may have a reference to its
/// pages for a moment, when who made the request has gone on.
pub fn wait_until_asleep() -> Result<()> {
    let pid = fs::read_to_string(PID).doing(format!("read {PID}"))?;
    threads::wait_for_process(&pid).doing("wait until the FUSE daemon sleeps")
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
