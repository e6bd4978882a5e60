// SPDX-License-Identifier: MIT OR Apache-2.0

//! The steps of a scenario: what is counted and seen at the end of each.

use std::io;
use std::thread::yield_now;
use std::time::{Duration, Instant};

use pinblk_abi as abi;

use super::Bed;
use crate::cell::Acquisition;
use crate::dump_page::DumpPage;
use crate::guest::caches::drain_lru;
use crate::guest::counters::{Counters, Disagreement};
use crate::guest::device::{Gate, Hold};
use crate::guest::error::{Doing, Error, Result};
use crate::guest::scenario::send;
use crate::page::{Page, PageState};
use crate::protocol::FromGuest;
use crate::record::{Step, Traffic};

/// Counters that have settled, or how they disagree.
type Counted = (Counters, Option<Disagreement>);

/// How long workers may take to be done with a page.
const PATIENCE: Duration = Duration::from_secs(2);

/// The level of what `dump_page()` prints: KERN_WARNING.
const DUMP_LEVEL: u8 = 4;

/// What the two witnesses of pins are asked at every step.
pub(super) const SAME_COUNT: &str = "the kernel and the driver count the same pins";

impl Bed {
    /// Ends a step: what was counted since the last one, and the pages of `hold` if it has any.
    pub fn observe(&mut self, step: &str, hold: Option<&Hold>) -> Result<Step> {
        let counted = self.counters(0)?;
        let pages = match hold {
            Some(hold) => self.look(hold)?,
            None => Vec::new(),
        };
        self.end_step(step, pages, counted)
    }

    /// Ends a step like [`Bed::observe`], once nobody else has the pinned page of a file: a worker that has
    /// just ended its writeback still does for a moment.
    pub fn observe_at_rest(&mut self, step: &str, hold: &Hold) -> Result<Step> {
        let counted = self.counters(0)?;
        let pages = self.look_until(hold, Page::is_at_rest)?;
        self.end_step(step, pages, counted)
    }

    /// Waits until the pages of a hold are as they will be. Ends no step.
    pub fn wait_for_pages(&mut self, hold: &Hold, what: &str, is_so: impl Fn(&Page) -> bool) -> Result<()> {
        let pages = self.look_until(hold, &is_so)?;
        if pages.iter().all(is_so) {
            return Ok(());
        }
        Err(Error::Unexpected(format!("after {} s not every page {what}", PATIENCE.as_secs())))
    }

    /// Ends a step: what was counted since the last one, and the first page of each bio at a gate.
    pub fn observe_gate(&mut self, step: &str, gate: &Gate) -> Result<Step> {
        drain_lru()?;
        let (_, holding) = gate.progress(0, Duration::ZERO)?;
        let bios = u32::try_from(holding).expect("a scenario holds few bios");
        let mut pins = 0;
        for bio in 0..bios {
            let held = gate.bio(bio)?;
            // Pins of its own I/O the driver counts itself.
            if held.flags & abi::BIO_PINNED != 0 && self.cell.acquisition == Acquisition::Kernel {
                pins += i64::from(held.pages);
            }
        }
        let counted = self.counters(pins)?;
        let mut pages = Vec::new();
        for bio in 0..bios {
            let name = format!("first page of bio {bio} at the gate");
            pages.push(self.look_at(name, || gate.dump(bio, 0).map(|page| page.state))?);
        }
        self.end_step(step, pages, counted)
    }

    /// Ends a step like [`Bed::observe`], and looks at one page of a hold that has many.
    pub fn observe_page(&mut self, step: &str, hold: &Hold, page: u32) -> Result<Step> {
        let counted = self.counters(0)?;
        self.site.wait_for_daemon()?;
        drain_lru()?;
        let page = self.look_at(format!("page {page} of the hold"), || hold.dump(page))?;
        self.end_step(step, vec![page], counted)
    }

