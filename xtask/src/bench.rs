// SPDX-License-Identifier: MIT OR Apache-2.0

//! The bench: everything that is chosen and built before the first guest starts.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::{env, fs};

use anyhow::{Context, Result};
use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::host::command::Command;
use crate::host::setup;
use crate::kernel::flavour::Flavour;
use crate::qemu::accelerator::{Accelerator, Wish};
use crate::qemu::machine::Machine;
use crate::{artefacts, cache, image, kernel, module, qemu, say};

/// Names the file of the bench to the processes of tests.
pub const VARIABLE: &str = "PINBED_BENCH";

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

/// What a run is to use.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    #[command(flatten)]
    kernel: kernel::Choice,
    /// What guests run under.
    #[arg(long, value_enum, default_value_t, value_name = "ACCELERATOR")]
    accel: Wish,
    /// What every cell starts from.
    #[arg(long, value_enum, default_value_t, value_name = "START")]
    isolation: Isolation,
}

impl Options {
    /// The flavour of the kernel.
    pub fn flavour(&self) -> Flavour {
        self.kernel.flavour
    }

    /// Those that are not the default, as they are typed.
    fn typed(&self) -> String {
        fn name(value: &impl ValueEnum) -> String {
            value.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
        }
        let series = self.kernel.series.as_ref().map(|series| format!("--series {series}"));
        let flavour = (self.kernel.flavour != Flavour::default())
            .then(|| format!("--flavour {}", name(&self.kernel.flavour)));
        let accel = (self.accel != Wish::default()).then(|| format!("--accel {}", name(&self.accel)));
        let isolation = (self.isolation != Isolation::default())
            .then(|| format!("--isolation {}", name(&self.isolation)));
        [series, flavour, accel, isolation].into_iter().flatten().collect::<Vec<_>>().join(" ")
    }
}

/// What cells run on.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Bench {
    /// The machine that every guest gets.
    pub machine: Machine,
    /// What every cell starts from.
    pub isolation: Isolation,
    /// What a reader of a record must know of it, by name.
    pub environment: BTreeMap<String, String>,
}

impl Bench {
    /// Chooses and builds everything, and remembers it for tests that run in processes of their own.
    pub fn prepare(options: &Options) -> Result<Self> {
        setup::ensure(options.flavour())?;
        let kernel = kernel::ensure(&options.kernel)?;
        let module = module::ensure(&kernel)?;
        let image = image::ensure(&module)?;
        let accelerator = Accelerator::choose(options.accel, &kernel.vmlinux)?;
        let machine = Machine { accelerator, kernel: kernel.vmlinux.clone(), image: image.path };
        let isolation = options.isolation;
        let environment = BTreeMap::from([
            ("accelerator", format!("{} ({})", machine.accelerator.name, machine.accelerator.why)),
            ("qemu", qemu_version()?),
            ("machine", Machine::TYPE.to_owned()),
            ("cpu", machine.cpu().to_owned()),
            ("kernel", format!("{} (package {})", kernel.release, kernel.version)),
            ("config", kernel.config_hash),
            ("module", module.build_id),
            ("image", image.hash),
            ("isolation", if isolation == Isolation::Boot { "boot" } else { "checkpoint" }.to_owned()),
            ("options", options.typed()),
        ]);
        let environment = environment.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let bench = Self { machine, isolation, environment };
        let text = serde_json::to_vec_pretty(&bench).context("write down the bench")?;
        cache::write_whole(&file(), &text)?;
        Ok(bench)
    }

    /// The bench that `PINBED_BENCH` names: whatever was prepared last may be of other sources.
    pub fn load() -> Result<Self> {
        let file = env::var_os(VARIABLE).with_context(|| {
            format!("cells run by `cargo xtask test`, or with {VARIABLE} set to the file that `cargo xtask image` prints last")
        })?;
        let file = PathBuf::from(file);
        let text = fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
        serde_json::from_slice(&text).with_context(|| format!("{} is of another version", file.display()))
    }

    /// One line for the top of a run.
    pub fn header(&self) -> String {
        let words = ["accelerator", "qemu", "machine", "cpu", "kernel", "config", "module", "isolation"]
            .map(|name| format!("{name} {}", self.environment.get(name).map_or("unknown", String::as_str)));
        format!("{}, host load {}", words.join(", "), host_load())
    }
}

/// Runnable tasks of the host, averaged over the last minute.
pub fn host_load() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().filter(|word| !word.is_empty()).unwrap_or("unknown").to_owned()
}

/// `cargo xtask image`: prepares everything that cells run on, and runs none.
pub fn main(options: &Options) -> Result<()> {
    let bench = Bench::prepare(options)?;
    say!("{}", bench.header());
    say!("image {}", bench.machine.image.display());
    say!("{}", file().display());
    Ok(())
}

/// Keeps other runs in this checkout waiting: two would mix their artefacts.
pub fn occupy() -> Result<cache::Lock> {
    let place = blake3::hash(artefacts().as_os_str().as_encoded_bytes());
    let name = format!("artefacts-{}", cache::short_hex(place));
    cache::lock_or_wait_for(&name, "another run in this checkout to end")
}

/// Where [`Bench::prepare`] leaves the bench.
pub fn file() -> PathBuf {
    artefacts().join("bench.json")
}

fn qemu_version() -> Result<String> {
    let text = Command::new(qemu::PROGRAM).arg("--version").read()?;
    let version = text.lines().next().and_then(|line| line.split_once("version "));
    Ok(version.map_or("unknown", |(_, version)| version).to_owned())
}
