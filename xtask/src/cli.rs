// SPDX-License-Identifier: MIT OR Apache-2.0
//! The command line.

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};
use xtask::host::{doctor, setup};
use xtask::report::shards;
use xtask::{
    CANNOT, archive, bench, crash, disks, exec, fuzz, gdb, kernel, kunit, list, module, plan, replay, review,
    run, rust_analyzer, schema, shell, test, tidy, timing,
};

/// A test bed for filesystems and pinned pages.
#[derive(Parser)]
#[command(
    name = "cargo xtask",
    bin_name = "cargo xtask",
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = "Examples:
  cargo xtask run                  run every cell and show how each ended
  cargo xtask run hold_sync xfs    run the cells whose names contain one of these
  cargo xtask exec -- fio ...      run a program of yours in a guest
  cargo xtask list                 show what there is to run
  cargo xtask test                 run all tests, and all cells against their snapshots
  cargo xtask review               accept snapshots that changed on purpose
  cargo xtask doctor               what does this machine lack?

Exit codes: 0 all as expected, 1 a cell or a test is not, 2 bad input or host."
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run cells and show how each ended.
    #[command(after_help = "Examples:
  cargo xtask run                       every cell
  cargo xtask run dio_write_anon::ext4  the cells of one scenario on one setup
  cargo xtask run --jobs 1 --accel tcg  one guest at a time, emulated
  cargo xtask run --keep ext4           look into the guest of the first cell that does not pass

Installs and builds what is missing first. Artefacts of each cell are in target/pinbed/cells.")]
    Run(run::Arguments),
    /// Run all tests: of the source, of the host, of the harness, and all cells against their snapshots.
    Test(test::Arguments),
    /// Run the driver's KUnit suites, and show their KTAP.
    #[command(after_help = "Examples:
  cargo xtask kunit                     on the standard kernel
  cargo xtask kunit --flavour sanitize  under KASAN, lockdep and their kin

The suites are in kmod-blk/kunit, and run in a guest with two processors. `cargo xtask test` runs
them too.")]
    Kunit(kunit::Arguments),
    /// Run a program of yours in a guest with pinblk and a filesystem.
    #[command(after_help = "Examples:
  cargo xtask exec -- fio --name=x --rw=randwrite --direct=1 --size=4m --bs=4k --thread
  cargo xtask exec --fs xfs --with data.bin -- ./test.sh
  echo text | cargo xtask exec -- sh -c 'cat > file; sync; ls -l'

The program comes from this host, with its libraries or its interpreter, and works in the mounted
filesystem. Its input, its output and its exit code are passed on. What it did to pins and to the
device follows on stderr. docs/at-hand.md has the details.

Exit codes: the program's own; 126 and 127 where it cannot be started, 2 where the guest is at fault.")]
    Exec(exec::Arguments),
    /// Open a shell in a guest where a cell would start.
    #[command(after_help = "Examples:
  cargo xtask shell hold_sync_dma_unhold::ext4  at the start of that cell
  cargo xtask shell --fs xfs --with fio         no cell, but a filesystem

In a cell's guest, `scenario` runs its scenario, and `scenario --step` stops after each step.")]
    Shell(shell::Arguments),
    /// Debug the kernel of a guest that stands still where a cell starts.
    #[command(after_help = "Examples:
  cargo xtask gdb pin_order0
  cargo xtask gdb hold_sync_dma_unhold::ext4 -- -ex 'break ext4_sync_file' -ex continue
  cargo xtask gdb pin_order0 -- -batch -ex 'break vfs_write' -ex continue -ex bt

Symbols of the kernel and of pinblk are loaded; lx-dmesg and the kernel's other commands are there.")]
    Gdb(gdb::Arguments),
    /// Run a recorded cell again, and compare.
    #[command(after_help = "Examples:
  cargo xtask replay target/pinbed/cells/pin_order0/none__pin__observe
  cargo xtask replay from-ci/record.json

