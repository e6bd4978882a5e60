// SPDX-License-Identifier: MIT OR Apache-2.0

//! What was written to files and what was promised of them: by this what a power cut left is judged.

use std::fmt;
use std::ops::Range;

use crate::pattern::Pattern;

/// Bytes of a page.
const PAGE: usize = 4096;

/// What was never written to the disk reads as this.
const TENANT: u8 = 0xde;

/// Bytes that are written to the media as a whole.
const SECTOR: usize = 512;

/// What a page of a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Content {
    /// Nothing: the file is not there or ends before it, or it is zeros.
    Nothing,
    /// The pattern's bytes of this place.
    Bytes(Pattern),
}

/// What a page held since a position of the log.
#[derive(Clone, Copy, Debug)]
struct Version {
    content: Content,
    since: usize,
    /// A promise is about it; else a device wrote it and told nobody.
    firm: bool,
}

/// From a position on, a page holds this version or a later one.
#[derive(Clone, Debug)]
struct Promise {
    position: usize,
    version: usize,
    by: &'static str,
}

#[derive(Clone, Debug)]
struct Page {
    versions: Vec<Version>,
    promises: Vec<Promise>,
}

/// A file of a history, by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileId(usize);

struct File {
    name: String,
    pages: Vec<Page>,
}

/// Everything that was done to some files.
#[derive(Default)]
pub struct History {
    files: Vec<File>,
    patterns: u8,
}

/// What is wrong with a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Complaint {
    /// In which way.
    pub kind: Kind,
    /// Where, and what should be there.
    text: String,
}

/// In which way a page is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// What was promised is not there, or cannot be read.
    Broken,
    /// It shows what a previous tenant of the disk has left.
    Tenant,
    /// It holds what was never written to it.
    Foreign,
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// What was found in the place of a page.
pub enum Found<'a> {
    /// Its bytes; fewer than a page where the file ends in it, none where it ends before, or is not there.
    Bytes(&'a [u8]),
    /// It could not be read, for this reason.
    Unreadable(String),
}

impl History {
    /// A pattern that no page held until now.
    pub fn pattern(&mut self) -> Pattern {
        self.patterns =
            self.patterns.checked_add(1).expect("a workload writes fewer patterns than there are");
        Pattern(self.patterns)
    }

    /// A file that is there, and on the media, when the log begins; or, without a pattern, one that is not.
    pub fn file(&mut self, name: &str, pages: usize, holds: Option<Pattern>) -> FileId {
        let content = holds.map_or(Content::Nothing, Content::Bytes);
        let first = Version { content, since: 0, firm: true };
        let page = Page { versions: vec![first], promises: Vec::new() };
        self.files.push(File { name: name.to_owned(), pages: vec![page; pages] });
        FileId(self.files.len() - 1)
    }

    /// These pages are about to be written by a program.
    pub fn written(&mut self, file: FileId, pages: Range<usize>, at: usize, with: Pattern) {
        self.change(file, pages, Version { content: Content::Bytes(with), since: at, firm: true });
    }

    /// This page is about to be written by a device, which tells nobody.
    pub fn written_by_device(&mut self, file: FileId, page: usize, at: usize, with: Pattern) {
        self.change(file, page..page + 1, Version { content: Content::Bytes(with), since: at, firm: false });
    }

    /// The device says now that it wrote the page.
    pub fn dirtied(&mut self, file: FileId, page: usize, at: usize) {
        let page = &mut self.files[file.0].pages[page];
        if let Some(last) = page.versions.last().copied() {
            page.versions.push(Version { since: at, firm: true, ..last });
        }
    }

    /// These pages are about to be cut off, or punched out.
    pub fn removed(&mut self, file: FileId, pages: Range<usize>, at: usize) {
        self.change(file, pages, Version { content: Content::Nothing, since: at, firm: true });
    }

    /// What these pages hold is promised to be there from now on.
    pub fn promised(&mut self, file: FileId, pages: Range<usize>, at: usize, by: &'static str) {
        for page in &mut self.files[file.0].pages[pages] {
            let last = page.versions.iter().rposition(|version| version.firm);
            let version = last.expect("what a page begins with is firm");
            page.promises.push(Promise { position: at, version, by });
        }
    }

