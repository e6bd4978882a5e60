// SPDX-License-Identifier: MIT OR Apache-2.0

//! Scenarios that do what no scenario may: the self-test of the harness runs them and demands that
//! each is noticed as what it is. They are in no list of cells.

use std::fs;
use std::io::{Seek, SeekFrom, Write};
use std::thread;
use std::time::Duration;

use fs_harness::cell::{Acquisition, Setup};
use fs_harness::guest::error::{Doing, Error};
use fs_harness::guest::memory::Memory;
use fs_harness::guest::{Bed, Result};
use fs_harness::pattern::Pattern;
use nix::mount::{MsFlags, mount, umount};
use nix::sys::reboot::{RebootMode, reboot};
use nix::unistd::pause;

use crate::catalogue::Scenario;

/// LKDTM, the kernel's own tool for faults on request.
const PROVOKE: &str = "/sys/kernel/debug/provoke-crash/DIRECT";

const fn scenario(name: &'static str, about: &'static str, run: fn(&mut Bed) -> Result<()>) -> Scenario {
    Scenario {
        name,
        about,
        source: "pinbed itself",
        setups: &[Setup::None],
        not: &[],
        run,
        ..Scenario::PLAIN
    }
}

pub(crate) const SCENARIOS: &[Scenario] = &[
    scenario("selftest_holds", "All is well.", |bed| bed.check("all is well", true)),
    scenario("selftest_violated", "A check is violated.", |bed| bed.check("all is well", false)),
    scenario("selftest_checks_nothing", "No check is made.", |_| Ok(())),
    scenario("selftest_skips", "The kernel lacks something.", |_| {
        Err(Error::Lacking("what no kernel has".to_owned()))
    }),
    scenario("selftest_warns", "The kernel warns once.", |bed| provoke(bed, "WARNING")),
    scenario("selftest_panics_kernel", "The kernel panics.", |bed| {
        well(bed)?;
        write("/proc/sysrq-trigger", "c")
    }),
    scenario("selftest_spins", "The kernel spins with preemption off.", |bed| provoke(bed, "SOFTLOCKUP")),
    scenario("selftest_locks_up", "The kernel spins, and its watchdog notices after two seconds.", |bed| {
        write("/proc/sys/kernel/watchdog_thresh", "1")?;
        provoke(bed, "SOFTLOCKUP")
    }),
    scenario("selftest_sigbus", "The scenario touches a page beyond the end of its file.", sigbus),
    scenario("selftest_panics", "The scenario panics.", |bed| {
        well(bed)?;
        panic!("on purpose")
    }),
    scenario("selftest_leaks_a_pin", "A pin is never released.", |bed| {
        well(bed)?;
        let page = bed.anonymous(Pattern(1), 1)?;
        bed.device().hold(&page, Acquisition::Pin).map(drop)
    }),
    Scenario {
        setups: &[Setup::Ext4],
        ..scenario("selftest_damages_ext4", "Somebody overwrites the filesystem's group descriptors.", damage)
    },
    Scenario {
        setups: &[Setup::Ext4],
        ..scenario("selftest_stops", "The scenario stops, with a file on its filesystem.", |bed| {
            fs::write("/mnt/ext4/left", "as it was\n").doing("write a file")?;
            bed.require("all is well", false)
        })
    },
    scenario("selftest_prints", "The scenario prints before a check that is violated.", |bed| {
        print!("a word ");
        bed.check("all is well", false)
    }),
    scenario("selftest_waits", "The scenario waits for ever.", |bed| {
        well(bed)?;
        pause();
        Ok(())
    }),
    scenario("selftest_never_ends", "The scenario says what it does, for ever.", |bed| {
        well(bed)?;
        loop {
            bed.doing("at work on what never ends")?;
            // A flood is another fault.
            thread::park_timeout(Duration::from_millis(100));
        }
    }),
    scenario("selftest_exits", "The scenario exits early, and successfully.", |bed| {
        well(bed)?;
        std::process::exit(0)
    }),
    scenario("selftest_ends_guest", "The scenario ends the guest.", |bed| {
        well(bed)?;
        reboot(RebootMode::RB_AUTOBOOT).map(drop).doing("end the guest")
    }),
    scenario("selftest_spins_deaf", "The kernel spins with interrupts off.", |bed| {
        provoke(bed, "HARDLOCKUP")
    }),
    scenario("selftest_prints_much", "The scenario prints 100 MiB without a line feed.", |bed| {
        well(bed)?;
        flood("/proc/self/fd/1", &[b'x'; 4096])
    }),
    scenario("selftest_complains_much", "The scenario prints 100 MiB to its standard error.", |bed| {
        well(bed)?;
        flood("/proc/self/fd/2", &[b'x'; 4096])?;
        Err(Error::Unexpected("that was all".to_owned()))
    }),
    scenario("selftest_checks_for_ever", "The scenario checks for ever.", |bed| {
        loop {
            well(bed)?;
        }
    }),
    scenario("selftest_floods_log", "The kernel's log gets 100 MiB.", |bed| {
        well(bed)?;
        flood("/dev/kmsg", format!("{:>900}\n", "a flood").as_bytes())
    }),
    scenario("selftest_floods_console", "The console gets 100 MiB.", |bed| {
        well(bed)?;
        flood("/dev/console", format!("{:>900}\n", "a flood").as_bytes())
    }),
];

/// How much floods write.
const FLOOD: usize = 100 << 20;

fn flood(path: &str, drop: &[u8]) -> Result<()> {
    let mut file = fs::File::options().write(true).open(path).doing(format!("open {path}"))?;
    for _ in 0..FLOOD.div_ceil(drop.len()) {
        file.write_all(drop).doing(format!("write to {path}"))?;
    }
    Ok(())
}

fn well(bed: &mut Bed) -> Result<()> {
    bed.check("all was well until now", true)
}

fn provoke(bed: &mut Bed, fault: &str) -> Result<()> {
    well(bed)?;
    if !fs::exists(PROVOKE).doing(format!("look for {PROVOKE}"))? {
        return Err(Error::Lacking("LKDTM".to_owned()));
    }
    write(PROVOKE, fault)
}

fn sigbus(bed: &mut Bed) -> Result<()> {
    well(bed)?;
    let path = "/tmp/short";
    let file = fs::File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .open(path)
        .doing(format!("make {path}"))?;
    let beyond = Memory::shared(&file, 1)?;
    beyond.bytes();
    Ok(())
}

/// The kernel keeps everybody from writing to a mounted disk, so something else is mounted there in the end.
fn damage(bed: &mut Bed) -> Result<()> {
    const MOUNTPOINT: &str = "/mnt/ext4";
    const DISK: &str = "/dev/pinblk0";
    well(bed)?;
    umount(MOUNTPOINT).doing(format!("unmount {MOUNTPOINT}"))?;
    let mut disk = fs::File::options().write(true).open(DISK).doing(format!("open {DISK}"))?;
    disk.seek(SeekFrom::Start(4096)).and_then(|_| disk.write_all(&[0xff; 4096])).doing("damage the disk")?;
    mount(Some("tmpfs"), MOUNTPOINT, Some("tmpfs"), MsFlags::empty(), None::<&str>)
        .doing(format!("mount a tmpfs at {MOUNTPOINT}"))
}

fn write(path: &str, text: &str) -> Result<()> {
    fs::write(path, text).doing(format!("write {text} to {path}"))
}
