// SPDX-License-Identifier: MIT OR Apache-2.0

//! The kernel's log: records of `/dev/kmsg`, and the rules that say which lines fail a cell.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::record::LogLine;

/// One record of `/dev/kmsg`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogRecord {
    /// Sequence number: a gap means lost records.
    pub seq: u64,
    /// Syslog level, 0 (emergency) to 7 (debug).
    pub level: u8,
    /// Microseconds since boot.
    pub micros: u64,
    /// The message, without continuation lines.
    pub text: String,
}

impl LogRecord {
    /// Parses `level,seq,micros,flags[,...];text`; none where the line is not the start of a record.
    pub fn parse(line: &str) -> Option<Self> {
        let (prefix, text) = line.split_once(';')?;
        let mut fields = prefix.split(',');
        let facility_and_level: u32 = fields.next()?.parse().ok()?;
        let seq = fields.next()?.parse().ok()?;
        let micros = fields.next()?.parse().ok()?;
        let level = u8::try_from(facility_and_level & 7).ok()?;
        Some(Self { seq, level, micros, text: text.trim_end_matches('\n').to_owned() })
    }
}

/// A kind of line that fails a cell.
pub struct Rule {
    /// Names the rule in records and snapshots.
    pub id: &'static str,
    /// What such a line contains, in any case.
    pub contains: &'static [&'static str],
    /// Why it fails a cell.
    pub reason: &'static str,
}

/// The rule of lines that tell of a processor or a task that makes no progress.
const LOCKUP: &str = "lockup";

/// Every rule but the one for [`ERRORS`]; the first that matches a line names it.
pub const RULES: &[Rule] = &[
    Rule { id: "panic", contains: &["kernel panic - not syncing"], reason: "the kernel gave up" },
    Rule {
        id: LOCKUP,
        contains: &[
            "soft lockup",
            "hard lockup",
            "self-detected stall",
            "rcu: info: ",
            "blocked for more than",
        ],
        reason: "a processor or a task stopped making progress",
    },
    Rule {
        id: "bug",
        contains: &["bug: ", "kernel bug at", "oops: ", "general protection fault"],
        reason: "the kernel oopsed, or a sanitizer or a page check found an error",
    },
    Rule { id: "warning", contains: &["warning: "], reason: "a WARN fired" },
    Rule {
        id: "filesystem",
        contains: &[
            "ext4-fs error",
            "ext4-fs warning",
            "jbd2: ",
            "corruption",
            "corrupt",
            "csum failed",
            "page discard on page",
        ],
        reason: "the filesystem found damage or lost data",
    },
    Rule {
        id: "block",
        contains: &["i/o error", "lost async page write"],
        reason: "the block layer reported an error that no scenario injected",
    },
    Rule {
        id: "crash",
        contains: &["segfault at", "traps: ", "page allocation failure", "out of memory"],
        reason: "a process of the guest crashed, or its memory is too small",
    },
];

/// Whatever the kernel itself calls an error or worse.
pub const ERRORS: Rule = Rule { id: "error", contains: &[], reason: "the kernel reported an error" };

/// The highest level of [`ERRORS`]: KERN_ERR.
const ERROR_LEVEL: u8 = 3;

/// Lines that are no fault of the kernel under test, and why.
pub const HARMLESS: &[(&str, &str)] =
    &[("mounting with data=journal disables", "what a mount with that option always says")];

/// The rule that a record falls under, if any.
pub fn rule_for(record: &LogRecord) -> Option<&'static Rule> {
    let text = record.text.to_lowercase();
    if HARMLESS.iter().any(|(part, _)| text.contains(part)) {
        return None;
    }
    let by_text = RULES.iter().find(|rule| rule.contains.iter().any(|part| text.contains(part)));
    by_text.or_else(|| (record.level <= ERROR_LEVEL).then_some(&ERRORS))
}

/// Whether a line tells of a processor or a task that makes no progress.
pub fn tells_of_lockup(line: &str) -> bool {
    let line = line.to_lowercase();
    RULES.iter().any(|rule| rule.id == LOCKUP && rule.contains.iter().any(|part| line.contains(part)))
}

/// The record as a line that matters, where a rule says so.
pub fn judge(record: &LogRecord) -> Option<LogLine> {
    let rule = rule_for(record)?;
    Some(LogLine { seq: record.seq, text: record.text.clone(), rule: rule.id.to_owned() })
}

/// A line for a snapshot: file and function of a warning stay, what varies by build or run goes.
pub fn normalise(text: &str) -> String {
    let mut words: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        words.push(normalise_word(word));
    }
    words.join(" ")
}

fn normalise_word(word: &str) -> String {
    // `gup.c:80` and `try_grab_folio+0x1f/0x60`: the line and the offsets change with every build.
    if let Some((file, line)) = word.split_once(':')
        && Path::new(file).extension().is_some_and(|kind| kind == "c" || kind == "h" || kind == "rs")
        && line.starts_with(|digit: char| digit.is_ascii_digit())
    {
        return file.to_owned();
    }
    if let Some((function, offset)) = word.split_once("+0x")
        && offset.contains('/')
    {
        return function.to_owned();
    }
    if let Some((name, _)) = word.split_once('/')
        && word.rsplit('/').next().is_some_and(|pid| pid.parse::<u32>().is_ok())
    {
        return format!("{name}/<pid>");
    }
    if word.strip_prefix("CPU#").is_some() {
        return "CPU#<n>:".to_owned();
    }
    word.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_taken_apart() {
        let record = LogRecord::parse("4,1234,5678901,-;page: refcount:1; mapcount:0\n").unwrap();
        let text = "page: refcount:1; mapcount:0".to_owned();
        assert_eq!(record, LogRecord { seq: 1234, level: 4, micros: 5_678_901, text });
    }

    #[test]
    fn continuation_lines_and_noise_are_not_records() {
        assert_eq!(LogRecord::parse(" SUBSYSTEM=block"), None);
        assert_eq!(LogRecord::parse("x,1,2,-;text"), None);
        assert_eq!(LogRecord::parse(""), None);
    }

    fn rule(level: u8, text: &str) -> Option<&'static str> {
        rule_for(&LogRecord { seq: 0, level, micros: 0, text: text.to_owned() }).map(|rule| rule.id)
    }

    #[test]
    fn a_warning_fails_a_cell_and_chatter_does_not() {
        assert_eq!(rule(4, "WARNING: mm/gup.c:80 at try_get_folio"), Some("warning"));
        assert_eq!(rule(1, "BUG: KASAN: use-after-free"), Some("bug"));
        assert_eq!(rule(6, "XFS (pinblk0): Mounting V5 Filesystem"), None);
        assert_eq!(rule(4, "page: refcount:1025 mapcount:1"), None);
    }

    #[test]
    fn lost_data_fails_a_cell_in_whatever_words() {
        assert_eq!(rule(1, "XFS (pinblk0): Metadata corruption detected at xfs_agf"), Some("filesystem"));
        assert_eq!(rule(1, "XFS (pinblk0): page discard on page 000000001, inode 0x83"), Some("filesystem"));
        assert_eq!(rule(2, "EXT4-fs (pinblk0): This should not happen!! Data will be lost"), Some("error"));
        assert_eq!(rule(3, "XFS (pinblk0): Unmount and run xfs_repair"), Some("error"));
    }

    #[test]
    fn what_varies_leaves_a_warning() {
        assert_eq!(
            normalise("WARNING: mm/gup.c:80 at try_get_folio+0x41/0x60, CPU#1: init/74"),
            "WARNING: mm/gup.c at try_get_folio CPU#<n>: init/<pid>"
        );
    }
}
