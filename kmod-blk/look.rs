// SPDX-License-Identifier: GPL-2.0

//! What userspace is told about a bio that a gate holds.

use crate::{
    abi::{
        HeldBio,
        HeldPage,
        BIO_BACKGROUND,
        BIO_CLONED,
        BIO_FUA,
        BIO_IDLE,
        BIO_META,
        BIO_NOWAIT,
        BIO_PINNED,
        BIO_PREFLUSH,
        BIO_SWAP,
        BIO_SYNC,
        CLASS_METADATA,
        CLASS_OTHER,
        CLASS_PAGE_CACHE,
        CLASS_USER_PINNED,
        KIND_DISCARD,
        KIND_FLUSH,
        KIND_READ,
        KIND_WRITE,
        KIND_WRITE_ZEROES, //
    },
    logic::{
        classify::Class,
        select::Kind, //
    },
    observe::target,
    sys::bio::Bio, //
};
use kernel::prelude::*;

/// The bio as a whole. Does not sleep.
pub(crate) fn bio(bio: &Bio) -> HeldBio {
    let mut told = HeldBio {
        flags: flags(bio),
        pages: bio.segments().count() as u32,
        sector: bio.sector(),
        bytes: u64::from(bio.size()),
        ..HeldBio::default()
    };
    if let Some(target) = target(bio) {
        told.kind = target.kind as u32;
        told.class = target.class.map_or(0, |class| class as u32);
    }
    told
}

/// One of its pages, also printed to the kernel log if `dump` says so. Does not sleep.
///
/// Fails with `ERANGE` if there is no such page.
pub(crate) fn page(bio: &Bio, index: u32, dump: bool) -> Result<HeldPage> {
    let segment = bio.segments().nth(index as usize).ok_or(ERANGE)?;
    if dump {
        segment.page().dump();
    }
    Ok(HeldPage {
        offset: segment.offset() as u32,
        length: segment.len() as u32,
        state: segment.page().state(),
        ..HeldPage::default()
    })
}

fn flags(bio: &Bio) -> u32 {
    [
        (BIO_SYNC, bio.is_sync()),
        (BIO_META, bio.is_metadata()),
        (BIO_IDLE, bio.is_idle()),
        (BIO_PREFLUSH, bio.is_preflush()),
        (BIO_FUA, bio.is_fua()),
        (BIO_NOWAIT, bio.is_nowait()),
        (BIO_BACKGROUND, bio.is_background()),
        (BIO_SWAP, bio.is_swap()),
        (BIO_PINNED, bio.is_page_pinned()),
        (BIO_CLONED, bio.is_cloned()),
    ]
    .into_iter()
    .filter(|(_, is_set)| *is_set)
    .fold(0, |bits, (bit, _)| bits | bit)
}

// The logic numbers kinds and classes by their order, the interface by names.
const _: () = assert!(
    Kind::Read as u32 == KIND_READ
        && Kind::Write as u32 == KIND_WRITE
        && Kind::Flush as u32 == KIND_FLUSH
        && Kind::Discard as u32 == KIND_DISCARD
        && Kind::WriteZeroes as u32 == KIND_WRITE_ZEROES
        && Class::UserPinned as usize == CLASS_USER_PINNED
        && Class::PageCache as usize == CLASS_PAGE_CACHE
        && Class::Metadata as usize == CLASS_METADATA
        && Class::Other as usize == CLASS_OTHER
);
