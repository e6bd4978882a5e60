// SPDX-License-Identifier: MIT OR Apache-2.0

//! Disks that go while they are used, gates that refuse, a module that is in use.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::time::Duration;

use fs_harness::cell::{Acquisition, Setup};
use fs_harness::guest::device::{Bios, Device, Gate, Release, Stage};
use fs_harness::guest::disk::{Attributes, Disk};
use fs_harness::guest::error::{Doing, Error};
use fs_harness::guest::in_flight::InFlight;
use fs_harness::guest::memory::PAGE;
use fs_harness::guest::{Bed, Result};
use fs_harness::pattern::Pattern;
use nix::errno::Errno;
use nix::kmod::{DeleteModuleFlags, delete_module};
use nix::libc;

use crate::catalogue::Scenario;
use crate::media::OWN_DISKS;

/// The disk of these scenarios alone.
pub(crate) const SCRATCH: Disk = Disk::of("scratch0");

const DATA: Pattern = Pattern(1);

/// The most gates of one disk.
const GATES_OF_A_DISK: usize = 16;

pub(crate) const fn scenario(
    name: &'static str,
    row: Option<u16>,
    about: &'static str,
    source: &'static str,
    run: fn(&mut Bed) -> Result<()>,
) -> Scenario {
    Scenario { name, row, about, source, setups: &[Setup::None], not: OWN_DISKS, run, ..Scenario::PLAIN }
}

pub(crate) const SCENARIOS: &[Scenario] = &[
    scenario(
        "remove_disk_in_use",
        None,
        "A disk that is open, with a bio at a gate, does not go by itself; when it is removed the bio is completed, and further I/O fails.",
        "block/genhd.c: del_gendisk(); drivers/block/null_blk/main.c: nullb_group_drop_item()",
        remove_disk_in_use,
    ),
    scenario(
        "gate_refusals",
        None,
        "What a gate cannot do is refused with the right errno.",
        "pinbed: kmod-blk/abi/src/gate.rs",
        gate_refusals,
    ),
    scenario(
        "disk_attributes",
        None,
        "An attribute of a disk takes what it says and nothing else, and only while the power is off.",
        "pinbed: kmod-blk/README.md; drivers/block/null_blk/main.c: nullb_device_attrs",
        disk_attributes,
    ),
    scenario(
        "rmmod_in_use",
        Some(63),
        "The module cannot be unloaded while pages are held, a disk is there, or a bio is at a gate.",
        "kernel/module/main.c: try_stop_module()",
        rmmod_in_use,
    ),
];

fn remove_disk_in_use(bed: &mut Bed) -> Result<()> {
    make(&SCRATCH)?;
    let disk = open(&SCRATCH)?;
    let off = SCRATCH.write("power", "0");
    bed.check("the power cannot be turned off while the disk is open", errno(&off) == Some(Errno::EBUSY))?;
    let buffer = bed.anonymous(DATA, 1)?;
    let gate = bed.device().close_gate(&SCRATCH, Stage::Arrival, &Bios::writes())?;
    let write = InFlight::write(&disk, 0, &buffer, 0..PAGE)?;
    gate.wait_for(1)?;
    bed.check("a write is at the gate", bed.device().statistics(&SCRATCH)?.in_flight == 1)?;
    SCRATCH.remove()?;
    let written = write.wait();
    let is_whole = written.as_ref().is_ok_and(|count| *count == PAGE);
    bed.check_that("removing the disk completes the write", is_whole, || format!("{written:?}"))?;
    let waited = gate.progress(2, Duration::from_secs(10));
    bed.check("nobody waits at a gate of a removed disk", errno(&waited) == Some(Errno::ENODEV))?;
    let statistics = bed.device().statistics(&SCRATCH);
    bed.check("pinblk does not know the disk any more", errno(&statistics) == Some(Errno::ENOENT))?;
    let after = InFlight::write(&disk, 0, &buffer, 0..PAGE)?.wait().doing("write");
    check_errno(bed, "a write to the removed disk", errno(&after), Errno::ENOSPC)?;
    let after = InFlight::read(&disk, 0, &buffer, 0..PAGE)?.wait().doing("read")?;
    bed.check("a read from the removed disk is at its end", after == 0)?;
    gate.open()?;
    drop(disk);
    // Its name is free again, and its data is gone.
    make(&SCRATCH)?;
    let mut found = [0; PAGE];
    let fresh = File::open(SCRATCH.path()).doing("open the new disk")?;
    fresh.read_exact_at(&mut found, 0).doing("read the new disk")?;
    bed.check("a new disk of that name has nothing of the old one", found == [0xde; PAGE])?;
    drop(fresh);
    SCRATCH.write("power", "0")?;
    bed.check("the power of a disk that nobody uses can be turned off", SCRATCH.read("power")? == "0")?;
    SCRATCH.remove()
}

