// SPDX-License-Identifier: MIT OR Apache-2.0
//! Files of the host that the guest's tools need: their interpreter and their libraries, where the
//! tools look for them.

use std::collections::VecDeque;
use std::fmt::{self, Display, Formatter};
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result, bail};
use lddtree::DependencyAnalyzer;

use super::archive::Archive;
use super::read;
use crate::host::command::Command;
use crate::host::tools;

/// How every program and library begins.
const ELF: &[u8; 4] = b"\x7fELF";

/// Adds what a program is loaded with.
pub(crate) fn add_libraries(archive: &mut Archive, program: &Path) -> Result<()> {
    let tree = DependencyAnalyzer::default()
        .analyze(program)
        .with_context(|| format!("cannot read what {} is linked with", program.display()))?;
    for library in tree.libraries.values() {
        if !library.found() {
            bail!("{} needs {}, which this host lacks; reinstall it", program.display(), library.name);
        }
        add_host_file(archive, &library.path)?;
    }
    match tree.interpreter {
        Some(interpreter) => add_host_file(archive, Path::new(&interpreter)),
        None => Ok(()),
    }
}

/// A script's interpreter cannot be started on this host, so neither can the script.
#[derive(Debug)]
pub(crate) struct NoInterpreter {
    script: PathBuf,
    interpreter: String,
    /// Whether the interpreter is there at all.
    pub(crate) is_there: bool,
}

impl std::error::Error for NoInterpreter {}

impl Display for NoInterpreter {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let why = if self.is_there { "is not executable" } else { "this host lacks" };
        write!(f, "{} is a script for {}, which {why}", self.script.display(), self.interpreter)
    }
}

/// Adds a program with all that it is loaded with: a script brings its interpreter. Fails with
/// [`NoInterpreter`] where it cannot.
pub(crate) fn add_program(archive: &mut Archive, program: &Path) -> Result<()> {
    add_loaded(archive, program)?;
    for interpreter in interpreters(&read(program)?) {
        let found = tools::find_program(&interpreter);
        let is_there = found.is_some();
        let Some(path) = found.filter(|path| is_executable(path)) else {
            bail!(NoInterpreter { script: program.to_owned(), interpreter, is_there });
        };
        if !archive.has(text(&path)?) {
            add_program(archive, &path)?;
        }
    }
    Ok(())
}

/// Whether this is a file that anybody may execute.
pub(crate) fn is_executable(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
}

/// Adds a file, and its libraries if it is something that is loaded.
pub(crate) fn add_loaded(archive: &mut Archive, path: &Path) -> Result<()> {
    add_host_file(archive, path)?;
    let mut start = [0; ELF.len()];
    let opened = File::open(path).and_then(|mut file| file.read_exact(&mut start));
    if opened.is_ok() && start == *ELF {
        add_libraries(archive, path)?;
    }
    Ok(())
}

/// The programs that the first line of a script names: with `/usr/bin/env python3` there are two.
fn interpreters(script: &[u8]) -> Vec<String> {
    let Some(line) = script.strip_prefix(b"#!").and_then(|rest| rest.split(|&byte| byte == b'\n').next())
    else {
        return Vec::new();
    };
    let line = String::from_utf8_lossy(line);
    let mut words = line.split_whitespace();
    let Some(first) = words.next() else { return Vec::new() };
    let through_env = Path::new(first).file_name().is_some_and(|name| name == "env");
    let second = words.find(|word| !word.starts_with('-') && !word.contains('=')).filter(|_| through_env);
    [Some(first), second].into_iter().flatten().map(str::to_owned).collect()
}

/// Adds the library that the C library loads by name when a thread is cancelled; no tool names it.
pub(crate) fn add_unwinder(archive: &mut Archive) -> Result<()> {
    let path = Command::new("gcc").arg("-print-file-name=libgcc_s.so.1").read()?;
    add_host_file(archive, Path::new(&path))
}

