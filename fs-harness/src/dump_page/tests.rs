// SPDX-License-Identifier: MIT OR Apache-2.0

use proptest::prelude::*;

use super::*;

const FILE_PAGE: &str = "\
page: refcount:1027 mapcount:1 mapping:00000000c0ffee00 index:0x3 pfn:0x1a2b3
aops:ext4_da_aops ino:c dentry name(?):\"data\"
flags: 0x800000000000423c(referenced|uptodate|dirty|lru|private|zone=1|lastcpupid=0x7)
raw: 800000000000423c ffffea0000000000 ffffea0000000000 ffff888000000000
raw: 0000000000000003 ffff888000000000 0000040300000000 0000000000000000
page dumped because: pinblk";

const HUGE_PAGE: &str = "\
page: refcount:513 mapcount:0 mapping:0000000000000000 index:0x7f0000200 pfn:0x10600
head: order:9 mapcount:1 entire_mapcount:1 nr_pages_mapped:0 pincount:512
anon flags: 0x100000000000087d(locked|referenced|uptodate|dirty|lru|head|swapbacked|zone=1)
raw: 100000000000087d ffffea0000000000 ffffea0000000000 ffff888000000000
head: 100000000000087d ffffea0000000000 ffffea0000000000 ffff888000000000
page dumped because: pinblk";

#[test]
fn a_page_of_a_file() {
    let page = DumpPage::parse(FILE_PAGE.lines()).unwrap();
    assert_eq!((page.refcount, page.mapcount, page.index, page.pfn), (1027, 1, 3, 0x1a2b3));
    assert!(page.mapping);
    let owner = Owner { aops: "ext4_da_aops".into(), inode: Some(0xc), name: Some("data".into()) };
    assert_eq!(page.owner, Some(owner));
    assert_eq!(page.flags, ["referenced", "uptodate", "dirty", "lru", "private"]);
    assert_eq!(page.reason.as_deref(), Some("pinblk"));
}

#[test]
fn a_huge_anonymous_page() {
    let page = DumpPage::parse(HUGE_PAGE.lines()).unwrap();
    assert!(!page.mapping);
    assert_eq!(page.kind, Kind::Anon);
    let head = Head { order: 9, mapcount: 1, entire_mapcount: 1, nr_pages_mapped: 0, pincount: 512 };
    assert_eq!(page.head, Some(head));
}

#[test]
fn what_is_not_a_report_is_refused() {
    assert_eq!(DumpPage::parse([]), Err(ParseError::Missing("page:")));
    assert_eq!(DumpPage::parse(FILE_PAGE.lines().take(2)), Err(ParseError::Missing("flags:")));
    let unknown = DumpPage::parse(FILE_PAGE.lines().chain(["systemd[1]: hello"]));
    assert_eq!(unknown, Err(ParseError::Unknown("systemd[1]: hello".into())));
    let torn = DumpPage::parse(["page: refcount:x mapcount:1"]).unwrap_err();
    assert_eq!(torn.to_string(), "no number 'refcount' in the line 'page: refcount:x mapcount:1'");
    let unfaithful = DumpPage::parse(["page does not match folio"]).unwrap_err();
    assert!(matches!(unfaithful, ParseError::Unfaithful(_)));
}

/// Prints a report as the kernel does.
#[expect(clippy::format_push_string, reason = "reads better, and only tests pay for it")]
fn print(page: &DumpPage) -> String {
    let mut text = format!(
        "page: refcount:{} mapcount:{} mapping:{:016x} index:{:#x} pfn:{:#x}\n",
        page.refcount,
        page.mapcount,
        u32::from(page.mapping) * 0xc0ff_ee00,
        page.index,
        page.pfn
    );
    if let Some(Head { order, mapcount, entire_mapcount, nr_pages_mapped, pincount }) = page.head {
        text += &format!(
            "head: order:{order} mapcount:{mapcount} entire_mapcount:{entire_mapcount} \
             nr_pages_mapped:{nr_pages_mapped} pincount:{pincount}\n"
        );
    }
    if let Some(owner) = &page.owner {
        text += &format!("aops:{}", owner.aops);
        if let Some(inode) = owner.inode {
            text += &format!(" ino:{inode:x}");
        }
        if let Some(name) = &owner.name {
            text += &format!(" dentry name(?):\"{name}\"");
        }
        text += "\n";
    }
    let kind = match page.kind {
        Kind::Anon => "anon ",
        Kind::Ksm => "ksm ",
        Kind::Plain => "",
    };
    text += &format!("{kind}flags: 0x1234({}|node=0|zone=1)\n", page.flags.join("|"));
    if let Some(name) = &page.page_type {
        text += &format!("page_type: f0({name})\n");
    }
    if let Some(reason) = &page.reason {
        text += &format!("page dumped because: {reason}\n");
    }
    text
}

prop_compose! {
    fn any_head()(order in 1u32..18, counts in any::<[i32; 4]>()) -> Head {
        let [mapcount, entire_mapcount, nr_pages_mapped, pincount] = counts;
        Head { order, mapcount, entire_mapcount, nr_pages_mapped, pincount }
    }
}

prop_compose! {
    // A name is all that the kernel prints between the quotes, other quotes and colons too.
    fn any_owner()(
        aops in "[a-z0-9_]{1,20}",
        inode in proptest::option::of(any::<u64>()),
        name in "[ -~]{0,30}",
    ) -> Owner {
        Owner { aops, inode, name: inode.map(|_| name) }
    }
}

prop_compose! {
    fn any_page()(
        (refcount, mapcount) in any::<(i32, i32)>(),
        mapping in any::<bool>(),
        (index, pfn) in any::<(u64, u64)>(),
        head in proptest::option::of(any_head()),
        owner in proptest::option::of(any_owner()),
        kind in prop_oneof![Just(Kind::Anon), Just(Kind::Ksm), Just(Kind::Plain)],
        flags in proptest::collection::vec("[a-z_0-9]{1,12}", 0..8),
        page_type in proptest::option::of("[a-z]{1,10}"),
        reason in proptest::option::of("[ -~]{0,30}[!-~]"),
    ) -> DumpPage {
        DumpPage {
            refcount, mapcount, mapping, index, pfn, head, owner, kind, flags, page_type, reason,
        }
    }
}

proptest! {
    #[test]
    fn what_the_kernel_prints_is_read_back(page in any_page()) {
        prop_assert_eq!(DumpPage::parse(print(&page).lines()), Ok(page));
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in "(page: |head: |aops:|flags: |[ -~]|\n){0,60}") {
        let _ = DumpPage::parse(text.lines());
    }
}
