// SPDX-License-Identifier: MIT OR Apache-2.0

//! The log that device-mapper's target `log-writes` keeps, as it lies on its own disk:
//! `drivers/md/dm-log-writes.c` describes it. A power cut leaves all that stands in it before a moment, for a write gets there
//! only with the next flush that was sent after the write had ended, or by itself if it went through the cache.

use std::io::{self, Read};
use std::ops::Range;

use super::log::{Entry, What};

const MAGIC: u64 = 0x6a_7366_7773_6872;
const VERSION: u64 = 1;

/// Bits of an entry's flags. One more, 16, tells of metadata, which changes nothing here.
const FLUSH: u64 = 1;
const FUA: u64 = 2;
const DISCARD: u64 = 4;
const MARK: u64 = 8;

/// Bytes of the sectors that all else here is counted in.
const SECTOR: u64 = 512;
/// Sectors of a page.
const PAGE_SECTORS: u64 = 8;

/// Bytes of an entry's fields, which begin a sector of their own.
const ENTRY: usize = 32;

/// More than any filesystem writes at once, in bytes: more is no log.
const MOST: u64 = 1 << 26;

/// One thing that the log tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Logged {
    /// A piece of what was written, a discard or a flush. Pieces do not cross pages, as in the driver's log; its bio
    /// is the number that the entry has in this log.
    Entry(Entry),
    /// What userspace said at that moment.
    Mark(String),
}

/// Why something is no such log.
#[derive(Debug, thiserror::Error)]
pub enum NotALog {
    /// It could not be read, or ends too early.
    #[error("cannot read entry {0} of the log of dm-log-writes: {1}")]
    Read(u64, io::Error),
    /// It does not begin like one.
    #[error("there is no log of dm-log-writes: it begins with {0:#x} and not with {MAGIC:#x}")]
    Magic(u64),
    /// Its format is another.
    #[error("the log of dm-log-writes has version {0}; this reads version {VERSION}")]
    Version(u64),
    /// Its sectors cannot be.
    #[error("the log of dm-log-writes has sectors of {0} bytes")]
    SectorSize(u32),
    /// An entry cannot be.
    #[error("entry {0} of the log of dm-log-writes is none: {1}")]
    Entry(u64, String),
}

/// Reads a log from the first byte of its disk on.
pub fn read(mut from: impl Read) -> Result<Vec<Logged>, NotALog> {
    let head = take(&mut from, SECTOR).map_err(|error| NotALog::Read(0, error))?;
    let [magic, version, entries] = [0, 8, 16].map(|at| number(&head, at));
    if magic != MAGIC {
        return Err(NotALog::Magic(magic));
    }
    if version != VERSION {
        return Err(NotALog::Version(version));
    }
    let size = u32::from_le_bytes(head[24..28].try_into().expect("four bytes"));
    if !(512..=4096).contains(&size) || !size.is_power_of_two() {
        return Err(NotALog::SectorSize(size));
    }
    let size = u64::from(size);
    take(&mut from, size - SECTOR).map_err(|error| NotALog::Read(0, error))?;
    let mut all = Vec::new();
    for index in 0..entries {
        all.extend(entry(&mut from, index, size)?);
    }
    Ok(all)
}

/// An entry, with its data in pieces; `size` is in bytes.
fn entry(from: &mut impl Read, index: u64, size: u64) -> Result<Vec<Logged>, NotALog> {
    let unreadable = |error| NotALog::Read(index, error);
    let wrong = |why: &str| NotALog::Entry(index, why.to_owned());
    let head = take(from, size).map_err(unreadable)?;
    let [sector, count, flags, text] = [0, 8, 16, 24].map(|at| number(&head, at));
    let bytes = count.checked_mul(size).filter(|&bytes| bytes <= MOST || flags & DISCARD != 0);
    let bytes = bytes.ok_or_else(|| wrong("it has more data than a bio"))?;
    let start = sector.checked_mul(size / SECTOR).ok_or_else(|| wrong("it is behind all disks"))?;
    let sectors = start..start.saturating_add(bytes / SECTOR);
    let one = |what| Entry { bio: index, sectors: sectors.clone(), through: true, what };
    match flags & (FLUSH | FUA | DISCARD | MARK) {
        MARK => {
            let text = usize::try_from(text).ok().and_then(|length| head[ENTRY..].get(..length));
            let text = text.ok_or_else(|| wrong("its mark is longer than a sector"))?;
            Ok(vec![Logged::Mark(String::from_utf8_lossy(text).into_owned())])
        }
        // Before a write through the cache it has the flags of that.
        flush if count == 0 && flush & !FUA == FLUSH => {
            Ok(vec![Logged::Entry(Entry { sectors: 0..0, ..one(What::Flush) })])
        }
        DISCARD => Ok(vec![Logged::Entry(Entry { through: false, ..one(What::Discard) })]),
        through @ (0 | FUA) => {
            let data = take(from, bytes).map_err(unreadable)?;
            let piece = |sectors: Range<u64>, data: &[u8]| {
                let what = What::Write(data.to_vec());
                Logged::Entry(Entry { bio: index, sectors, through: through == FUA, what })
            };
            Ok(pieces(sectors, &data, piece))
        }
        // Device-mapper sends the flush before the data, in a bio of its own.
        _ => Err(wrong(&format!("nothing has the flags {flags:#x} with {count} sectors"))),
    }
}

