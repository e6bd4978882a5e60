// SPDX-License-Identifier: MIT OR Apache-2.0

//! `cargo xtask bench-disks`: how fast pinblk is beside the kernel's other disks in memory, in one guest.
//! What is measured, and how, says the script that runs there: `xtask/guest/bench-disks.sh`.

use std::num::NonZeroUsize;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Result, bail};
use fs_harness::cell::Setup;
use fs_harness::protocol::Program;

use crate::bench::{self, Bench, Options};
use crate::host::tools::find_program;
use crate::luggage::Luggage;
use crate::{exec, note, session, workspace};

const SCRIPT: &str = "xtask/guest/bench-disks.sh";

/// The modules of the kernel that the disks to compare with come from, in its build folder.
const MODULES: [&str; 2] = ["drivers/block/brd.ko", "drivers/block/null_blk/null_blk.ko"];

/// How often to measure, and on what.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// How often each row is measured
    #[arg(long, value_name = "N", default_value = "9")]
    rounds: NonZeroUsize,
    #[command(flatten)]
    bench: Options,
}

/// Measures, and prints a table in Markdown. The exit code is the script's.
pub fn main(arguments: &Arguments) -> Result<ExitCode> {
    let _alone = bench::occupy()?;
    let (bench, kernel) = Bench::prepare_with_kernel(&arguments.bench)?;
    if find_program("fio").is_none() {
        bail!("there is no fio on this host, which is where the guest has it from; run `cargo xtask setup`");
    }
    let mut luggage = Luggage::new()?;
    let mut words = vec![workspace().join(SCRIPT).display().to_string(), arguments.rounds.to_string()];
    for path in MODULES.map(|module| kernel.build.join(module)) {
        words.push(path.display().to_string());
        luggage.add(&path)?;
    }
    luggage.add(&workspace().join(SCRIPT))?;
    luggage.add(Path::new("fio"))?;
    note!("every row on every disk, {} times and once more ...", arguments.rounds);
    let program = Program { words, environment: exec::environment(&[])?, folder: None, terminal: None };
    let seen = session::run(&bench, Setup::None, program, luggage.pack()?)?;
    let account = session::account(&seen, &bench, Setup::None, false)?;
    note!("{}", account.text.trim_end());
    Ok(account.code.into())
}
