// SPDX-License-Identifier: MIT OR Apache-2.0

//! The readable rendering of a record: what is reviewed as a snapshot.
//!
//! Only pointers, frame numbers, inode numbers, times and raw words are replaced; a count never is.
//! Left out, and kept in `record.json`: the bios of a filesystem's own metadata, whose number depends
//! on when a journal commits, and the environment, which belongs to the run.

use std::fmt::{self, Write as _};

use crate::cell::{Policy, Setup};
use crate::dump_page::{DumpPage, Kind};
use crate::kernel_log;
use crate::page::Page;
use crate::record::{
    Check, Class, Counted, Decisions, Direction, OutcomeKind, Purpose, Record, Step, Traffic, Verdict,
};

/// Renders a record as the text of a snapshot.
pub fn render(record: &Record) -> String {
    let mut text = String::new();
    // Writing to a String never fails.
    let _ = write(&mut text, record);
    text
}

/// Renders one step, as it stands in a snapshot.
pub fn render_step(step: &Step, setup: Setup) -> String {
    let mut text = String::new();
    // Writing to a String never fails.
    let _ = write_step(&mut text, step, setup);
    text
}

/// Renders one check, as it stands in a snapshot.
pub fn render_check(check: &Check) -> String {
    let mut text = String::new();
    // Writing to a String never fails.
    let _ = write_check(&mut text, check);
    text
}

/// Renders what was counted during a step, with the filesystem's own metadata, which no snapshot has.
pub fn render_counts(step: &Step, setup: Setup) -> String {
    let mut text = String::new();
    // Writing to a String never fails.
    let _ = write_counts(&mut text, step, setup, |_| true);
    text
}

fn write(out: &mut String, record: &Record) -> fmt::Result {
    let cell = &record.cell;
    writeln!(out, "scenario     {}", cell.scenario)?;
    writeln!(out, "setup        {}", cell.setup)?;
    writeln!(out, "acquisition  {}", cell.acquisition)?;
    let warning = if cell.policy == Policy::Drop { ", which loses data on purpose" } else { "" };
    writeln!(out, "policy       {}{warning}", cell.policy)?;
    for step in &record.steps {
        write_step(out, step, cell.setup)?;
    }
    writeln!(out, "\nchecks")?;
    for check in &record.checks {
        write_check(out, check)?;
    }
    if !record.log.is_empty() {
        writeln!(out, "\nkernel log")?;
        for line in &record.log {
            writeln!(out, "  {:<10} {}", line.rule, kernel_log::normalise(&line.text))?;
        }
    }
    if record.outcome.kind != OutcomeKind::Passed {
        writeln!(out, "\noutcome      {}: {}", record.outcome.kind, record.outcome.detail)?;
    }
    Ok(())
}

fn write_check(out: &mut String, check: &Check) -> fmt::Result {
    match check.verdict {
        Verdict::Holds => writeln!(out, "  holds     {}", check.text)?,
        Verdict::Violated => {
            writeln!(out, "  VIOLATED  {}", check.text)?;
            if let Some(detail) = &check.detail {
                writeln!(out, "            {detail}")?;
            }
            if let Some(known) = &check.known {
                writeln!(out, "            as is known: {known}")?;
            }
        }
    }
    Ok(())
}

fn write_step(out: &mut String, step: &Step, setup: Setup) -> fmt::Result {
    writeln!(out, "\nstep {}", step.name)?;
    // Without a filesystem there is no metadata: these are the pages of the device's own page cache.
    let is_shown = |traffic: &Traffic| traffic.class != Class::Metadata || setup.is_bare_disk();
    write_counts(out, step, setup, is_shown)?;
    for page in &step.pages {
        write_page(out, page)?;
    }
    Ok(())
}

