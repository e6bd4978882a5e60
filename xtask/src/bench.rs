// SPDX-License-Identifier: MIT OR Apache-2.0

//! The bench: everything that is chosen and built before the first guest starts.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{env, fmt, fs};

use anyhow::{Context, Result};
use clap::ValueEnum;
use serde::{Deserialize, Serialize};

pub use options::{Options, Seeded};

use crate::host::setup;
use crate::kernel::Kernel;
use crate::qemu::accelerator::{Accelerator, Wish};
use crate::qemu::machine::Machine;
use crate::{archive, artefacts, cache, image, kernel, module, qemu, say, seed};

mod options;

/// Names the file of the bench to the processes of tests.
pub const VARIABLE: &str = "PINBED_BENCH";

/// What of the environment the first line of a run says.
const HEADER: &[&str] = &[
    "accelerator",
    "qemu",
    "machine",
    "cpu",
    "kernel",
    "config",
    "module",
    "seed",
    "isolation",
    "host load",
];

/// What every cell starts from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Isolation {
    /// A guest that was saved when it had made the cell's setup.
    #[default]
    Checkpoint,
    /// A guest that boots.
    Boot,
}

impl fmt::Display for Isolation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Checkpoint => "checkpoint",
            Self::Boot => "boot",
        })
    }
}

/// What cells run on.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Bench {
    /// The machine that every guest gets.
    pub machine: Machine,
    /// What the user wants guests to run under, wherever that is.
    pub accel: Wish,
    /// What every cell starts from.
    pub isolation: Isolation,
    /// See [`crate::seed`].
    pub seed: u64,
    /// What a reader of a record must know of it, by name.
    pub environment: BTreeMap<String, String>,
    /// Keeps the image, as long as anybody has the bench.
    #[serde(skip)]
    pub kept: Option<Arc<cache::Lock>>,
}

impl Bench {
    /// Chooses and builds everything, and remembers it for tests that run in processes of their own.
    pub fn prepare(options: &Options) -> Result<Self> {
        Self::prepare_with_kernel(options).map(|(bench, _)| bench)
    }

    /// The same with the kernel, for who builds more against it.
    pub fn prepare_with_kernel(options: &Options) -> Result<(Self, Kernel)> {
        let accel = options.wish()?;
        setup::ensure(options.flavour())?;
        let kernel = kernel::ensure(&options.kernel)?;
        let module = module::ensure(&kernel)?;
        let image = image::ensure(&module)?;
        let machine = Machine {
            accelerator: Accelerator::choose(accel, &kernel.vmlinux)?,
            kernel: kernel.vmlinux.clone(),
            flavour: kernel.flavour,
            image: image.path,
            processors: options.smp,
            icount: options.icount,
            parameters: Vec::new(),
        };
        let isolation = options.isolation;
        let seed = options.seed.unwrap_or_else(|| seed::of_image(&image.hash));
        let environment = BTreeMap::from([
            ("kernel", format!("{} (package {})", kernel.release, kernel.version)),
            ("config", kernel.config_hash.clone()),
            ("module", module.build_id),
            ("image", image.hash),
            ("seed", seed.to_string()),
            ("isolation", isolation.to_string()),
            ("options", options.typed()),
        ]);
        let environment = environment.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let bench =
            Self { machine, accel, isolation, seed, environment, kept: None }.describe_host()?.keep()?;
        let text = serde_json::to_vec_pretty(&bench).context("write down the bench")?;
        cache::write_whole(&file(), &text)?;
        Ok((bench, kernel))
    }

    /// The bench that `PINBED_BENCH` names, for whatever was prepared last may be of other sources; or the
    /// one in the archive that the running tests were unpacked from.
    pub fn load() -> Result<Self> {
        let file = env::var_os(VARIABLE).map(PathBuf::from).or_else(archive::unpacked).with_context(|| {
            format!(
                "cells run by `cargo xtask test`, from an archive, or with {VARIABLE} set to the file that \
                 `cargo xtask image` prints last"
            )
        })?;
        let text = fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
        let bench = Self::parse(&text, &file)?;
        if bench.machine.kernel.is_relative() {
            return archive::adopt(&file, &text, &artefacts().join("archives"), Self::on_this_host)?.keep();
        }
        bench.keep()
    }

