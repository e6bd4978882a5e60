// SPDX-License-Identifier: GPL-2.0

//! Writeback of files: which bios are that, and what becomes of pages that a device may still be
//! writing to.

/// What a bio says of itself: a bit for each mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Marks(pub u32);

impl Marks {
    /// It writes data.
    pub const WRITE: u32 = 1 << 0;
    /// BIO_PAGE_PINNED: the submitter pinned the pages for this bio.
    pub const USER_PINNED: u32 = 1 << 1;
    /// REQ_META.
    pub const METADATA: u32 = 1 << 2;
    /// REQ_IDLE: without REQ_META, always direct I/O.
    pub const IDLE: u32 = 1 << 3;
    /// REQ_SWAP.
    pub const SWAP: u32 = 1 << 4;
    /// REQ_PREFLUSH.
    pub const PREFLUSH: u32 = 1 << 5;
    /// REQ_FUA.
    pub const FUA: u32 = 1 << 6;

    /// Whether the bio can be writeback of a file, if its pages are under writeback.
    ///
    /// Direct I/O is not, with REQ_IDLE or by BIO_PAGE_PINNED: it can have a mapped file as its source,
    /// which is under writeback by itself and pinned by this very write. Nor are a filesystem's own
    /// blocks, and swap.
    pub fn allow_writeback(self) -> bool {
        self.0 == Self::WRITE
    }
}

/// What a disk does about writeback of pages that may be pinned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// They are written and counted.
    Observe,
    /// Where memory is cleaned, what they hold is put into the cache, and they are dirty again.
    Skip,
    /// What they hold as the bio comes is written.
    Bounce,
    /// They are written when they are not pinned any more.
    Defer,
    /// Where memory is cleaned, they are not written at all: data is lost, on purpose.
    Drop,
}

impl Policy {
    /// Every policy, by the number of each.
    pub const ALL: [Self; 5] = [
        Self::Observe,
        Self::Skip,
        Self::Bounce,
        Self::Defer,
        Self::Drop,
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Observe => "observe",
            Self::Skip => "skip",
            Self::Bounce => "bounce",
            Self::Defer => "defer",
            Self::Drop => "drop",
        }
    }

    /// The policy of that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|policy| policy.name() == name)
    }
}

/// What becomes of the pages of a folio that may be pinned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Treatment {
    /// Written as they are when the data is copied.
    Write,
    /// What they hold now goes to the cache, and they are dirty again.
    Stash,
    /// What they hold now is written.
    Bounce,
    /// They wait for their pins to go.
    Defer,
    /// Not written, and dirty again.
    Drop,
}

/// What a policy has for the pages of a folio. `integrity`: somebody waits for the data to be durable,
/// else memory is cleaned. `may_stash` is asked only where it matters.
pub fn treat(policy: Policy, integrity: bool, may_stash: impl FnOnce() -> bool) -> Treatment {
    match (policy, integrity) {
        (Policy::Observe, _) | (Policy::Drop, true) => Treatment::Write,
        (Policy::Skip, false) if may_stash() => Treatment::Stash,
        (Policy::Skip | Policy::Bounce, _) => Treatment::Bounce,
        (Policy::Defer, _) => Treatment::Defer,
        (Policy::Drop, false) => Treatment::Drop,
    }
}
