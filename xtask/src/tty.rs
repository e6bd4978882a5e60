// SPDX-License-Identifier: MIT OR Apache-2.0

//! The terminal of the user, for programs in a guest.

use fs_harness::protocol::TerminalSize;
use terminal_size::{Height, Width, terminal_size};

/// The size of the terminal that output goes to; none where it goes elsewhere.
pub fn size() -> Option<TerminalSize> {
    terminal_size().map(|(Width(columns), Height(rows))| TerminalSize { rows, columns })
}
