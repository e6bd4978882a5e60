// SPDX-License-Identifier: MIT OR Apache-2.0

//! What reached a disk, in order.

use std::ops::Range;

/// One entry of the log of a disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The number of its bio. The pieces of one bio follow each other.
    pub bio: u64,
    /// Where on the disk; nowhere for a flush.
    pub sectors: Range<u64>,
    /// It was on the media, and not only in the cache, when its bio ended.
    pub through: bool,
    /// What was done.
    pub what: What,
}

/// What an entry did to the disk.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum What {
    /// A page or a part of it was written, with these bytes.
    Write(Vec<u8>),
    /// Zeros were written.
    Zeroes,
    /// Sectors were forgotten.
    Discard,
    /// What came before was moved to the media.
    Flush,
}

impl Entry {
    /// Whether a power cut can lose it: all else is on the media once it has happened.
    pub fn is_volatile(&self) -> bool {
        !self.through && self.what != What::Flush
    }
}

/// The entries in the order in which they happened. A position in the log stands before the entry of that
/// index: what is before it has happened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Log(Vec<Entry>);

impl Log {
    /// A log of these entries.
    pub fn new(entries: Vec<Entry>) -> Self {
        Self(entries)
    }

    /// All entries.
    pub fn entries(&self) -> &[Entry] {
        &self.0
    }

    /// The position behind the last entry.
    pub fn end(&self) -> usize {
        self.0.len()
    }

    /// The entries since the last flush before a position: of the volatile ones a power cut there leaves any.
    pub fn open_at(&self, position: usize) -> Range<usize> {
        let flush = self.0[..position].iter().rposition(|entry| entry.what == What::Flush);
        flush.map_or(0, |flush| flush + 1)..position
    }

    /// The entries between flushes: what is before the end of a range is open there.
    pub fn epochs(&self) -> impl Iterator<Item = Range<usize>> {
        let ends =
            (0..=self.end()).filter(|&at| self.0.get(at).is_none_or(|entry| entry.what == What::Flush));
        ends.map(|end| self.open_at(end))
    }

    /// The volatile entries in a range, by bio.
    pub fn volatile_bios(&self, range: Range<usize>) -> Vec<Vec<usize>> {
        let mut bios: Vec<Vec<usize>> = Vec::new();
        for index in range.filter(|&index| self.0[index].is_volatile()) {
            match bios.last_mut() {
                Some(bio) if self.0[bio[0]].bio == self.0[index].bio => bio.push(index),
                _ => bios.push(vec![index]),
            }
        }
        bios
    }

    /// In how many states a power cut could leave the disk if it loses bios as a whole, or the largest number
    /// where there are more.
    pub fn possible(&self) -> u64 {
        let states = |epoch| {
            let bios = u32::try_from(self.volatile_bios(epoch).len()).unwrap_or(u32::MAX);
            2_u64.checked_pow(bios).unwrap_or(u64::MAX)
        };
        self.epochs().map(states).fold(0, u64::saturating_add)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A log in few letters: a written page by its bio's letter, in capitals if it went through the cache, and a bar for a
    /// flush.
    pub(in crate::crash) fn log(text: &str) -> Log {
        let entry = |(index, letter): (usize, char)| {
            let what = if letter == '|' { What::Flush } else { What::Write(vec![0; 4096]) };
            let sector = 8 * index as u64;
            let sectors = if letter == '|' { 0..0 } else { sector..sector + 8 };
            Entry { bio: u64::from(letter), sectors, through: letter.is_ascii_uppercase(), what }
        };
        Log::new(text.chars().enumerate().map(entry).collect())
    }

    #[test]
    fn epochs_end_at_flushes_and_at_the_end() {
        assert_eq!(log("ab|c|").epochs().collect::<Vec<_>>(), [0..2, 3..4, 5..5]);
        assert_eq!(log("aa|bc").open_at(4), 3..4);
        assert_eq!(log("aa|bc").open_at(2), 0..2);
    }

    #[test]
    fn what_went_through_the_cache_is_not_volatile() {
        assert_eq!(log("aaBcd").volatile_bios(0..5), [vec![0, 1], vec![3], vec![4]]);
    }

    #[test]
    fn each_bio_of_an_epoch_may_be_lost() {
        assert_eq!(log("aab|c").possible(), 6);
        let many: String = ('a'..='z').cycle().take(99).collect();
        assert_eq!(log(&many).possible(), u64::MAX);
    }
}