/// Adds a file under its absolute path. Links on the way, such as /lib to usr/lib, are links in the
/// guest too, so that nothing is there twice.
fn add_host_file(archive: &mut Archive, path: &Path) -> Result<()> {
    let mut ahead: VecDeque<String> = components(path)?;
    let mut here = PathBuf::from("/");
    while let Some(name) = ahead.pop_front() {
        if name == ".." {
            here.pop();
            continue;
        }
        let next = here.join(&name);
        let Ok(target) = fs::read_link(&next) else {
            here = next;
            continue;
        };
        archive.symlink(text(&next)?, text(&target)?);
        let mut followed = components(&target)?;
        followed.append(&mut ahead);
        ahead = followed;
        if target.is_absolute() {
            here = PathBuf::from("/");
        }
    }
    let path = text(&here)?;
    if !archive.has(path) {
        archive.file(path, &read(&here)?);
    }
    Ok(())
}

fn components(path: &Path) -> Result<VecDeque<String>> {
    let names = path.components().filter(|part| matches!(part, Component::Normal(_) | Component::ParentDir));
    names.map(|part| text(Path::new(part.as_os_str())).map(str::to_owned)).collect()
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().with_context(|| format!("{} is not UTF-8", path.display()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn links_on_the_way_stay_links() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        fs::create_dir_all(root.join("usr/lib")).unwrap();
        fs::write(root.join("usr/lib/libx.so.1.2"), "x").unwrap();
        symlink("libx.so.1.2", root.join("usr/lib/libx.so.1")).unwrap();
        symlink("usr/lib", root.join("lib")).unwrap();
        symlink("../usr/lib/libx.so.1", root.join("usr/up.so")).unwrap();

        let mut archive = Archive::default();
        let path = |name: &str| root.join(name).to_str().unwrap().to_owned();
        add_host_file(&mut archive, &root.join("lib/libx.so.1")).unwrap();
        assert!(archive.has(&path("lib")) && archive.has(&path("usr/lib/libx.so.1")));
        assert!(archive.has(&path("usr/lib/libx.so.1.2")) && !archive.has(&path("lib/libx.so.1")));
        let packed = archive.pack().unwrap();
        add_host_file(&mut archive, &root.join("usr/lib/libx.so.1.2")).unwrap();
        assert_eq!(archive.pack().unwrap(), packed);
        add_host_file(&mut archive, &root.join("usr/up.so")).unwrap();
        assert!(archive.has(&path("usr/up.so")));
    }

    #[test]
    fn a_script_names_its_interpreters() {
        let named = |script: &str| interpreters(script.as_bytes());
        assert_eq!(named("#!/bin/sh -e\necho"), ["/bin/sh"]);
        assert_eq!(named("#! /usr/bin/env -S A=b python3 -u\n"), ["/usr/bin/env", "python3"]);
        assert_eq!(named("echo no first line"), [""; 0]);
        assert_eq!(named("#!"), [""; 0]);
    }

    #[test]
    fn a_script_brings_its_interpreter() {
        let folder = tempfile::tempdir().unwrap();
        let script = folder.path().join("script");
        fs::write(&script, "#!/bin/sh\n").unwrap();
        let mut archive = Archive::default();
        add_program(&mut archive, &script).unwrap();
        assert!(String::from_utf8_lossy(&archive.pack().unwrap()).contains("ld-linux"));
        fs::write(&script, "#!/no/such/interpreter\n").unwrap();
        let error = add_program(&mut archive, &script).unwrap_err().to_string();
        assert!(error.ends_with("is a script for /no/such/interpreter, which this host lacks"), "{error}");
        fs::write(&script, "#!/etc/passwd\n").unwrap();
        let error = add_program(&mut archive, &script).unwrap_err().to_string();
        assert!(error.ends_with("is a script for /etc/passwd, which is not executable"), "{error}");
    }

    #[test]
    fn a_dynamic_program_brings_its_interpreter() {
        let mut archive = Archive::default();
        add_libraries(&mut archive, Path::new("/bin/sh")).unwrap();
        let packed = String::from_utf8_lossy(&archive.pack().unwrap()).into_owned();
        assert!(packed.contains("ld-linux") && packed.contains("libc.so"));
    }
}