    /// All that is promised of all files, as by sync(2).
    pub fn promised_all(&mut self, at: usize, by: &'static str) {
        for file in 0..self.files.len() {
            self.promised(FileId(file), 0..self.files[file].pages.len(), at, by);
        }
    }

    /// The files by name, and how many pages they have at most.
    pub fn files(&self) -> impl Iterator<Item = (FileId, &str, usize)> {
        let files = self.files.iter().enumerate();
        files.map(|(id, file)| (FileId(id), file.name.as_str(), file.pages.len()))
    }

    /// What is wrong with what a page holds after a power cut at that position, if anything is.
    pub fn judge(&self, position: usize, file: FileId, page: usize, found: &Found<'_>) -> Option<Complaint> {
        let File { name, pages } = &self.files[file.0];
        let Page { versions, promises } = &pages[page];
        let promise = promises
            .iter()
            .filter(|promise| promise.position <= position)
            .max_by_key(|promise| promise.version);
        let earliest = promise.map_or(0, |promise| promise.version);
        let known = versions.iter().position(|version| version.content.is(page, found));
        let may_be = |version: &Version| version.since <= position && version.content.is(page, found);
        if versions[earliest..].iter().any(may_be) {
            return None;
        }
        let place = format!("page {page} of {name}");
        let wanted = promise.map_or_else(
            || "it was there when the log began".to_owned(),
            |promise| format!("{} promised version {earliest} of it", promise.by),
        );
        let (kind, text) = match (found, known) {
            (Found::Unreadable(why), _) => (Kind::Broken, format!("{place} cannot be read: {why}; {wanted}")),
            (_, Some(version)) => (Kind::Broken, format!("{place} holds version {version}; {wanted}")),
            (Found::Bytes([]), None) => (Kind::Broken, format!("{place} is not there; {wanted}")),
            (Found::Bytes(bytes), None) => match tenant(bytes) {
                Some(at) => {
                    (Kind::Tenant, format!("{place} shows a previous tenant's data from byte {at} on"))
                }
                None if bytes.iter().all(|&byte| byte == 0) => {
                    (Kind::Broken, format!("{place} holds zeros; {wanted}"))
                }
                None => (Kind::Foreign, format!("{place} holds what was never written to it; {wanted}")),
            },
        };
        Some(Complaint { kind, text })
    }

    /// Whether a page held these bytes at any time.
    pub fn has_held(&self, file: FileId, page: usize, bytes: &[u8]) -> bool {
        let versions = &self.files[file.0].pages[page].versions;
        versions.iter().any(|version| {
            version.content != Content::Nothing && version.content.is(page, &Found::Bytes(bytes))
        })
    }

    fn change(&mut self, file: FileId, pages: Range<usize>, version: Version) {
        for page in &mut self.files[file.0].pages[pages] {
            page.versions.push(version);
        }
    }
}

impl Content {
    fn is(self, page: usize, found: &Found<'_>) -> bool {
        match (self, found) {
            (_, Found::Unreadable(_)) => false,
            (Self::Nothing, Found::Bytes(bytes)) => bytes.iter().all(|&byte| byte == 0),
            (Self::Bytes(pattern), Found::Bytes(bytes)) => {
                bytes.len() == PAGE && pattern.difference(page * PAGE, bytes).is_none()
            }
        }
    }
}

