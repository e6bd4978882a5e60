// SPDX-License-Identifier: MIT OR Apache-2.0

//! What the kernel and the driver have counted so far.

use std::time::{Duration, Instant};
use std::{fmt, fs};

use pinblk_abi as abi;

use super::device::Device;
use super::disk::Disk;
use super::error::{Doing, Error, Result};
use crate::record::{Class, Counted, Decision, Decisions, Direction, Purpose, Traffic};

/// How long the end of what was asked for may take that goes on after a system call has returned, or after
/// a process has died.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long, and for how many looks, each of which lets others run, counts that never agree have to stay as they are.
const STILL: Duration = Duration::from_millis(200);
const STILL_LOOKS: u32 = 100;

/// All counters at one moment.
#[derive(Clone, Copy, Default)]
pub struct Counters {
    /// The kernel's own, of `/proc/vmstat`.
    pub pins: Counted,
    holds: abi::HoldStatistics,
    /// Zeros where the cell has no disk.
    disk: abi::Statistics,
}

/// Outstanding pins, counted differently.
#[derive(Clone, PartialEq, Eq)]
pub struct Disagreement {
    by_kernel: i64,
    by_driver: i64,
    in_flight: i64,
}

impl Disagreement {
    /// How many more the kernel counts.
    pub fn surplus(&self) -> i64 {
        self.by_kernel - self.by_driver - self.in_flight
    }
}

impl fmt::Display for Disagreement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { by_kernel, by_driver, in_flight } = self;
        write!(
            f,
            "the kernel counts {by_kernel} pins outstanding, the driver {by_driver} and {in_flight} in flight"
        )
    }
}

impl Counters {
    /// Reads them, once the kernel's count of outstanding pins has settled to what the driver holds and
    /// to the `in_flight` pins of bios at a gate: completed reads may release their pins from a worker,
    /// after the system call has returned.
    ///
    /// A count that does not settle in [`PATIENCE`] is returned as it is, with how it does not agree.
    pub fn settled(
        device: &Device,
        disk: Option<&Disk>,
        base: Self,
        in_flight: i64,
    ) -> Result<(Self, Option<Disagreement>)> {
        Self::settle(device, disk, base, in_flight, |_| false)
    }

    /// The same where the counts are known not to agree: returned as they are once they stay so for a while.
    pub fn settled_or_still(
        device: &Device,
        disk: Option<&Disk>,
        base: Self,
        in_flight: i64,
    ) -> Result<(Self, Option<Disagreement>)> {
        let (mut last, mut since, mut looks) = (None, Instant::now(), 0);
        Self::settle(device, disk, base, in_flight, |found| {
            if last.as_ref() != Some(found) {
                (last, since, looks) = (Some(found.clone()), Instant::now(), 0);
            }
            looks += 1;
            looks > STILL_LOOKS && since.elapsed() > STILL
        })
    }

