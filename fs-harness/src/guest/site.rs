// SPDX-License-Identifier: MIT OR Apache-2.0

//! The setup of a cell: the filesystem under test, made, mounted, and afterwards unmounted and checked.

use std::os::fd::{AsFd, FromRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};
use std::{fs, io};

use nix::libc;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::disk::{Attributes, Disk};
use super::error::{Doing, Error, Result};
use crate::cell::Setup;

/// The disk of every setup that has one.
const DISK: Disk = Disk::of("pinblk0");

const BACKING: &str = "/mnt/backing";
const FUSE: &str = "/mnt/fuse";
const EXT4: &str = "/mnt/ext4";
const XFS: &str = "/mnt/xfs";

/// The same in every guest, so that nothing of a filesystem's layout varies.
const UUID: &str = "70696e62-6564-4000-8000-000000000001";

/// Where a cell's files live.
pub struct Site {
    setup: Setup,
}

impl Site {
    /// The site of a setup that [`Site::make`] has made, maybe in another process.
    pub fn of(setup: Setup) -> Self {
        Self { setup }
    }

    /// Makes and mounts what the setup asks for. The FUSE daemon, where there is one, is `serve`d.
    pub fn make(setup: Setup) -> Result<Self> {
        match setup {
            Setup::None => {}
            Setup::Bdev => DISK.make(&Attributes::default())?,
            Setup::Ext4 => make_ext4(EXT4)?,
            Setup::Xfs => make_xfs(XFS, &Attributes::default())?,
            Setup::XfsStable => {
                make_xfs(XFS, &Attributes { stable_writes: true, ..Attributes::default() })?;
            }
            Setup::FuseDirectExt4 => {
                make_ext4(BACKING)?;
                start_fuse(BACKING, FUSE)?;
            }
        }
        Ok(Self { setup })
    }

    /// The disk, where the setup has one.
    pub fn disk(&self) -> Option<&'static Disk> {
        match self.setup {
            Setup::None => None,
            Setup::Bdev | Setup::Ext4 | Setup::Xfs | Setup::XfsStable | Setup::FuseDirectExt4 => Some(&DISK),
        }
    }

    /// The folder to work in: the filesystem under test, or `/tmp` where there is none.
    pub fn folder(&self) -> &'static Path {
        Path::new(match self.setup {
            Setup::None | Setup::Bdev => "/tmp",
            Setup::Ext4 => EXT4,
            Setup::Xfs | Setup::XfsStable => XFS,
            Setup::FuseDirectExt4 => FUSE,
        })
    }

    /// Where a file of that name is made.
    pub fn backing(&self, name: &str) -> Result<PathBuf> {
        match self.setup {
            Setup::None => Err(Error::Unexpected("the setup 'none' has no files".to_owned())),
            Setup::Bdev => Ok(PathBuf::from(DISK.path())),
            Setup::Ext4 => Ok(Path::new(EXT4).join(name)),
            Setup::Xfs | Setup::XfsStable => Ok(Path::new(XFS).join(name)),
            Setup::FuseDirectExt4 => Ok(Path::new(BACKING).join(name)),
        }
    }

    /// Where the scenario opens it.
    pub fn path(&self, name: &str) -> Result<PathBuf> {
        match self.setup {
            Setup::FuseDirectExt4 => Ok(Path::new(FUSE).join(name)),
            _ => self.backing(name),
        }
    }

    /// Unmounts the filesystem, where there is one.
    pub fn unmount(&self) -> Result<()> {
        match self.setup {
            Setup::None | Setup::Bdev => Ok(()),
            Setup::Ext4 => unmount(EXT4),
            Setup::Xfs | Setup::XfsStable => unmount(XFS),
            Setup::FuseDirectExt4 => {
                unmount(FUSE)?;
                wait_for_fuse_to_end()?;
                unmount(BACKING)
            }
        }
    }

    /// Asks the checker of the filesystem, which is not mounted any more; returns what is wrong, or that it has none.
    pub fn check(&self) -> Result<Option<Checked>> {
        match self.setup {
            Setup::None | Setup::Bdev => Ok(None),
            Setup::Ext4 | Setup::FuseDirectExt4 => {
                Checked::by("e2fsck", &["-f", "-n", &DISK.path()]).map(Some)
            }
            Setup::Xfs | Setup::XfsStable => Checked::by("xfs_repair", &["-n", &DISK.path()]).map(Some),
        }
    }
}

