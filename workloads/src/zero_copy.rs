// SPDX-License-Identifier: MIT OR Apache-2.0

//! Pages that are handed on without being copied, to a pipe or to a socket: by reference, and not by pin.

use fs_harness::cell::{Acquisition, Setup};
use fs_harness::guest::child::Child;
use fs_harness::guest::device::{Release, Take};
use fs_harness::guest::error::Doing;
use fs_harness::guest::io;
use fs_harness::guest::loopback::Connection;
use fs_harness::guest::memory::{Memory, PAGE};
use fs_harness::guest::uring::{Buffer, Ring};
use fs_harness::guest::{Bed, Result};
use fs_harness::pattern::Pattern;
use fs_harness::record::{Counted, Step};
use nix::unistd::{pipe, read};

use crate::catalogue::{NO_FILE, Scenario};

const SENT: Pattern = Pattern(1);
const AFTER_FORK: Pattern = Pattern(2);

const BY_REFERENCE: &str = "net/core/datagram.c: zerocopy_fill_skb_from_iter(), iov_iter_get_pages2()";

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "vmsplice",
        row: Some(35),
        about: "vmsplice puts a page into a pipe by reference: when its process forks and writes to it, the pipe keeps the page and the process has another.",
        source: "fs/splice.c: iter_to_pipe(), iov_iter_get_pages2()",
        setups: &[Setup::None],
        not: NO_FILE,
        run: vmsplice,
        ..Scenario::PLAIN
    },
    Scenario {
        name: "msg_zerocopy",
        row: Some(36),
        about: "MSG_ZEROCOPY sends a page by reference: when its process forks and writes to it, what was there is sent.",
        source: BY_REFERENCE,
        setups: &[Setup::None],
        not: NO_FILE,
        run: msg_zerocopy,
        ..Scenario::PLAIN
    },
    Scenario {
        name: "uring_send_zc",
        row: Some(36),
        about: "SEND_ZC of io_uring sends a page by reference: when its process forks and writes to it, what was there is sent.",
        source: BY_REFERENCE,
        setups: &[Setup::None],
        not: NO_FILE,
        run: |bed| send_zc(bed, Buffer::Plain),
        ..Scenario::PLAIN
    },
    Scenario {
        name: "uring_send_zc_fixed",
        row: Some(36),
        about: "SEND_ZC of a registered buffer takes nothing, since it is pinned: when its process forks and writes to it, what it wrote is sent.",
        source: "io_uring/net.c: io_sg_from_iter(): SKBFL_MANAGED_FRAG_REFS; mm/memory.c: copy_present_page()",
        setups: &[Setup::None],
        not: NO_FILE,
        run: |bed| send_zc(bed, Buffer::Fixed),
        ..Scenario::PLAIN
    },
];

fn vmsplice(bed: &mut Bed) -> Result<()> {
    let page = bed.anonymous(SENT, 1)?;
    let reference = bed.device().hold(&page, looking())?;
    let before = bed.observe("a page, looked at through one reference", Some(&reference))?;
    let (reader, writer) = pipe().doing("make a pipe")?;
    io::vmsplice(&writer, &page)?;
    let spliced = bed.observe("the page is in the pipe", Some(&reference))?;
    check_references(bed, &before, &spliced, 1)?;
    let mut child = fork_and_write(&page)?;
    let mut bytes = vec![0; PAGE];
    let count = read(&reader, &mut bytes).doing("read the pipe")?;
    bed.check("the pipe holds a page", count == PAGE)?;
    bed.check_data("the pipe holds what the page held before the fork", SENT, &bytes)?;
    bed.check_data("the process sees what it wrote", AFTER_FORK, &page.bytes())?;
    child.end()?;
    let drained =
        bed.observe("the process forked and wrote to its page, and the pipe is drained", Some(&reference))?;
    let alone = drained.pages[0].dump.refcount == 1;
    bed.check("nothing is left of the old page but the reference that looks at it", alone)?;
    reference.release(Release::Clean)
}

