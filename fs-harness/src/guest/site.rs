// SPDX-License-Identifier: MIT OR Apache-2.0

//! The setup of a cell: the filesystem under test, made, mounted, and afterwards unmounted and checked.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use nix::mount::{MsFlags, mount};

use super::daemon::{self, Daemon};
use super::disk::{Attributes, Disk};
use super::error::{Doing, Error, Result};
use super::filesystem::{self, Checked, Filesystem};
use super::fuse::Mode;
use super::fuse_ring::Transport;
use crate::cell::Setup;

/// The disk of every setup that has one.
const DISK: Disk = Disk::of("pinblk0");

/// What a power cut of it would leave.
const SURVIVOR: Disk = Disk::of("pinblk1");
const AFTER_CUT: &str = "/mnt/after-cut";

/// Where a filesystem without a disk is mounted.
const IN_MEMORY: &str = "/mnt/tmpfs";

/// Where FUSE shows the files of the one on the disk.
const FUSE: &str = "/mnt/fuse";

/// What a setup consists of.
enum Parts {
    Nothing,
    BareDisk(Attributes),
    Tmpfs,
    OnDisk(&'static Filesystem),
    /// FUSE, and what its files are on.
    Fuse(Daemon, &'static Filesystem),
}

fn parts(setup: Setup) -> Parts {
    match setup {
        Setup::None => Parts::Nothing,
        Setup::Bdev => Parts::BareDisk(Attributes::PLAIN),
        Setup::BdevLarge => Parts::BareDisk(filesystem::LARGE_BLOCK),
        Setup::Ext4 => Parts::OnDisk(&filesystem::EXT4),
        Setup::Ext4Small => Parts::OnDisk(&filesystem::EXT4_1K),
        Setup::Ext4Journal => Parts::OnDisk(&filesystem::EXT4_JOURNAL),
        Setup::Ext4Large => Parts::OnDisk(&filesystem::EXT4_LARGE),
        Setup::Xfs => Parts::OnDisk(&filesystem::XFS),
        Setup::XfsStable => Parts::OnDisk(&filesystem::XFS_STABLE),
        Setup::XfsLarge => Parts::OnDisk(&filesystem::XFS_LARGE),
        Setup::Btrfs => Parts::OnDisk(&filesystem::BTRFS),
        Setup::BtrfsNoDataSum => Parts::OnDisk(&filesystem::BTRFS_NODATASUM),
        Setup::F2fs => Parts::OnDisk(&filesystem::F2FS),
        Setup::F2fsLarge => Parts::OnDisk(&filesystem::F2FS_LARGE),
        Setup::Vfat => Parts::OnDisk(&filesystem::VFAT),
        Setup::Tmpfs => Parts::Tmpfs,
        Setup::FuseDirectExt4 => Parts::Fuse(Daemon::Fuser(Mode::Direct), &filesystem::EXT4),
        Setup::FuseDirectXfs => Parts::Fuse(Daemon::Fuser(Mode::Direct), &filesystem::XFS),
        Setup::FuseWritebackExt4 => Parts::Fuse(Daemon::Fuser(Mode::Writeback), &filesystem::EXT4),
        Setup::FuseWritebackXfs => Parts::Fuse(Daemon::Fuser(Mode::Writeback), &filesystem::XFS),
        Setup::FusePassthroughExt4 => Parts::Fuse(Daemon::Fuser(Mode::Passthrough), &filesystem::EXT4),
        Setup::FuseRingExt4 => Parts::Fuse(Daemon::Ring(Transport::Copied), &filesystem::EXT4),
        Setup::FuseRingXfs => Parts::Fuse(Daemon::Ring(Transport::Copied), &filesystem::XFS),
        Setup::FuseZeroCopyExt4 => Parts::Fuse(Daemon::Ring(Transport::ZeroCopy), &filesystem::EXT4),
        Setup::FuseZeroCopyXfs => Parts::Fuse(Daemon::Ring(Transport::ZeroCopy), &filesystem::XFS),
        Setup::FusePassthroughXfs => Parts::Fuse(Daemon::Fuser(Mode::Passthrough), &filesystem::XFS),
    }
}

/// Where a cell's files live.
pub struct Site {
    setup: Setup,
    parts: Parts,
}

impl Site {
    /// The site of a setup that [`Site::make`] has made, maybe in another process.
    pub fn of(setup: Setup) -> Self {
        Self { setup, parts: parts(setup) }
    }

    /// Makes and mounts what the setup asks for, and starts the FUSE daemon where there is one.
    pub fn make(setup: Setup) -> Result<Self> {
        let site = Self::of(setup);
        match &site.parts {
            Parts::Nothing => {}
            Parts::BareDisk(attributes) => DISK.make(attributes)?,
            Parts::Tmpfs => filesystem::mount_tmpfs(IN_MEMORY)?,
            Parts::OnDisk(filesystem) => filesystem.make(&DISK)?,
            Parts::Fuse(daemon, filesystem) => {
                filesystem.make(&DISK)?;
                daemon::start(*daemon, filesystem.folder, FUSE)?;
            }
        }
        Ok(site)
    }

    /// The disk, where the setup has one.
    pub fn disk(&self) -> Option<&'static Disk> {
        match self.parts {
            Parts::Nothing | Parts::Tmpfs => None,
            Parts::BareDisk(_) | Parts::OnDisk(_) | Parts::Fuse(..) => Some(&DISK),
        }
    }

    /// The folder to work in: the filesystem under test, or `/tmp` where there is none.
    pub fn folder(&self) -> &'static Path {
        Path::new(match self.parts {
            Parts::Nothing | Parts::BareDisk(_) => "/tmp",
            Parts::Tmpfs => IN_MEMORY,
            Parts::OnDisk(filesystem) => filesystem.folder,
            Parts::Fuse(..) => FUSE,
        })
    }

