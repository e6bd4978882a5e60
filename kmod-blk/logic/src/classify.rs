// SPDX-License-Identifier: GPL-2.0

//! Which kind of I/O a bio is, from what can be seen of it.

/// What can be seen of a bio with data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// It reads or it writes.
    pub direction: Direction,
    /// BIO_PAGE_PINNED: the submitter pinned the pages for this bio.
    pub user_pinned: bool,
    /// REQ_META.
    pub metadata: bool,
    /// REQ_IDLE: without REQ_META, always direct I/O.
    pub idle: bool,
    /// What the first page belongs to.
    pub first_page: Owner,
}

/// Where the data goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the disk.
    Read,
    /// To the disk.
    Write,
}

/// What a page belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// The page cache of a regular file.
    File {
        /// PG_locked, as while it is being read in.
        locked: bool,
        /// PG_writeback.
        writeback: bool,
    },
    /// The page cache of a block device.
    BlockDevice,
    /// Neither: anonymous memory, or a filesystem's or the kernel's own.
    Other,
}

/// The kinds of I/O that are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Pages that the submitter pinned, as O_DIRECT does.
    UserPinned,
    /// A regular file's page cache, being read in or under writeback.
    PageCache,
    /// A filesystem's own blocks.
    Metadata,
    /// All else.
    Other,
}

/// Tells which kind of I/O a bio is.
///
/// A file's page cache counts as such only while it takes part in this very I/O: a direct write
/// can have another file's page cache as its source, and a journal carries the folios of files.
pub fn classify(facts: &Facts) -> Class {
    let page_cache = match (facts.first_page, facts.direction) {
        (Owner::File { locked, .. }, Direction::Read) => locked,
        (Owner::File { writeback, .. }, Direction::Write) => writeback && !facts.idle,
        _ => false,
    };
    if facts.user_pinned {
        Class::UserPinned
    } else if page_cache {
        Class::PageCache
    } else if facts.metadata || facts.first_page == Owner::BlockDevice {
        Class::Metadata
    } else {
        Class::Other
    }
}
