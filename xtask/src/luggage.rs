// SPDX-License-Identifier: MIT OR Apache-2.0

//! What comes along to a guest with a program of the user's: the program and what it is loaded with,
//! further files, a shell, and applets of busybox for names that are not otherwise there.
//!
//! All of it is unpacked into the guest's root at the paths that it has on the host. It never is in an
//! image or in a checkpoint.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::host::command::Command;
use crate::host::tools::find_program;
use crate::image::archive::{Archive, in_memory};
use crate::image::host_files::{NoInterpreter, add_loaded, add_program, is_executable};

/// Links to busybox by the names of its applets; last in the guest's PATH.
const APPLETS: &str = "/usr/lib/busybox";

/// Files of the host that say how its programs are set up, where it has them.
const SETTINGS: &[&str] = &["/etc/ld.so.cache", "/etc/localtime"];

/// The guest has one user.
const USERS: &[(&str, &str)] =
    &[("/etc/passwd", "root:x:0:0:root:/root:/bin/sh\n"), ("/etc/group", "root:x:0:\n")];

/// Links that programs expect below `/dev`.
const STREAMS: &[(&str, &str)] = &[
    ("/dev/fd", "/proc/self/fd"),
    ("/dev/stdin", "/proc/self/fd/0"),
    ("/dev/stdout", "/proc/self/fd/1"),
    ("/dev/stderr", "/proc/self/fd/2"),
];

/// What fits into a guest's root. That has half of the guest's memory and as many inodes as half of its
/// pages, less what the kernel and the image take of both: 227 MiB and 58,000 inodes, of which the image has
/// some 10 MiB. The rest is left to the program.
const ROOM_MIB: u64 = 200;
const ROOM_ENTRIES: usize = 50_000;

/// Why a program cannot run, with the exit code that a shell has for it.
#[derive(Debug, PartialEq, Eq)]
pub struct Refusal {
    /// 127 where there is no such program, 126 where it cannot be executed.
    pub code: u8,
    /// The reason, in one sentence.
    pub why: String,
}

/// An archive in the making.
pub struct Luggage {
    archive: Archive,
    applets: Vec<String>,
}

impl Luggage {
    /// What every program may need: a shell, small tools, and the files of a root that programs expect.
    pub fn new() -> Result<Self> {
        let mut archive = Archive::default();
        archive.folder("/root");
        for (path, contents) in USERS {
            archive.file(path, contents.as_bytes());
        }
        for (path, target) in STREAMS {
            archive.symlink(path, target);
        }
        for path in SETTINGS.iter().map(Path::new).filter(|path| path.exists()) {
            add_loaded(&mut archive, path)?;
        }
        add_program(&mut archive, Path::new("/bin/sh"))?;
        let busybox =
            find_program("busybox").context("there is no busybox on this host; run `cargo xtask setup`")?;
        add_program(&mut archive, &busybox)?;
        let listed = Command::new(&busybox).arg("--list").read()?;
        let applets: Vec<String> = listed.lines().map(str::to_owned).collect();
        for applet in &applets {
            archive.symlink(&format!("{APPLETS}/{applet}"), &busybox.to_string_lossy());
        }
        Ok(Self { archive, applets })
    }

    /// Adds the program that a shell would start for this word, and returns its path in the guest.
    pub fn add_program(&mut self, word: &str) -> Result<Result<String, Refusal>> {
        let refuse = |code, why| Ok(Err(Refusal { code, why }));
        let found = if word.contains('/') { Some(PathBuf::from(word)) } else { find_program(word) };
        let Some(path) = found else {
            if self.applets.iter().any(|applet| applet == word) {
                return Ok(Ok(format!("{APPLETS}/{word}")));
            }
            return refuse(
                127,
                format!("there is no program '{word}' on this host, which is where it comes from"),
            );
        };
        if !path.exists() {
            return refuse(127, format!("there is no program {}", path.display()));
        }
        if !is_executable(&path) {
            let what = if path.is_dir() { "is a folder" } else { "is not executable (chmod +x makes it so)" };
            return refuse(126, format!("{} {what}", path.display()));
        }
        let path = straight(&path)?;
        self.demand_room_for(&path)?;
        match add_program(&mut self.archive, &path) {
            Ok(()) => Ok(Ok(path.to_string_lossy().into_owned())),
            Err(error) => match error.downcast_ref::<NoInterpreter>() {
                Some(not) => refuse(if not.is_there { 126 } else { 127 }, not.to_string()),
                None => Err(error),
            },
        }
    }

