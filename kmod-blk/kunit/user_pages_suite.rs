// SPDX-License-Identifier: GPL-2.0

//! User pages: what acquiring and releasing does to their counts.
//!
//! A test is a kernel thread with an address space, and not a process: the fast path is for it, while
//! what asks for the process has nobody to ask. The other paths are for scenarios, which run in one.

use crate::{
    abi::{
        STATE_DIRTY,
        STATE_LRU,
        STATE_MAYBE_DMA_PINNED, //
    },
    logic::sectors::PAGE_SIZE,
    sys::{
        acquire::{
            Acquisition,
            Get,
            LongTerm,
            Path,
            Pin,
            UserPages,
            Wanted, //
        },
        user_memory::UserMemory, //
    }, //
};
use kernel::prelude::*;

pub(crate) const PAGES: usize = 4;

/// How often a thread may be moved to another processor while it fills its pages. Those that it filled
/// before are in the batch of the processor that it has left.
const TRIES: usize = 10;

/// What a pin adds to the reference count of a folio of one page.
pub(crate) const PIN: i32 = 1024;

pub(crate) fn wanted(memory: &UserMemory) -> Wanted {
    Wanted {
        address: memory.address,
        count: PAGES,
        times: 1,
        writable: true,
        partial: false,
        add: false,
    }
}

/// Acquires what is wanted by the fast path.
fn fast<A: Acquisition>(wanted: &Wanted) -> Result<UserPages<A>> {
    UserPages::acquire(&Path::Fast, wanted)
}

/// The error as a number, which can be compared.
fn errno<T>(result: Result<T>) -> i32 {
    result.map_or_else(Error::to_errno, |_| 0)
}

/// Pages of user memory that are there, and a reference to each through which they are looked at.
pub(crate) struct Watched {
    pub(crate) memory: UserMemory,
    watch: UserPages<Get>,
}

impl Watched {
    pub(crate) fn new() -> Result<Self> {
        for _ in 0..TRIES {
            let memory = UserMemory::map(PAGES)?;
            memory.fill(1)?;
            let watch = fast(&wanted(&memory))?;
            UserMemory::drain_lru()?;
            let watched = Self { memory, watch };
            if watched.all(STATE_LRU) == Some(true) {
                return Ok(watched);
            }
        }
        Err(EBUSY)
    }

    /// The reference count of each page.
    pub(crate) fn counts(&self) -> [i32; PAGES] {
        core::array::from_fn(|index| {
            let page = self.watch.view().page(index);
            page.map_or(0, |page| page.state().refcount)
        })
    }

    /// Whether this is said of all pages, of some (nothing), or of none.
    pub(crate) fn all(&self, bit: u32) -> Option<bool> {
        let has = |index| {
            let page = self.watch.view().page(index);
            page.is_some_and(|page| page.state().state & bit != 0)
        };
        match (0..PAGES).filter(|index| has(*index)).count() {
            0 => Some(false),
            PAGES => Some(true),
            _ => None,
        }
    }

    pub(crate) fn counts_plus(before: [i32; PAGES], more: i32) -> [i32; PAGES] {
        before.map(|count| count + more)
    }
}