fn write_counts(
    out: &mut String,
    step: &Step,
    setup: Setup,
    is_shown: impl Fn(&Traffic) -> bool,
) -> fmt::Result {
    writeln!(out, "  pins      {}", counted(step.pins))?;
    for (what, counts) in [("pins", step.device_pins), ("references", step.device_references)] {
        if !counts.is_zero() {
            writeln!(out, "  pinblk    {what} {}", counted(counts))?;
        }
    }
    for traffic in step.traffic.iter().filter(|traffic| is_shown(traffic)) {
        writeln!(out, "  bios      {}", bios(traffic, setup))?;
    }
    for Decisions { purpose, decision, pages } in &step.decisions {
        let purpose = match purpose {
            Purpose::Cleaning => "cleaning",
            Purpose::Integrity => "integrity",
        };
        writeln!(out, "  decided   {purpose}: {} pages {pages}", decision.name())?;
    }
    Ok(())
}

fn counted(Counted { acquired, released }: Counted) -> String {
    format!("acquired +{acquired} released +{released}")
}

fn bios(traffic: &Traffic, setup: Setup) -> String {
    let direction = match traffic.direction {
        Direction::Read => "read",
        Direction::Write => "write",
    };
    let class = match traffic.class {
        Class::UserPinned => "user-pinned",
        Class::PageCache => "page cache",
        Class::Metadata if setup.is_bare_disk() => "page cache of the device",
        Class::Metadata => "metadata",
        Class::Other => "other",
    };
    let Traffic { bios, pages, bytes, pinned_pages, .. } = traffic;
    format!("{direction} {class}: bios {bios} pages {pages} bytes {bytes} maybe-dma-pinned {pinned_pages}")
}

fn write_page(out: &mut String, page: &Page) -> fmt::Result {
    let Page { name, dump, state, raw: _ } = page;
    writeln!(out, "  {name}")?;
    let mapping = if dump.mapping { "<ptr>" } else { "0" };
    writeln!(
        out,
        "    page: refcount:{} mapcount:{} mapping:{mapping} index:{} pfn:<pfn>",
        dump.refcount,
        dump.mapcount,
        index(dump)
    )?;
    if let Some(head) = dump.head {
        writeln!(
            out,
            "    head: order:{} mapcount:{} entire_mapcount:{} nr_pages_mapped:{} pincount:{}",
            head.order, head.mapcount, head.entire_mapcount, head.nr_pages_mapped, head.pincount
        )?;
    }
    if let Some(owner) = &dump.owner {
        // A kernel without KALLSYMS_ALL prints an address here.
        let aops = if owner.aops.starts_with("0x") { "<ptr>" } else { &owner.aops };
        write!(out, "    aops:{aops}")?;
        if owner.inode.is_some() {
            write!(out, " ino:<ino>")?;
        }
        if let Some(name) = &owner.name {
            write!(out, " dentry name:\"{name}\"")?;
        }
        writeln!(out)?;
    }
    let kind = match dump.kind {
        Kind::Anon => "anon ",
        Kind::Ksm => "ksm ",
        Kind::Plain => "",
    };
    writeln!(out, "    {kind}flags: {}", flags(dump).join("|"))?;
    writeln!(out, "    maybe dma pinned: {}", if state.maybe_dma_pinned { "yes" } else { "no" })
}

/// The flag `waiters` stays when the last waiter has gone, until somebody clears it (mm/filemap.c, at the end of
/// `folio_wake_bit()`): where nobody can wait it tells who was faster, and nothing of the page.
fn flags(dump: &DumpPage) -> Vec<&str> {
    let can_be_waited_for = dump.has_flag("locked") || dump.has_flag("writeback");
    let flags = dump.flags.iter().map(String::as_str);
    flags.filter(|&flag| can_be_waited_for || flag != "waiters").collect()
}

/// Anonymous memory is indexed by its virtual address: a pointer.
fn index(dump: &DumpPage) -> String {
    match dump.kind {
        Kind::Plain => format!("{:#x}", dump.index),
        Kind::Anon | Kind::Ksm => "<address>".to_owned(),
    }
}

#[cfg(test)]
mod tests;
