// SPDX-License-Identifier: MIT OR Apache-2.0

//! What a scenario stands on: files and memory to work with, and a place to say what was seen.

mod disk;
mod steps;

use std::io::Write;
use std::{env, fs};

use nix::errno::Errno;
use nix::kmod::{DeleteModuleFlags, delete_module};

use self::steps::SAME_COUNT;
use super::agent::prepare;
use super::clock;
use super::counters::Counters;
use super::device::Device;
use super::error::{Doing, Error, Result};
use super::file::TestFile;
use super::kmsg::Tail;
use super::memory::Memory;
use super::scenario::send;
use super::site::Site;
use crate::cell::{Acquisition, Cell, Setup};
use crate::pattern::Pattern;
use crate::protocol::{Answers, FromGuest};
use crate::record::{Check, Class, Direction, Known, Traffic, Verdict};

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
        let tick = clock::tick()?;
        if self.disk().is_some() {
            made.evict()?;
        }
        clock::wait_for_another(tick)?;
        self.restart_counting()?;
        Ok(made)
    }

    /// A file that is there already, with so many pages.
    pub fn old_file(&self, name: &str, pages: usize) -> Result<TestFile> {
        Ok(TestFile::new(self.site.path(name)?, self.site.backing(name)?, pages))
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

    /// Records whether a call was refused with just this errno.
    pub fn check_refused<T>(&mut self, text: &str, with: Errno, result: Result<T>) -> Result<()> {
        let found = match result {
            Ok(_) => "it succeeded".to_owned(),
            Err(error) if error.errno() == Some(with) => return self.check(text, true),
            Err(error) => error.to_string(),
        };
        self.check_that(text, false, || found)
    }

    /// Says that lines in the kernel's log that contain this are no fault, however many there are: they tell of
    /// what the scenario itself has seen. No snapshot has them, for the kernel limits how many it writes.
    pub fn allow_log(&mut self, part: &str) -> Result<()> {
        send(&FromGuest::AllowLog(part.to_owned()))
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

    /// Records whether `data` is the pattern's, from its first byte on. Where there is none, as in an empty
    /// file, it is not.
    pub fn check_data(&mut self, text: &str, pattern: Pattern, data: &[u8]) -> Result<()> {
        let difference = pattern.difference(0, data);
        self.check_that(text, difference.is_none() && !data.is_empty(), || {
            difference.map_or_else(|| "there is no data".to_owned(), |difference| difference.to_string())
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
        self.site.unmount().map(|()| self.is_mounted = false)
    }

    /// Mounts it again.
    pub fn mount(&mut self) -> Result<()> {
        self.site.mount().map(|()| self.is_mounted = true)
    }

    /// Has it go by other options from now on.
    pub fn remount(&self, options: &str) -> Result<()> {
        self.site.remount(options)
    }

    /// Makes it read-only.
    pub fn make_read_only(&self) -> Result<()> {
        self.site.make_read_only()
    }

    /// Says that the scenario took the disk away: its filesystem cannot be checked at the end.
    pub fn lose_disk(&mut self) {
        self.is_diskless = true;
    }

    /// Says that the filesystem can neither be unmounted nor checked any more: it ends with the guest.
    pub fn lose_filesystem(&mut self) {
        self.is_mounted = false;
        self.is_diskless = true;
    }

    /// The last checks of every cell: nothing stays pinned, and the filesystem is whole.
    pub(crate) fn finish(&mut self) -> Result<()> {
        if self.checks == 0 {
            return Err(Error::Unexpected("it checked nothing".to_owned()));
        }
        let (pins, references) = Counters::left(&self.device, self.base, self.surplus)?;
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
        // Where the witnesses agree there is no such check; where they are known not to, their agreement is one.
        if self.known.iter().any(|(words, _)| *words == SAME_COUNT) {
            self.check(SAME_COUNT, true)?;
        }
        let never = |words| Error::Unexpected(format!("it never checked what is known not to hold: {words}"));
        self.known.first().map_or(Ok(()), |(words, _)| Err(never(words)))
    }
}