    /// Where a file of that name is made.
    pub fn backing(&self, name: &str) -> Result<PathBuf> {
        match self.parts {
            Parts::Nothing => Err(Error::Unexpected(format!("the setup '{}' has no files", self.setup))),
            Parts::BareDisk(_) => Ok(PathBuf::from(DISK.path())),
            Parts::Tmpfs => Ok(Path::new(IN_MEMORY).join(name)),
            Parts::OnDisk(filesystem) | Parts::Fuse(_, filesystem) => {
                Ok(Path::new(filesystem.folder).join(name))
            }
        }
    }

    /// Where the scenario opens it.
    pub fn path(&self, name: &str) -> Result<PathBuf> {
        match self.parts {
            Parts::Fuse(..) => Ok(Path::new(FUSE).join(name)),
            _ => self.backing(name),
        }
    }

    /// Mounts the filesystem on the disk again, which was unmounted.
    pub fn mount(&self) -> Result<()> {
        self.mount_on(&DISK.path())
    }

    /// Mounts it on a node that has the disk below it.
    pub fn mount_on(&self, node: &str) -> Result<()> {
        match self.parts {
            Parts::OnDisk(filesystem) => filesystem.mount(node),
            _ => Err(Error::Unexpected(format!("the setup '{}' cannot be mounted again", self.setup))),
        }
    }

    /// Has the mounted filesystem go by other options as well.
    pub fn remount(&self, options: &str) -> Result<()> {
        let (folder, none) = (self.folder(), None::<&Path>);
        mount(none, folder, none, MsFlags::MS_REMOUNT, Some(options))
            .doing(format!("mount {} again with {options}", folder.display()))
    }

    /// Makes the mounted filesystem read-only.
    pub fn make_read_only(&self) -> Result<()> {
        let (folder, none) = (self.folder(), None::<&Path>);
        mount(none, folder, none, MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY, none)
            .doing(format!("make {} read-only", folder.display()))
    }

    /// Unmounts the filesystem, where there is one.
    pub fn unmount(&self) -> Result<()> {
        match self.parts {
            Parts::Nothing | Parts::BareDisk(_) => Ok(()),
            Parts::Tmpfs => filesystem::unmount(IN_MEMORY),
            Parts::OnDisk(filesystem) => filesystem::unmount(filesystem.folder),
            Parts::Fuse(_, filesystem) => {
                filesystem::unmount(FUSE)?;
                daemon::wait_for_end()?;
                filesystem::unmount(filesystem.folder)
            }
        }
    }

    /// The filesystem as it would be after a power cut at this moment, mounted beside the one that goes on.
    pub fn after_power_cut(&self) -> Result<Survivor> {
        let Parts::OnDisk(filesystem) = self.parts else {
            let text = format!("the setup '{}' is not mounted after a power cut", self.setup);
            return Err(Error::Unexpected(text));
        };
        DISK.copy_media(&SURVIVOR)?;
        filesystem.mount_beside(&SURVIVOR, AFTER_CUT)?;
        Ok(Survivor { filesystem })
    }

    /// Waits until a FUSE daemon has done what it was asked for, where there is one.
    pub fn wait_for_daemon(&self) -> Result<()> {
        match self.parts {
            Parts::Fuse(..) => daemon::wait_until_asleep(),
            _ => Ok(()),
        }
    }

    /// The filesystem on the disk, where nothing is above it.
    pub fn filesystem(&self) -> Option<&'static Filesystem> {
        match self.parts {
            Parts::OnDisk(filesystem) => Some(filesystem),
            _ => None,
        }
    }

    /// Asks the checker of the filesystem, which is not mounted any more; returns what is wrong, or that it has none.
    pub fn check(&self) -> Result<Option<Checked>> {
        match self.parts {
            Parts::Nothing | Parts::BareDisk(_) | Parts::Tmpfs => Ok(None),
            Parts::OnDisk(filesystem) | Parts::Fuse(_, filesystem) => filesystem.check(&DISK).map(Some),
        }
    }
}

/// What a power cut has left of a filesystem.
pub struct Survivor {
    filesystem: &'static Filesystem,
}

impl Survivor {
    /// The bytes of a file, at most so many.
    pub fn read(&self, name: &Path, length: usize) -> Result<Vec<u8>> {
        let path = Path::new(AFTER_CUT).join(name);
        let doing = || format!("read {}", path.display());
        let mut bytes = Vec::new();
        let file = File::open(&path).doing(doing())?;
        file.take(length as u64).read_to_end(&mut bytes).doing(doing())?;
        Ok(bytes)
    }

    /// Unmounts it, has it checked, and forgets it.
    pub fn unmount(self) -> Result<Checked> {
        filesystem::unmount(AFTER_CUT)?;
        let checked = self.filesystem.check(&SURVIVOR)?;
        SURVIVOR.remove()?;
        Ok(checked)
    }
}
