// SPDX-License-Identifier: MIT OR Apache-2.0

//! Two logs of one disk, written in few letters or by a disk that is made up.

use proptest::prelude::*;

use super::*;

fn piece(bio: u64, page: u64, through: bool, byte: u8) -> Entry {
    Entry { bio, sectors: page * 8..page * 8 + 8, through, what: What::Write(vec![byte; 4096]) }
}

/// As in "a b | C 3": a write in a place of its own, in capitals if it went through the cache, a flush, a mark. A
/// write with a stroke overwrites the same place.
fn logged(text: &str) -> Vec<Logged> {
    let one = |(index, word): (usize, &str)| {
        let index = index as u64;
        let letter = word.as_bytes()[0];
        match letter {
            b'|' => Logged::Entry(Entry { bio: index, sectors: 0..0, through: true, what: What::Flush }),
            b'0'..=b'9' => Logged::Mark(word.to_owned()),
            _ => {
                let page = u64::from(letter.to_ascii_lowercase());
                let byte = u8::try_from(word.len()).unwrap();
                Logged::Entry(piece(index, page, letter.is_ascii_uppercase(), byte))
            }
        }
    };
    text.split_whitespace().enumerate().map(one).collect()
}

fn driver(text: &str) -> Log {
    let entry = |logged| match logged {
        Logged::Entry(entry) => entry,
        Logged::Mark(mark) => panic!("the driver has no marks, but here is {mark}"),
    };
    Log::new(logged(text).into_iter().map(entry).collect())
}

/// The moments as "durable@position-late,late".
fn told(of_driver: &str, second: &str) -> String {
    let told = |moment: &Moment| {
        let late: Vec<String> = moment.late.iter().map(ToString::to_string).collect();
        format!("{}@{}-{}", moment.durable, moment.position, late.join(","))
    };
    match moments(&driver(of_driver), &logged(second)) {
        Ok(moments) => moments.iter().map(told).collect::<Vec<_>>().join(" "),
        Err(why) => why,
    }
}

#[test]
fn what_both_have_is_on_the_media_for_both() {
    assert_eq!(told("a b | C d |", "a b | C d | 6"), "3@3- 4@4- 6@6- 7@6-");
    // The order of what is on its way together is nobody's.
    assert_eq!(told("a b |", "b a |"), "3@3-");
}

#[test]
fn what_was_on_its_way_when_the_flush_was_sent_is_late_by_one_flush() {
    assert_eq!(told("a b | c |", "a | b c |"), "2@3-1 5@5-");
    assert_eq!(told("a B | c |", "a | B c |"), "2@3-1 3@3- 5@5-");
    assert!(told("a b | | |", "a | | b |").contains("still has not a write of sectors 784 to 792"));
}

#[test]
fn nothing_may_be_on_the_media_of_dm_log_writes_alone() {
    assert!(told("a | b |", "a b | |").contains("at position 2 only dm-log-writes has a write"));
    assert!(told("a | b | c |", "b | a | c |").contains("only dm-log-writes has"));
    assert!(told("a | b |", "a | b 2 |").contains("only dm-log-writes has"));
}

#[test]
fn a_write_that_one_has_alone_is_told() {
    assert_eq!(told("a b |", "a |"), "only the driver has a write of sectors 784 to 792");
    assert_eq!(told("a |", "a b |"), "only dm-log-writes has a write of sectors 784 to 792");
    assert_eq!(told("a | |", "a |"), "only the driver has a flush");
    assert_eq!(told("a |", "A |"), "only dm-log-writes has a write through the cache of sectors 776 to 784");
    assert_eq!(told("a' |", "a |"), "only dm-log-writes has a write of sectors 776 to 784");
}

#[test]
fn what_overwrites_comes_later_in_both() {
    assert_eq!(told("a a' |", "a a' |"), "3@3-");
    assert!(told("a a' |", "a' a |").contains("the other way round"));
}

#[test]
fn marks_stand_for_positions_of_the_log() {
    assert_eq!(told("a |", "a | 2"), "2@2- 3@2-");
    assert_eq!(told("a |", "a | 3"), "a mark names position 3 of 2");
    assert_eq!(told("a |", "a | 2nd"), "a mark says '2nd' and no position");
    let marked = logged("1 a 2 b 3");
    assert_eq!(between(&marked, "1", "3"), Some(&marked[1..4]));
    assert_eq!(between(&marked, "1", "4"), None);
}

#[test]
fn moments_are_spread_and_each_is_as_late_as_it_can_be() {
    let moments = moments(&driver("a | b | c |"), &logged("a | 2 2 b | 4 c | 6")).unwrap();
    let durable = |most| spread(&moments, most).iter().map(|moment| moment.durable).collect::<Vec<_>>();
    assert_eq!(durable(9), [4, 7, 10]);
    assert_eq!(durable(2), [4, 10]);
    assert_eq!(durable(0), [0; 0]);
}

