// SPDX-License-Identifier: GPL-2.0

//! What a page, and the folio that it is part of, say of themselves.

use super::ffi;
use crate::{
    abi::{
        PageState,
        STATE_ANON,
        STATE_DIRTY,
        STATE_FILE,
        STATE_HAS_PINCOUNT,
        STATE_LOCKED,
        STATE_LRU,
        STATE_MAYBE_DMA_PINNED,
        STATE_UPTODATE,
        STATE_WRITEBACK, //
    },
    logic::{
        classify::Owner,
        sectors::PAGE_SIZE, //
    }, //
};
use core::{
    marker::PhantomData,
    ptr::NonNull, //
};
use kernel::{
    bindings,
    prelude::*,
    sync::rcu, //
};

/// A page that somebody else keeps alive.
///
/// # Invariants
///
/// The page, and so the folio that it is part of, stays allocated for `'a`.
#[derive(Clone, Copy)]
pub(crate) struct Page<'a> {
    raw: NonNull<bindings::page>,
    _alive: PhantomData<&'a bindings::page>,
}

impl<'a> Page<'a> {
    /// Borrows a page.
    ///
    /// # Safety
    ///
    /// The page must stay allocated for `'a`.
    pub(super) unsafe fn from_raw(raw: NonNull<bindings::page>) -> Self {
        // INVARIANT: That is the safety requirement.
        Self {
            raw,
            _alive: PhantomData,
        }
    }

    /// The folio of the page; none for memory that is not made of folios, such as slabs.
    pub(crate) fn folio(self) -> Option<Folio<'a>> {
        // SAFETY: By the type invariant the page is allocated.
        let folio = NonNull::new(unsafe { ffi::pinblk_page_folio(self.raw.as_ptr()) })?;
        // SAFETY: It is the head of an allocated page.
        if unsafe { ffi::pinblk_folio_is_typed(folio.as_ptr()) } {
            return None;
        }
        // INVARIANT: It lives as long as its page, and was just seen to be untyped.
        Some(Folio {
            raw: folio,
            _alive: PhantomData,
        })
    }

    /// Prints the page to the kernel log.
    pub(crate) fn dump(self) {
        // SAFETY: By the type invariant the page is allocated, and the reason is a C string.
        unsafe {
            bindings::dump_page(self.raw.as_ptr(), c"pinblk".as_char_ptr());
        }
    }

    /// The facts that [`Self::dump`] prints, and what the folio's flags say.
    pub(crate) fn state(self) -> PageState {
        let page = self.raw.as_ptr();
        let mut state = PageState {
            // SAFETY: By the type invariant the page is allocated.
            pfn: unsafe { ffi::pinblk_page_to_pfn(page) } as u64,
            // SAFETY: As above.
            mapcount: unsafe { ffi::pinblk_page_mapcount(page) },
            ..PageState::default()
        };
        if let Some(folio) = self.folio() {
            folio.describe(self, &mut state);
        }
        state
    }
}

/// Where bytes are in a file. The file is told by the address of its mapping, which may belong to
/// another file when that is gone.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    mapping: usize,
    position: u64,
}

/// A folio that somebody else keeps alive.
///
/// # Invariants
///
/// It stays allocated for `'a`, and is a folio: its words are not used for something else.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Folio<'a> {
    raw: NonNull<bindings::folio>,
    _alive: PhantomData<&'a bindings::folio>,
}