    /// Keeps the image from being removed by whoever makes room for another.
    fn keep(mut self) -> Result<Self> {
        let folder = self.machine.image.parent().context("an image without a folder")?;
        self.kept = Some(Arc::new(cache::keep_folder(folder)?));
        Ok(self)
    }

    /// A bench that was written down in a file.
    pub(crate) fn parse(text: &[u8], file: &Path) -> Result<Self> {
        serde_json::from_slice(text).with_context(|| format!("{} is of another version", file.display()))
    }

    /// A bench that was packed elsewhere, with the accelerator that works here.
    fn on_this_host(mut self) -> Result<Self> {
        self.machine.accelerator = Accelerator::choose(self.accel, &self.machine.kernel)?;
        self.describe_host()
    }

    /// Adds to the environment what depends on the host.
    fn describe_host(mut self) -> Result<Self> {
        let Accelerator { name, why } = &self.machine.accelerator;
        let host = [
            ("accelerator", format!("{name} ({why})")),
            ("qemu", qemu::version()?),
            ("machine", self.machine.description()),
            ("cpu", self.machine.cpu().to_owned()),
        ];
        self.environment.extend(host.map(|(name, value)| (name.to_owned(), value)));
        Ok(self)
    }

    /// One line for the top of a run.
    pub fn header(&self) -> String {
        header(|name| match self.environment.get(name) {
            Some(value) => value.clone(),
            None if name == "host load" => host_load(),
            None => "unknown".to_owned(),
        })
    }
}

/// The first line of a run: what a reader must know of where its cells ran.
pub fn header(value: impl Fn(&str) -> String) -> String {
    HEADER.iter().map(|name| format!("{name} {}", value(name))).collect::<Vec<_>>().join(", ")
}

/// Runnable tasks of the host, averaged over the last minute.
pub fn host_load() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().filter(|word| !word.is_empty()).unwrap_or("unknown").to_owned()
}

/// `cargo xtask image`: prepares everything that cells run on, and runs none.
pub fn main(options: &Options) -> Result<()> {
    let _alone = occupy()?;
    let bench = Bench::prepare(options)?;
    say!("{}", bench.header());
    say!("image {}", bench.machine.image.display());
    say!("{}", file().display());
    Ok(())
}

/// Keeps other runs in this checkout waiting: two would mix their artefacts.
pub fn occupy() -> Result<cache::Lock> {
    cache::lock_folder(&artefacts(), "another run in this checkout to end")
}

/// Where [`Bench::prepare`] leaves the bench.
pub fn file() -> PathBuf {
    artefacts().join("bench.json")
}

#[cfg(test)]
pub(crate) mod tests {
    use std::num::NonZeroU32;

    use super::*;
    use crate::kernel::flavour::Flavour;

    /// A bench that nothing runs on.
    pub(crate) fn bench() -> Bench {
        let accelerator = Accelerator { name: "tcg".into(), why: "asked for".into() };
        let machine = Machine {
            accelerator,
            kernel: "/vmlinux".into(),
            flavour: Flavour::Standard,
            image: "/image".into(),
            processors: NonZeroU32::MIN,
            icount: false,
            parameters: Vec::new(),
        };
        let (accel, isolation) = (Wish::default(), Isolation::default());
        Bench { machine, accel, isolation, seed: 1, environment: BTreeMap::new(), kept: None }
    }

    #[test]
    fn the_first_line_names_all_that_a_reader_must_know() {
        let mut bench = bench();
        bench.environment.insert("kernel".to_owned(), "7.3.4".to_owned());
        let header = bench.header();
        assert!(header.starts_with("accelerator unknown, "), "{header}");
        assert!(header.contains(", kernel 7.3.4, "), "{header}");
        assert!(header.contains(", host load "), "{header}");
    }
}
