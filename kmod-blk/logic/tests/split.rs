// SPDX-License-Identifier: GPL-2.0

//! Cutting a transfer into bios, against what must hold of every cut.

use pinblk_logic::split::{next_bio, Limits};
use proptest::prelude::*;

/// The runs that are left behind the first `bytes`.
fn rest(runs: &[usize], mut bytes: usize) -> Vec<usize> {
    let mut left = Vec::new();
    for &run in runs {
        let taken = run.min(bytes);
        bytes -= taken;
        if run > taken {
            left.push(run - taken);
        }
    }
    left
}

fn limits(segments: usize, bytes: usize, block: usize) -> Limits {
    Limits {
        segments,
        segment_bytes: usize::MAX,
        bytes,
        block,
    }
}

#[test]
fn all_goes_into_one_bio_if_it_fits() {
    assert_eq!(
        next_bio([4096, 512, 3584].into_iter(), &limits(3, 8192, 4096)),
        8192
    );
}

#[test]
fn a_bio_ends_with_a_block_even_if_a_segment_goes_on() {
    // Two segments have 5120 bytes, of which one block is whole.
    assert_eq!(
        next_bio([512, 4608, 3072].into_iter(), &limits(2, 65536, 4096)),
        4096
    );
    assert_eq!(next_bio([10240].into_iter(), &limits(2, 6144, 4096)), 4096);
}

#[test]
fn too_few_segments_for_a_block_are_no_bio() {
    assert_eq!(
        next_bio([512, 512, 3072].into_iter(), &limits(2, 65536, 4096)),
        0
    );
    assert_eq!(next_bio([].into_iter(), &limits(2, 65536, 512)), 0);
}

proptest! {
    #[test]
    fn bios_are_whole_blocks_within_the_limits_and_together_everything(
        sectors in prop::collection::vec(1_usize..40, 1..60),
        segments in 8_usize..20,
        blocks in 1_usize..30,
        block in prop::sample::select(vec![512_usize, 4096]),
    ) {
        let mut runs: Vec<usize> = sectors.iter().map(|sectors| sectors * 512).collect();
        let over = runs.iter().sum::<usize>() % block;
        if over > 0 {
            runs.push(block - over);
        }
        let limits = limits(segments, blocks * block, block);
        while !runs.is_empty() {
            let bytes = next_bio(runs.iter().copied(), &limits);
            prop_assert!(bytes > 0, "no progress with {runs:?}");
            prop_assert!(bytes % block == 0 && bytes <= limits.bytes);
            let after = rest(&runs, bytes);
            let used = runs.len() - after.len() + usize::from(after.first() != runs.get(runs.len() - after.len()));
            prop_assert!(used <= segments, "{used} segments");
            // A bio is not cut short: another block would break a limit.
            let more = bytes + block;
            let fitting: usize = runs.iter().take(segments).sum();
            prop_assert!(after.is_empty() || more > limits.bytes || more > fitting);
            runs = after;
        }
    }
}
