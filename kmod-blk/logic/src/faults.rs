// SPDX-License-Identifier: GPL-2.0

//! I/O errors that are injected, and the text in which they are asked for and shown.
//!
//! `write 2048-4095 3`: the next three writes that touch one of the sectors 2048 to 4095 fail.
//! `read` and `any` stand for other directions; without a count every bio fails. `none` forgets all.

use super::{
    classify::Direction,
    select::{
        Kind,
        Selection,
        Target, //
    }, //
};
use core::fmt;

/// The most faults of one disk at a time.
pub const FAULTS_MAX: usize = 8;

/// The faults of a disk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults([Option<Fault>; FAULTS_MAX]);

/// Bios that fail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// None: both.
    direction: Option<Direction>,
    /// From the first to the last, both included.
    first: u64,
    last: u64,
    /// How many more fail; none for all.
    left: Option<u64>,
}

/// What a text asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// One more fault.
    Add(Fault),
    /// No faults.
    Forget,
}

impl Request {
    /// Reads the text; none if it is not of that form.
    pub fn parse(text: &str) -> Option<Self> {
        let mut words = text.split_ascii_whitespace();
        let direction = match words.next()? {
            "none" if words.next().is_none() => return Some(Self::Forget),
            "read" => Some(Direction::Read),
            "write" => Some(Direction::Write),
            "any" => None,
            _ => return None,
        };
        let (first, last) = words.next()?.split_once('-')?;
        let (first, last) = (first.parse().ok()?, last.parse().ok()?);
        let left = match words.next() {
            Some(count) => Some(count.parse().ok()?),
            None => None,
        };
        let is_sound = first <= last && left != Some(0) && words.next().is_none();
        is_sound.then_some(Self::Add(Fault {
            direction,
            first,
            last,
            left,
        }))
    }
}

impl Faults {
    /// Adds a fault; false if there is no room.
    #[must_use]
    pub fn add(&mut self, fault: Fault) -> bool {
        let slot = self.0.iter_mut().find(|slot| slot.is_none());
        slot.is_some_and(|slot| {
            *slot = Some(fault);
            true
        })
    }

    /// Whether there is no fault.
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(Option::is_none)
    }

    /// Whether this bio fails. A fault that is used up is forgotten.
    pub fn strike(&mut self, bio: &Target) -> bool {
        let Some(slot) = self
            .0
            .iter_mut()
            .find(|slot| slot.as_ref().is_some_and(|fault| fault.meets(bio)))
        else {
            return false;
        };
        if let Some(left) = slot.as_mut().and_then(|fault| fault.left.as_mut()) {
            *left -= 1;
            if *left == 0 {
                *slot = None;
            }
        }
        true
    }
}

impl Fault {
    fn meets(&self, bio: &Target) -> bool {
        let writes = 1 << Kind::Write as u32 | 1 << Kind::WriteZeroes as u32;
        let reads = 1 << Kind::Read as u32;
        let selection = Selection {
            kinds: match self.direction {
                Some(Direction::Read) => reads,
                Some(Direction::Write) => writes,
                None => reads | writes,
            },
            classes: u32::MAX,
            sectors: self.first..self.last.saturating_add(1),
        };
        selection.takes(bio)
    }
}

/// A line for each fault, `none` if there is none.
impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return writeln!(f, "none");
        }
        self.0.iter().flatten().try_for_each(|fault| {
            let direction = match fault.direction {
                Some(Direction::Read) => "read",
                Some(Direction::Write) => "write",
                None => "any",
            };
            write!(f, "{direction} {}-{}", fault.first, fault.last)?;
            match fault.left {
                Some(left) => writeln!(f, " {left}"),
                None => writeln!(f),
            }
        })
    }
}
