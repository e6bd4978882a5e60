// SPDX-License-Identifier: MIT OR Apache-2.0

//! What a scenario stands on: files and memory to work with, and a place to say what was seen.

mod disk;

use std::io::{self, Write};
use std::time::Duration;
use std::{env, fs};

use nix::errno::Errno;
use nix::kmod::{DeleteModuleFlags, delete_module};
use pinblk_abi as abi;

use super::agent::prepare;
use super::caches::drain_lru;
use super::counters::{Counters, Disagreement};
use super::device::{Device, Gate, Hold};
use super::error::{Doing, Error, Result};
use super::file::TestFile;
use super::kmsg::Tail;
use super::memory::Memory;
use super::scenario::send;
use super::site::Site;
use crate::cell::{Acquisition, Cell, Setup};
use crate::dump_page::DumpPage;
use crate::page::{Page, PageState};
use crate::pattern::Pattern;
use crate::protocol::{Answers, FromGuest};
use crate::record::{Check, Class, Direction, Known, Step, Traffic, Verdict};

/// The level of what `dump_page()` prints: KERN_WARNING.
const DUMP_LEVEL: u8 = 4;

/// Set for a scenario that a person goes through step by step.
pub const STOPS: &str = "PINBED_STOPS";

/// The bed of one cell.
pub struct Bed {
    cell: Cell,
    device: Device,
    site: Site,
    kernel_log: Tail,
    /// Counters when the cell began.
    base: Counters,
    /// Counters at the last step.
    last: Counters,
    /// Pins that the kernel counts as outstanding beyond what anybody holds; each was reported as it came.
    surplus: i64,
    /// Pins that the kernel holds by itself, as the scenario says: of requests in flight, of registered buffers.
    of_kernel: i64,
    /// Checks made so far.
    checks: usize,
    /// The filesystem was not unmounted yet, where there is one.
    is_mounted: bool,
    /// The disk was taken away: there is nothing to check.
    is_diskless: bool,
    /// Checks that are known not to hold and were not made yet, by their words.
    known: Vec<(&'static str, Known)>,
    /// Each step ends with a line from standard input.
    stops: bool,
}

impl Bed {
    pub(crate) fn new(cell: Cell, known: Vec<(&'static str, Known)>) -> Result<Self> {
        let device = Device::open()?;
        let site = Site::of(cell.setup);
        if let Some(disk) = site.disk() {
            disk.set_policy(cell.policy)?;
        }
        let base = Counters::read(&device, site.disk())?;
        Ok(Self {
            cell,
            device,
            site,
            kernel_log: Tail::start()?,
            base,
            last: base,
            surplus: 0,
            of_kernel: 0,
            checks: 0,
            is_mounted: true,
            is_diskless: false,
            known,
            stops: env::var_os(STOPS).is_some(),
        })
    }

    /// The driver.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// How pinblk takes pages in this cell.
    pub fn acquisition(&self) -> Acquisition {
        self.cell.acquisition
    }

    /// What is under test below the scenario.
    pub fn setup(&self) -> Setup {
        self.cell.setup
    }

    /// The name by which the scenario was called: some take numbers behind their own.
    pub fn called(&self) -> &str {
        &self.cell.scenario
    }

    /// Says what is being done, which is a sign of life.
    pub fn doing(&self, what: &str) -> Result<()> {
        send(&FromGuest::Doing(what.to_owned()))
    }

    /// Tells how often each request was made, and how it was answered.
    pub fn answers(&self, answers: Answers) -> Result<()> {
        send(&FromGuest::Answers(answers))
    }

    /// Unloads pinblk for the time of `work`. Nothing may be left of what the scenario did to it; what
    /// follows is counted anew.
    pub fn while_unloaded<T>(&mut self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        self.device = Device::nowhere()?;
        let unloaded = delete_module(c"pinblk", DeleteModuleFlags::O_NONBLOCK).doing("unload pinblk");
        let done = unloaded.and_then(|()| {
            let done = work();
            prepare::load_driver()?;
            done
        });
        self.device = Device::open()?;
        self.base = Counters::read(&self.device, self.site.disk())?;
        self.last = self.base;
        done
    }

    /// A file of whole pages that holds `pattern`, on the media and not in the page cache.
    pub fn file(&mut self, name: &str, pattern: Pattern, pages: usize) -> Result<TestFile> {
        let backing = self.site.backing(name)?;
        let made = TestFile::new(self.site.path(name)?, backing.clone(), pages);
        let mut options = fs::File::options();
        options.write(true).create(!self.cell.setup.is_bare_disk());
        let mut file = options.open(&backing).doing(format!("make {}", backing.display()))?;
        let written = file.write_all(&pattern.bytes(0, made.length())).and_then(|()| file.sync_all());
        written.doing(format!("write and fsync {}", backing.display()))?;
        if self.disk().is_some() {
            made.evict()?;
        }
        self.restart_counting()?;
        Ok(made)
    }

    /// An empty file that is to have so many pages. Nothing of it is on the disk.
    pub fn new_file(&self, name: &str, pages: usize) -> Result<TestFile> {
        let (path, backing) = (self.site.path(name)?, self.site.backing(name)?);
        fs::File::create(&path).doing(format!("make {}", path.display()))?;
        Ok(TestFile::new(path, backing, pages))
    }

    /// Anonymous memory of single pages, filled and thereby touched.
    pub fn anonymous(&self, pattern: Pattern, pages: usize) -> Result<Memory> {
        let memory = Memory::anonymous(pages)?;
        memory.fill(pattern);
        Ok(memory)
    }

    /// Says how many pins the kernel holds by itself from now on, beside what pinblk holds: of requests in
    /// flight, or of registered buffers. Each step checks that it does.
    pub fn kernel_holds(&mut self, pins: usize) {
        self.of_kernel = i64::try_from(pins).expect("a scenario has few pages pinned");
    }

    /// Ends a step: what was counted since the last one, and the pages of `hold` if it has any.
    pub fn observe(&mut self, step: &str, hold: Option<&Hold>) -> Result<Step> {
        let pages = match hold {
            Some(hold) => self.look(hold)?,
            None => Vec::new(),
        };
        self.end_step(step, pages, 0)
    }

    /// Ends a step: what was counted since the last one, and the first page of each bio at a gate.
    pub fn observe_gate(&mut self, step: &str, gate: &Gate) -> Result<Step> {
        drain_lru()?;
        let (_, holding) = gate.progress(0, Duration::ZERO)?;
        let bios = u32::try_from(holding).expect("a scenario holds few bios");
        let mut pages = Vec::new();
        let mut pins = 0;
        for bio in 0..bios {
            let held = gate.bio(bio)?;
            // Pins of its own I/O the driver counts itself.
            if held.flags & abi::BIO_PINNED != 0 && self.cell.acquisition == Acquisition::Kernel {
                pins += i64::from(held.pages);
            }
            let name = format!("first page of bio {bio} at the gate");
            pages.push(self.look_at(name, || gate.dump(bio, 0).map(|page| page.state))?);
        }
        self.end_step(step, pages, pins)
    }

    /// `in_flight`: pins of the kernel's own that belong to bios at a gate.
    fn end_step(&mut self, step: &str, pages: Vec<Page>, in_flight: i64) -> Result<Step> {
        let (now, disagreement) = self.counters(in_flight)?;
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
            let words = "the kernel and the driver count the same pins";
            self.check_that(words, false, || disagreement.to_string())?;
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

    /// Ends a step like [`Bed::observe`], and looks at one page of a hold that has many.
    pub fn observe_page(&mut self, step: &str, hold: &Hold, page: u32) -> Result<Step> {
        drain_lru()?;
        let page = self.look_at(format!("page {page} of the hold"), || hold.dump(page))?;
        self.end_step(step, vec![page], 0)
    }

    /// Records whether a call was refused with just this errno.
    pub fn check_refused<T>(&mut self, text: &str, with: Errno, result: Result<T>) -> Result<()> {
        let found = match result {
            Ok(_) => "it succeeded".to_owned(),
            Err(error) if error.errno() == Some(with) => return self.check(text, true),
            Err(error) => error.to_string(),
        };
        self.check_that(text, false, || found)
    }

    /// Says that the scenario will make the kernel write a line to its log that contains this, and that
    /// would fail the cell otherwise. The cell fails if that line does not come.
    pub fn expect_log(&mut self, line: &str) -> Result<()> {
        send(&FromGuest::ExpectLog(line.to_owned()))
    }

    /// Records whether a property holds; the scenario goes on either way.
    pub fn check(&mut self, text: &str, holds: bool) -> Result<()> {
        self.check_that(text, holds, String::new)
    }

    /// Records whether a property holds, and what was found instead.
    pub fn check_that(&mut self, text: &str, holds: bool, found: impl FnOnce() -> String) -> Result<()> {
        self.checks += 1;
        let verdict = if holds { Verdict::Holds } else { Verdict::Violated };
        let detail = (!holds).then(found).filter(|detail| !detail.is_empty());
        let known = self.known.iter().position(|(words, _)| *words == text);
        let known = known.map(|at| self.known.swap_remove(at).1);
        send(&FromGuest::Check(Check { text: text.to_owned(), verdict, detail, known }))
    }

    /// Records whether `data` is the pattern's, from its first byte on.
    pub fn check_data(&mut self, text: &str, pattern: Pattern, data: &[u8]) -> Result<()> {
        let difference = pattern.difference(0, data);
        self.check_that(text, difference.is_none(), || {
            difference.map(|difference| difference.to_string()).unwrap_or_default()
        })
    }

    /// Records a property that the rest of the scenario needs, and stops the scenario without it.
    pub fn require(&mut self, text: &str, holds: bool) -> Result<()> {
        self.check(text, holds)?;
        if holds { Ok(()) } else { Err(Error::Required(text.to_owned())) }
    }

    /// Records whether a call succeeded; the scenario needs what it returns, and stops without it.
    pub fn require_ok<T>(&mut self, text: &str, result: Result<T>) -> Result<T> {
        let refused = result.as_ref().err().map(ToString::to_string);
        self.check_that(text, refused.is_none(), || refused.unwrap_or_default())?;
        result.map_err(|_| Error::Required(text.to_owned()))
    }

    /// The file's bytes from the media: all clean page cache is dropped first. Ends a step, and
    /// checks that the device was read.
    pub fn read_back(&mut self, file: &TestFile) -> Result<Vec<u8>> {
        file.evict()?;
        let bytes = file.bytes()?;
        let step = self.observe("read back after dropping caches", None)?;
        let is_data =
            |traffic: &&Traffic| traffic.direction == Direction::Read && self.is_data(traffic.class);
        let read: u64 = step.traffic.iter().filter(is_data).map(|traffic| traffic.bytes).sum();
        self.check_that("the data was read back from the device", read >= bytes.len() as u64, || {
            format!("the device read {read} bytes")
        })?;
        Ok(bytes)
    }

    /// Whether bios of a class carry what a scenario reads and writes: on the bare device its page cache
    /// does, which on a filesystem holds the filesystem's own blocks.
    pub fn is_data(&self, class: Class) -> bool {
        class != Class::Metadata || self.cell.setup.is_bare_disk()
    }

    /// Unmounts the filesystem before the scenario's end.
    pub fn unmount(&mut self) -> Result<()> {
        self.is_mounted = false;
        self.site.unmount()
    }

    /// Mounts it again.
    pub fn mount(&mut self) -> Result<()> {
        self.site.mount().map(|()| self.is_mounted = true)
    }

    /// Says that the scenario took the disk away: its filesystem cannot be checked at the end.
    pub fn lose_disk(&mut self) {
        self.is_diskless = true;
    }

    /// The last checks of every cell: nothing stays pinned, and the filesystem is whole.
    pub(crate) fn finish(&mut self) -> Result<()> {
        if self.checks == 0 {
            return Err(Error::Unexpected("it checked nothing".to_owned()));
        }
        let (pins, references) = Counters::left(&self.device, self.base)?;
        self.check_that("every pin is released", pins == 0, || {
            format!("{pins} more acquired than released")
        })?;
        self.check_that("every reference that pinblk took is released", references == 0, || {
            format!("{references} more acquired than released")
        })?;
        if self.is_mounted {
            self.site.unmount()?;
        }
        let checked = if self.is_diskless { None } else { self.site.check()? };
        if let Some(checked) = checked {
            let text = format!("{} finds the unmounted filesystem clean", checked.program);
            self.check_that(&text, checked.complaint.is_none(), || checked.complaint.unwrap_or_default())?;
        }
        let never = |words| Error::Unexpected(format!("it never checked what is known not to hold: {words}"));
        self.known.first().map_or(Ok(()), |(words, _)| Err(never(words)))
    }

    /// What has been counted until now belongs to no step.
    fn restart_counting(&mut self) -> Result<()> {
        (self.last, _) = self.counters(0)?;
        Ok(())
    }

    fn counters(&self, in_flight: i64) -> Result<(Counters, Option<Disagreement>)> {
        let expected = in_flight + self.of_kernel + self.surplus;
        Counters::settled(&self.device, self.site.disk(), self.base, expected)
    }

    fn look(&mut self, hold: &Hold) -> Result<Vec<Page>> {
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
            .skip_while(|line| !line.starts_with("page: "))
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
