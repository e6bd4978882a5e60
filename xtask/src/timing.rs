// SPDX-License-Identifier: MIT OR Apache-2.0

//! `cargo xtask bench`: what a checkpoint saves. Cells from a checkpoint and from a boot, and virtme-ng
//! where it is installed, by turns in one run: a host that is busy is so for all of them.

use std::num::NonZeroUsize;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use comfy_table::{Table, presets};
use fs_harness::cell::Cell;
use fs_harness::record::{OutcomeKind, Record};

use crate::bench::{self, Bench, Isolation, Options};
use crate::cell::{self, Task};
use crate::host::command::Command;
use crate::{artefacts, list, note, say};

/// The cells that are measured unless the user names others: one without a filesystem, and one on each.
const ORDINARY: [&str; 3] = ["pin_order0", "dio_write_anon::ext4", "dio_write_anon::xfs"];

/// What virtme-ng's guest says when it has come to the command that does nothing else.
const RAN: &str = "the command ran";

/// Seconds that virtme-ng gets.
const VNG_SECONDS: &str = "120";

/// What to measure, and how often.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// Substrings of cell names [default: a cell without a filesystem, one on ext4, one on XFS]
    #[arg(value_name = "FILTER")]
    filters: Vec<String>,
    /// How often each is measured
    #[arg(long, value_name = "N", default_value = "9")]
    rounds: NonZeroUsize,
    #[command(flatten)]
    bench: Options,
}

/// What is measured, and what came of it.
struct Row {
    what: String,
    start: Start,
    /// Seconds from the start to the verdict, of each round; empty where there is none.
    verdicts: Vec<f64>,
    /// Seconds from the start to the end.
    ends: Vec<f64>,
    /// The most memory that QEMU took, in KiB.
    peak_kib: u64,
}

enum Start {
    Cell(Cell, Isolation),
    Vng,
}

/// Measures, and prints a table in Markdown.
pub fn main(arguments: &Arguments) -> Result<()> {
    let ordinary = ORDINARY.map(str::to_owned);
    let filters = if arguments.filters.is_empty() { &ordinary[..] } else { &arguments.filters };
    let cells: Vec<Cell> = list::select(filters)?.into_iter().map(|(cell, _)| cell).collect();
    let _alone = bench::occupy()?;
    let bench = Bench::prepare(&arguments.bench)?;
    let mut rows = rows(&cells);
    for round in 0..=arguments.rounds.get() {
        for row in &mut rows {
            let measured = row.measure(&bench)?;
            // The first round makes the checkpoints and fills the caches of the host.
            if round > 0 {
                row.take(&measured);
            }
        }
        note!(
            "round {round} of {}{}",
            arguments.rounds,
            if round == 0 { ", which does not count" } else { "" }
        );
    }
    say!("{}", bench.header());
    say!("{}", table(&rows));
    Ok(())
}

/// Each cell from both starts, and virtme-ng last.
fn rows(cells: &[Cell]) -> Vec<Row> {
    let row = |what: String, start| Row { what, start, verdicts: Vec::new(), ends: Vec::new(), peak_kib: 0 };
    let mut rows: Vec<Row> = cells
        .iter()
        .flat_map(|cell| [Isolation::Checkpoint, Isolation::Boot].map(|start| (cell, start)))
        .map(|(cell, start)| row(cell.to_string(), Start::Cell(cell.clone(), start)))
        .collect();
    match Command::new("vng").arg("--version").read() {
        Ok(version) => rows.push(row(version, Start::Vng)),
        Err(_) => note!("virtme-ng is not measured: there is no vng in PATH"),
    }
    rows
}

/// One measurement.
struct Measured {
    verdict: Option<f64>,
    end: f64,
    peak_kib: u64,
}

impl Row {
    fn measure(&self, bench: &Bench) -> Result<Measured> {
        match &self.start {
            Start::Cell(cell, isolation) => of_cell(&Bench { isolation: *isolation, ..bench.clone() }, cell),
            Start::Vng => of_vng(bench),
        }
    }

    fn take(&mut self, measured: &Measured) {
        self.verdicts.extend(measured.verdict);
        self.ends.push(measured.end);
        self.peak_kib = self.peak_kib.max(measured.peak_kib);
    }

    fn start(&self) -> &'static str {
        match self.start {
            Start::Cell(_, Isolation::Checkpoint) => "a checkpoint",
            Start::Cell(_, Isolation::Boot) => "a boot",
            Start::Vng => "a boot, and does nothing",
        }
    }
}