    /// Adds a file or a folder with all below it, or the program of that name where there is no such
    /// file. Programs and libraries bring what they are loaded with; a script its interpreter, but not
    /// each of those that lie about in a folder.
    pub fn add(&mut self, name: &Path) -> Result<()> {
        let by_name = || find_program(name.to_str().filter(|name| !name.contains('/'))?);
        let path = if name.exists() { name.to_owned() } else { by_name().unwrap_or_else(|| name.to_owned()) };
        if !path.exists() {
            bail!("there is no file {} to come along", path.display());
        }
        let path = straight(&path)?;
        if path.is_file() {
            self.demand_room_for(&path)?;
            let add = if is_executable(&path) { add_program } else { add_loaded };
            return add(&mut self.archive, &path);
        }
        if !path.is_symlink() {
            return self.add_tree(&path);
        }
        let target = path.canonicalize().with_context(|| format!("cannot follow {}", path.display()))?;
        self.archive.symlink(text(&path)?, text(&target)?);
        self.add_tree(&target)
    }

    /// Links stay links: they may lead out of the folder, in a circle, or nowhere.
    fn add_tree(&mut self, path: &Path) -> Result<()> {
        let data =
            fs::symlink_metadata(path).with_context(|| format!("cannot look at {}", path.display()))?;
        if data.is_dir() {
            self.archive.folder(text(path)?);
            for entry in fs::read_dir(path).with_context(|| format!("cannot list {}", path.display()))? {
                let entry = entry.with_context(|| format!("cannot list {}", path.display()))?;
                self.add_tree(&entry.path())?;
            }
            return Ok(());
        }
        if data.is_symlink() {
            let target = fs::read_link(path).with_context(|| format!("cannot read {}", path.display()))?;
            self.archive.symlink(text(path)?, text(&target)?);
            return Ok(());
        }
        if !data.is_file() {
            bail!("{} is a socket, a pipe or a device, and cannot come along", path.display());
        }
        self.demand_room_for(path)?;
        add_loaded(&mut self.archive, path)
    }

    /// Fails if this file does not fit, before anybody reads it.
    fn demand_room_for(&self, path: &Path) -> Result<()> {
        let data = fs::metadata(path).with_context(|| format!("cannot look at {}", path.display()))?;
        self.demand_room(&path.to_string_lossy(), in_memory(data.len()))
    }

    fn demand_room(&self, what: &str, more_bytes: u64) -> Result<()> {
        let fits = self.archive.file_bytes().saturating_add(more_bytes) <= ROOM_MIB << 20;
        if !fits || self.archive.entries() > ROOM_ENTRIES {
            bail!(
                "{what} does not fit into the guest: all that comes along may be {ROOM_MIB} MiB and {ROOM_ENTRIES} files"
            );
        }
        Ok(())
    }

    /// Adds a script of the shell's.
    pub fn add_script(&mut self, path: &Path, body: &str) {
        self.archive.file(&path.to_string_lossy(), format!("#!/bin/sh\n{body}\n").as_bytes());
    }

    /// The archive. Only now it is known what libraries take.
    pub fn pack(self) -> Result<Vec<u8>> {
        self.demand_room("what comes along", 0)?;
        self.archive.pack()
    }
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().with_context(|| format!("{} is not UTF-8", path.display()))
}