Says which parts of the environment are others now.
Exit codes: 0 the same text, 1 another, 2 no record.")]
    Replay(replay::Arguments),
    /// Hunt for faults of pinblk by random requests or failing allocations on the kernel with sanitizers.
    #[command(after_help = "Examples:
  cargo xtask fuzz                                      a hundred thousand requests
  cargo xtask fuzz --requests 2000000 --log fuzz.jsonl  many, or where an earlier command ended
  cargo xtask fuzz --seed 1 --round 20007 --requests 1  only the round that a failure named
  cargo xtask fuzz --allocations                        each allocation fails once, none is random

Ends with the first guest that finds a fault, and names the round and the last requests. Otherwise
says how often each request was made, and how it was answered. Artefacts of each guest are in
target/pinbed/fuzz.")]
    Fuzz(fuzz::Arguments),
    /// Visit many states in which a power cut could leave each filesystem, under each policy of the driver.
    #[command(after_help = "Examples:
  cargo xtask crash                                     500 of each filesystem under each policy
  cargo xtask crash ext4 --states 2000 --log log.jsonl  many, or where an earlier command ended
  cargo xtask crash ext4::pin::skip --seed 1 --state 123of456+100-104
                                                        the one that a broken promise named

In each state the filesystem is mounted, which recovers it, its files are compared with what was
promised, and it is checked. Under `drop`, which loses data on purpose, promises must be broken.
docs/power-cuts.md says how states are chosen and named. Artefacts of each guest are in
target/pinbed/crash.")]
    Crash(crash::Arguments),
    /// Measure cells from a checkpoint, from a boot, and virtme-ng.
    #[command(after_help = "Examples:
  cargo xtask bench                      a cell without a filesystem, one on ext4, one on XFS
  cargo xtask bench --rounds 5 fuse_dio  the cells whose names contain this
  PATH=venv/bin:$PATH cargo xtask bench  with virtme-ng, installed by pip in a virtual environment

Everything is measured by turns, one guest at a time. Prints a table in Markdown;
docs/benchmarks.md has some.")]
    Bench(timing::Arguments),
    /// Measure pinblk beside brd and null_blk, by fio in one guest.
    #[command(after_help = "Examples:
  cargo xtask bench-disks             nine rounds, by the time that passes
  cargo xtask bench-disks --icount    by counted instructions: the same figures in every run
  cargo xtask bench-disks --rounds 1  a quick look

Random reads and writes of 4 KiB and 1 MiB, one at a time and 32, on disks with no write cache and
on one of pinblk with it, all by turns. Prints a table in Markdown; docs/benchmarks.md has some.")]
    BenchDisks(disks::Arguments),
    /// List the cells, or explain them and why there are no others; touches nothing.
    #[command(after_help = "Examples:
  cargo xtask list                           what each scenario validates, and its cells
  cargo xtask list --explain hold_sync       its source, and why it does not run elsewhere
  cargo xtask list --explain ::vfat::        what runs on vfat, and why the rest does not
  cargo xtask list --json | jq -r '.[].name' the names of all cells")]
    List(list::Arguments),
    /// Spread the cells over machines by how long they took.
    #[command(after_help = "Examples:
  cargo xtask plan --shards 4          a filterset for each shard, for cargo nextest run
  cargo xtask plan --shards 4 --json   the same as the matrix of a GitHub Actions job
  cargo xtask plan --shards 4 shard-*  by the artefacts of an earlier run

docs/distributing.md shows the whole way.")]
    Plan(plan::Arguments),
    /// Pack the tests of the cells and all that they run on for other machines.
    #[command(
        after_help = "On a machine with QEMU, cargo-nextest and a checkout of the same revision, nothing is built:

  cargo nextest run --archive-file pinbed.tar.zst --workspace-remap . --profile ci \\
      -E 'binary(cells)' --partition slice:1/4

docs/distributing.md shows the whole way."
    )]
    Archive(archive::Arguments),
    /// Merge what the shards of a run left behind into one report.
    #[command(after_help = "Examples:
  cargo xtask report shard-1 shard-2   copies of target/pinbed/cells of two machines
  cargo xtask report target/pinbed     what ran here

