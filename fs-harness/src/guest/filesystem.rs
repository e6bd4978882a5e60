// SPDX-License-Identifier: MIT OR Apache-2.0

//! The filesystems under test: how each is made, mounted and checked. It is the same in every guest, so that
//! nothing of a filesystem's layout varies, and nothing is written by a timer.

use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::process::Command;

use nix::mount::{MntFlags, MsFlags, mount, umount2};

use super::disk::{Attributes, Disk};
use super::error::{Doing, Error, Result};

/// The identity of every filesystem that has one.
macro_rules! uuid {
    () => {
        "70696e62-6564-4000-8000-000000000001"
    };
}

/// A filesystem, as it is put on a disk.
pub struct Filesystem {
    /// What mount(2) calls it.
    kind: &'static str,
    /// Where it is mounted.
    pub folder: &'static str,
    /// Options of its mount.
    options: &'static str,
    /// What it is made by, before the name of its disk; empty where there is nothing to make.
    mkfs: &'static [&'static str],
    /// Its own checker, before the name of its disk; empty where it has none.
    check: &'static [&'static str],
    /// The disk that it is made on.
    disk: Attributes,
}

/// A disk with a logical block of 4096 bytes.
pub const LARGE_BLOCK: Attributes = Attributes { block_size: 4096, ..Attributes::PLAIN };

/// ext4, which initialises nothing in the background, at its own time, and commits when it is asked to.
pub const EXT4: Filesystem = Filesystem {
    kind: "ext4",
    folder: "/mnt/ext4",
    options: "commit=86400",
    mkfs: &["mkfs.ext4", "-q", "-F", "-U", uuid!(), "-E", EXT4_EXTENDED],
    check: &["e2fsck", "-f", "-n"],
    disk: Attributes::PLAIN,
};

const EXT4_EXTENDED: &str = concat!("hash_seed=", uuid!(), ",lazy_itable_init=0,lazy_journal_init=0");

/// With blocks of 1 KiB.
pub const EXT4_1K: Filesystem =
    Filesystem { mkfs: &["mkfs.ext4", "-q", "-F", "-b", "1024", "-U", uuid!(), "-E", EXT4_EXTENDED], ..EXT4 };

/// With data in the journal.
pub const EXT4_JOURNAL: Filesystem = Filesystem { options: "commit=86400,data=journal", ..EXT4 };

/// On a disk with large blocks.
pub const EXT4_LARGE: Filesystem = Filesystem { disk: LARGE_BLOCK, ..EXT4 };

/// XFS.
pub const XFS: Filesystem = Filesystem {
    kind: "xfs",
    folder: "/mnt/xfs",
    options: "",
    mkfs: &["mkfs.xfs", "-q", "-f", "-m", concat!("reflink=1,uuid=", uuid!())],
    check: &["xfs_repair", "-n"],
    disk: Attributes::PLAIN,
};

/// On a disk that wants stable pages.
pub const XFS_STABLE: Filesystem =
    Filesystem { disk: Attributes { stable_writes: true, ..Attributes::PLAIN }, ..XFS };

/// On a disk with large blocks.
pub const XFS_LARGE: Filesystem = Filesystem { disk: LARGE_BLOCK, ..XFS };

/// btrfs. A longer interval between commits is said to be excessive, in the kernel's log.
pub const BTRFS: Filesystem = Filesystem {
    kind: "btrfs",
    folder: "/mnt/btrfs",
    options: "commit=300",
    mkfs: &["mkfs.btrfs", "-q", "-f", "-U", uuid!()],
    check: &["btrfs", "check", "--readonly"],
    disk: Attributes::PLAIN,
};

/// Without checksums of data.
pub const BTRFS_NODATASUM: Filesystem = Filesystem { options: "commit=300,nodatasum", ..BTRFS };

/// F2FS, which collects no garbage in the background.
pub const F2FS: Filesystem = Filesystem {
    kind: "f2fs",
    folder: "/mnt/f2fs",
    options: "background_gc=off",
    mkfs: &["mkfs.f2fs", "-q", "-f", "-r", "-U", uuid!()],
    check: &["fsck.f2fs", "--dry-run"],
    disk: Attributes::PLAIN,
};

/// On a disk with large blocks, of which it has to be told.
pub const F2FS_LARGE: Filesystem = Filesystem {
    mkfs: &["mkfs.f2fs", "-q", "-f", "-r", "-w", "4096", "-U", uuid!()],
    disk: LARGE_BLOCK,
    ..F2FS
};

