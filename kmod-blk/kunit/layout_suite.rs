// SPDX-License-Identifier: GPL-2.0

//! The kernel's structures, as bindgen and as the C compiler lay them out.

use crate::sys::layout;
use kernel::prelude::*;

#[kunit_tests(pinblk_layout)]
mod tests {
    use super::*;

    #[test]
    fn bindgen_lays_structures_out_as_c_does() -> Result {
        layout::check()
    }
}