fn msg_zerocopy(bed: &mut Bed) -> Result<()> {
    let page = bed.anonymous(SENT, 1)?;
    let reference = bed.device().hold(&page, looking())?;
    let mut connection = Connection::stuffed()?;
    let before = bed.observe("a page, looked at through one reference", Some(&reference))?;
    connection.send_zero_copy(&page)?;
    let queued = bed.observe("the page waits to be sent", Some(&reference))?;
    check_references(bed, &before, &queued, 1)?;
    let mut child = fork_and_write(&page)?;
    let received = connection.receive(PAGE)?;
    bed.check_data("what was received is what the page held before the fork", SENT, &received)?;
    bed.check_data("the process sees what it wrote", AFTER_FORK, &page.bytes())?;
    let was_copied = connection.wait_until_sent()?;
    bed.check(
        "the kernel says that it copied the page: a receiver on the same machine gets no page of the sender",
        was_copied,
    )?;
    child.end()?;
    check_let_go(bed, &reference)?;
    reference.release(Release::Clean)
}

fn send_zc(bed: &mut Bed, buffer: Buffer) -> Result<()> {
    let page = bed.anonymous(SENT, 1)?;
    let mut connection = Connection::stuffed()?;
    let mut ring = if buffer == Buffer::Fixed { Ring::with(&page)? } else { Ring::new()? };
    bed.kernel_holds(usize::from(buffer == Buffer::Fixed));
    let reference = bed.device().hold(&page, looking())?;
    let before = bed.observe("a page, looked at through one reference", Some(&reference))?;
    let count = ring.send_zero_copy(connection.sender(), &page, buffer)?;
    bed.check("all of the page was queued", count == PAGE)?;
    let queued = bed.observe("the page waits to be sent", Some(&reference))?;
    check_references(bed, &before, &queued, i32::from(buffer == Buffer::Plain))?;
    let mut child = fork_and_write(&page)?;
    let received = connection.receive(PAGE)?;
    if buffer == Buffer::Fixed {
        bed.check_data("what was received is what the process wrote after the fork", AFTER_FORK, &received)?;
    } else {
        bed.check_data("what was received is what the page held before the fork", SENT, &received)?;
    }
    bed.check_data("the process sees what it wrote", AFTER_FORK, &page.bytes())?;
    ring.wait_until_sent()?;
    child.end()?;
    if buffer == Buffer::Fixed {
        ring.unregister()?;
        bed.kernel_holds(0);
        let after = bed.observe("the page was received, and the buffer is given up", Some(&reference))?;
        bed.check("its pin was released", after.pins == Counted { acquired: 0, released: 1 })?;
    } else {
        check_let_go(bed, &reference)?;
    }
    reference.release(Release::Clean)
}

/// The page is shared with a child, and the process writes to it.
fn fork_and_write(page: &Memory) -> Result<Child> {
    let child = Child::fork(|_| 0)?;
    page.fill(AFTER_FORK);
    Ok(child)
}

/// Whether the page has so many references more than before, and no pin.
fn check_references(bed: &mut Bed, before: &Step, now: &Step, more: i32) -> Result<()> {
    bed.check("no page was pinned for it", now.pins == Counted::default())?;
    let found = now.pages[0].dump.refcount - before.pages[0].dump.refcount;
    let words = if more == 0 {
        "the page has no more references than it had"
    } else {
        "the page has one more reference, and no pin"
    };
    bed.check_that(words, found == more, || format!("it has {found} more"))
}

/// Whether the page as it was sent is nobody's any more: the process and its child have others, or none.
fn check_let_go(bed: &mut Bed, reference: &fs_harness::guest::device::Hold) -> Result<()> {
    let sent = bed.observe("the page was received", Some(reference))?;
    let alone = sent.pages[0].dump.refcount == 1;
    bed.check("nothing is left of the old page but the reference that looks at it", alone)
}

/// How a page is looked at without changing what is done with it.
fn looking() -> Take {
    Take::by(Acquisition::Get).read_only()
}
