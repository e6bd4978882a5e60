// SPDX-License-Identifier: MIT OR Apache-2.0

//! Why a scenario does not run on a setup may send the reader to another scenario: that must be there.

use workloads::catalogue;

#[test]
fn a_reason_names_scenarios_that_are_there() {
    let mut missing = Vec::new();
    for scenario in catalogue::scenarios() {
        for (_, why) in scenario.not {
            missing.extend(
                names(why)
                    .filter(|name| catalogue::find(name).is_none())
                    .map(|name| format!("{}: '{why}' names {name}", scenario.name)),
            );
        }
    }
    assert!(missing.is_empty(), "there is no such scenario:\n{}", missing.join("\n"));
}

/// The words behind the last colon that look like a scenario's name.
fn names(why: &str) -> impl Iterator<Item = &str> {
    let behind = why.rsplit_once(": ").map_or("", |(_, behind)| behind);
    behind.split([' ', ',', ';']).filter(|word| {
        word.contains('_') && word.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
    })
}

#[test]
fn names_are_told_from_words() {
    assert_eq!(
        names("it waits: dio_read_anon, and dio_x; as fsync() does").collect::<Vec<_>>(),
        ["dio_read_anon", "dio_x"]
    );
    assert_eq!(names("no_such_word without a colon").count(), 0);
}
