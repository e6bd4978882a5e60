// SPDX-License-Identifier: GPL-2.0

//! The attributes of a disk in configfs, in a table: what they take, how they are shown and written.

use crate::{
    config::DiskItem,
    disks::DiskName,
    logic::{
        faults::Request,
        sectors::{
            PAGE_SIZE,
            SECTOR_SIZE, //
        },
        writeback::Policy, //
    },
    settings::Settings, //
};
use core::ops::RangeInclusive;
use kernel::{
    configfs::AttributeOperations,
    fmt,
    fmt::Write as _,
    prelude::*,
    str::Formatter, //
};

/// The largest disk, in MiB. Only what is written takes memory.
const SIZE_MIB_MAX: u32 = 1 << 20;

/// The longest time after which data is copied, in milliseconds.
const LATE_MS_MAX: u32 = 60_000;

/// The most often that a page is put into the cache before it is cleaned.
const SKIP_BUDGET_MAX: u32 = 1_000_000;

/// The longest that a bio waits for its pages not to be pinned, in milliseconds: the kernel reports tasks
/// that wait for two minutes.
const DEFER_MS_MAX: u32 = 60_000;

/// The page of memory into which configfs has an attribute shown.
type AttributePage = [u8; kernel::page::PAGE_SIZE];

struct Attribute {
    name: &'static str,
    /// What it takes, in words.
    takes: &'static str,
    /// Why it is busy, in words.
    busy: &'static str,
    show: fn(&DiskItem, &mut Formatter<'_>) -> fmt::Result,
    store: fn(&DiskItem, &str) -> Result,
}

const NEEDS_POWER_OFF: &str = "can be written only while the power is off";

/// By the numbers that `config.rs` gives them.
const ATTRIBUTES: &[Attribute] = &[
    Attribute {
        name: "power",
        takes: "0 or 1",
        busy: "cannot be turned off while the disk is open or mounted",
        show: |item, text| show(text, item.live().is_some().into()),
        store: |item, text| {
            if flag(text)? {
                item.power_on()
            } else {
                item.power_off()
            }
        },
    },
    Attribute {
        name: "size",
        takes: "a number of MiB from 1 to 1048576",
        show: |item, text| show(text, item.get(|settings| settings.size_mib)),
        store: |item, text| {
            let size_mib = number(text, 1..=SIZE_MIB_MAX)?;
            item.set(|settings| settings.size_mib = size_mib)
        },
        ..SETTING
    },
    Attribute {
        name: "blocksize",
        takes: "512 or 4096",
        show: |item, text| show(text, item.get(|settings| settings.block_size)),
        store: |item, text| {
            let block_size = number(text, 0..=u32::MAX)?;
            if ![SECTOR_SIZE as u32, PAGE_SIZE as u32].contains(&block_size) {
                return Err(EINVAL);
            }
            item.set(|settings| settings.block_size = block_size)
        },
        ..SETTING
    },
    Attribute {
        name: "write_cache",
        show: |item, text| show_flag(item, text, |settings| settings.write_cache),
        store: |item, text| store_flag(item, text, |settings| &mut settings.write_cache),
        ..SETTING
    },
    Attribute {
        name: "fua",
        show: |item, text| show_flag(item, text, |settings| settings.fua),
        store: |item, text| store_flag(item, text, |settings| &mut settings.fua),
        ..SETTING
    },
    Attribute {
        name: "stable_writes",
        show: |item, text| show_flag(item, text, |settings| settings.stable_writes),
        store: |item, text| store_flag(item, text, |settings| &mut settings.stable_writes),
        ..SETTING
    },
    Attribute {
        name: "nowait",
        show: |item, text| show_flag(item, text, |settings| settings.nowait),
        store: |item, text| store_flag(item, text, |settings| &mut settings.nowait),
        ..SETTING
    },
    Attribute {
        name: "late_transfer",
        takes: "a number of milliseconds from 0 to 60000",
        show: |item, text| show(text, item.get(|settings| settings.late_ms)),
        store: |item, text| {
            let late_ms = number(text, 0..=LATE_MS_MAX)?;
            item.set(|settings| settings.late_ms = late_ms)
        },
        ..SETTING
    },
    Attribute {
        name: "power_cut",
        show: |item, text| {
            show(
                text,
                item.live().is_some_and(|disk| disk.media.is_dead()).into(),
            )
        },
        store: |item, text| {
            let cut = flag(text)?;
            let disk = item.live().ok_or(ENODEV)?;
            if cut {
                disk.cut();
            } else {
                disk.revive();
            }
            Ok(())
        },
        ..SETTING
    },
    Attribute {
        name: "errors",
        takes:
            "'read', 'write' or 'any', a range of sectors as 'first-last', maybe a count; or 'none'",
        show: |item, text| match item.live() {
            Some(disk) => disk.media.show_faults(text),
            None => text.write_str("none\n"),
        },
        store: |item, text| {
            let request = Request::parse(text).ok_or(EINVAL)?;
            item.live().ok_or(ENODEV)?.media.inject(request)
        },
        ..SETTING
    },
    Attribute {
        name: "policy",
        takes: "observe, skip, bounce, defer or drop",
        show: |item, text| show_line(text, item.get(|settings| settings.rules.policy.name())),
        store: |item, text| {
            let policy = Policy::parse(text).ok_or(EINVAL)?;
            if policy == Policy::Drop {
                let disk = item.name().as_c_str();
                pr_warn!("{disk}: policy drop loses data on purpose, for checks to notice it\n");
            }
            item.set_rule(|rules| rules.policy = policy);
            Ok(())
        },
        ..SETTING
    },
    Attribute {
        name: "skip_budget",
        takes: "a number of times from 0 to 1000000",
        show: |item, text| show(text, item.get(|settings| settings.rules.skip_budget)),
        store: |item, text| {
            let times = number(text, 0..=SKIP_BUDGET_MAX)?;
            item.set_rule(|rules| rules.skip_budget = times);
            Ok(())
        },
        ..SETTING
    },
    Attribute {
        name: "defer_deadline",
        takes: "a number of milliseconds from 1 to 60000",
        show: |item, text| show(text, item.get(|settings| settings.rules.defer_ms)),
        store: |item, text| {
            let milliseconds = number(text, 1..=DEFER_MS_MAX)?;
            item.set_rule(|rules| rules.defer_ms = milliseconds);
            Ok(())
        },
        ..SETTING
    },
    Attribute {
        name: "copy_of",
        takes: "the name of a disk, or none",
        show: |item, text| match item.copy_of() {
            Some(name) => text.write_fmt(fmt!("{}\n", name.as_c_str())),
            None => text.write_str("none\n"),
        },
        store: |item, text| {
            let name = (text != "none")
                .then(|| DiskName::parse(text))
                .transpose()?;
            item.set_copy_of(name)
        },
        ..SETTING
    },
    Attribute {
        name: "log",
        show: |item, text| {
            show(
                text,
                item.live()
                    .is_some_and(|disk| disk.media.log.is_on())
                    .into(),
            )
        },
        store: |item, text| {
            let begins = flag(text)?;
            let disk = item.live().ok_or(ENODEV)?;
            if begins {
                disk.media.log.start()
            } else {
                disk.media.log.stop();
                Ok(())
            }
        },
        ..SETTING
    },
];

/// What most of them share.
const SETTING: Attribute = Attribute {
    name: "",
    takes: "0 or 1",
    busy: NEEDS_POWER_OFF,
    show: |_, _| Ok(()),
    store: |_, _| Ok(()),
};

#[vtable]
impl<const ID: u64> AttributeOperations<ID> for DiskItem {
    type Data = Self;

