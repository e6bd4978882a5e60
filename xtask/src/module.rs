// SPDX-License-Identifier: MIT OR Apache-2.0
//! The kernel module: `kmod-blk`, built against a kernel of the cache; and that of its KUnit suites.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::host::command::Command;
use crate::host::setup;
use crate::kernel::{self, Kernel};
use crate::{artefacts, cache, say, workspace};

/// The module that was built.
pub struct Module {
    /// The `.ko` file, with all that a debugger wants to know.
    pub path: PathBuf,
    /// What is in it without that, as guests load it.
    pub stripped: Vec<u8>,
    /// The GNU build id that the running module shows in sysfs; without one, a hash of the file.
    pub build_id: String,
}

/// Brings the module up to date with its source; make decides what there is to do.
pub fn ensure(kernel: &Kernel) -> Result<Module> {
    build(kernel, "pinblk", "kmod-blk", "module")
}

/// The same for the module of the driver's KUnit suites.
pub fn ensure_suites(kernel: &Kernel) -> Result<Module> {
    build(kernel, "pinblk_kunit", "kmod-blk/kunit", "suites")
}

/// The commands that check both modules by the kernel's clippy, by the module's name: a warning fails them.
pub fn clippy(kernel: &Kernel) -> Result<Vec<(&'static str, Command)>> {
    let check = |name, source, objects| {
        // Clippy may change the code that is generated: its objects are not for loading.
        let (make, _) = make(kernel, source, &format!("clippy/{objects}"))?;
        Ok::<_, anyhow::Error>((name, make.arg("CLIPPY=1").arg("KRUSTFLAGS=-Dwarnings").arg("modules")))
    };
    Ok(vec![check("pinblk", "kmod-blk", "module")?, check("pinblk_kunit", "kmod-blk/kunit", "suites")?])
}

/// Builds the module `name` from a folder of the checkout into one of the artefacts.
fn build(kernel: &Kernel, name: &str, source: &str, objects: &str) -> Result<Module> {
    let (make, objects) = make(kernel, source, objects)?;
    let _guard = cache::lock_folder(&objects, &format!("the module {name} to be built"))?;
    make.arg("modules").run().with_context(|| format!("the module {name} does not build"))?;
    let path = objects.join(format!("{name}.ko"));
    let file = objects.join("stripped.ko");
    Command::new("objcopy").arg("--strip-debug").arg(&path).arg(&file).run()?;
    // When the lock is gone another command may build another one.
    let stripped = fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
    Ok(Module { build_id: build_id(&path)?, path, stripped })
}

/// `cargo xtask module`.
pub fn main(choice: &kernel::Choice) -> Result<()> {
    setup::ensure(choice.flavour)?;
    let module = ensure(&kernel::ensure(choice)?)?;
    say!("module    {}", module.path.display());
    say!("build id  {}", module.build_id);
    Ok(())
}

/// A make for the module in a folder of the checkout, and the folder among the artefacts into which it builds.
pub(crate) fn make(kernel: &Kernel, source: &str, objects: &str) -> Result<(Command, PathBuf)> {
    let objects = artefacts().join(objects).join(&kernel.key);
    fs::create_dir_all(&objects).with_context(|| format!("cannot create {}", objects.display()))?;
    let objects = objects.canonicalize().with_context(|| format!("cannot find {}", objects.display()))?;
    let make = kernel
        .make()?
        .arg(format!("M={}", workspace().join(source).display()))
        .arg(format!("MO={}", objects.display()));
    Ok((make, objects))
}

fn build_id(module: &Path) -> Result<String> {
    let notes = Command::new("readelf").arg("-n").arg(module).read()?;
    if let Some(id) = build_id_of_notes(&notes) {
        return Ok(id.to_owned());
    }
    let bytes = fs::read(module).with_context(|| format!("cannot read {}", module.display()))?;
    Ok(cache::short_hex(blake3::hash(&bytes)))
}

fn build_id_of_notes(notes: &str) -> Option<&str> {
    notes.lines().find_map(|line| line.trim().strip_prefix("Build ID: "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_build_id_is_read_from_the_notes() {
        let notes = "Displaying notes found in: .note.gnu.build-id\n  GNU  0x14  NT_GNU_BUILD_ID\n    Build ID: ab12\n";
        assert_eq!(build_id_of_notes(notes), Some("ab12"));
        assert_eq!(build_id_of_notes("Displaying notes found in: .note.Linux\n"), None);
    }
}
