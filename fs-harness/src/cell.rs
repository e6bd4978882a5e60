// SPDX-License-Identifier: MIT OR Apache-2.0

//! The name of a cell: a scenario on one setup with one acquisition and one policy.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Declares an enum whose variants have fixed names, listed in order in `ALL`.
macro_rules! named {
    ($(#[$doc:meta])* $type:ident { $($(#[$variant_doc:meta])* $variant:ident = $name:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $type { $($(#[$variant_doc])* $variant,)+ }

        impl $type {
            /// Every value, in the order in which cells are listed.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// The name in cell names, file names and messages.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }
        }

        impl Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.name())
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let name = String::deserialize(deserializer)?;
                let unknown = || serde::de::Error::custom(format!("there is no '{name}'"));
                Self::ALL.iter().copied().find(|value| value.name() == name).ok_or_else(unknown)
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.name())
            }
        }
    };
}

named! {
    /// What is under test below the scenario.
    Setup {
        /// No block device takes part.
        None = "none",
        /// The bare block device.
        Bdev = "bdev",
        /// The bare block device with a logical block of 4096 bytes.
        BdevLarge = "bdev-lbs4096",
        /// ext4 with its defaults: ordered data, 4 KiB blocks.
        Ext4 = "ext4",
        /// ext4 with blocks of 1 KiB: a page has four.
        Ext4Small = "ext4-1k",
        /// ext4 that writes data to its journal first.
        Ext4Journal = "ext4-journal",
        /// ext4 on a disk with a logical block of 4096 bytes.
        Ext4Large = "ext4-lbs4096",
        /// XFS with its defaults, which have reflink.
        Xfs = "xfs",
        /// XFS on a disk that wants stable pages.
        XfsStable = "xfs-stable",
        /// XFS on a disk with a logical block of 4096 bytes.
        XfsLarge = "xfs-lbs4096",
        /// btrfs with its defaults: checksums of data.
        Btrfs = "btrfs",
        /// btrfs without checksums of data.
        BtrfsNoDataSum = "btrfs-nodatasum",
        /// F2FS without garbage collection in the background.
        F2fs = "f2fs",
        /// F2FS on a disk with a logical block of 4096 bytes.
        F2fsLarge = "f2fs-lbs4096",
        /// FAT32, of which direct I/O is the oldest code that is left.
        Vfat = "vfat",
        /// A tmpfs: files without a device.
        Tmpfs = "tmpfs",
        /// A FUSE filesystem with direct I/O, whose backing files are on ext4.
        FuseDirectExt4 = "fuse-direct-ext4",
        /// The same on XFS.
        FuseDirectXfs = "fuse-direct-xfs",
        /// A FUSE filesystem with a page cache that is written back, whose backing files are on ext4.
        FuseWritebackExt4 = "fuse-writeback-ext4",
        /// The same on XFS.
        FuseWritebackXfs = "fuse-writeback-xfs",
        /// A FUSE filesystem whose files are read and written by the kernel in files on ext4.
        FusePassthroughExt4 = "fuse-passthrough-ext4",
        /// The same on XFS.
        FusePassthroughXfs = "fuse-passthrough-xfs",
        /// A FUSE filesystem with direct I/O whose daemon is spoken to over io_uring, on ext4.
        FuseRingExt4 = "fuse-ring-ext4",
        /// The same on XFS.
        FuseRingXfs = "fuse-ring-xfs",
        /// The same, and the client's pages go to the disk without a copy: the files are on ext4.
        FuseZeroCopyExt4 = "fuse-zerocopy-ext4",
        /// The same on XFS.
        FuseZeroCopyXfs = "fuse-zerocopy-xfs",
    }
}

impl Setup {
    /// Whether there is a disk and no filesystem.
    pub fn is_bare_disk(self) -> bool {
        matches!(self, Self::Bdev | Self::BdevLarge)
    }

    /// A filesystem on a disk, and nothing above it.
    pub const ON_DISK: &[Self] = &[
        Self::Ext4,
        Self::Ext4Small,
        Self::Ext4Journal,
        Self::Xfs,
        Self::XfsStable,
        Self::Btrfs,
        Self::BtrfsNoDataSum,
        Self::F2fs,
        Self::Vfat,
    ];

    /// A disk with a logical block of 4096 bytes, bare or with a filesystem.
    pub const LARGE_BLOCK: &[Self] = &[Self::BdevLarge, Self::Ext4Large, Self::XfsLarge, Self::F2fsLarge];