/// The first sector that is the previous tenant's.
fn tenant(bytes: &[u8]) -> Option<usize> {
    let sector = bytes.chunks(SECTOR).position(|sector| sector.iter().all(|&byte| byte == TENANT))?;
    Some(sector * SECTOR)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file of one page that is written at 10, promised at 20, written at 30 and by a device at 40.
    fn history() -> (History, FileId, [Pattern; 4]) {
        let mut history = History::default();
        let patterns = [(); 4].map(|()| history.pattern());
        let file = history.file("data", 1, Some(patterns[0]));
        history.written(file, 0..1, 10, patterns[1]);
        history.promised(file, 0..1, 20, "fsync");
        history.written(file, 0..1, 30, patterns[2]);
        history.written_by_device(file, 0, 40, patterns[3]);
        (history, file, patterns)
    }

    fn judge(position: usize, which: usize) -> Option<Kind> {
        let (history, file, patterns) = history();
        let bytes = patterns[which].bytes(0, PAGE);
        history.judge(position, file, 0, &Found::Bytes(&bytes)).map(|complaint| complaint.kind)
    }

    #[test]
    fn a_promise_holds_from_its_position_on_and_later_versions_fulfil_it() {
        assert_eq!(judge(15, 0), None);
        assert_eq!(judge(15, 1), None);
        assert_eq!(judge(20, 0), Some(Kind::Broken));
        assert_eq!(judge(50, 0), Some(Kind::Broken));
        for later in 1..4 {
            assert_eq!(judge(50, later), None);
        }
    }

    #[test]
    fn what_is_written_later_cannot_be_there_yet() {
        assert_eq!(judge(5, 1), Some(Kind::Broken));
        assert_eq!(judge(35, 3), Some(Kind::Broken));
    }

    #[test]
    fn what_a_device_wrote_is_promised_once_it_says_so() {
        let (mut history, file, patterns) = history();
        history.promised(file, 0..1, 50, "fsync");
        let processors = patterns[2].bytes(0, PAGE);
        assert!(history.judge(60, file, 0, &Found::Bytes(&processors)).is_none());
        history.dirtied(file, 0, 70);
        history.promised(file, 0..1, 80, "fsync");
        assert!(history.judge(75, file, 0, &Found::Bytes(&processors)).is_none());
        let complaint = history.judge(80, file, 0, &Found::Bytes(&processors)).unwrap();
        assert_eq!(complaint.kind, Kind::Broken);
        assert!(history.judge(80, file, 0, &Found::Bytes(&patterns[3].bytes(0, PAGE))).is_none());
    }

    #[test]
    fn a_new_file_may_be_missing_until_it_is_promised_and_never_shows_others_data() {
        let mut history = History::default();
        let file = history.file("new", 2, None);
        let pattern = history.pattern();
        history.written(file, 0..2, 10, pattern);
        let judge = |history: &History, position, bytes: &[u8]| {
            history.judge(position, file, 1, &Found::Bytes(bytes)).map(|complaint| complaint.kind)
        };
        assert_eq!(judge(&history, 20, &[]), None);
        assert_eq!(judge(&history, 20, &[0; PAGE]), None);
        assert_eq!(judge(&history, 20, &[TENANT; PAGE]), Some(Kind::Tenant));
        assert_eq!(judge(&history, 20, &Pattern(99).bytes(PAGE, PAGE)), Some(Kind::Foreign));
        // The right bytes at the wrong place.
        assert_eq!(judge(&history, 20, &pattern.bytes(0, PAGE)), Some(Kind::Foreign));
        history.promised(file, 0..2, 20, "fsync");
        assert_eq!(judge(&history, 20, &[]), Some(Kind::Broken));
        assert_eq!(judge(&history, 20, &[0; PAGE]), Some(Kind::Broken));
        assert_eq!(judge(&history, 20, &pattern.bytes(PAGE, PAGE)), None);
        history.removed(file, 0..2, 30);
        history.promised_all(40, "sync");
        assert_eq!(judge(&history, 40, &pattern.bytes(PAGE, PAGE)), Some(Kind::Broken));
        assert_eq!(judge(&history, 40, &[]), None);
    }

    #[test]
    fn what_cannot_be_read_is_not_there() {
        let (history, file, _) = history();
        let complaint = history.judge(0, file, 0, &Found::Unreadable("EIO".into())).unwrap();
        assert_eq!(complaint.kind, Kind::Broken);
        assert!(complaint.to_string().contains("cannot be read: EIO"), "{complaint}");
    }

    #[test]
    fn one_sector_of_a_previous_tenant_is_enough() {
        let mut history = History::default();
        let pattern = history.pattern();
        let file = history.file("data", 1, Some(pattern));
        let mut bytes = pattern.bytes(0, PAGE);
        bytes[1024..1536].fill(TENANT);
        let complaint = history.judge(9, file, 0, &Found::Bytes(&bytes)).unwrap();
        assert_eq!(complaint.kind, Kind::Tenant);
        assert!(complaint.to_string().ends_with("from byte 1024 on"), "{complaint}");
    }
}
