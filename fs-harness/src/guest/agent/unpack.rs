// SPDX-License-Identifier: MIT OR Apache-2.0

//! Files of the host that come to a guest that runs already.

use std::fs::{self, File, Permissions};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use cpio::NewcReader;
use nix::libc;

use crate::guest::error::{Doing, Result};

/// Unpacks a newc archive of folders, files and symbolic links below `root`.
///
/// A folder that is there stays, also where the archive has a link of that name: the guest's own layout
/// wins. All else takes the place of what was there, and whoever has that open keeps it.
pub(super) fn unpack(mut archive: impl Read, root: &Path) -> Result<()> {
    loop {
        let mut entry = NewcReader::new(archive).doing("read the files that came along")?;
        if entry.entry().is_trailer() {
            // The end of the stream is behind the archive's end.
            archive = entry.finish().doing("read the files that came along")?;
            return io::copy(&mut archive, &mut io::sink()).map(drop).doing("read the files that came along");
        }
        let (path, mode) = (root.join(entry.entry().name()), entry.entry().mode());
        place(&mut entry, &path, mode).doing(format!("unpack {}", path.display()))?;
        archive = entry.finish().doing("read the files that came along")?;
    }
}

fn place(contents: &mut impl Read, path: &Path, mode: u32) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    if mode & libc::S_IFMT == libc::S_IFDIR {
        return fs::create_dir(path);
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    if mode & libc::S_IFMT == libc::S_IFLNK {
        return symlink(io::read_to_string(contents)?, path);
    }
    io::copy(contents, &mut File::create_new(path)?)?;
    fs::set_permissions(path, Permissions::from_mode(mode & 0o7777))
}

#[cfg(test)]
mod tests {
    use cpio::NewcBuilder;
    use cpio::newc::{self, ModeFileType};

    use super::*;

    fn archive<const N: usize>(entries: [(&str, ModeFileType, &str); N]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (name, kind, contents) in entries {
            let header = NewcBuilder::new(name).mode(0o755).set_mode_file_type(kind);
            let size = u32::try_from(contents.len()).unwrap();
            let mut writer = header.write(&mut bytes, size);
            io::Write::write_all(&mut writer, contents.as_bytes()).unwrap();
            writer.finish().unwrap();
        }
        newc::trailer(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn files_replace_and_folders_stay() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        fs::create_dir(root.join("bin")).unwrap();
        fs::write(root.join("bin/old"), "old").unwrap();
        let came = archive([
            ("bin", ModeFileType::Symlink, "usr/bin"),
            ("bin/old", ModeFileType::Regular, "new"),
            ("usr", ModeFileType::Directory, ""),
            ("usr/link", ModeFileType::Symlink, "../bin/old"),
        ]);
        unpack(came.as_slice(), root).unwrap();
        assert!(root.join("bin").symlink_metadata().unwrap().is_dir());
        assert_eq!(fs::read_to_string(root.join("usr/link")).unwrap(), "new");
        assert_eq!(fs::metadata(root.join("bin/old")).unwrap().permissions().mode() & 0o777, 0o755);
        unpack(came.as_slice(), root).unwrap();
    }

    #[test]
    fn half_an_archive_is_an_error() {
        let root = tempfile::tempdir().unwrap();
        let came = archive([("file", ModeFileType::Regular, "contents")]);
        assert!(unpack(&came[..came.len() / 2], root.path()).is_err());
    }
}
