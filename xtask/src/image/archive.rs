// SPDX-License-Identifier: MIT OR Apache-2.0
//! A reproducible newc archive, as the kernel unpacks it: sorted, without times and owners.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use cpio::NewcBuilder;
use cpio::newc::{self, ModeFileType};

/// The files of an image by their absolute path. What is added twice stands there once.
#[derive(Default)]
pub(crate) struct Archive {
    entries: BTreeMap<String, Entry>,
    file_bytes: u64,
}

enum Entry {
    Folder,
    File(Vec<u8>),
    Symlink(String),
    CharacterDevice { major: u32, minor: u32 },
}

impl Archive {
    /// Adds a folder, and the folders above it.
    pub(crate) fn folder(&mut self, path: &str) {
        self.add(path, Entry::Folder);
    }

    /// Adds a file that can be executed.
    pub(crate) fn file(&mut self, path: &str, bytes: &[u8]) {
        self.file_bytes += in_memory(bytes.len() as u64);
        self.add(path, Entry::File(bytes.to_owned()));
    }

    /// Adds a symbolic link.
    pub(crate) fn symlink(&mut self, path: &str, target: &str) {
        self.add(path, Entry::Symlink(target.to_owned()));
    }

    /// Adds a device node.
    pub(crate) fn character_device(&mut self, path: &str, major: u32, minor: u32) {
        self.add(path, Entry::CharacterDevice { major, minor });
    }

    /// Whether something has this path.
    pub(crate) fn has(&self, path: &str) -> bool {
        self.entries.contains_key(path)
    }

    /// The memory in bytes that its files take where they are unpacked into memory.
    pub(crate) fn file_bytes(&self) -> u64 {
        self.file_bytes
    }

    /// The number of files, folders, links and devices.
    pub(crate) fn entries(&self) -> usize {
        self.entries.len()
    }

    /// Writes the archive. Parents precede their children because paths are sorted.
    pub(crate) fn pack(&self) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        for (index, (path, entry)) in (1..).zip(&self.entries) {
            write(&mut bytes, index, path, entry).with_context(|| format!("cannot pack {path}"))?;
        }
        newc::trailer(&mut bytes).context("cannot end the archive")?;
        Ok(bytes)
    }

    fn add(&mut self, path: &str, entry: Entry) {
        for (end, _) in path.match_indices('/').skip(1) {
            self.entries.entry(path[..end].to_owned()).or_insert(Entry::Folder);
        }
        self.entries.insert(path.to_owned(), entry);
    }
}

/// The memory in bytes that a file of this length takes: whole pages.
pub(crate) fn in_memory(length: u64) -> u64 {
    length.div_ceil(4096).saturating_mul(4096)
}

fn write(archive: &mut Vec<u8>, inode: u32, path: &str, entry: &Entry) -> Result<()> {
    let (kind, permissions, data): (_, _, &[u8]) = match entry {
        Entry::Folder => (ModeFileType::Directory, 0o755, &[]),
        Entry::File(bytes) => (ModeFileType::Regular, 0o755, bytes),
        Entry::Symlink(target) => (ModeFileType::Symlink, 0o777, target.as_bytes()),
        Entry::CharacterDevice { .. } => (ModeFileType::Char, 0o600, &[]),
    };
    let mut header =
        NewcBuilder::new(path.trim_start_matches('/')).ino(inode).mode(permissions).set_mode_file_type(kind);
    if let Entry::CharacterDevice { major, minor } = entry {
        header = header.rdev_major(*major).rdev_minor(*minor);
    }
    let size = u32::try_from(data.len()).context("a file of 4 GiB or more does not fit")?;
    let mut writer = header.write(archive, size);
    std::io::Write::write_all(&mut writer, data)?;
    writer.finish()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use cpio::NewcReader;

    use super::*;

    /// The names, modes and times of an archive's entries.
    fn listed(mut bytes: &[u8]) -> Vec<(String, u32, u32)> {
        let mut entries = Vec::new();
        loop {
            let reader = NewcReader::new(bytes).unwrap();
            let entry = reader.entry();
            if entry.is_trailer() {
                return entries;
            }
            entries.push((entry.name().to_owned(), entry.mode(), entry.mtime()));
            bytes = reader.finish().unwrap();
        }
    }

    #[test]
    fn entries_are_sorted_and_parents_come_first() {
        let mut archive = Archive::default();
        archive.symlink("/usr/lib/z", "a");
        archive.file("/init", b"x");
        archive.character_device("/dev/console", 5, 1);
        let expected = [
            ("dev", 0o40_755),
            ("dev/console", 0o20_600),
            ("init", 0o100_755),
            ("usr", 0o40_755),
            ("usr/lib", 0o40_755),
            ("usr/lib/z", 0o120_777),
        ];
        let expected = expected.map(|(name, mode)| (name.to_owned(), mode, 0));
        assert_eq!(listed(&archive.pack().unwrap()), expected);
    }

    #[test]
    fn the_order_of_adding_does_not_matter() {
        let (mut one, mut other) = (Archive::default(), Archive::default());
        one.file("/a", b"a");
        one.folder("/b");
        other.folder("/b");
        other.file("/a", b"a");
        assert_eq!(one.pack().unwrap(), other.pack().unwrap());
    }

    #[test]
    fn a_link_is_not_replaced_by_the_folder_above_a_file() {
        let mut archive = Archive::default();
        archive.symlink("/lib", "usr/lib");
        archive.file("/lib/x", b"x");
        assert_eq!(listed(&archive.pack().unwrap())[0], ("lib".to_owned(), 0o120_777, 0));
    }
}
