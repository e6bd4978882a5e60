// SPDX-License-Identifier: MIT OR Apache-2.0
//! The flavours of a kernel: how it is configured, and what compiles it.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// How the kernel under test is configured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Flavour {
    /// As users run it, with cheap checks.
    #[default]
    Standard,
    /// With KASAN, lockdep, UBSAN, kmemleak and fault injection: several times slower.
    Sanitize,
}

impl Flavour {
    /// Its configuration, as the names of fragments in `xtask/kernel`; a later one adds to those before it.
    pub(super) fn fragments(self) -> &'static [&'static str] {
        match self {
            Self::Standard => &["standard.config"],
            Self::Sanitize => &["standard.config", "sanitize.config"],
        }
    }

    /// How many times longer than on the standard kernel a guest may take.
    pub fn slowdown(self) -> u32 {
        match self {
            Self::Standard => 1,
            Self::Sanitize => 5,
        }
    }

    /// Kernel parameters beyond those of every guest.
    pub fn parameters(self) -> &'static [&'static str] {
        match self {
            Self::Standard => &[],
            // Checks each slab. Caches that are checked have no sheaves, in whose arrays addresses stay after
            // the objects were handed out: kmemleak would take a lost object for one that is still known.
            Self::Sanitize => &["slab_debug=F"],
        }
    }

    /// Whether clang and its linker build it: with Rust, the kernel has KASAN by clang alone.
    pub fn is_built_by_llvm(self) -> bool {
        self == Self::Sanitize
    }
}
