// SPDX-License-Identifier: MIT OR Apache-2.0

//! Pages that are released by the wrong call do not compile: a copy of the driver is built with each
//! mistake, by the kernel's own build system, and the compiler must name it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use libtest_mimic::{Arguments, Failed, Trial};
use xtask::bench::Bench;

static BENCH: LazyLock<Result<Bench, String>> =
    LazyLock::new(|| Bench::load().map_err(|error| format!("{error:#}")));

/// A mistake: some text of a source file, and what it is replaced by.
struct Mistake {
    name: &'static str,
    file: &'static str,
    /// Stands in the file just once.
    right: &'static str,
    wrong: &'static str,
    /// What the compiler must say; nothing where it must be content.
    says: &'static [&'static str],
}

const MISTAKES: &[Mistake] = &[
    Mistake { name: "none", file: "sys/calls.rs", right: "trait Pins {}", wrong: "trait Pins {}", says: &[] },
    Mistake {
        name: "references_released_as_pins",
        file: "sys/calls.rs",
        right: "trait Pins {}",
        wrong: "trait Pins {}\npub(crate) fn wrong(pages: &Acquired<Get>) { unsafe { <Pin as Calls>::release(pages) } }",
        says: &["mismatched types", "expected `&Acquired<Pin>`, found `&Acquired<Get>`"],
    },
    Mistake {
        name: "pins_released_as_references",
        file: "sys/calls.rs",
        right: "trait Pins {}",
        wrong: "trait Pins {}\npub(crate) fn wrong(pages: &Acquired<Pin>) { unsafe { <Get as Calls>::release(pages) } }",
        says: &["mismatched types", "expected `&Acquired<Get>`, found `&Acquired<Pin>`"],
    },
    Mistake {
        name: "references_dirtied_as_pins",
        file: "sys/calls.rs",
        right: "trait Pins {}",
        wrong: "trait Pins {}\npub(crate) fn wrong(pages: &Acquired<Get>) { unsafe { unpin(pages, true) } }",
        says: &["the trait bound `Get: Pins` is not satisfied"],
    },
    Mistake {
        name: "held_by_the_wrong_mode",
        file: "hold.rs",
        right: "Mode::Get => HeldPages::Get(CountedPages::acquire(counters, path, wanted)?),",
        wrong: "Mode::Get => HeldPages::Get(CountedPages::<Pin>::acquire(counters, path, wanted)?),",
        says: &["expected `CountedPages<Get>`, found `CountedPages<Pin>`"],
    },
    Mistake {
        name: "a_bio_of_two_modes",
        file: "request.rs",
        right: "let buffer = self.acquire::<A>(how, counters, segment)?;\n            buffers.push(buffer,",
        wrong: "let other = self.acquire::<Get>(how, counters, segment)?;\n            let buffer = self.acquire::<A>(how, counters, segment)?;\n            buffers.push(buffer, GFP_KERNEL_ACCOUNT)?;\n            buffers.push(other,",
        says: &["mismatched types", "Buffer<"],
    },
    Mistake {
        name: "released_twice",
        file: "acquisition.rs",
        right: "        pages.release_dirty();\n",
        wrong: "        pages.release_dirty();\n        pages.release_dirty();\n",
        says: &["use of moved value: `pages`"],
    },
];

fn main() {
    xtask::host::command::end_with_runner();
    let arguments = Arguments::from_args();
    let trial =
        |mistake: &'static Mistake| Trial::test(format!("release::{}", mistake.name), move || check(mistake));
    libtest_mimic::run(&arguments, MISTAKES.iter().map(trial).collect()).exit();
}

fn check(mistake: &Mistake) -> Result<(), Failed> {
    let folder = xtask::artefacts().join("release").join(mistake.name);
    let (source, objects) = (folder.join("source"), folder.join("objects"));
    copy(&xtask::workspace().join("kmod-blk"), &source)?;
    fs::create_dir_all(&objects).map_err(|error| format!("make {}: {error}", objects.display()))?;
    plant(mistake, &source.join(mistake.file))?;
    let said = build(&source, &objects)?;
    match (said, mistake.says) {
        (None, []) => Ok(()),
        (None, _) => Err("it compiles".into()),
        (Some(said), []) => Err(format!("the driver as it is does not compile: {said}").into()),
        (Some(said), says) => match says.iter().find(|part| !said.contains(**part)) {
            None => Ok(()),
            Some(missing) => Err(format!("the compiler does not say '{missing}' but: {said}").into()),
        },
    }
}

fn plant(mistake: &Mistake, file: &Path) -> Result<(), Failed> {
    let text = fs::read_to_string(file).map_err(|error| format!("read {}: {error}", file.display()))?;
    if text.matches(mistake.right).count() != 1 {
        return Err(format!("{} does not have '{}' just once", file.display(), mistake.right).into());
    }
    let planted = text.replace(mistake.right, mistake.wrong);
    fs::write(file, planted).map_err(|error| format!("write {}: {error}", file.display()).into())
}

/// What the compiler says; nothing if it is content.
fn build(source: &Path, objects: &Path) -> Result<Option<String>, Failed> {
    let kernel: PathBuf =
        BENCH.as_ref()?.machine.kernel.parent().ok_or("the kernel's file has no folder")?.to_owned();
    let output = Command::new("make")
        .env("LC_ALL", "C")
        .arg("-C")
        .arg(&kernel)
        .arg(format!("M={}", source.display()))
        .arg(format!("MO={}", objects.display()))
        .arg("main.o")
        .output()
        .map_err(|error| format!("run make: {error}"))?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    Ok((!output.status.success()).then_some(said))
}

/// Copies a folder anew.
fn copy(from: &Path, to: &Path) -> Result<(), Failed> {
    let failed = |error: std::io::Error| format!("copy {} to {}: {error}", from.display(), to.display());
    if to.exists() {
        fs::remove_dir_all(to).map_err(failed)?;
    }
    fs::create_dir_all(to).map_err(failed)?;
    for entry in fs::read_dir(from).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if entry.file_type().map_err(failed)?.is_dir() {
            copy(&from, &to)?;
        } else {
            fs::copy(&from, &to).map_err(failed)?;
        }
    }
    Ok(())
}
