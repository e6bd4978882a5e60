// SPDX-License-Identifier: MIT OR Apache-2.0

use fs_harness::guest::device::{Bios, Device, Gate, Stage, abi};
use fs_harness::guest::{Bed, Result};
use nix::errno::Errno;

use super::{ask_unanswerable, refuse, refuse_on};

/// The most gates of one disk.
const GATES_OF_A_DISK: usize = 16;

pub(super) fn run(bed: &mut Bed) -> Result<()> {
    let known = bed.require_disk()?.name().as_bytes();
    let mut good = abi::CloseGate {
        stage: abi::STAGE_ARRIVAL,
        kinds: 1 << abi::KIND_WRITE,
        classes: abi::CLASSES_ALL,
        end_sector: u64::MAX,
        most: 1,
        ..abi::CloseGate::default()
    };
    good.disk[..known.len()].copy_from_slice(known);
    closing(bed, good)?;
    closed(bed, good)?;
    let answer = ask_unanswerable(bed, abi::CLOSE_GATE, good)?;
    bed.check_refused("a gate whose answer cannot be written: EFAULT", Errno::EFAULT, answer)?;
    let gates: Result<Vec<Gate>> =
        (0..GATES_OF_A_DISK).map(|_| bed.close_gate(Stage::Arrival, &Bios::writes())).collect();
    bed.check("it is not closed: there is room for as many as a disk can have", gates.is_ok())
}

fn closing(bed: &mut Bed, good: abi::CloseGate) -> Result<()> {
    let cases = [
        ("a gate at no stage", abi::CloseGate { stage: 2, ..good }),
        ("a gate for no kind of bio", abi::CloseGate { kinds: 0, ..good }),
        ("a gate for an unknown kind", abi::CloseGate { kinds: good.kinds | 1 << abi::KINDS, ..good }),
        ("a gate for no class", abi::CloseGate { classes: 0, ..good }),
        (
            "a gate for an unknown class",
            abi::CloseGate { classes: (abi::CLASSES_ALL + 1) | good.classes, ..good },
        ),
        ("a gate of no sectors", abi::CloseGate { first_sector: 8, end_sector: 8, ..good }),
        ("a gate of sectors backwards", abi::CloseGate { first_sector: 9, end_sector: 8, ..good }),
        ("a gate of no bios", abi::CloseGate { most: 0, ..good }),
    ];
    for (what, close) in cases {
        refuse(bed, what, Errno::EINVAL, abi::CLOSE_GATE, close)?;
    }
    Ok(())
}

/// What is asked of a gate that is closed, of one of another file, and of one that is open again.
fn closed(bed: &mut Bed, good: abi::CloseGate) -> Result<()> {
    let mut close = good;
    // SAFETY: the structure is the request's own.
    unsafe { bed.device().request(abi::CLOSE_GATE, &mut close) }?;
    let open = abi::OpenGate { gate: close.gate, reserved: 0 };
    let reserved = abi::OpenGate { reserved: 1, ..open };
    refuse(bed, "opening a gate with a reserved field", Errno::EINVAL, abi::OPEN_GATE, reserved)?;
    let page = abi::HeldPage { gate: close.gate, flags: 1 << 1, ..abi::HeldPage::default() };
    refuse(bed, "a held page with an unknown flag", Errno::EINVAL, abi::HELD_PAGE, page)?;
    let let_go = abi::LetGo { gate: close.gate, errno: u32::MAX, bios: 1 };
    refuse(bed, "failing bios with what is no errno", Errno::EINVAL, abi::LET_GO, let_go)?;
    let other = Device::open()?;
    refuse_on(bed, &other, "another file's gate", Errno::ENOENT, abi::OPEN_GATE, &mut open.clone())?;
    // SAFETY: as above.
    unsafe { bed.device().request(abi::OPEN_GATE, &mut open.clone()) }?;
    refuse(bed, "a gate that is open again", Errno::ENOENT, abi::OPEN_GATE, open)
}