fn gate_refusals(bed: &mut Bed) -> Result<()> {
    make(&SCRATCH)?;
    let close = |bios: &Bios| bed.device().close_gate(&SCRATCH, Stage::Transfer, bios);
    let absent = bed.device().close_gate(&Disk::of("absent"), Stage::Transfer, &Bios::all());
    let refused = [
        ("of a disk that is not there", errno(&absent), Errno::ENOENT),
        ("of no sectors", errno(&close(&Bios::all().sectors(8..8))), Errno::EINVAL),
        ("of no bios", errno(&close(&Bios::all().first(0))), Errno::EINVAL),
    ];
    for (what, found, expected) in refused {
        check_errno(bed, &format!("a gate {what}"), found, expected)?;
    }
    let gates: Vec<Gate> = (0..GATES_OF_A_DISK)
        .map(|_| bed.device().close_gate(&SCRATCH, Stage::Transfer, &Bios::writes().first(1)))
        .collect::<Result<_>>()?;
    let one_more = bed.device().close_gate(&SCRATCH, Stage::Transfer, &Bios::all());
    check_errno(bed, "one gate too many", errno(&one_more), Errno::ENOSPC)?;

    let (disk, buffer) = (open(&SCRATCH)?, bed.anonymous(DATA, 1)?);
    let write = InFlight::write(&disk, 0, &buffer, 0..PAGE)?;
    let [oldest, .., youngest] = gates.as_slice() else {
        return Err(Error::Unexpected("there are no gates".to_owned()));
    };
    bed.check("the oldest gate has the bio", {
        oldest.wait_for(1).is_ok()
            && oldest.progress(0, Duration::ZERO)? == (1, 1)
            && youngest.progress(0, Duration::ZERO)? == (0, 0)
    })?;
    let held = oldest.bio(0)?;
    bed.check(
        "it is a write of one page at sector 0",
        (held.sector, held.bytes, held.pages) == (0, 4096, 1),
    )?;
    let refused = [
        (
            "waiting for a bio that does not come",
            errno(&oldest.progress(2, Duration::from_millis(1))),
            Errno::ETIMEDOUT,
        ),
        ("looking at a bio that is not held", errno(&oldest.bio(1)), Errno::ERANGE),
        ("looking at a page that the bio does not have", errno(&oldest.page(0, 1)), Errno::ERANGE),
        ("failing a bio with EAGAIN", errno(&oldest.fail(Errno::EAGAIN)), Errno::EINVAL),
    ];
    for (what, found, expected) in refused {
        check_errno(bed, what, found, expected)?;
    }
    bed.check("an empty gate lets nothing go", youngest.let_go()? == 0)?;
    bed.check("one bio is let go", oldest.let_one_go()? == 1)?;
    bed.check("it is written", write.wait().is_ok_and(|count| count == PAGE))?;
    let (second, third) = (&gates[1], &gates[2]);
    let again = InFlight::write(&disk, 0, &buffer, 0..PAGE)?;
    second.wait_for(1)?;
    bed.check(
        "a gate that took its number of bios takes no more",
        oldest.progress(0, Duration::ZERO)? == (1, 0),
    )?;
    second.let_go()?;
    bed.check("no gate of the same stage holds it a second time", {
        again.wait().is_ok_and(|count| count == PAGE) && third.progress(0, Duration::ZERO)? == (0, 0)
    })?;
    drop(gates);

    let gate = bed.device().close_gate(&SCRATCH, Stage::Transfer, &Bios::writes())?;
    let first = InFlight::write(&disk, 0, &buffer, 0..PAGE)?;
    let second = InFlight::write(&disk, PAGE as u64, &buffer, 0..PAGE)?;
    gate.wait_for(2)?;
    bed.check("one of two bios is let go", gate.let_one_go()? == 1)?;
    bed.check("the other is still held", gate.progress(0, Duration::ZERO)? == (2, 1))?;
    bed.check("it was the first that went", gate.bio(0)?.sector == 8)?;
    gate.open()?;
    bed.check("both are written", first.wait().is_ok() && second.wait().is_ok())
}

