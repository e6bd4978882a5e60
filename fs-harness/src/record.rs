// SPDX-License-Identifier: MIT OR Apache-2.0

//! What a cell leaves behind: `record.json`. Its readable rendering is the snapshot.
//!
//! `docs/record.md` describes the file for readers who do not read Rust.

use std::collections::BTreeMap;
use std::fmt;

use pinblk_abi as abi;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::cell::Cell;
use crate::page::Page;
use crate::protocol::Answers;

/// Version of [`Record`], raised by every change of its fields or of what they mean; `docs/record.md` says which.
pub const SCHEMA: u32 = 5;

/// Everything known about one run of one cell.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// [`SCHEMA`].
    pub schema: u32,
    /// The cell that ran: `scenario::setup::acquisition::policy`.
    #[schemars(with = "String", regex(pattern = "^[a-z0-9_]+(::[a-z0-9-]+){3}$"))]
    pub cell: Cell,
    /// Where it ran: "accelerator", "kernel" and so on.
    pub environment: BTreeMap<String, String>,
    /// How it ended; [`OutcomeKind::Died`] until that is known.
    pub outcome: Outcome,
    /// How the rendering compares with the reviewed snapshot, where somebody compared it.
    pub snapshot: Option<SnapshotMatch>,
    /// The moments at which the bed was observed, in order.
    pub steps: Vec<Step>,
    /// The properties that had to hold, in order.
    pub checks: Vec<Check>,
    /// Of a cell that makes requests in great numbers: how often each was made, and how it was answered.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub answers: Answers,
    /// The kernel's log lines that matter, in order.
    pub log: Vec<LogLine>,
    /// Seconds from the start of QEMU to each named moment.
    pub timings: Vec<Timing>,
    /// What QEMU took of the host; none where the agent never spoke.
    pub resources: Option<Resources>,
}

impl Record {
    /// The record of a cell of which nothing is known yet: it died.
    pub fn new(cell: Cell, environment: BTreeMap<String, String>) -> Self {
        let detail = "the run of this cell was never finished".to_owned();
        Self {
            schema: SCHEMA,
            cell,
            environment,
            outcome: Outcome { kind: OutcomeKind::Died, detail },
            snapshot: None,
            steps: Vec::new(),
            checks: Vec::new(),
            answers: Answers::new(),
            log: Vec::new(),
            timings: Vec::new(),
            resources: None,
        }
    }
}

/// How a cell ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Outcome {
    /// Which of the ends.
    pub kind: OutcomeKind,
    /// Why, in words; empty where there is nothing to say.
    pub detail: String,
}

/// The ends that a cell can come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OutcomeKind {
    /// Every check held but those that are known to be violated, and these were; and the kernel's log is clean.
    Passed,
    /// A check was violated, the scenario stopped or crashed, or the kernel's log has a line that fails a cell.
    Failed,
    /// The kernel under test lacks what the scenario needs.
    Skipped,
    /// The guest's kernel panicked.
    GuestPanicked,
    /// The guest made no progress until its deadline, or its cell came to no end.
    GuestHung,
    /// The guest never said that it is ready.
    BootFailed,
    /// pinbed or QEMU is at fault: nothing can be said about the kernel.
    HarnessError,
    /// Nobody wrote how it ended: the run itself was killed.
    Died,
}

impl OutcomeKind {
    /// Whether nothing is wrong: the cell passed, or was skipped.
    pub fn is_fine(self) -> bool {
        matches!(self, Self::Passed | Self::Skipped)
    }
}

impl fmt::Display for OutcomeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
            Self::GuestPanicked => "guest panicked",
            Self::GuestHung => "guest hung",
            Self::BootFailed => "boot failed",
            Self::HarnessError => "harness error",
            Self::Died => "died",
        })
    }
}

/// A rendering beside its reviewed snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SnapshotMatch {
    /// They are the same.
    Same,
    /// They differ, or there is no reviewed snapshot.
    Differs,
}

/// A named moment inside a scenario.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// What has just happened, in the scenario's words.
    pub name: String,
    /// Since the step before: `nr_foll_pin_acquired` and `nr_foll_pin_released` of `/proc/vmstat`, in pages.
    pub pins: Counted,
    /// Since the step before: pages that pinblk's holds acquired and released by pin.
    pub device_pins: Counted,
    /// Since the step before: pages that pinblk's holds acquired and released by reference.
    pub device_references: Counted,
    /// Since the step before: bios that reached pinblk, by direction and class; empty ones left out.
    pub traffic: Vec<Traffic>,
    /// Since the step before: pages of files under writeback that may be pinned, by what became of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub decisions: Vec<Decisions>,
    /// The pages that the scenario looks at.
    pub pages: Vec<Page>,
}

impl Step {
    /// How many pages under writeback that may be pinned came to that end.
    pub fn decided(&self, purpose: Purpose, decision: Decision) -> u64 {
        let is_it = |decisions: &&Decisions| (decisions.purpose, decisions.decision) == (purpose, decision);
        self.decisions.iter().filter(is_it).map(|decisions| decisions.pages).sum()
    }

