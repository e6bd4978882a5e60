// SPDX-License-Identifier: GPL-2.0

//! Injected errors: their text, and which bios they strike.

use pinblk_logic::{
    classify::Class,
    faults::{Faults, Request, FAULTS_MAX},
    select::{Kind, Target},
};
use proptest::prelude::*;

fn faults(lines: &[&str]) -> Faults {
    let mut faults = Faults::default();
    for line in lines {
        match Request::parse(line) {
            Some(Request::Add(fault)) => assert!(faults.add(fault), "no room for '{line}'"),
            other => panic!("'{line}' was read as {other:?}"),
        }
    }
    faults
}

fn bio(kind: Kind, sectors: std::ops::Range<u64>) -> Target {
    Target {
        kind,
        class: Some(Class::Other),
        sectors,
    }
}

#[test]
fn a_fault_strikes_its_direction_and_sectors_as_often_as_it_says() {
    let mut faults = faults(&["write 8-15 2"]);
    assert!(!faults.strike(&bio(Kind::Read, 8..16)));
    assert!(!faults.strike(&bio(Kind::Write, 0..8)));
    assert!(!faults.strike(&bio(Kind::Write, 16..24)));
    assert!(faults.strike(&bio(Kind::Write, 0..9)));
    assert_eq!(faults.to_string(), "write 8-15 1\n");
    assert!(faults.strike(&bio(Kind::WriteZeroes, 15..16)));
    assert!(!faults.strike(&bio(Kind::Write, 8..16)));
    assert_eq!(faults.to_string(), "none\n");
}

#[test]
fn a_fault_without_a_count_strikes_for_ever_and_flushes_and_discards_are_spared() {
    let mut faults = faults(&["any 0-18446744073709551615"]);
    for _ in 0..100 {
        assert!(faults.strike(&bio(Kind::Read, 5..6)));
    }
    assert!(!faults.strike(&bio(Kind::Flush, 0..0)));
    assert!(!faults.strike(&bio(Kind::Discard, 0..8)));
}

#[test]
fn what_is_not_of_the_form_is_refused() {
    let wrong = [
        "",
        "read",
        "write 8",
        "write 8-",
        "write -8",
        "write 9-8",
        "write 8-9 0",
        "write 8-9 x",
        "write 8-9 1 1",
        "none 1",
        "Write 8-9",
        "read 8 - 9",
        "read 18446744073709551616-9",
    ];
    for text in wrong {
        assert_eq!(Request::parse(text), None, "'{text}'");
    }
    assert_eq!(Request::parse(" none\n"), Some(Request::Forget));
}

#[test]
fn there_is_room_for_so_many() {
    let mut faults = faults(&["any 1-2 3"; FAULTS_MAX]);
    let Some(Request::Add(fault)) = Request::parse("any 1-2") else {
        panic!("that is a fault");
    };
    assert!(!faults.add(fault.clone()));
    for _ in 0..3 {
        assert!(faults.strike(&bio(Kind::Read, 1..2)));
    }
    assert!(faults.add(fault), "the first one is used up");
}

proptest! {
    #[test]
    fn what_is_shown_can_be_written_again(
        direction in prop_oneof![Just("read"), Just("write"), Just("any")],
        first in any::<u64>(),
        length in 0..1000_u64,
        count in proptest::option::of(1..u64::MAX),
    ) {
        let count = count.map_or_else(String::new, |count| format!(" {count}"));
        let text = format!("{direction} {first}-{}{count}", first.saturating_add(length));
        let shown = faults(&[&text]).to_string();
        prop_assert_eq!(&shown, &format!("{text}\n"));
        prop_assert_eq!(faults(&[&shown]), faults(&[&text]));
    }
}
