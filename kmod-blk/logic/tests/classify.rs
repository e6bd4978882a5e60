// SPDX-License-Identifier: GPL-2.0

//! Which kind of I/O a bio is.

use pinblk_logic::classify::{classify, Class, Direction, Facts, Owner};

const UNDER_WRITEBACK: Owner = Owner::File {
    locked: false,
    writeback: true,
};
const BEING_READ: Owner = Owner::File {
    locked: true,
    writeback: false,
};
const AT_REST: Owner = Owner::File {
    locked: false,
    writeback: false,
};

fn facts(direction: Direction, first_page: Owner) -> Facts {
    Facts {
        direction,
        user_pinned: false,
        metadata: false,
        idle: false,
        first_page,
    }
}

#[test]
fn direct_io_from_another_files_page_cache_is_user_pinned() {
    let facts = Facts {
        user_pinned: true,
        idle: true,
        ..facts(Direction::Write, UNDER_WRITEBACK)
    };

    assert_eq!(classify(&facts), Class::UserPinned);
}

#[test]
fn direct_io_from_a_registered_buffer_is_other_even_if_the_buffer_is_under_writeback() {
    let facts = Facts {
        idle: true,
        ..facts(Direction::Write, UNDER_WRITEBACK)
    };

    assert_eq!(classify(&facts), Class::Other);
}

#[test]
fn writeback_and_read_in_of_a_file_are_page_cache() {
    assert_eq!(
        classify(&facts(Direction::Write, UNDER_WRITEBACK)),
        Class::PageCache
    );
    assert_eq!(
        classify(&facts(Direction::Read, BEING_READ)),
        Class::PageCache
    );
}

#[test]
fn a_journal_write_of_a_files_folio_is_metadata() {
    let facts = Facts {
        metadata: true,
        idle: true,
        ..facts(Direction::Write, AT_REST)
    };

    assert_eq!(classify(&facts), Class::Metadata);
}

#[test]
fn the_block_devices_page_cache_is_metadata() {
    assert_eq!(
        classify(&facts(Direction::Read, Owner::BlockDevice)),
        Class::Metadata
    );
    assert_eq!(
        classify(&facts(Direction::Write, Owner::BlockDevice)),
        Class::Metadata
    );
}

#[test]
fn private_memory_is_other() {
    assert_eq!(
        classify(&facts(Direction::Write, Owner::Other)),
        Class::Other
    );
    assert_eq!(classify(&facts(Direction::Read, AT_REST)), Class::Other);
}