    /// The bios of one direction and class; all zero where there were none.
    pub fn traffic_of(&self, direction: Direction, class: Class) -> Traffic {
        let none = Traffic { direction, class, bios: 0, pages: 0, bytes: 0, pinned_pages: 0 };
        let is_it = |traffic: &&Traffic| traffic.direction == direction && traffic.class == class;
        self.traffic.iter().find(is_it).copied().unwrap_or(none)
    }
}

/// Pages of files under writeback that may be pinned, and what became of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Decisions {
    /// Whether somebody waits for the data.
    pub purpose: Purpose,
    /// What became of the pages.
    pub decision: Decision,
    /// How many.
    pub pages: u64,
}

/// Why pages are written back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// Memory is cleaned, and nobody waits.
    Cleaning,
    /// Somebody waits for the data to be durable, as fsync does.
    Integrity,
}

/// What became of a page that may be pinned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// Written as it was when its data was copied.
    Written,
    /// What it held as it came is in the volatile cache, and it is dirty again.
    Stashed,
    /// What it held as it came was written.
    Bounced,
    /// It waited until it was not pinned any more, and was written then.
    Deferred,
    /// Not written, and dirty again.
    Dropped,
    /// It waited, stayed pinned, and what it held at the deadline was written.
    Expired,
}

impl Decision {
    /// Every decision, in the order of the driver's numbers.
    pub const ALL: [Self; abi::DECISIONS] =
        [Self::Written, Self::Stashed, Self::Bounced, Self::Deferred, Self::Dropped, Self::Expired];

    /// In words.
    pub fn name(self) -> &'static str {
        match self {
            Self::Written => "written",
            Self::Stashed => "stashed",
            Self::Bounced => "bounced",
            Self::Deferred => "deferred",
            Self::Dropped => "dropped on purpose",
            Self::Expired => "expired",
        }
    }
}

/// Acquired and released pages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Counted {
    /// Pages acquired.
    pub acquired: u64,
    /// Pages released.
    pub released: u64,
}

impl Counted {
    /// What was counted from `earlier` to `self`.
    #[must_use]
    pub fn since(self, earlier: Self) -> Self {
        Self {
            acquired: self.acquired.wrapping_sub(earlier.acquired),
            released: self.released.wrapping_sub(earlier.released),
        }
    }

    /// Pages acquired and not released.
    pub fn outstanding(self) -> i64 {
        self.acquired.wrapping_sub(self.released).cast_signed()
    }

    /// Whether nothing was counted.
    pub fn is_zero(self) -> bool {
        self == Self::default()
    }
}

/// Bios of one direction and class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Traffic {
    /// To or from the device.
    pub direction: Direction,
    /// Whose pages they carry.
    pub class: Class,
    /// Bios with data.
    pub bios: u64,
    /// Their pages.
    pub pages: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Pages for which `folio_maybe_dma_pinned()` answered yes when the bio arrived.
    pub pinned_pages: u64,
}

/// Direction of a bio.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// From the device.
    Read,
    /// To the device.
    Write,
}

/// Whose pages a bio carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// Pinned by the submitter for this bio, as O_DIRECT does.
    UserPinned,
    /// Page cache of a regular file.
    PageCache,
    /// The filesystem's own blocks.
    Metadata,
    /// All else.
    Other,
}

/// A property that must hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Check {
    /// The property, in words.
    pub text: String,
    /// Whether it held.
    pub verdict: Verdict,
    /// What was found instead, where it did not.
    pub detail: Option<String>,
    /// Why it is known that it does not, where it is.
    pub known: Option<Known>,
}

impl Check {
    /// Whether nothing is wrong: it holds, or is violated as it is known to be.
    pub fn is_fine(&self) -> bool {
        (self.verdict == Verdict::Violated) == self.known.is_some()
    }

    /// What is wrong, in words; none where nothing is.
    pub fn fault(&self) -> Option<String> {
        match (self.verdict, &self.known) {
            (Verdict::Holds, Some(known)) => {
                Some(format!("{}, which is no longer violated ({known})", self.text))
            }
            (Verdict::Violated, None) => Some(self.text.clone()),
            _ => None,
        }
    }
}

/// Why a check is known to be violated.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Known {
    /// The kernel under test does wrong: an entry of `docs/findings.md`, by its name.
    Finding(String),
    /// It is done wrong on purpose, to see that the check can tell: what, in words.
    Control(String),
}

impl fmt::Display for Known {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Finding(name) => write!(f, "finding {name}"),
            Self::Control(what) => write!(f, "control: {what}"),
        }
    }
}

/// What became of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The property holds.
    Holds,
    /// It does not.
    Violated,
}

/// A line of the kernel's log that a rule picked out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LogLine {
    /// Sequence number in the kernel's log.
    pub seq: u64,
    /// The message.
    pub text: String,
    /// The rule, by its id in [`crate::kernel_log`].
    pub rule: String,
}

/// When something happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Timing {
    /// What.
    pub what: String,
    /// Seconds since QEMU was started.
    pub seconds: f64,
}

/// What a guest takes of the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Resources {
    /// The largest resident set of QEMU, in KiB, seen when the agent last spoke.
    pub peak_resident_kib: u64,
    /// The part of it that no other guest can share, in KiB: the most of what was seen when the agent spoke.
    pub anonymous_kib: u64,
}