    /// A FUSE filesystem.
    pub const FUSE: &[Self] = &[
        Self::FuseDirectExt4,
        Self::FuseDirectXfs,
        Self::FuseWritebackExt4,
        Self::FuseWritebackXfs,
        Self::FusePassthroughExt4,
        Self::FusePassthroughXfs,
        Self::FuseRingExt4,
        Self::FuseRingXfs,
        Self::FuseZeroCopyExt4,
        Self::FuseZeroCopyXfs,
    ];
}

named! {
    /// Who takes the pages, and how.
    Acquisition {
        /// The kernel's own path, as in O_DIRECT.
        Kernel = "kernel",
        /// pinblk, by `get_user_pages`: references.
        Get = "get",
        /// pinblk, by `pin_user_pages`: pins.
        Pin = "pin",
        /// pinblk, by `pin_user_pages` with FOLL_LONGTERM: pins as RDMA takes them.
        LongTerm = "longterm",
    }
}

named! {
    /// What pinblk does about writeback of pages that may be DMA-pinned.
    Policy {
        /// Written and counted: what every disk does.
        Observe = "observe",
        /// Where memory is cleaned, put into the volatile cache as they are, and dirty again.
        Skip = "skip",
        /// Copied as the bio comes, and the copy is written.
        Bounce = "bounce",
        /// Written when they are not pinned any more, or at a deadline.
        Defer = "defer",
        /// Where memory is cleaned, not written: data is lost, on purpose, for the checks to notice it.
        Drop = "drop",
    }
}

/// A cell: the unit that runs and has one snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Cell {
    /// Name of the scenario in the catalogue.
    pub scenario: String,
    /// What is below it.
    pub setup: Setup,
    /// Who takes the pages.
    pub acquisition: Acquisition,
    /// What the driver does about pinned pages.
    pub policy: Policy,
}

impl Cell {
    /// The cell's own path below a folder of snapshots or artefacts, without an extension.
    pub fn path(&self) -> String {
        format!("{}/{}__{}__{}", self.scenario, self.setup, self.acquisition, self.policy)
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}::{}::{}::{}", self.scenario, self.setup, self.acquisition, self.policy)
    }
}

/// Why a text is not the name of a cell.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum NameError {
    /// Not four parts.
    #[error("'{0}' is not of the form scenario::setup::acquisition::policy")]
    Form(String),
    /// One part is not known.
    #[error("'{cell}' names the {part} '{name}', which does not exist; there are: {known}")]
    Part {
        /// The whole name.
        cell: String,
        /// Which part of it.
        part: &'static str,
        /// What it says there.
        name: String,
        /// What it could say.
        known: String,
    },
}

impl FromStr for Cell {
    type Err = NameError;

    fn from_str(cell: &str) -> Result<Self, NameError> {
        let parts: Vec<&str> = cell.split("::").collect();
        let &[scenario, setup, acquisition, policy] = parts.as_slice() else {
            return Err(NameError::Form(cell.to_owned()));
        };
        Ok(Self {
            scenario: scenario.to_owned(),
            setup: find(cell, "setup", setup, Setup::ALL)?,
            acquisition: find(cell, "acquisition", acquisition, Acquisition::ALL)?,
            policy: find(cell, "policy", policy, Policy::ALL)?,
        })
    }
}

fn find<T: Copy + fmt::Display>(
    cell: &str,
    part: &'static str,
    name: &str,
    all: &[T],
) -> Result<T, NameError> {
    all.iter().copied().find(|value| value.to_string() == name).ok_or_else(|| NameError::Part {
        cell: cell.to_owned(),
        part,
        name: name.to_owned(),
        known: all.iter().map(T::to_string).collect::<Vec<_>>().join(", "),
    })
}

impl Serialize for Cell {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Cell {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_survives_the_way_there_and_back() {
        for setup in Setup::ALL {
            for acquisition in Acquisition::ALL {
                let name = format!("dio_write::{setup}::{acquisition}::observe");
                assert_eq!(name.parse::<Cell>().unwrap().to_string(), name);
            }
        }
    }

    #[test]
    fn an_unknown_part_is_named_with_what_there_is() {
        let error = "dio_write::ext4::grab::observe".parse::<Cell>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "'dio_write::ext4::grab::observe' names the acquisition 'grab', which does not exist; \
             there are: kernel, get, pin, longterm"
        );
        let error = "dio_write::zfs::kernel::observe".parse::<Cell>().unwrap_err().to_string();
        assert!(Setup::ALL.iter().all(|setup| error.contains(setup.name())), "{error}");
        assert_eq!("dio_write".parse::<Cell>(), Err(NameError::Form("dio_write".into())));
    }
}
