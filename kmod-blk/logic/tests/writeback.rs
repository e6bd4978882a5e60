// SPDX-License-Identifier: GPL-2.0

//! Which bios are writeback of files, and what the policies have for pinned pages.

use pinblk_logic::writeback::{treat, Marks, Policy, Treatment};

#[test]
fn a_plain_write_can_be_writeback() {
    assert!(Marks(Marks::WRITE).allow_writeback());
}

#[test]
fn any_mark_of_another_kind_of_io_rules_writeback_out() {
    let others = [
        Marks::USER_PINNED,
        Marks::METADATA,
        Marks::IDLE,
        Marks::SWAP,
        Marks::PREFLUSH,
        Marks::FUA,
    ];

    for mark in others {
        assert!(!Marks(Marks::WRITE | mark).allow_writeback(), "{mark}");
    }
}

#[test]
fn what_does_not_write_is_no_writeback() {
    assert!(!Marks(0).allow_writeback());
}

#[test]
fn names_are_parsed_back_and_nothing_else_is() {
    for policy in Policy::ALL {
        assert_eq!(Policy::parse(policy.name()), Some(policy));
    }
    for name in ["", "Skip", "skip ", "wait"] {
        assert_eq!(Policy::parse(name), None);
    }
}

#[test]
fn the_number_of_a_policy_is_its_position() {
    for (number, policy) in Policy::ALL.into_iter().enumerate() {
        assert_eq!(policy as usize, number);
    }
}

#[test]
fn treatments_where_memory_is_cleaned() {
    let treated = Policy::ALL.map(|policy| treat(policy, false, || true));

    assert_eq!(
        treated,
        [
            Treatment::Write,
            Treatment::Stash,
            Treatment::Bounce,
            Treatment::Defer,
            Treatment::Drop
        ]
    );
}

#[test]
fn where_data_is_to_be_durable_nothing_is_stashed_or_dropped() {
    let treated = Policy::ALL.map(|policy| treat(policy, true, || true));

    assert_eq!(
        treated,
        [
            Treatment::Write,
            Treatment::Bounce,
            Treatment::Bounce,
            Treatment::Defer,
            Treatment::Write
        ]
    );
}

#[test]
fn what_may_not_be_stashed_is_bounced() {
    assert_eq!(treat(Policy::Skip, false, || false), Treatment::Bounce);
}

#[test]
fn the_budget_is_charged_only_by_skip_where_memory_is_cleaned() {
    for policy in Policy::ALL {
        for integrity in [false, true] {
            let mut asked = false;
            treat(policy, integrity, || {
                asked = true;
                true
            });
            assert_eq!(asked, policy == Policy::Skip && !integrity);
        }
    }
}
