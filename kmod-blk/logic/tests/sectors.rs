// SPDX-License-Identifier: GPL-2.0

//! Splitting ranges of sectors into pages, and sets of sectors into ranges of bytes.

use pinblk_logic::sectors::{pieces, Piece, SectorMask, PAGE_SECTORS, SECTOR_SIZE};
use proptest::prelude::*;

#[test]
fn an_unaligned_range_is_split_at_page_boundaries() {
    let split: Vec<Piece> = pieces(6, 12).collect();

    let expected = [
        Piece {
            page: 0,
            first: 6,
            count: 2,
        },
        Piece {
            page: 1,
            first: 0,
            count: 8,
        },
        Piece {
            page: 2,
            first: 0,
            count: 2,
        },
    ];
    assert_eq!(split, expected);
}

#[test]
fn no_sectors_have_no_pieces() {
    assert_eq!(pieces(5, 0).count(), 0);
}

#[test]
fn a_whole_page_is_every_sector() {
    let piece = Piece {
        page: 3,
        first: 0,
        count: PAGE_SECTORS,
    };

    assert_eq!(piece.mask(), SectorMask::ALL);
}

#[test]
fn adjacent_sectors_are_one_range() {
    let mask = Piece {
        page: 0,
        first: 1,
        count: 2,
    }
    .mask()
        | Piece {
            page: 0,
            first: 7,
            count: 1,
        }
        .mask();

    assert_eq!(
        mask.byte_ranges().collect::<Vec<_>>(),
        [512..1536, 3584..4096]
    );
}

proptest! {
    #[test]
    fn pieces_are_the_range_in_order(sector in 0_u64..1000, count in 0_u64..100) {
        let sectors: Vec<u64> = pieces(sector, count)
            .flat_map(|piece| (0..piece.count).map(move |n| piece.page * 8 + (piece.first + n) as u64))
            .collect();
        prop_assert_eq!(sectors, (sector..sector + count).collect::<Vec<_>>());
    }

    #[test]
    fn the_mask_of_a_piece_is_its_bytes(first in 0..PAGE_SECTORS, count in 1..=PAGE_SECTORS) {
        let piece = Piece { page: 0, first, count: count.min(PAGE_SECTORS - first) };
        let ranges: Vec<_> = piece.mask().byte_ranges().collect();
        prop_assert_eq!(ranges, vec![piece.bytes()]);
    }

    #[test]
    fn a_mask_and_its_complement_share_nothing(first in 0..PAGE_SECTORS, count in 1..=PAGE_SECTORS) {
        let mask = Piece { page: 0, first, count: count.min(PAGE_SECTORS - first) }.mask();
        prop_assert!((mask & !mask).is_empty());
        prop_assert!((mask | !mask).covers(SectorMask::ALL));
        let bytes: usize = mask.byte_ranges().chain((!mask).byte_ranges()).map(|range| range.len()).sum();
        prop_assert_eq!(bytes, PAGE_SECTORS * SECTOR_SIZE);
    }
}
