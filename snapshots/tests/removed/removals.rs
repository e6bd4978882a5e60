// SPDX-License-Identifier: MIT OR Apache-2.0

//! Which calls are left out, and which cell is to notice by what.

/// The file of the driver that has all calls.
pub(crate) const FILE: &str = "sys/calls.rs";

/// A call that is left out.
#[derive(Debug)]
pub(crate) struct Removal {
    pub(crate) name: &'static str,
    /// The item in which it stands, by its beginning.
    pub(crate) item: &'static str,
    pub(crate) call: &'static str,
    /// What stands there instead.
    pub(crate) instead: &'static str,
    /// The cell that notices.
    pub(crate) cell: &'static str,
    /// The check that does, or the error of the scenario where it cannot go on.
    pub(crate) noticed: &'static str,
}

const fn of(mode: Mode, name: &'static str, call: &'static str, instead: &'static str) -> Removal {
    let (item, cell) = match mode {
        Mode::Get => ("impl Calls for Get {", "paths::none::get::observe"),
        Mode::Pin => ("impl Calls for Pin {", "paths::none::pin::observe"),
        Mode::LongTerm => ("impl Calls for LongTerm {", "paths::none::longterm::observe"),
    };
    Removal { name, item, call, instead, cell, noticed: NOTHING_HELD }
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

/// What a scenario says where nothing could be acquired.
const NOTHING_HELD: &str = "Bad address";

const NO_FAST: &str = "{ unsafe extern \"C\" fn none(_: c_ulong, _: c_int, _: c_uint, _: *mut *mut bindings::page) -> c_int { 0 } none }";
const NO_SLOW: &str = "{ unsafe extern \"C\" fn none(_: c_ulong, _: c_ulong, _: c_uint, _: *mut *mut bindings::page) -> c_long { 0 } none };";
const NO_REMOTE: &str = "{ unsafe extern \"C\" fn none(_: *mut bindings::mm_struct, _: c_ulong, _: c_ulong, _: c_uint, _: *mut *mut bindings::page, _: *mut c_int) -> c_long { 0 } none }";

const RELEASE_TIMES: &str = "unsafe { unpin_times(acquired, times) };";
const RELEASE: &str = "unsafe { unpin(acquired, false) };";
const RELEASE_DIRTY: &str = "unsafe { unpin(acquired, true) };";
const NO_RELEASE_TIMES: &str = "let _ = (acquired, times);";
const NO_RELEASE: &str = "let _ = acquired;";

const COUNTS: &str = "the reference count is what it was";
const DIRTY: &str = "the pages are dirty, as those that a device wrote to";
const RELEASED: &str = "every pin is released";

pub(crate) const REMOVALS: &[Removal] = &[
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
    of(Mode::Pin, "pin_add", "add_pins(acquired, times)", "{ let _ = (acquired, times); Ok(()) }")
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
    of(Mode::LongTerm, "longterm_release", RELEASE, NO_RELEASE)
        .by("paths::none::longterm::observe", RELEASED),
    of(Mode::LongTerm, "longterm_release_times", RELEASE_TIMES, NO_RELEASE_TIMES)
        .by("order0_x8::none::longterm::observe", RELEASED),
    of(Mode::LongTerm, "longterm_release_dirty", RELEASE_DIRTY, NO_RELEASE)
        .by("transfer_read::bdev::longterm::observe", RELEASED),
    of(Mode::LongTerm, "longterm_dirty", RELEASE_DIRTY, RELEASE)
        .by("transfer_read::bdev::longterm::observe", DIRTY),
];