/// Data cut at the ends of pages.
fn pieces<T>(sectors: Range<u64>, data: &[u8], piece: impl Fn(Range<u64>, &[u8]) -> T) -> Vec<T> {
    let (mut at, mut rest, mut all) = (sectors.start, data, Vec::new());
    while at < sectors.end {
        let end = sectors.end.min((at / PAGE_SECTORS + 1) * PAGE_SECTORS);
        let length = usize::try_from((end - at) * SECTOR).expect("a page is small");
        let (first, others) = rest.split_at(length);
        all.push(piece(at..end, first));
        (at, rest) = (end, others);
    }
    all
}

fn take(from: &mut impl Read, bytes: u64) -> io::Result<Vec<u8>> {
    let mut taken = vec![0; usize::try_from(bytes).map_err(io::Error::other)?];
    from.read_exact(&mut taken).map(|()| taken)
}

fn number(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A log as the kernel would write it.
    struct Written {
        bytes: Vec<u8>,
        size: usize,
        entries: u64,
    }

    impl Written {
        fn new(size: usize) -> Self {
            Self { bytes: vec![0; size], size, entries: 0 }
        }

        fn entry(&mut self, sector: u64, count: u64, flags: u64, text: &str, data: &[u8]) {
            let mut head = [sector, count, flags, text.len() as u64].map(u64::to_le_bytes).concat();
            head.extend(text.as_bytes());
            head.resize(self.size, 0);
            self.bytes.extend(head);
            self.bytes.extend(data);
            self.entries += 1;
        }

        fn read(&self) -> Result<Vec<Logged>, NotALog> {
            let mut bytes = self.bytes.clone();
            let head = [MAGIC, VERSION, self.entries, self.size as u64].map(u64::to_le_bytes).concat();
            bytes[..32].copy_from_slice(&head);
            read(bytes.as_slice())
        }
    }

    fn piece(bio: u64, sectors: Range<u64>, through: bool, what: What) -> Logged {
        Logged::Entry(Entry { bio, sectors, through, what })
    }

    #[test]
    fn a_log_is_read_in_order_and_writes_in_pieces() {
        let mut log = Written::new(512);
        let data: Vec<u8> = (0..10_u8).flat_map(|sector| [sector; 512]).collect();
        log.entry(6, 10, 16, "", &data);
        log.entry(0, 0, FLUSH, "", &[]);
        log.entry(64, 1, FUA | 16, "", &[9; 512]);
        log.entry(8, 1 << 20, DISCARD, "", &[]);
        log.entry(0, 0, MARK, "at 5", &[]);
        let expected = [
            piece(0, 6..8, false, What::Write(data[..1024].to_vec())),
            piece(0, 8..16, false, What::Write(data[1024..].to_vec())),
            piece(1, 0..0, true, What::Flush),
            piece(2, 64..65, true, What::Write(vec![9; 512])),
            piece(3, 8..8 + (1 << 20), false, What::Discard),
            Logged::Mark("at 5".to_owned()),
        ];
        assert_eq!(log.read().unwrap(), expected);
    }

    #[test]
    fn numbers_are_of_the_disks_own_sectors() {
        let mut log = Written::new(4096);
        log.entry(3, 2, 0, "", &[7; 8192]);
        log.entry(0, 0, MARK, "end", &[]);
        let page = || What::Write(vec![7; 4096]);
        let expected = [
            piece(0, 24..32, false, page()),
            piece(0, 32..40, false, page()),
            Logged::Mark("end".to_owned()),
        ];
        assert_eq!(log.read().unwrap(), expected);
    }

    #[test]
    fn what_is_no_log_is_refused() {
        assert!(matches!(read([0; 512].as_slice()), Err(NotALog::Magic(0))));
        assert!(matches!(read([0; 100].as_slice()), Err(NotALog::Read(0, _))));
        assert!(matches!(Written::new(1024 * 8).read(), Err(NotALog::SectorSize(8192))));
        let refused = |sector, count, flags, data: &[u8]| {
            let mut log = Written::new(512);
            log.entry(sector, count, flags, "", data);
            log.read().unwrap_err().to_string()
        };
        assert!(refused(0, 1, FLUSH, &[0; 512]).contains("nothing has the flags 0x1 with 1 sectors"));
        assert!(refused(0, 1, DISCARD | FUA, &[]).contains("nothing has the flags"));
        assert!(refused(0, 2, 0, &[0; 512]).contains("cannot read entry 0"));
        assert!(refused(0, 1 << 40, 0, &[]).contains("more data than a bio"));
    }
}
