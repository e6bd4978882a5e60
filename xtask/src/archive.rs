// SPDX-License-Identifier: MIT OR Apache-2.0

//! `cargo xtask archive`: the tests of the cells with all that they run on, for machines that have QEMU,
//! nextest and a checkout. nextest makes the archive and runs it; what is of pinbed in it is the kernel, the
//! guest's image and a bench whose paths count from its own folder.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::{env, path};

use anyhow::{Context, Result, bail};

use crate::bench::{Bench, Options};
use crate::host::command::Command;
use crate::progress::Progress;
use crate::{artefacts, bench, cache, say, workspace};

/// Where in a target folder nextest finds what to add, by `.config/nextest.toml`.
const STAGE: &str = "pinbed/archive";

/// The bench, beside the files that it names.
const BENCH: &str = "bench.json";

/// How many archives that were run here keep their kernels and images.
const KEPT: usize = 3;

/// Where the archive goes, and what it runs on.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// The archive [default: pinbed.tar.zst in target/pinbed]
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    #[command(flatten)]
    bench: Options,
}

/// Builds the tests and everything that they run on, and packs it.
pub fn main(arguments: &Arguments) -> Result<()> {
    if Command::new("cargo").args(["nextest", "--version"]).read().is_err() {
        bail!("cargo-nextest is not installed, which makes the archive and runs it: see https://nexte.st");
    }
    let file = arguments.file.clone().unwrap_or_else(|| artefacts().join("pinbed.tar.zst"));
    let file = path::absolute(&file).with_context(|| format!("no such path: {}", file.display()))?;
    let _alone = bench::occupy()?;
    let bench = Bench::prepare(&arguments.bench)?;
    say!("{}", bench.header());
    let folder = Stage(artefacts().join("archive"));
    stage(&bench, &folder.0)?;
    let progress = Progress::spinner("packing the tests, the kernel and the guest's image");
    Command::new("cargo")
        .args(["nextest", "archive", "--package", "snapshots", "--profile", "archive", "--archive-file"])
        .arg(&file)
        .current_dir(&workspace())
        .run()?;
    progress.finish("packed the tests, the kernel and the guest's image");
    say!("{}", file.display());
    Ok(())
}

/// What is packed, gone when dropped: tests that were not unpacked must not find it.
struct Stage(PathBuf);

