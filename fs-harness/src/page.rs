// SPDX-License-Identifier: MIT OR Apache-2.0

//! One page as seen at one step, by two witnesses: `dump_page()` and the driver's structured state.

use pinblk_abi as abi;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::dump_page::DumpPage;

/// What pinblk read from the page's folio.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PageState {
    /// Page frame number.
    pub pfn: u64,
    /// Offset in the file in pages, or the virtual page number of anonymous memory.
    pub index: u64,
    /// References to the folio.
    pub refcount: i32,
    /// Mappings of the page.
    pub mapcount: i32,
    /// Mappings of the folio.
    pub folio_mapcount: i32,
    /// Pins of a folio that counts them exactly.
    pub pincount: Option<i32>,
    /// The folio has 2^order pages.
    pub order: u32,
    /// Names of the `STATE_*` bits that are set.
    pub flags: Vec<String>,
    /// What `folio_maybe_dma_pinned()` answers.
    pub maybe_dma_pinned: bool,
}

/// The state bits that have a page flag's name in `dump_page()`.
const FLAGS: &[(u32, &str)] = &[
    (abi::STATE_DIRTY, "dirty"),
    (abi::STATE_WRITEBACK, "writeback"),
    (abi::STATE_LOCKED, "locked"),
    (abi::STATE_UPTODATE, "uptodate"),
    (abi::STATE_LRU, "lru"),
];

impl From<&abi::PageState> for PageState {
    fn from(page: &abi::PageState) -> Self {
        let has = |bit| page.state & bit != 0;
        let kinds = [(abi::STATE_ANON, "anon"), (abi::STATE_FILE, "file")];
        Self {
            pfn: page.pfn,
            index: page.index,
            refcount: page.refcount,
            mapcount: page.mapcount,
            folio_mapcount: page.folio_mapcount,
            pincount: has(abi::STATE_HAS_PINCOUNT).then_some(page.pincount),
            order: page.order,
            flags: kinds
                .iter()
                .chain(FLAGS)
                .filter(|(bit, _)| has(*bit))
                .map(|(_, name)| (*name).to_owned())
                .collect(),
            maybe_dma_pinned: has(abi::STATE_MAYBE_DMA_PINNED),
        }
    }
}

/// GUP_PIN_COUNTING_BIAS: what one pin adds to the reference count of a folio without a pincount.
pub const PIN_BIAS: i32 = 1024;

/// A page at one step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Page {
    /// Which page, in the scenario's words.
    pub name: String,
    /// The report, parsed.
    pub dump: DumpPage,
    /// The same page by the driver.
    pub state: PageState,
    /// The report as the kernel printed it.
    pub raw: Vec<String>,
}

impl Page {
    /// Whether nobody has a reference to a single page of a file but the file, its mappings, what the filesystem
    /// attached to it, and pins, as either witness saw it: they look one after the other.
    pub fn is_at_rest(&self) -> bool {
        let known = 1 + self.state.mapcount + i32::from(self.dump.has_flag("private"));
        [self.dump.refcount, self.state.refcount].iter().all(|count| (count - known) % PIN_BIAS == 0)
    }

    /// What the two witnesses do not agree on, in words; empty when they agree.
    pub fn disagreements(&self) -> Vec<String> {
        let Self { dump, state, .. } = self;
        let mut words = Vec::new();
        let mut compare = |what: &str, dump: i128, state: i128| {
            if dump != state {
                words.push(format!("{what}: dump_page says {dump}, the driver {state}"));
            }
        };
        compare("pfn", dump.pfn.into(), state.pfn.into());
        compare("index", dump.index.into(), state.index.into());
        compare("refcount", dump.refcount.into(), state.refcount.into());
        compare("mapcount", dump.mapcount.into(), state.mapcount.into());
        compare("order", dump.head.map_or(0, |head| head.order).into(), state.order.into());
        if let (Some(head), Some(pincount)) = (dump.head, state.pincount) {
            compare("pincount", head.pincount.into(), pincount.into());
        }
        for &(_, name) in FLAGS {
            let by_driver = state.flags.iter().any(|flag| flag == name);
            compare(&format!("flag {name}"), dump.has_flag(name).into(), by_driver.into());
        }
        words
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page() -> Page {
        let state = PageState {
            pfn: 7,
            refcount: 1025,
            mapcount: 1,
            flags: vec!["anon".into(), "uptodate".into()],
            ..PageState::default()
        };
        let dump = DumpPage {
            pfn: 7,
            refcount: 1025,
            mapcount: 1,
            flags: vec!["uptodate".into(), "swapbacked".into()],
            ..DumpPage::default()
        };
        Page { name: "page".into(), dump, state, raw: Vec::new() }
    }

    #[test]
    fn witnesses_that_agree_say_nothing() {
        assert_eq!(page().disagreements(), Vec::<String>::new());
    }

    #[test]
    fn a_page_is_at_rest_if_neither_witness_saw_another_reference() {
        let seen = |dump, state| {
            let mut page = page();
            (page.dump.refcount, page.state.refcount) = (dump, state);
            page.is_at_rest()
        };
        assert!(seen(2, 2) && seen(1026, 1026));
        assert!(!seen(1027, 1026) && !seen(1026, 1027));
    }

    #[test]
    fn every_disagreement_is_named() {
        let mut page = page();
        page.state.refcount = 1;
        page.dump.flags.push("dirty".into());
        assert_eq!(
            page.disagreements(),
            ["refcount: dump_page says 1025, the driver 1", "flag dirty: dump_page says 1, the driver 0"]
        );
    }
}