/// The path without links and dots on the way. Its last name stays: some programs go by it.
fn straight(path: &Path) -> Result<PathBuf> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        bail!("{} is no file", path.display());
    };
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let folder = folder.canonicalize().with_context(|| format!("there is no folder {}", folder.display()))?;
    Ok(folder.join(name))
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::os::unix::net::UnixListener;

    use super::*;

    fn refused(word: &str) -> Refusal {
        let mut luggage = Luggage { archive: Archive::default(), applets: vec!["an-applet".to_owned()] };
        luggage.add_program(word).unwrap().unwrap_err()
    }

    #[test]
    fn a_program_that_is_not_there_is_127_and_one_that_cannot_run_126() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("data");
        fs::write(&file, "x").unwrap();
        assert_eq!(refused("no-such-program-here").code, 127);
        assert_eq!(refused("/no/such/program").code, 127);
        assert_eq!(refused(file.to_str().unwrap()).code, 126);
        assert_eq!(refused(folder.path().to_str().unwrap()).code, 126);
    }

    #[test]
    fn a_script_without_its_interpreter_is_127_and_with_one_that_cannot_run_126() {
        let folder = tempfile::tempdir().unwrap();
        let script = folder.path().join("script");
        for (interpreter, code) in [("/no/such/interpreter", 127), ("/etc/passwd", 126)] {
            fs::write(&script, format!("#!{interpreter}\n")).unwrap();
            fs::set_permissions(&script, Permissions::from_mode(0o755)).unwrap();
            assert_eq!(refused(script.to_str().unwrap()).code, code, "{interpreter}");
        }
    }

    #[test]
    fn applets_are_for_names_that_are_not_otherwise_there() {
        let applets = ["an-applet", "sh"].map(str::to_owned).to_vec();
        let mut luggage = Luggage { archive: Archive::default(), applets };
        assert_eq!(luggage.add_program("an-applet").unwrap().unwrap(), "/usr/lib/busybox/an-applet");
        assert_ne!(luggage.add_program("sh").unwrap().unwrap(), "/usr/lib/busybox/sh");
    }

    #[test]
    fn a_folder_comes_with_all_below_it_and_a_missing_file_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        fs::create_dir(root.join("sub")).unwrap();
        fs::write(root.join("sub/data"), "x").unwrap();
        let mut luggage = Luggage { archive: Archive::default(), applets: Vec::new() };
        luggage.add(&root.join("sub/../sub")).unwrap();
        assert!(luggage.archive.has(root.join("sub/data").to_str().unwrap()));
        let error = luggage.add(Path::new("no-such-file")).unwrap_err().to_string();
        assert_eq!(error, "there is no file no-such-file to come along");
    }

    #[test]
    fn links_in_a_folder_come_as_links_wherever_they_lead() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        fs::create_dir(root.join("sub")).unwrap();
        fs::write(root.join("outside"), "x").unwrap();
        symlink("..", root.join("sub/up")).unwrap();
        symlink("no-such-file", root.join("sub/dangling")).unwrap();
        symlink("sub", root.join("to-sub")).unwrap();
        let mut luggage = Luggage { archive: Archive::default(), applets: Vec::new() };
        luggage.add(&root.join("to-sub")).unwrap();
        let has = |name: &str| luggage.archive.has(root.join(name).to_str().unwrap());
        assert!(has("to-sub") && has("sub/up") && has("sub/dangling"));
        assert!(!has("outside") && !has("sub/up/sub"));
    }

    #[test]
    fn a_socket_cannot_come_along_and_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().canonicalize().unwrap().join("socket");
        let _listener = UnixListener::bind(&socket).unwrap();
        let mut luggage = Luggage { archive: Archive::default(), applets: Vec::new() };
        let error = luggage.add(folder.path()).unwrap_err().to_string();
        let expected = format!("{} is a socket, a pipe or a device, and cannot come along", socket.display());
        assert_eq!(error, expected);
    }

    /// Together or alone; the files have holes, so that the test takes no room either.
    #[test]
    fn what_does_not_fit_is_refused_before_it_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, bytes| {
            let path = folder.path().join(name);
            fs::File::create(&path).unwrap().set_len(bytes).unwrap();
            path
        };
        let mut luggage = Luggage { archive: Archive::default(), applets: Vec::new() };
        let alone = luggage.add(&file("huge", 1 << 40)).unwrap_err().to_string();
        assert!(
            alone.contains("/huge does not fit into the guest: all that comes along may be 200 MiB"),
            "{alone}"
        );
        luggage.add(&file("first", 1 << 20)).unwrap();
        assert!(luggage.add(&file("second", ROOM_MIB << 20)).is_err());
    }
}