    /// What was `counted` comes before the look at the pages: by then a worker has released its pins of them.
    fn end_step(&mut self, step: &str, pages: Vec<Page>, counted: Counted) -> Result<Step> {
        let (now, disagreement) = counted;
        let last = std::mem::replace(&mut self.last, now);
        let step = Step {
            name: step.to_owned(),
            pins: now.pins.since(last.pins),
            device_pins: now.device_pins().since(last.device_pins()),
            device_references: now.device_references().since(last.device_references()),
            traffic: now.traffic_since(&last),
            decisions: now.decisions_since(&last),
            pages,
        };
        send(&FromGuest::Step(Box::new(step.clone())))?;
        if let Some(disagreement) = disagreement {
            self.surplus += disagreement.surplus();
            self.check_that(SAME_COUNT, false, || disagreement.to_string())?;
        }
        for page in &step.pages {
            let disagreements = page.disagreements();
            if !disagreements.is_empty() {
                self.check_that("dump_page and the driver agree", false, || disagreements.join("; "))?;
            }
        }
        if self.stops {
            self.stop()?;
        }
        Ok(step)
    }

    /// Waits until a person lets the scenario go on. What they did meanwhile belongs to no step.
    fn stop(&mut self) -> Result<()> {
        io::stdin().read_line(&mut String::new()).doing("wait for the person who looks on")?;
        self.restart_counting()
    }

    /// Bios that reached the disk since the last step.
    pub fn traffic(&self) -> Result<Vec<Traffic>> {
        Ok(Counters::read(&self.device, self.site.disk())?.traffic_since(&self.last))
    }

    /// What has been counted until now belongs to no step.
    pub fn restart_counting(&mut self) -> Result<()> {
        (self.last, _) = self.counters(0)?;
        Ok(())
    }

    /// `in_flight`: pins of the kernel's own that belong to bios at a gate.
    fn counters(&self, in_flight: i64) -> Result<Counted> {
        let expected = in_flight + self.of_kernel + self.surplus;
        let is_known = self.known.iter().any(|(words, _)| *words == SAME_COUNT);
        let settled = if is_known { Counters::settled_or_still } else { Counters::settled };
        settled(&self.device, self.site.disk(), self.base, expected)
    }

    /// The pages of a hold, once they are as they should be or patience is over.
    fn look_until(&mut self, hold: &Hold, is_so: impl Fn(&Page) -> bool) -> Result<Vec<Page>> {
        let deadline = Instant::now() + PATIENCE;
        let mut pages = self.look(hold)?;
        while !pages.iter().all(&is_so) && Instant::now() < deadline {
            yield_now();
            pages = self.look(hold)?;
        }
        Ok(pages)
    }

    fn look(&mut self, hold: &Hold) -> Result<Vec<Page>> {
        self.site.wait_for_daemon()?;
        drain_lru()?;
        (0..hold.pages())
            .map(|index| self.look_at(format!("page {index} of the hold"), || hold.dump(index)))
            .collect()
    }

    /// A page that `dump` has the kernel print.
    fn look_at(&mut self, name: String, dump: impl FnOnce() -> Result<abi::PageState>) -> Result<Page> {
        self.kernel_log.records()?;
        let state = PageState::from(&dump()?);
        let raw: Vec<String> = self
            .kernel_log
            .records()?
            .into_iter()
            // What else the kernel has to tell may stand between the lines.
            .filter(|record| record.level == DUMP_LEVEL)
            .map(|record| record.text)
            // Before it the kernel says what it doubts of the page.
            .skip_while(|line| !line.starts_with("page: ") && !line.starts_with("page does not match folio"))
            .collect();
        let end = raw
            .iter()
            .position(|line| line.starts_with("page dumped because: "))
            .map_or(raw.len(), |at| at + 1);
        let dump = DumpPage::parse(raw[..end].iter().map(String::as_str)).map_err(|error| {
            Error::Unexpected(format!("dump_page printed what pinbed cannot read: {error}"))
        })?;
        Ok(Page { name, dump, state, raw: raw[..end].to_vec() })
    }
}