/// FAT32.
pub const VFAT: Filesystem = Filesystem {
    kind: "vfat",
    folder: "/mnt/vfat",
    options: "",
    mkfs: &["mkfs.vfat", "-F", "32", "-i", "70696e62", "--invariant"],
    check: &["fsck.vfat", "-n"],
    disk: Attributes::PLAIN,
};

impl Filesystem {
    /// Makes the disk and the filesystem, and mounts it.
    pub fn make(&self, disk: &Disk) -> Result<()> {
        disk.make(&self.disk)?;
        let node = disk.path();
        let output = run(self.mkfs, &node)?;
        if let Some(complaint) = output {
            return Err(Error::Unexpected(complaint));
        }
        self.mount(&node)
    }

    /// Mounts it, on this node.
    pub fn mount(&self, node: &str) -> Result<()> {
        self.mount_at(node, self.folder, self.options)
    }

    /// Mounts a copy of the filesystem, which has the same identity, while that itself is mounted.
    pub fn mount_beside(&self, disk: &Disk, folder: &str) -> Result<()> {
        let options = if self.kind == "xfs" { "nouuid" } else { self.options };
        self.mount_at(&disk.path(), folder, options)
    }

    /// Mounts a copy of the filesystem, while that itself is not mounted.
    pub fn mount_copy(&self, disk: &Disk, folder: &str) -> Result<()> {
        if self.kind == "btrfs" {
            forget_btrfs_devices()?;
        }
        self.mount_at(&disk.path(), folder, self.options)
    }

    fn mount_at(&self, node: &str, folder: &str, options: &str) -> Result<()> {
        let kind = self.kind;
        fs::create_dir_all(folder).doing(format!("make {folder}"))?;
        mount(Some(node), folder, Some(kind), MsFlags::MS_NOATIME, Some(options))
            .doing(format!("mount {node} at {folder} as {kind}"))
    }

    /// Asks the checker about the filesystem, which is not mounted.
    pub fn check(&self, disk: &Disk) -> Result<Checked> {
        let complaint = run(self.check, &disk.path())?;
        Ok(Checked { program: self.check[0], complaint })
    }
}

/// What a filesystem's own checker says.
pub struct Checked {
    /// The program.
    pub program: &'static str,
    /// Its last words, where it found something.
    pub complaint: Option<String>,
}

/// Has btrfs forget the disks that it knows and that are not mounted: it refuses one that is older than
/// another of the same identity.
fn forget_btrfs_devices() -> Result<()> {
    /// `struct btrfs_ioctl_vol_args`: a number, and a name that is empty for all.
    const ARGUMENTS: usize = 4096;
    nix::ioctl_write_ptr!(forget, 0x94, 5, [u8; ARGUMENTS]);
    const CONTROL: &str = "/dev/btrfs-control";
    let control = File::options().read(true).write(true).open(CONTROL).doing(format!("open {CONTROL}"))?;
    // SAFETY: the request reads that many bytes, and writes nothing.
    unsafe { forget(control.as_raw_fd(), &[0; ARGUMENTS]) }.map(drop).doing("have btrfs forget its disks")
}

/// Mounts a filesystem that lives in memory.
pub fn mount_tmpfs(mountpoint: &str) -> Result<()> {
    fs::create_dir_all(mountpoint).doing(format!("make {mountpoint}"))?;
    mount(Some("tmpfs"), mountpoint, Some("tmpfs"), MsFlags::MS_NOATIME, Some("huge=never"))
        .doing(format!("mount a tmpfs at {mountpoint}"))
}

/// Unmounts what is mounted there.
pub fn unmount(mountpoint: &str) -> Result<()> {
    umount2(Path::new(mountpoint), MntFlags::empty()).doing(format!("unmount {mountpoint}"))
}

/// Runs a program on a disk. What it complains of, if it fails.
fn run(command: &[&str], disk: &str) -> Result<Option<String>> {
    let (program, arguments) = command.split_first().expect("every filesystem on a disk has its programs");
    let output = Command::new(program).args(arguments).arg(disk).output().doing(format!("run {program}"))?;
    if output.status.success() {
        return Ok(None);
    }
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).trim().replace('\n', "; ");
    Ok(Some(format!("{program} ended with {}: {text}", output.status)))
}
