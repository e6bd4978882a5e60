// SPDX-License-Identifier: MIT OR Apache-2.0

//! Whether the log of dm-log-writes and the driver's own agree, each by its own rules, on what a power cut leaves.
//!
//! The driver's rule: all before the last flush is on the media, and what went through the cache since then. That of
//! dm-log-writes: all that stands before a moment, for it appends a write only once it has ended, with the next flush that was
//! sent after that. So dm-log-writes may tell of a write one flush late, where it had been stored and had not ended
//! when the flush was sent. pinblk ends what it has stored at once, so that two flushes do not fit between. It must never
//! tell of a write early.

use std::collections::{HashMap, VecDeque};
use std::ops::Range;

use super::dm_log::Logged;
use super::log::{Entry, Log, What};

/// A moment that both logs know: a flush, a write through the cache or a call had just ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moment {
    /// What is before this place in the log of dm-log-writes is on the media, as that has it.
    pub durable: usize,
    /// How many pieces that are.
    pub pieces: usize,
    /// The position in the driver's log.
    pub position: usize,
    /// What the driver has on the media then and dm-log-writes has not yet: entries of the driver's log.
    pub late: Vec<usize>,
}

/// The log of dm-log-writes between two of its marks: before the first both disks were the same, and at the second
/// nothing was on its way.
pub fn between<'a>(logged: &'a [Logged], begin: &str, end: &str) -> Option<&'a [Logged]> {
    let place = |text: &str| logged.iter().position(|one| matches!(one, Logged::Mark(mark) if mark == text));
    logged.get(place(begin)? + 1..place(end)?)
}

/// The moments that both know, in order, or in what the logs do not agree: both must have the same writes with the
/// same bytes, the same flushes, and in each sector the same order.
pub fn moments(driver: &Log, second: &[Logged]) -> Result<Vec<Moment>, String> {
    let places = matched(driver, second)?;
    in_order(driver, &places)?;
    let mut position = 0;
    let mut moments = Vec::new();
    for (index, logged) in second.iter().enumerate() {
        let reached = match logged {
            // All entries of a bio end together.
            Logged::Entry(entry) if entry.is_volatile() || followed(second, index, entry) => continue,
            Logged::Entry(_) => places[index].expect("each entry has its place in the other log") + 1,
            Logged::Mark(text) => {
                text.parse().map_err(|_| format!("a mark says '{text}' and no position"))?
            }
        };
        // What stands before it in this log had ended before.
        position = reached.max(position);
        if position > driver.end() {
            return Err(format!("a mark names position {position} of {}", driver.end()));
        }
        moments.push(moment(driver, &places[..=index], position)?);
    }
    Ok(moments)
}

/// At most so many of them, evenly, of those at which something else is on the media than at the one before; each as late as
/// it can be, for then most has been promised.
pub fn spread(moments: &[Moment], most: usize) -> Vec<&Moment> {
    let differ = |pair: &[Moment]| pair[0].pieces != pair[1].pieces || pair[0].late != pair[1].late;
    let ends = (0..moments.len()).filter(|&at| moments.get(at..at + 2).is_none_or(differ));
    let ends: Vec<&Moment> = ends.map(|at| &moments[at]).collect();
    let count = ends.len().min(most);
    (1..=count).map(|number| ends[number * ends.len() / count - 1]).collect()
}

/// The place in the driver's log of each entry of the other one. Equal entries are paired in order.
fn matched(driver: &Log, second: &[Logged]) -> Result<Vec<Option<usize>>, String> {
    let mut places: HashMap<_, VecDeque<usize>> = HashMap::new();
    for (index, entry) in driver.entries().iter().enumerate() {
        places.entry(key(entry)).or_default().push_back(index);
    }
    let mut matched = Vec::new();
    for logged in second {
        matched.push(match logged {
            Logged::Mark(_) => None,
            Logged::Entry(entry) => {
                let place = places.get_mut(&key(entry)).and_then(VecDeque::pop_front);
                Some(place.ok_or_else(|| format!("only dm-log-writes has {}", named(entry)))?)
            }
        });
    }
    let left = places.into_values().flatten().min();
    left.map_or(Ok(matched), |left| Err(format!("only the driver has {}", named(&driver.entries()[left]))))
}

/// What two entries have in common that are the same: where, with which bytes, and whether through the cache.
fn key(entry: &Entry) -> (&Range<u64>, bool, &What) {
    (&entry.sectors, entry.is_volatile(), &entry.what)
}

/// Whether what overwrites something comes after it in both logs.
fn in_order(driver: &Log, places: &[Option<usize>]) -> Result<(), String> {
    let mut last: HashMap<u64, usize> = HashMap::new();
    for &place in places.iter().flatten() {
        let entry = &driver.entries()[place];
        for sector in entry.sectors.clone() {
            if let Some(before) = last.insert(sector, place).filter(|&before| before > place) {
                let (first, then) = (named(entry), named(&driver.entries()[before]));
                return Err(format!(
                    "dm-log-writes has entries {place} and {before}, {first} and {then}, the other way round"
                ));
            }
        }
    }
    Ok(())
}

fn followed(second: &[Logged], index: usize, entry: &Entry) -> bool {
    matches!(second.get(index + 1), Some(Logged::Entry(next)) if next.bio == entry.bio)
}

/// What both have on the media at a position of the driver's log, where dm-log-writes has these entries.
fn moment(driver: &Log, places: &[Option<usize>], position: usize) -> Result<Moment, String> {
    let open = driver.open_at(position);
    let is_durable =
        |index: usize| index < open.start || index < position && !driver.entries()[index].is_volatile();
    let is_flush = |index: usize| driver.entries()[index].what == What::Flush;
    let mut has = vec![false; driver.end()];
    for &place in places.iter().flatten() {
        if !is_durable(place) {
            let entry = named(&driver.entries()[place]);
            return Err(format!("at position {position} only dm-log-writes has {entry} on the media"));
        }
        has[place] = true;
    }
    let is_late = |&index: &usize| is_durable(index) && !has[index] && !is_flush(index);
    let late: Vec<usize> = (0..position).filter(is_late).collect();
    // What had not ended when the last flush that ended was sent came after the flush before that.
    let flushes = places.iter().flatten().filter(|&&place| is_flush(place));
    let before = flushes.rev().nth(1).copied().unwrap_or_default();
    if let Some(&lost) = late.iter().find(|&&late| late < before) {
        let entry = named(&driver.entries()[lost]);
        return Err(format!("at position {position} dm-log-writes still has not {entry} on the media"));
    }
    let pieces = places.iter().flatten().filter(|&&place| !is_flush(place)).count();
    Ok(Moment { durable: places.len(), pieces, position, late })
}

fn named(entry: &Entry) -> String {
    let Range { start, end } = entry.sectors;
    match (&entry.what, entry.through) {
        (What::Flush, _) => "a flush".to_owned(),
        (What::Write(_), true) => format!("a write through the cache of sectors {start} to {end}"),
        (What::Write(_), false) => format!("a write of sectors {start} to {end}"),
        (What::Zeroes, _) => format!("zeros in sectors {start} to {end}"),
        (What::Discard, _) => format!("a discard of sectors {start} to {end}"),
    }
}

#[cfg(test)]
mod tests;