impl Drop for Stage {
    fn drop(&mut self) {
        // What is left is removed the next time.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Puts the bench's files into a folder, named by what they contain, and a bench that names them there.
fn stage(bench: &Bench, folder: &Path) -> Result<()> {
    if folder.exists() {
        // Of a run that was killed.
        fs::remove_dir_all(folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let stripped = folder.join("vmlinux");
    // What a debugger wants of a kernel is ten times the kernel.
    Command::new("objcopy").arg("--strip-debug").arg(&bench.machine.kernel).arg(&stripped).run()?;
    let mut packed = bench.clone();
    packed.machine.kernel = named_by_contents(&stripped, &stripped)?;
    packed.machine.image = named_by_contents(&bench.machine.image, &folder.join("initramfs.cpio"))?;
    fs::remove_file(&stripped).with_context(|| format!("cannot remove {}", stripped.display()))?;
    let text = serde_json::to_vec_pretty(&packed).context("write down the bench")?;
    cache::write_whole(&folder.join(BENCH), &text)
}

/// Copies a file to a name of that kind with its hash in it, and returns the name alone.
fn named_by_contents(from: &Path, like: &Path) -> Result<PathBuf> {
    let contents = fs::read(from).with_context(|| format!("cannot read {}", from.display()))?;
    let name = like.file_name().context("a file without a name")?.to_string_lossy();
    let name = format!("{}-{name}", cache::short_hex(blake3::hash(&contents)));
    cache::write_whole(&like.with_file_name(&name), &contents)?;
    Ok(name.into())
}

/// The bench in the archive that the running program was unpacked from, if it was.
pub fn unpacked() -> Option<PathBuf> {
    let bench = packed_above(&env::current_exe().ok()?)?;
    // What a killed `cargo xtask archive` left is that of no archive.
    let left = artefacts().join("archive").join(BENCH).canonicalize();
    let is_left = left.is_ok_and(|left| bench.canonicalize().is_ok_and(|bench| bench == left));
    (!is_left).then_some(bench)
}

fn packed_above(program: &Path) -> Option<PathBuf> {
    program.ancestors().map(|folder| folder.join(STAGE).join(BENCH)).find(|bench| bench.is_file())
}

/// Makes a packed bench one of this machine: its files are copied to where they stay when nextest removes
/// what it unpacked, below `all`, and `complete` adds what is to be known of the machine. Each is done once for an archive
/// and a boot of the machine; checkpoints depend on where the files are, and so are of one machine too.
pub fn adopt(
    file: &Path,
    text: &[u8],
    all: &Path,
    complete: impl FnOnce(Bench) -> Result<Bench>,
) -> Result<Bench> {
    let boot = fs::read("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let name = cache::short_hex(blake3::hash(&[text, &boot].concat()));
    let _guard = cache::lock(&format!("archive-{name}"))?;
    let place = all.join(name);
    match fs::read(place.join(BENCH)) {
        Ok(text) => return Bench::parse(&text, &place.join(BENCH)),
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", place.display())),
    }
    let mut bench = Bench::parse(text, file)?;
    let packed = file.parent().context("a bench without a folder")?;
    for path in [&mut bench.machine.kernel, &mut bench.machine.image] {
        let from = packed.join(&*path);
        let contents = fs::read(&from).with_context(|| format!("the archive lacks {}", from.display()))?;
        *path = place.join(&*path);
        cache::write_whole(path, &contents)?;
    }
    let bench = complete(bench)?;
    let text = serde_json::to_vec_pretty(&bench).context("write down the bench")?;
    cache::write_whole(&place.join(BENCH), &text)?;
    cache::keep_newest(all, KEPT)?;
    Ok(bench)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::tests::bench;

    #[test]
    fn what_was_packed_elsewhere_becomes_a_bench_of_this_machine_once() {
        let (packed, here) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let mut bench = bench();
        bench.machine.kernel = env::current_exe().unwrap();
        bench.machine.image = packed.path().join("image");
        fs::write(&bench.machine.image, "an image").unwrap();
        let stage_folder = packed.path().join("stage");
        stage(&bench, &stage_folder).unwrap();
        let file = stage_folder.join(BENCH);
        let text = fs::read(&file).unwrap();
        let found = Bench::parse(&text, &file).unwrap();
        assert!(found.machine.kernel.is_relative() && found.machine.image.is_relative());

        let mut completed = 0;
        let mut adopt = || {
            adopt(&file, &text, here.path(), |mut bench| {
                completed += 1;
                bench.seed = 7;
                Ok(bench)
            })
            .unwrap()
        };
        let first = adopt();
        // nextest removes what it unpacked; what was adopted stays.
        fs::remove_dir_all(&stage_folder).unwrap();
        let second = adopt();
        assert_eq!(completed, 1);
        for bench in [&first, &second] {
            assert_eq!(bench.seed, 7);
            assert_eq!(fs::read(&bench.machine.image).unwrap(), b"an image");
            assert!(bench.machine.kernel.starts_with(here.path()));
        }
        assert!(fs::metadata(&first.machine.kernel).unwrap().len() > 0);
    }

    #[test]
    fn an_archive_that_lacks_a_file_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let mut bench = bench();
        bench.machine.kernel = "gone".into();
        let text = serde_json::to_vec(&bench).unwrap();
        let error = adopt(&folder.path().join(BENCH), &text, folder.path(), Ok).unwrap_err();
        assert!(format!("{error:#}").starts_with("the archive lacks "), "{error:#}");
    }
}
