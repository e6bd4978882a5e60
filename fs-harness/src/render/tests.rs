// SPDX-License-Identifier: MIT OR Apache-2.0

use std::collections::BTreeMap;

use super::*;
use crate::dump_page::Owner;
use crate::page::PageState;
use crate::record::{Check, LogLine, Outcome};

fn record() -> Record {
    let cell = "hold_sync_dma_unhold::ext4::pin::observe".parse().unwrap();
    let mut record = Record::new(cell, BTreeMap::new());
    record.outcome = Outcome { kind: OutcomeKind::Passed, detail: String::new() };
    let dump = DumpPage {
        refcount: 1027,
        mapcount: 1,
        mapping: true,
        pfn: 0xbeef,
        owner: Some(Owner { aops: "ext4_da_aops".into(), inode: Some(12), name: Some("data".into()) }),
        flags: vec!["uptodate".into(), "lru".into()],
        ..DumpPage::default()
    };
    let state = PageState { maybe_dma_pinned: true, ..PageState::default() };
    record.steps.push(Step {
        name: "fsync returned".into(),
        pins: Counted { acquired: 1, released: 0 },
        device_pins: Counted { acquired: 1, released: 0 },
        device_references: Counted::default(),
        decisions: Vec::new(),
        traffic: [Class::PageCache, Class::Metadata]
            .map(|class| Traffic {
                direction: Direction::Write,
                class,
                bios: 1,
                pages: 1,
                bytes: 4096,
                pinned_pages: 1,
            })
            .to_vec(),
        pages: vec![Page { name: "page 0 of the hold".into(), dump, state, raw: vec![] }],
    });
    record.checks.push(Check {
        text: "the page is clean".into(),
        verdict: Verdict::Holds,
        detail: None,
        known: None,
    });
    record
}

#[test]
fn a_passed_cell() {
    assert_eq!(
        render(&record()),
        "\
scenario     hold_sync_dma_unhold
setup        ext4
acquisition  pin
policy       observe

step fsync returned
  pins      acquired +1 released +0
  pinblk    pins acquired +1 released +0
  bios      write page cache: bios 1 pages 1 bytes 4096 maybe-dma-pinned 1
  page 0 of the hold
    page: refcount:1027 mapcount:1 mapping:<ptr> index:0x0 pfn:<pfn>
    aops:ext4_da_aops ino:<ino> dentry name:\"data\"
    flags: uptodate|lru
    maybe dma pinned: yes

checks
  holds     the page is clean
"
    );
}

#[test]
fn what_went_wrong_stands_in_the_snapshot() {
    let mut record = record();
    record.steps.clear();
    let detail = Some("it is dirty".to_owned());
    record.checks[0] =
        Check { text: "the page is clean".into(), verdict: Verdict::Violated, detail, known: None };
    let text = "WARNING: mm/gup.c:80 at try_get_folio+0x1/0x2, CPU#0: init/1".to_owned();
    record.log.push(LogLine { seq: 9, text, rule: "warning".into() });
    record.outcome = Outcome { kind: OutcomeKind::Failed, detail: "1 of 1 checks violated".into() };
    let text = render(&record);
    let end = text.split_once("\nchecks\n").unwrap().1;
    assert_eq!(
        end,
        "  VIOLATED  the page is clean
            it is dirty

kernel log
  warning    WARNING: mm/gup.c at try_get_folio CPU#<n>: init/<pid>

outcome      failed: 1 of 1 checks violated
"
    );
}

#[test]
fn what_varies_between_runs_does_not_change_the_text() {
    let mut other = record();
    let page = &mut other.steps[0].pages[0];
    page.dump.pfn = 1;
    page.dump.owner.as_mut().unwrap().inode = Some(99);
    page.raw.push("raw: 0".into());
    other.environment.insert("host load".into(), "9".into());
    assert_eq!(render(&other), render(&record()));
}

#[test]
fn a_count_always_changes_the_text() {
    let original = render(&record());
    let changes: [fn(&mut Record); 4] = [
        |record| record.steps[0].pins.released += 1,
        |record| record.steps[0].traffic[0].pinned_pages += 1,
        |record| record.steps[0].pages[0].dump.refcount += 1,
        |record| record.steps[0].pages[0].dump.index += 1,
    ];
    for change in changes {
        let mut other = record();
        change(&mut other);
        assert_ne!(render(&other), original);
    }
}

#[test]
fn waiters_are_shown_where_somebody_can_wait() {
    let rendered = |flags: &[&str]| {
        let mut record = record();
        record.steps[0].pages[0].dump.flags = flags.iter().map(|&flag| flag.to_owned()).collect();
        render(&record)
    };
    assert!(rendered(&["waiters", "uptodate"]).contains("flags: uptodate\n"));
    assert!(rendered(&["waiters", "writeback"]).contains("flags: waiters|writeback\n"));
    assert!(rendered(&["locked", "waiters"]).contains("flags: locked|waiters\n"));
}