fn of_cell(bench: &Bench, cell: &Cell) -> Result<Measured> {
    let folder = artefacts().join("bench").join(cell.path());
    let record = cell::run(bench, &Task { folder, ..cell::task(bench, cell) })?;
    if record.outcome.kind != OutcomeKind::Passed {
        bail!("{cell} {}: {}; only cells that pass are measured", record.outcome.kind, record.outcome.detail);
    }
    let end = record.timings.last().context("a cell without timings")?.seconds;
    let peak_kib = record.resources.map_or(0, |resources| resources.peak_resident_kib);
    Ok(Measured { verdict: verdict(&record), end, peak_kib })
}

fn verdict(record: &Record) -> Option<f64> {
    record.timings.iter().find(|timing| timing.what == "the verdict came").map(|timing| timing.seconds)
}

/// The same kernel, emulated, under virtme-ng. The guest's own way to end needs ACPI, which the kernel
/// does not have; so the command ends it.
fn of_vng(bench: &Bench) -> Result<Measured> {
    let started = Instant::now();
    let said = Command::new("timeout")
        .args([VNG_SECONDS, "vng", "--disable-kvm", "--verbose", "--append", "reboot=t", "--run"])
        .arg(&bench.machine.kernel)
        .args(["--", &format!("echo {RAN}; echo b > /proc/sysrq-trigger")])
        .ask()?;
    let end = started.elapsed().as_secs_f64();
    if !said.lines().any(|line| line.trim().ends_with(RAN)) {
        let last = said.lines().last().unwrap_or("nothing");
        bail!("virtme-ng did not run the command, its last line: {last}; take vng out of PATH to go without");
    }
    Ok(Measured { verdict: None, end, peak_kib: 0 })
}

/// The rows, each with how many times longer it takes than the same from a checkpoint; virtme-ng's is
/// compared with the first cell.
fn table(rows: &[Row]) -> String {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN).set_header([
        "what",
        "from",
        "to the verdict: median (least, most)",
        "ratio",
        "to the end: median (least, most)",
        "ratio",
        "QEMU's memory",
    ]);
    let first = rows.first();
    for row in rows {
        let same = rows.iter().find(|other| other.what == row.what);
        let base = if matches!(row.start, Start::Vng) { first } else { same };
        let ratio = |of: fn(&Row) -> &[f64]| {
            let (base, own) = (median(of(base?))?, median(of(row))?);
            Some(format!("{:.1}", own / base))
        };
        let memory = if row.peak_kib > 0 { format!("{} MiB", row.peak_kib / 1024) } else { String::new() };
        table.add_row([
            row.what.clone(),
            row.start().to_owned(),
            spread(&row.verdicts),
            ratio(|row| &row.verdicts).unwrap_or_default(),
            spread(&row.ends),
            ratio(|row| &row.ends).unwrap_or_default(),
            memory,
        ]);
    }
    table.to_string()
}

fn spread(seconds: &[f64]) -> String {
    let least = seconds.iter().copied().fold(f64::INFINITY, f64::min);
    let most = seconds.iter().copied().fold(0.0, f64::max);
    median(seconds).map_or_else(String::new, |median| format!("{median:.2} s ({least:.2}, {most:.2})"))
}

/// The one in the middle, or the mean of the two there.
fn median(seconds: &[f64]) -> Option<f64> {
    let mut sorted = seconds.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        length if length % 2 == 1 => Some(sorted[middle]),
        _ => Some(f64::midpoint(sorted[middle - 1], sorted[middle])),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
    }

    #[test]
    fn each_row_is_compared_with_its_own_cell_from_a_checkpoint() {
        let cells: Vec<Cell> = workloads::catalogue::cells().map(|(cell, _)| cell).take(2).collect();
        let mut rows = rows(&cells);
        for (row, seconds) in rows.iter_mut().zip([1.0, 5.0, 2.0, 20.0]) {
            row.take(&Measured { verdict: Some(seconds), end: seconds * 1.5, peak_kib: 70 << 10 });
        }
        let text = table(&rows);
        let ratios: Vec<&str> =
            text.lines().skip(2).take(4).filter_map(|line| line.split('|').nth(4)).map(str::trim).collect();
        assert_eq!(ratios, ["1.0", "5.0", "1.0", "10.0"], "{text}");
        assert!(text.contains("| 70 MiB"), "{text}");
    }
}
