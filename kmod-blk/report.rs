// SPDX-License-Identifier: GPL-2.0

//! The counters of a disk as text, in debugfs: `/sys/kernel/debug/pinblk/<disk>`.

use crate::{
    abi::{
        Traffic,
        CLASSES,
        DECISIONS, //
    },
    disk::Disk,
    sys::debugfs::Report, //
};
use kernel::{
    seq_file::SeqFile,
    seq_print, //
};

/// By their index.
const CLASS_NAMES: [&str; CLASSES] = ["user-pinned", "page-cache", "metadata", "other"];
const DECISION_NAMES: [&str; DECISIONS] = [
    "written",
    "stashed",
    "bounced",
    "deferred",
    "dropped-on-purpose",
    "expired",
];

impl Report for Disk {
    /// A line for each counter, all from one snapshot.
    fn report(&self, text: &SeqFile) {
        let now = self.statistics();
        print_traffic(text, "read", &now.reads);
        print_traffic(text, "write", &now.writes);
        for (name, value) in [
            ("preflushes", now.preflushes),
            ("fua_writes", now.fua_writes),
            ("discards", now.discards),
            ("write_zeroes", now.write_zeroes),
            ("failed", now.failed),
            ("refused", now.refused),
            ("in_flight", now.in_flight),
            ("cached_pages", now.cached_pages),
            ("media_pages", now.media_pages),
        ] {
            seq_print!(text, "{name} {value}\n");
        }
        for (kind, decisions) in [("cleaning", now.cleaning), ("integrity", now.integrity)] {
            for (name, pages) in DECISION_NAMES.iter().zip(decisions) {
                seq_print!(text, "{kind} {name} {pages}\n");
            }
        }
    }
}

fn print_traffic(text: &SeqFile, direction: &str, traffic: &[Traffic; CLASSES]) {
    for (class, traffic) in CLASS_NAMES.iter().zip(traffic) {
        let Traffic {
            bios,
            pages,
            bytes,
            pinned_pages,
        } = traffic;
        seq_print!(
            text,
            "{direction} {class} bios {bios} pages {pages} bytes {bytes} maybe-dma-pinned {pinned_pages}\n"
        );
    }
}