Fails, as a run does, if a cell did not do what is demanded; and if a cell is missing, ran twice, or
ran on another kernel or module than the others.")]
    Report(shards::Arguments),
    /// Review snapshots that changed, and accept them or not.
    #[command(
        after_help = "Shows what the last `cargo xtask test` found to differ; `cargo xtask run` compares nothing."
    )]
    Review,
    /// Print the JSON schema of a record.
    #[command(after_help = "docs/record.md describes the record. After a change of its types:

  cargo xtask schema > docs/record.schema.json")]
    Schema,
    /// Show what the host has and what it lacks; changes nothing.
    Doctor,
    /// Install what the host lacks.
    #[command(
        after_help = "Each command that changes the machine is printed before it runs. With PINBED_NO_INSTALL=1 none\ndoes. bindgen and Rust's library source go into the cache, and nowhere else."
    )]
    Setup,
    /// Build the kernel under test, or move its pin.
    #[command(after_help = "Examples:
  cargo xtask kernel                        build the default kernel, unless the cache has it
  cargo xtask kernel --series 7.2           build another series
  cargo xtask kernel --series 7.3 --update  pin the newest package of a series
  cargo xtask kernel --patch direct-io-leaks-trimmed-pins
                                            build it with one of xtask/kernel/patches, or a file of yours

Other commands take --patch too: a cell that shows a finding says on a kernel with its fix that it
holds.")]
    Kernel {
        #[command(flatten)]
        choice: kernel::Choice,
        /// Pin the newest package of the series instead of building.
        #[arg(long, conflicts_with = "patches")]
        update: bool,
    },
    /// Build the kernel module pinblk.
    Module {
        #[command(flatten)]
        choice: kernel::Choice,
    },
    /// Describe the driver to editors, in kmod-blk/rust-project.json.
    #[command(
        after_help = "An editor with rust-analyzer that opens kmod-blk then knows the driver and the kernel's\ncrates."
    )]
    RustAnalyzer {
        #[command(flatten)]
        choice: kernel::Choice,
    },
    /// Prepare all that cells run on: the kernel, the module, and the guest's image.
    Image(bench::Options),
    /// Check the rules of the house that no compiler checks.
    Tidy,
}

impl Cli {
    /// Runs the command. An error means that it could not do its work.
    pub(crate) fn run(self) -> Result<ExitCode> {
        match self.command {
            Command::Doctor => return Ok(if doctor::main()? { ExitCode::SUCCESS } else { CANNOT.into() }),
            Command::Tidy => return Ok(if tidy::main()? { ExitCode::SUCCESS } else { ExitCode::FAILURE }),
            Command::Schema => schema::main()?,
            Command::Setup => setup::main()?,
            Command::Kernel { choice, update } => kernel::main(&choice, update)?,
            Command::Module { choice } => module::main(&choice)?,
            Command::RustAnalyzer { choice } => rust_analyzer::main(&choice)?,
            Command::Image(options) => bench::main(&options)?,
            Command::List(arguments) => list::main(&arguments)?,
            Command::Shell(arguments) => return shell::main(&arguments),
            Command::Gdb(arguments) => return gdb::main(&arguments),
            Command::Replay(arguments) => return replay::main(&arguments),
            Command::Kunit(arguments) => return kunit::main(&arguments),
            Command::Exec(arguments) => return exec::main(&arguments),
            Command::Bench(arguments) => timing::main(&arguments)?,
            Command::Fuzz(arguments) => return fuzz::main(&arguments),
            Command::Crash(arguments) => return crash::main(&arguments),
            Command::BenchDisks(arguments) => return disks::main(&arguments),
            Command::Run(arguments) => return run::main(&arguments),
            Command::Test(arguments) => return test::main(&arguments),
            Command::Plan(arguments) => plan::main(&arguments)?,
            Command::Archive(arguments) => archive::main(&arguments)?,
            Command::Report(arguments) => return shards::main(&arguments),
            Command::Review => return review::main(),
        }
        Ok(ExitCode::SUCCESS)
    }
}
