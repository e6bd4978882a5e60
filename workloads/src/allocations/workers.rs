// SPDX-License-Identifier: MIT OR Apache-2.0

//! Allocations that a kernel worker makes for a late transfer: the thread that asked for it is not the one
//! that is to be told.

use std::fs;

use fs_harness::cell::Acquisition;
use fs_harness::guest::disk::{Attributes, Disk};
use fs_harness::guest::error::Doing;
use fs_harness::guest::memory::PAGE;
use fs_harness::guest::{Bed, Result};
use fs_harness::pattern::Pattern;

use super::calls::Writes;
use super::faults::{Kind, read, write};
use super::{SHORT, Walk, tell};

const DISK: Disk = Disk::of("short2");

/// The means of failing pages and smaller objects, and of each a setting: which failures there are.
const MEANS: [(Kind, &str, &str, &[&str]); 2] = [
    // So many pages go well before one fails.
    (Kind::Pages, "fail_page_alloc", "space", &["0", "1", "2", "3", "4", "5"]),
    // So many objects fail. The first one that does not get its memory waits for a page, and tries again.
    (Kind::Objects, "failslab", "times", &["1", "2", "3", "4"]),
];

pub(super) fn run(bed: &mut Bed) -> Result<()> {
    DISK.make(&Attributes { late_ms: 1, ..Attributes::default() })?;
    mark_workers()?;
    let disk = bed.device().open_disk(&DISK)?;
    let memory = bed.anonymous(Pattern(1), 3)?;
    let mut writes = Writes::new(&disk, &memory, 64 * PAGE as u64, Acquisition::Pin);
    for (kind, means, setting, values) in MEANS {
        kind.choose()?;
        let mut walk = Walk::default();
        for value in values {
            for (setting, value) in [
                ("task-filter", "Y"),
                ("interval", "1"),
                ("space", "0"),
                ("times", "1"),
                (setting, value),
                ("probability", "100"),
            ] {
                write(&format!("{means}/{setting}"), value)?;
            }
            let before = read(&format!("{means}/times"))?;
            let written = writes.begin().and_then(|pending| writes.check(pending));
            write(&format!("{means}/probability"), "0")?;
            let failed = u32::from(read(&format!("{means}/times"))? < before);
            match kind {
                Kind::Objects => walk.objects += failed,
                Kind::Pages => walk.pages += failed,
            }
            match written.map_err(|error| (error.errno(), error.to_string())) {
                Ok(()) => {}
                Err((Some(errno), _)) if SHORT.contains(&errno) => walk.told += 1,
                Err((_, words)) => drop(walk.complaint.get_or_insert(words)),
            }
        }
        if walk.objects + walk.pages == 0 {
            walk.complaint.get_or_insert("no allocation of a worker failed".to_owned());
        }
        tell(bed, &format!("late writes, {kind:?}"), &walk)?;
    }
    drop(disk);
    DISK.remove()
}

/// Has the injection consider the kernel's workers.
fn mark_workers() -> Result<()> {
    for process in fs::read_dir("/proc").doing("list /proc")? {
        let path = process.doing("list /proc")?.path();
        // What has ended meanwhile is no worker any more.
        if fs::read_to_string(path.join("comm")).is_ok_and(|name| name.starts_with("kworker/")) {
            let _ = fs::write(path.join("make-it-fail"), "1");
        }
    }
    Ok(())
}