/// A disk with both logs, where writes end a while after they have been stored.
#[derive(Default)]
struct Disk {
    driver: Vec<Entry>,
    second: Vec<Logged>,
    /// Stored and not ended: with the number of flushes that were stored before.
    ending: VecDeque<(usize, Entry)>,
    unflushed: Vec<Logged>,
    /// A flush that was sent, with what it covers, and whether it was stored.
    flush: Option<(Vec<Logged>, bool)>,
    flushes: usize,
}

impl Disk {
    fn write(&mut self, through: bool) {
        let bio = self.driver.len() as u64;
        let entry = piece(bio, bio, through, 1);
        self.driver.push(entry.clone());
        self.ending.push_back((self.flushes, entry));
    }

    fn end_one(&mut self) {
        match self.ending.pop_front() {
            Some((_, entry)) if entry.through => self.second.push(Logged::Entry(entry)),
            Some((_, entry)) => self.unflushed.push(Logged::Entry(entry)),
            None => {}
        }
    }

    /// Sends a flush, stores the one that was sent, or ends the one that was stored.
    fn flush(&mut self) {
        let number = u64::MAX - self.flushes as u64;
        let flush = || Entry { bio: number, sectors: 0..0, through: true, what: What::Flush };
        match self.flush.take() {
            None => {
                // Two flushes do not fit between a write's storing and its end.
                while self.ending.front().is_some_and(|(flushes, _)| *flushes < self.flushes) {
                    self.end_one();
                }
                self.flush = Some((std::mem::take(&mut self.unflushed), false));
            }
            Some((covered, false)) => {
                self.driver.push(flush());
                self.flushes += 1;
                self.flush = Some((covered, true));
            }
            Some((covered, true)) => {
                self.second.extend(covered);
                self.second.push(Logged::Entry(flush()));
            }
        }
    }

    fn of(steps: &[u8]) -> Self {
        let mut disk = Self::default();
        for step in steps {
            match step {
                0..=2 => disk.write(false),
                3 => disk.write(true),
                4 | 5 => disk.end_one(),
                6 => disk.second.push(Logged::Mark(disk.driver.len().to_string())),
                _ => disk.flush(),
            }
        }
        while !disk.ending.is_empty() {
            disk.end_one();
        }
        while disk.flush.is_some() || !disk.unflushed.is_empty() {
            disk.flush();
        }
        disk
    }
}

proptest! {
    #[test]
    fn two_logs_of_one_disk_agree_and_not_when_one_lacks_something(
        steps in prop::collection::vec(0_u8..12, 0..80), which: prop::sample::Index,
    ) {
        let disk = Disk::of(&steps);
        let driver = Log::new(disk.driver.clone());
        let found = moments(&driver, &disk.second);
        prop_assert!(found.is_ok(), "{found:?}");
        if let Some(last) = found.unwrap().last() {
            prop_assert_eq!(&last.late, &[0_usize; 0]);
        }
        if driver.end() > 0 {
            let mut lacking = disk.driver.clone();
            lacking.remove(which.index(lacking.len()));
            prop_assert!(moments(&Log::new(lacking), &disk.second).is_err());
        }
    }

    #[test]
    fn a_write_that_is_told_a_flush_too_early_is_noticed(
        steps in prop::collection::vec(0_u8..12, 0..80), which: prop::sample::Index,
    ) {
        let disk = Disk::of(&steps);
        let mut second = disk.second.clone();
        let flushes: Vec<usize> = (0..second.len())
            .filter(|&at| matches!(&second[at], Logged::Entry(entry) if entry.what == What::Flush))
            .collect();
        prop_assume!(flushes.len() > 1);
        let at = flushes[which.index(flushes.len() - 1)];
        let flush = second.remove(at);
        // Behind the flush, in the driver's log too.
        let stored_at = |wanted: &Logged| disk.driver.iter().position(|entry| *wanted == Logged::Entry(entry.clone()));
        let flush_at = disk.driver.iter().enumerate().filter(|(_, entry)| entry.what == What::Flush);
        let number = flushes.iter().position(|&flush| flush == at).unwrap();
        let flush_at = flush_at.map(|(at, _)| at).nth(number);
        let later = (at..second.len()).find(|&at| {
            matches!(&second[at], Logged::Entry(entry) if entry.is_volatile()) && stored_at(&second[at]) > flush_at
        });
        prop_assume!(later.is_some());
        let early = second.remove(later.unwrap());
        second.insert(at, flush);
        second.insert(at, early);
        prop_assert!(moments(&Log::new(disk.driver.clone()), &second).is_err());
    }
}
