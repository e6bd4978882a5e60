// SPDX-License-Identifier: MIT OR Apache-2.0

//! The driver's KUnit suites: a guest of their own loads them, and each case is a check. They are in no
//! list of cells; `cargo xtask kunit` runs them.

use std::ffi::CString;
use std::fs::File;

use fs_harness::cell::Setup;
use fs_harness::guest::error::Doing;
use fs_harness::guest::kmsg::Tail;
use fs_harness::guest::{Bed, Result};
use fs_harness::ktap;
use nix::kmod::{DeleteModuleFlags, ModuleInitFlags, delete_module, finit_module};

use crate::catalogue::Scenario;

/// The scenario's name.
pub const NAME: &str = "kunit";

/// Where the guest's image has the module of the suites.
pub const MODULE: &str = "/pinblk_kunit.ko";

/// The module's name in the kernel.
const LOADED: &str = "pinblk_kunit";

/// The suites that there must be, sorted. Their files are in `kmod-blk/kunit`.
const SUITES: &[&str] = &[
    "pinblk_bio",
    "pinblk_layout",
    "pinblk_store",
    "pinblk_tally",
    "pinblk_transfer",
    "pinblk_user_pages",
    "pinblk_worker",
];

pub(crate) const SCENARIOS: &[Scenario] = &[Scenario {
    name: NAME,
    about: "Every KUnit suite of the driver passes.",
    source: "Documentation/dev-tools/kunit/",
    setups: &[Setup::None],
    not: &[],
    run,
    ..Scenario::PLAIN
}];

fn run(bed: &mut Bed) -> Result<()> {
    let mut log = Tail::start()?;
    let module = File::open(MODULE).doing(format!("open {MODULE}"))?;
    // The suites have run when this returns.
    finit_module(&module, &CString::default(), ModuleInitFlags::empty()).doing(format!("load {MODULE}"))?;
    let records = log.records()?;
    let suites = ktap::suites(records.iter().map(|record| record.text.as_str()));
    let mut names: Vec<&str> = suites.iter().map(|suite| suite.name.as_str()).collect();
    names.sort_unstable();
    bed.check_that("the suites ran that there must be", names == SUITES, || names.join(" "))?;
    for suite in &suites {
        let complaint = suite.complaint();
        bed.check_that(&format!("{} ran to its end", suite.name), complaint.is_none(), || {
            complaint.unwrap_or_default()
        })?;
        for case in &suite.cases {
            let text = format!("{}: {}", suite.name, case.name);
            bed.check_that(&text, case.passed, || case.said.join("; "))?;
        }
    }
    let unloaded = delete_module(&CString::new(LOADED).unwrap_or_default(), DeleteModuleFlags::O_NONBLOCK);
    bed.check_that("the module of the suites can be unloaded", unloaded.is_ok(), || format!("{unloaded:?}"))
}