/// What a filesystem's own checker says.
pub struct Checked {
    /// The program.
    pub program: &'static str,
    /// Its last words, where it found something.
    pub complaint: Option<String>,
}

impl Checked {
    fn by(program: &'static str, arguments: &[&str]) -> Result<Self> {
        let output = Command::new(program).args(arguments).output().doing(format!("run {program}"))?;
        let complaint = (!output.status.success()).then(|| {
            let text = [output.stdout, output.stderr].concat();
            let text = String::from_utf8_lossy(&text).trim().replace('\n', "; ");
            format!("{program} ended with {}: {text}", output.status)
        });
        Ok(Self { program, complaint })
    }
}

fn make_ext4(mountpoint: &str) -> Result<()> {
    DISK.make(&Attributes::default())?;
    // Lazy initialisation would write in the background, at its own time.
    let extended = format!("hash_seed={UUID},lazy_itable_init=0,lazy_journal_init=0");
    run("mkfs.ext4", &["-q", "-F", "-U", UUID, "-E", &extended, &DISK.path()])?;
    // The journal commits when it is asked to, and not by a timer.
    mount_disk(mountpoint, "ext4", "commit=86400")
}

fn make_xfs(mountpoint: &str, disk: &Attributes) -> Result<()> {
    DISK.make(disk)?;
    run("mkfs.xfs", &["-q", "-f", "-m", &format!("uuid={UUID}"), &DISK.path()])?;
    mount_disk(mountpoint, "xfs", "")
}

fn run(program: &str, arguments: &[&str]) -> Result<()> {
    let output = Command::new(program).args(arguments).output().doing(format!("run {program}"))?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr).trim().replace('\n', "; ");
    Err(Error::Unexpected(format!("{program} ended with {}: {text}", output.status)))
}

fn mount_disk(mountpoint: &str, kind: &str, options: &str) -> Result<()> {
    fs::create_dir_all(mountpoint).doing(format!("make {mountpoint}"))?;
    let disk = DISK.path();
    mount(Some(disk.as_str()), mountpoint, Some(kind), MsFlags::MS_NOATIME, Some(options))
        .doing(format!("mount {disk} at {mountpoint} as {kind}"))
}

fn unmount(mountpoint: &str) -> Result<()> {
    umount2(mountpoint, MntFlags::empty()).doing(format!("unmount {mountpoint}"))
}

/// Where the process id of the FUSE daemon is left for the scenario's process.
const DAEMON: &str = "/run/fuse.pid";

/// Starts the daemon as a process of its own, and waits until its mount is there.
fn start_fuse(backing: &str, mountpoint: &str) -> Result<()> {
    fs::create_dir_all(mountpoint).doing(format!("make {mountpoint}"))?;
    let mut daemon = Command::new("/proc/self/exe")
        .args(["fuse-direct", backing, mountpoint])
        .spawn()
        .doing("start the FUSE daemon")?;
    fs::write(DAEMON, daemon.id().to_string()).doing(format!("write {DAEMON}"))?;
    let deadline = Instant::now() + Duration::from_secs(10);
    while !is_mounted(mountpoint)? {
        give_up_without(&mut daemon, deadline)?;
        std::thread::yield_now();
    }
    Ok(())
}

/// An unmounted daemon lets go of the backing files when it ends, which is after the unmounting.
fn wait_for_fuse_to_end() -> Result<()> {
    let pid = fs::read_to_string(DAEMON).doing(format!("read {DAEMON}"))?;
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