    fn show(item: &Self, page: &mut AttributePage) -> Result<usize> {
        let mut text = Formatter::new(page);
        (ATTRIBUTES[ID as usize].show)(item, &mut text)?;
        Ok(text.bytes_written())
    }

    fn store(item: &Self, text: &[u8]) -> Result {
        let attribute = &ATTRIBUTES[ID as usize];
        let stored = match core::str::from_utf8(text) {
            Ok(text) => (attribute.store)(item, text.trim()),
            Err(_) => Err(EINVAL),
        };
        stored.inspect_err(|error| explain(item, attribute, *error))
    }
}

/// An errno says little: the kernel's log has it in words.
fn explain(item: &DiskItem, attribute: &Attribute, error: Error) {
    let (disk, name) = (item.name().as_c_str(), attribute.name);
    if error == EINVAL {
        pr_warn!("{disk}: {name} takes {}\n", attribute.takes);
    } else if error == EBUSY {
        pr_warn!("{disk}: {name} {}\n", attribute.busy);
    } else if error == ENODEV {
        pr_warn!("{disk}: {name} can be written only while the power is on\n");
    } else if error == ENOSPC {
        pr_warn!("{disk}: {name} has no room for another\n");
    } else if error == EAGAIN {
        pr_warn!("{disk}: the disk to copy is written to all the time\n");
    } else if error == EEXIST {
        pr_warn!("{disk}: there is a disk of that name already\n");
    } else {
        pr_warn!(
            "{disk}: {name} could not be written: {}\n",
            error.to_errno()
        );
    }
}

fn show(text: &mut Formatter<'_>, value: u32) -> fmt::Result {
    text.write_fmt(fmt!("{value}\n"))
}

fn show_line(text: &mut Formatter<'_>, line: &str) -> fmt::Result {
    text.write_fmt(fmt!("{line}\n"))
}

fn show_flag(
    item: &DiskItem,
    text: &mut Formatter<'_>,
    look: impl FnOnce(&Settings) -> bool,
) -> fmt::Result {
    show(text, item.get(look).into())
}

fn store_flag(
    item: &DiskItem,
    text: &str,
    place: impl FnOnce(&mut Settings) -> &mut bool,
) -> Result {
    let value = flag(text)?;
    item.set(|settings| *place(settings) = value)
}

fn number(text: &str, range: RangeInclusive<u32>) -> Result<u32> {
    let number = text.parse().map_err(|_| EINVAL)?;
    range.contains(&number).then_some(number).ok_or(EINVAL)
}

/// Not as `kstrtobool()` has it, which takes 17 for true and `nonsense` for false.
fn flag(text: &str) -> Result<bool> {
    Ok(number(text, 0..=1)? == 1)
}