    fn settle(
        device: &Device,
        disk: Option<&Disk>,
        base: Self,
        in_flight: i64,
        mut is_enough: impl FnMut(&Disagreement) -> bool,
    ) -> Result<(Self, Option<Disagreement>)> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let now = Self::read(device, disk)?;
            let by_kernel = now.pins.since(base.pins).outstanding();
            let by_driver = now.device_pins().since(base.device_pins()).outstanding();
            if by_kernel == by_driver + in_flight {
                return Ok((now, None));
            }
            let found = Disagreement { by_kernel, by_driver, in_flight };
            if is_enough(&found) || Instant::now() >= deadline {
                return Ok((now, Some(found)));
            }
            std::thread::yield_now();
        }
    }

    /// Pages acquired since `base` and not released: the pins, by the kernel's count, and the references
    /// that pinblk took. Told once there are none but the `surplus` of pins that was reported before, or else
    /// as they are after [`PATIENCE`]: transfers go on when their file is closed, and release their pages from
    /// a worker.
    pub fn left(device: &Device, base: Self, surplus: i64) -> Result<(i64, i64)> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let now = Self::read(device, None)?;
            let pins = now.pins.since(base.pins).outstanding();
            let references = now.device_references().since(base.device_references()).outstanding();
            if (pins, references) == (surplus, 0) || Instant::now() >= deadline {
                return Ok((pins, references));
            }
            std::thread::yield_now();
        }
    }

    /// Reads them as they are.
    pub fn read(device: &Device, disk: Option<&Disk>) -> Result<Self> {
        let disk = disk.map(|disk| device.statistics(disk)).transpose()?.unwrap_or_default();
        Ok(Self { pins: vmstat_pins()?, holds: device.hold_statistics()?, disk })
    }

    /// Pages acquired and released by pin, by the driver's own account.
    pub fn device_pins(&self) -> Counted {
        let (short, long) = (self.held(abi::MODE_PIN), self.held(abi::MODE_LONGTERM));
        Counted { acquired: short.acquired + long.acquired, released: short.released + long.released }
    }

    /// Pages acquired and released by reference, by the driver's own account.
    pub fn device_references(&self) -> Counted {
        self.held(abi::MODE_GET)
    }

    /// Pages acquired and released by one mode, whatever the path.
    fn held(&self, mode: u32) -> Counted {
        let pages = |by_mode: &[[u64; abi::PATHS]]| by_mode[mode as usize].iter().sum();
        Counted { acquired: pages(&self.holds.acquired), released: pages(&self.holds.released) }
    }

    /// Pages under writeback that may be pinned since `earlier`, by what became of them, without what
    /// became of none.
    pub fn decisions_since(&self, earlier: &Self) -> Vec<Decisions> {
        let purposes = [
            (Purpose::Cleaning, &self.disk.cleaning, &earlier.disk.cleaning),
            (Purpose::Integrity, &self.disk.integrity, &earlier.disk.integrity),
        ];
        let mut all = Vec::new();
        for (purpose, now, then) in purposes {
            for (index, decision) in Decision::ALL.into_iter().enumerate() {
                let pages = now[index] - then[index];
                if pages > 0 {
                    all.push(Decisions { purpose, decision, pages });
                }
            }
        }
        all
    }

    /// Bios since `earlier`, without the classes that saw none.
    pub fn traffic_since(&self, earlier: &Self) -> Vec<Traffic> {
        let directions = [
            (Direction::Read, &self.disk.reads, &earlier.disk.reads),
            (Direction::Write, &self.disk.writes, &earlier.disk.writes),
        ];
        let mut all = Vec::new();
        for (direction, now, then) in directions {
            for (class, index) in CLASSES {
                let (now, then) = (now[index], then[index]);
                let traffic = Traffic {
                    direction,
                    class,
                    bios: now.bios - then.bios,
                    pages: now.pages - then.pages,
                    bytes: now.bytes - then.bytes,
                    pinned_pages: now.pinned_pages - then.pinned_pages,
                };
                if traffic.bios > 0 {
                    all.push(traffic);
                }
            }
        }
        all
    }
}

const CLASSES: [(Class, usize); abi::CLASSES] = [
    (Class::UserPinned, abi::CLASS_USER_PINNED),
    (Class::PageCache, abi::CLASS_PAGE_CACHE),
    (Class::Metadata, abi::CLASS_METADATA),
    (Class::Other, abi::CLASS_OTHER),
];

/// `nr_foll_pin_*`, after folding the per-CPU parts in: without that they lag.
fn vmstat_pins() -> Result<Counted> {
    fs::write("/proc/sys/vm/stat_refresh", "1").doing("write /proc/sys/vm/stat_refresh")?;
    pins_as_they_are()
}

/// `nr_foll_pin_*` without that: what is counted on a processor and not folded in is missing.
pub fn pins_as_they_are() -> Result<Counted> {
    let text = fs::read_to_string("/proc/vmstat").doing("read /proc/vmstat")?;
    let value = |name: &str| {
        text.lines()
            .find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
            .ok_or_else(|| Error::Lacking(format!("{name} in /proc/vmstat")))
    };
    Ok(Counted { acquired: value("nr_foll_pin_acquired ")?, released: value("nr_foll_pin_released ")? })
}