fn disk_attributes(bed: &mut Bed) -> Result<()> {
    let defaults = [
        ("power", "0"),
        ("size", "512"),
        ("blocksize", "512"),
        ("write_cache", "1"),
        ("fua", "1"),
        ("stable_writes", "0"),
        ("nowait", "1"),
        ("late_transfer", "0"),
        ("power_cut", "0"),
        ("errors", "none"),
    ];
    let wrong = [
        ("power", "2"),
        ("size", "0"),
        ("size", "1048577"),
        ("size", "-1"),
        ("size", "4294967296"),
        ("size", "1 MiB"),
        ("blocksize", "1024"),
        ("blocksize", "0"),
        ("write_cache", "yes"),
        ("fua", "17"),
        ("stable_writes", ""),
        ("nowait", "on"),
        ("late_transfer", "60001"),
        ("power_cut", "x"),
        ("errors", "write 9-8"),
    ];
    make(&SCRATCH)?;
    SCRATCH.write("power", "0")?;
    SCRATCH.remove()?;
    let names = [
        ("a-name-of-32-bytes-has-no-room-0", Errno::ENAMETOOLONG),
        ("a name", Errno::EINVAL),
        ("a!name", Errno::EINVAL),
    ];
    for (name, expected) in names {
        let result = Disk::of(name).make_unpowered();
        check_errno(bed, &format!("a disk named '{name}'"), errno(&result), expected)?;
    }
    let longest = Disk::of("a-name-of-31-bytes-has-its-room");
    longest.make_unpowered()?;
    longest.remove()?;
    let fresh = Disk::of("scratch1");
    fresh.make_unpowered()?;
    for (attribute, default) in defaults {
        let found = fresh.read(attribute)?;
        bed.check_that(&format!("{attribute} is {default} at first"), found == default, || found)?;
    }
    for (attribute, value) in wrong {
        // configfs does not pass an empty write on.
        let value = if value.is_empty() { "\n" } else { value };
        let result = fresh.write(attribute, value);
        check_errno(bed, &format!("{attribute} as '{}'", value.trim()), errno(&result), Errno::EINVAL)?;
    }
    for (attribute, value) in [("power_cut", "1"), ("errors", "any 0-1")] {
        let result = fresh.write(attribute, value);
        check_errno(bed, &format!("{attribute} while the power is off"), errno(&result), Errno::ENODEV)?;
    }
    fresh.write("power", "1")?;
    for (attribute, default) in &defaults[1..8] {
        let result = fresh.write(attribute, default);
        check_errno(bed, &format!("{attribute} while the power is on"), errno(&result), Errno::EBUSY)?;
    }
    for attempt in 0..8 {
        fresh.write("errors", &format!("read {attempt}-{attempt}"))?;
    }
    let result = fresh.write("errors", "read 8-8");
    check_errno(bed, "one fault too many", errno(&result), Errno::ENOSPC)?;
    fresh.remove()
}

fn rmmod_in_use(bed: &mut Bed) -> Result<()> {
    // The control device, which the scenario has open itself.
    let own = users()?;
    bed.check("the control device keeps the module", own > 0)?;
    let again = Device::open()?;
    bed.check("and so it does each time that it is opened", users()? == own + 1)?;
    drop(again);
    make(&SCRATCH)?;
    let with_disk = users()?;
    bed.check("a disk keeps the module", with_disk > own)?;
    let (disk, buffer) = (open(&SCRATCH)?, bed.anonymous(DATA, 1)?);
    bed.check("who opens it keeps the module as well", users()? == with_disk + 1)?;
    let hold = bed.device().hold(&buffer, Acquisition::Pin)?;
    let gate = bed.device().close_gate(&SCRATCH, Stage::Arrival, &Bios::writes())?;
    let write = InFlight::write(&disk, 0, &buffer, 0..PAGE)?;
    gate.wait_for(1)?;
    let refused = delete_module(c"pinblk", DeleteModuleFlags::O_NONBLOCK);
    bed.check("the module stays", refused == Err(Errno::EWOULDBLOCK))?;
    gate.open()?;
    bed.check("the write goes on", write.wait().is_ok_and(|count| count == PAGE))?;
    hold.release(Release::Clean)?;
    bed.observe("the write is complete, the page is released", None)?;
    SCRATCH.remove()?;
    bed.check("a disk that was removed keeps the module as long as it is open", users()? == own + 1)?;
    drop(disk);
    bed.check("and no longer", users()? == own)
}

/// How many references there are to the module.
fn users() -> Result<u32> {
    const USERS: &str = "/sys/module/pinblk/refcnt";
    let text = fs::read_to_string(USERS).doing(format!("read {USERS}"))?;
    text.trim().parse().map_err(|_| Error::Unexpected(format!("'{text}' in {USERS} is no number")))
}

pub(crate) fn make(disk: &Disk) -> Result<()> {
    disk.make(&Attributes { size_mib: 16, ..Attributes::default() })
}

pub(crate) fn open(disk: &Disk) -> Result<File> {
    let path = disk.path();
    let mut options = File::options();
    options.read(true).write(true).custom_flags(libc::O_DIRECT).open(&path).doing(format!("open {path}"))
}

fn check_errno(bed: &mut Bed, what: &str, found: Option<Errno>, expected: Errno) -> Result<()> {
    let name = format!("{expected:?}");
    bed.check_that(&format!("{what} is refused with {name}"), found == Some(expected), || {
        format!("{found:?}")
    })
}

fn errno<T>(result: &Result<T>) -> Option<Errno> {
    result.as_ref().err().and_then(Error::errno)
}
