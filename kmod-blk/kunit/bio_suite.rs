// SPDX-License-Identifier: GPL-2.0

//! Bios: their data page by page, and how they end.

use crate::sys::{
    bio::{
        Bio,
        Operation, //
    },
    own_bio::{
        memory,
        with_data,
        without_data,
        Asked,
        Ended, //
    }, //
};
use core::slice::from_ref;
use kernel::prelude::*;

/// Where each segment begins in its page, and how long it is.
fn segments(bio: &Bio) -> Result<KVec<(usize, usize)>> {
    let mut segments = KVec::new();
    for segment in bio.segments() {
        segments.push((segment.offset(), segment.len()), GFP_KERNEL)?;
    }
    Ok(segments)
}

const FINE: Ended = Ended {
    errno: 0,
    quiet: false,
};

#[kunit_tests(pinblk_bio)]
mod tests {
    use super::*;

    #[test]
    fn segments_end_where_pages_do() -> Result {
        let asked = Asked::to(Operation::Write, 8);
        let mut seen = Ok(KVec::new());
        let (mut size, mut pages) = (0, (0, 0));
        let ended = with_data(asked, &mut memory()?, &[512..9216, 12288..12800], |bio| {
            seen = segments(&bio);
            pages = bio.count_pages();
            size = bio.size();
            bio.complete(Ok(()));
        })?;
        assert!(ended == FINE);
        assert_eq!(
            seen?.as_slice(),
            &[(512, 3584), (0, 4096), (0, 1024), (0, 512)]
        );
        assert_eq!(size, 9216);
        // Memory of the kernel's own, which nobody pins.
        assert!(pages == (4, 0));
        Ok(())
    }

    #[test]
    fn looking_at_segments_does_not_use_them_up() -> Result {
        let mut counts = (0, 0);
        with_data(
            Asked::to(Operation::Read, 0),
            &mut memory()?,
            from_ref(&(0..8192)),
            |bio| {
                counts = (bio.segments().count(), bio.segments().count());
                bio.complete(Ok(()));
            },
        )?;
        assert!(counts == (2, 2));
        Ok(())
    }

    #[test]
    fn what_has_no_data_has_no_segments() -> Result {
        for operation in [Operation::Discard, Operation::WriteZeroes] {
            let mut seen = (0, (0, 0), 0..0, Operation::Unknown);
            without_data(Asked::to(operation, 16), 1 << 20, |bio| {
                let (segments, pages) = (bio.segments().count(), bio.count_pages());
                seen = (segments, pages, bio.sectors(), bio.operation());
                bio.complete(Ok(()));
            })?;
            assert!(seen == (0, (0, 0), 16..2064, operation));
        }
        Ok(())
    }

    #[test]
    fn bytes_are_copied_between_pages_and_the_disk() -> Result {
        let mut memory = memory()?;
        memory[4000] = 7;
        let mut out = [0; 4];
        with_data(
            Asked::to(Operation::Read, 0),
            &mut memory,
            from_ref(&(3072..5120)),
            |bio| {
                if let Some(segment) = bio.segments().next() {
                    segment.copy_out(926, &mut out);
                }
                if let Some(segment) = bio.segments().nth(1) {
                    segment.copy_in(1000, &[1, 2, 3]);
                }
                bio.complete(Ok(()));
            },
        )?;
        assert_eq!(out, [0, 0, 7, 0]);
        assert_eq!(memory[5095..5100], [0, 1, 2, 3, 0]);
        Ok(())
    }

    #[test]
    fn flags_are_told_apart() -> Result {
        for (preflush, fua) in [(false, false), (false, true), (true, false), (true, true)] {
            let asked = Asked {
                preflush,
                fua,
                ..Asked::to(Operation::Write, 0)
            };
            let mut seen = None;
            without_data(asked, 0, |bio| {
                seen = Some((bio.is_preflush(), bio.is_fua()));
                bio.complete(Ok(()));
            })?;
            assert_eq!(seen, Some((preflush, fua)));
        }
        Ok(())
    }

    #[test]
    fn a_bio_that_is_forgotten_fails() -> Result {
        let ended = without_data(Asked::to(Operation::Write, 0), 0, drop)?;
        assert_eq!(ended.errno, EIO.to_errno());
        Ok(())
    }

    #[test]
    fn a_bio_that_is_to_come_again_is_quiet_and_one_that_failed_is_not() -> Result {
        let end = |error: Error| {
            without_data(Asked::to(Operation::Write, 0), 0, |bio| {
                bio.complete(Err(error))
            })
        };
        let (again, failed) = (end(EAGAIN)?, end(EIO)?);
        assert!(again.errno == EAGAIN.to_errno() && again.quiet);
        assert!(failed.errno == EIO.to_errno() && !failed.quiet);
        Ok(())
    }
}