impl Folio<'_> {
    /// Whether pins may be held, by the kernel's own test.
    pub(crate) fn maybe_dma_pinned(self) -> bool {
        // SAFETY: By the type invariant it is a folio and allocated.
        unsafe { ffi::pinblk_folio_maybe_dma_pinned(self.raw.as_ptr()) }
    }

    /// Whose page cache the folio is in at this moment.
    pub(crate) fn owner(self) -> Owner {
        match self.host_mode() & bindings::S_IFMT {
            bindings::S_IFREG => Owner::File {
                locked: self.test(ffi::pinblk_folio_test_locked),
                writeback: self.test(ffi::pinblk_folio_test_writeback),
            },
            bindings::S_IFBLK => Owner::BlockDevice,
            _ => Owner::Other,
        }
    }

    /// Whether the folio is in the page cache of a regular file, and under writeback.
    pub(crate) fn is_file_writeback(self) -> bool {
        matches!(
            self.owner(),
            Owner::File {
                writeback: true,
                ..
            }
        )
    }

    /// Where the byte `offset` of `page`, a page of this folio, is in its file.
    pub(crate) fn place(self, page: Page<'_>, offset: usize) -> Option<Place> {
        // SAFETY: By the type invariant it is a folio and allocated.
        let mapping = unsafe { bindings::folio_mapping(self.raw.as_ptr()) };
        // SAFETY: By the type invariants both are allocated, and the page is part of the folio.
        let index = unsafe { ffi::pinblk_folio_page_index(self.raw.as_ptr(), page.raw.as_ptr()) };
        (!mapping.is_null()).then(|| Place {
            mapping: mapping as usize,
            position: index as u64 * PAGE_SIZE as u64 + offset as u64,
        })
    }

    /// Marks the folio dirty, which is then written again. False if it is clean and locked, which changes
    /// nothing.
    pub(crate) fn try_dirty(self) -> bool {
        // SAFETY: By the type invariant it is a folio and allocated. The caller may sleep, as
        // everything in this driver but what is documented otherwise.
        unsafe { ffi::pinblk_folio_try_dirty(self.raw.as_ptr()) }
    }

    /// The mode of the inode whose page cache the folio is in, zero if there is none.
    fn host_mode(self) -> u32 {
        // A folio can leave its page cache at any moment unless it is locked or under writeback,
        // and its inode can then go away; but not its memory, inodes being freed by RCU.
        let _rcu = rcu::read_lock();
        // SAFETY: By the type invariant it is a folio and allocated.
        let mapping = unsafe { bindings::folio_mapping(self.raw.as_ptr()) };
        if mapping.is_null() {
            return 0;
        }
        // SAFETY: A mapping that was seen under RCU stays readable until the read lock goes.
        let host = unsafe { (&raw const (*mapping).host).read_volatile() };
        if host.is_null() {
            return 0;
        }
        // SAFETY: As for the mapping.
        u32::from(unsafe { (&raw const (*host).i_mode).read_volatile() })
    }

    fn describe(self, page: Page<'_>, state: &mut PageState) {
        let folio = self.raw.as_ptr();
        // SAFETY: By the type invariants both are allocated, and the page is part of the folio.
        state.index = unsafe { ffi::pinblk_folio_page_index(folio, page.raw.as_ptr()) } as u64;
        // SAFETY: By the type invariant it is a folio and allocated.
        state.refcount = unsafe { ffi::pinblk_folio_ref_count(folio) };
        // SAFETY: As above.
        state.folio_mapcount = unsafe { ffi::pinblk_folio_mapcount(folio) };
        // SAFETY: As above.
        state.order = unsafe { ffi::pinblk_folio_order(folio) };
        if self.test(ffi::pinblk_folio_has_pincount) {
            // SAFETY: As above, and the folio has such a count.
            state.pincount = unsafe { ffi::pinblk_folio_pincount(folio) };
        }
        state.state = self.state_bits();
    }

    fn state_bits(self) -> u32 {
        let mut bits = [
            (
                STATE_ANON,
                ffi::pinblk_folio_test_anon as unsafe extern "C" fn(_) -> _,
            ),
            (STATE_DIRTY, ffi::pinblk_folio_test_dirty),
            (STATE_WRITEBACK, ffi::pinblk_folio_test_writeback),
            (STATE_LOCKED, ffi::pinblk_folio_test_locked),
            (STATE_UPTODATE, ffi::pinblk_folio_test_uptodate),
            (STATE_LRU, ffi::pinblk_folio_test_lru),
            (STATE_HAS_PINCOUNT, ffi::pinblk_folio_has_pincount),
        ]
        .into_iter()
        .filter(|(_, test)| self.test(*test))
        .fold(0, |bits, (bit, _)| bits | bit);
        if self.maybe_dma_pinned() {
            bits |= STATE_MAYBE_DMA_PINNED;
        }
        if bits & STATE_ANON == 0 && self.host_mode() != 0 {
            bits |= STATE_FILE;
        }
        bits
    }

    fn test(self, test: unsafe extern "C" fn(*const bindings::folio) -> bool) -> bool {
        // SAFETY: By the type invariant it is a folio and allocated: all that the tests of
        // `sys/shims.h` ask for.
        unsafe { test(self.raw.as_ptr()) }
    }
}
