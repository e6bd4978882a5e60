// SPDX-License-Identifier: MIT OR Apache-2.0

//! The calls that acquire, release, dirty or add pins, for each mode and path, and which cell is to notice
//! by what that one is left out.

use crate::Removal;

/// The file of the driver that has all calls.
const FILE: &str = "sys/calls.rs";

const fn of(mode: Mode, name: &'static str, code: &'static str, instead: &'static str) -> Removal {
    let (item, cell) = match mode {
        Mode::Get => ("impl Calls for Get {", "paths::none::get::observe"),
        Mode::Pin => ("impl Calls for Pin {", "paths::none::pin::observe"),
        Mode::LongTerm => ("impl Calls for LongTerm {", "paths::none::longterm::observe"),
    };
    Removal { name, file: FILE, item, code, instead, cell, noticed: ACQUIRED }
}

#[derive(Clone, Copy)]
enum Mode {
    Get,
    Pin,
    LongTerm,
}

impl Removal {
    /// Noticed elsewhere, or by something else.
    const fn by(self, cell: &'static str, noticed: &'static str) -> Self {
        Self { cell, noticed, ..self }
    }
}

/// The check of a path by which nothing could be acquired.
const ACQUIRED: &str = "path acquires the page";

const NO_FAST: &str = "{ unsafe extern \"C\" fn none(_: c_ulong, _: c_int, _: c_uint, _: *mut *mut bindings::page) -> c_int { 0 } none }";
const NO_SLOW: &str = "{ unsafe extern \"C\" fn none(_: c_ulong, _: c_ulong, _: c_uint, _: *mut *mut bindings::page) -> c_long { 0 } none };";
const NO_REMOTE: &str = "{ unsafe extern \"C\" fn none(_: *mut bindings::mm_struct, _: c_ulong, _: c_ulong, _: c_uint, _: *mut *mut bindings::page, _: *mut c_int) -> c_long { 0 } none }";

const NO_ADD: &str = "{ let _ = (acquired, times); Ok(()) }";

const RELEASE_TIMES: &str = "unsafe { unpin_times(acquired, times) };";
const RELEASE: &str = "unsafe { unpin(acquired, false) };";
const RELEASE_DIRTY: &str = "unsafe { unpin(acquired, true) };";
const NO_RELEASE_TIMES: &str = "let _ = (acquired, times);";
const NO_RELEASE: &str = "let _ = acquired;";

const COUNTS: &str = "the reference count is what it was";
const DIRTY: &str = "the pages are dirty, as those that a device wrote to";
const RELEASED: &str = "every pin is released";

pub(crate) const CALLS: &[Removal] = &[
    of(Mode::Get, "get_fast", "bindings::get_user_pages_fast", NO_FAST),
    of(Mode::Get, "get_slow", "bindings::get_user_pages;", NO_SLOW),
    of(Mode::Get, "get_remote", "bindings::get_user_pages_remote", NO_REMOTE),
    of(Mode::Get, "get_release", "unsafe { ffi::pinblk_put_page(*page) };", "let _ = page;")
        .by("order0_x8::none::get::observe", COUNTS),
    of(
        Mode::Get,
        "get_release_times",
        "unsafe { Self::release(acquired) };\n            let_others_run();",
        NO_RELEASE,
    )
    .by("order0_x8::none::get::observe", COUNTS),
    of(Mode::Get, "get_dirty", "unsafe { bindings::set_page_dirty_lock(*page) };", "let _ = page;")
        .by("transfer_read::bdev::get::observe", DIRTY),
    of(Mode::Pin, "pin_fast", "bindings::pin_user_pages_fast", NO_FAST),
    of(Mode::Pin, "pin_slow", "bindings::pin_user_pages;", NO_SLOW),
    of(Mode::Pin, "pin_remote", "bindings::pin_user_pages_remote", NO_REMOTE),
    of(Mode::Pin, "pin_add", "add_pins(acquired, times)", NO_ADD)
        .by("overflow_order0::none::pin::observe", "2^21 pins are granted"),
    of(Mode::Pin, "pin_release", RELEASE, NO_RELEASE).by("paths::none::pin::observe", RELEASED),
    of(Mode::Pin, "pin_release_times", RELEASE_TIMES, NO_RELEASE_TIMES)
        .by("order0_x8::none::pin::observe", RELEASED),
    of(Mode::Pin, "pin_release_dirty", RELEASE_DIRTY, NO_RELEASE)
        .by("transfer_read::bdev::pin::observe", RELEASED),
    of(Mode::Pin, "pin_dirty", RELEASE_DIRTY, RELEASE).by("transfer_read::bdev::pin::observe", DIRTY),
    of(Mode::LongTerm, "longterm_fast", "Pin::FAST", NO_FAST),
    of(Mode::LongTerm, "longterm_slow", "Pin::SLOW;", NO_SLOW),
    of(Mode::LongTerm, "longterm_remote", "Pin::REMOTE", NO_REMOTE),
    of(Mode::LongTerm, "longterm_add", "add_pins(acquired, times)", NO_ADD)
        .by("overflow_order0::none::longterm::observe", "2^21 pins are granted"),
    of(Mode::LongTerm, "longterm_release", RELEASE, NO_RELEASE)
        .by("paths::none::longterm::observe", RELEASED),
    of(Mode::LongTerm, "longterm_release_times", RELEASE_TIMES, NO_RELEASE_TIMES)
        .by("order0_x8::none::longterm::observe", RELEASED),
    of(Mode::LongTerm, "longterm_release_dirty", RELEASE_DIRTY, NO_RELEASE)
        .by("transfer_read::bdev::longterm::observe", RELEASED),
    of(Mode::LongTerm, "longterm_dirty", RELEASE_DIRTY, RELEASE)
        .by("transfer_read::bdev::longterm::observe", DIRTY),
];