#[kunit_tests(pinblk_user_pages)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_counts_one_and_is_no_pin() -> Result {
        let watched = Watched::new()?;
        let before = watched.counts();
        let pages = fast::<Get>(&wanted(&watched.memory))?;
        assert_eq!(watched.counts(), Watched::counts_plus(before, 1));
        assert_eq!(watched.all(STATE_MAYBE_DMA_PINNED), Some(false));
        drop(pages);
        assert_eq!(watched.counts(), before);
        Ok(())
    }

    #[test]
    fn a_pin_counts_1024_and_is_seen() -> Result {
        let watched = Watched::new()?;
        let before = watched.counts();
        let pages = fast::<Pin>(&wanted(&watched.memory))?;
        assert_eq!(watched.counts(), Watched::counts_plus(before, PIN));
        assert_eq!(watched.all(STATE_MAYBE_DMA_PINNED), Some(true));
        drop(pages);
        assert_eq!(watched.counts(), before);
        assert_eq!(watched.all(STATE_MAYBE_DMA_PINNED), Some(false));
        Ok(())
    }

    #[test]
    fn acquiring_again_and_adding_pins_come_to_the_same() -> Result {
        let watched = Watched::new()?;
        let before = watched.counts();
        for add in [false, true] {
            let again = Wanted {
                times: 100,
                add,
                ..wanted(&watched.memory)
            };
            let pages = fast::<Pin>(&again)?;
            assert_eq!(watched.counts(), Watched::counts_plus(before, 100 * PIN));
            assert_eq!(pages.counted(), 400);
            drop(pages);
            assert_eq!(watched.counts(), before);
        }
        let references = Wanted {
            times: 3,
            ..wanted(&watched.memory)
        };
        let pages = fast::<Get>(&references)?;
        assert_eq!(watched.counts(), Watched::counts_plus(before, 3));
        drop(pages);
        assert_eq!(watched.counts(), before);
        Ok(())
    }

    #[test]
    fn a_dirty_release_dirties_and_a_clean_one_does_not() -> Result {
        let watched = Watched::new()?;
        let before = watched.counts();
        drop(fast::<Pin>(&wanted(&watched.memory))?);
        drop(fast::<Get>(&wanted(&watched.memory))?);
        assert_eq!(watched.all(STATE_DIRTY), Some(false));
        fast::<Pin>(&wanted(&watched.memory))?.release_dirty();
        assert_eq!(watched.all(STATE_DIRTY), Some(true));
        assert_eq!(watched.counts(), before);
        let watched = Watched::new()?;
        let before = watched.counts();
        fast::<Get>(&wanted(&watched.memory))?.release_dirty();
        assert_eq!(watched.all(STATE_DIRTY), Some(true));
        assert_eq!(watched.counts(), before);
        Ok(())
    }

    #[test]
    fn a_part_is_kept_or_undone_as_was_asked() -> Result {
        let watched = Watched::new()?;
        let before = watched.counts();
        let more = |partial| Wanted {
            count: PAGES + 2,
            partial,
            ..wanted(&watched.memory)
        };
        assert_eq!(errno(fast::<Pin>(&more(false))), EFAULT.to_errno());
        assert_eq!(watched.counts(), before);
        let part = fast::<Pin>(&more(true))?;
        assert_eq!(part.view().len(), PAGES);
        assert_eq!(watched.counts(), Watched::counts_plus(before, PIN));
        drop(part);
        assert_eq!(watched.counts(), before);
        Ok(())
    }

    #[test]
    fn a_range_that_wraps_around_is_a_bad_address() -> Result {
        let watched = Watched::new()?;
        let beyond = Wanted {
            address: usize::MAX - PAGE_SIZE + 1,
            ..wanted(&watched.memory)
        };
        assert_eq!(errno(fast::<Get>(&beyond)), EFAULT.to_errno());
        Ok(())
    }

    #[test]
    fn the_zero_page_is_not_counted_as_pinned() -> Result {
        let memory = UserMemory::map(PAGES)?;
        let to_read = Wanted {
            writable: false,
            ..wanted(&memory)
        };
        let pages = fast::<Pin>(&to_read)?;
        assert_eq!(pages.view().zero_pages(), PAGES);
        assert_eq!(pages.counted(), 0);
        drop(pages);
        assert_eq!(fast::<Get>(&to_read)?.counted(), PAGES as u64);
        Ok(())
    }

    #[test]
    fn the_device_writes_what_the_user_reads() -> Result {
        let watched = Watched::new()?;
        let pages = fast::<Pin>(&wanted(&watched.memory))?;
        pages.view().write(PAGE_SIZE - 1, &[8, 9])?;
        assert_eq!(watched.memory.byte(PAGE_SIZE - 1)?, 8);
        assert_eq!(watched.memory.byte(PAGE_SIZE)?, 9);
        assert_eq!(watched.memory.byte(PAGE_SIZE + 1)?, 1);
        let end = PAGES * PAGE_SIZE;
        assert_eq!(
            errno(pages.view().write(end - 1, &[8, 9])),
            ERANGE.to_errno()
        );
        let to_read = Wanted {
            writable: false,
            ..wanted(&watched.memory)
        };
        let readable = fast::<Pin>(&to_read)?;
        assert_eq!(errno(readable.view().write(0, &[8])), EACCES.to_errno());
        Ok(())
    }

    #[test]
    fn without_a_process_nobody_is_charged_and_nobodys_lock_is_taken() -> Result {
        let watched = Watched::new()?;
        let before = watched.counts();
        let wanted = wanted(&watched.memory);
        assert_eq!(errno(fast::<LongTerm>(&wanted)), ESRCH.to_errno());
        let slow = UserPages::<Pin>::acquire(&Path::Slow, &wanted);
        assert_eq!(errno(slow), ESRCH.to_errno());
        assert_eq!(watched.counts(), before);
        Ok(())
    }
}
