// SPDX-License-Identifier: GPL-2.0

//! The ioctls of gates.

use super::{
    Argument,
    Control, //
};
use crate::{
    abi::{
        self,
        CLASSES_ALL,
        KINDS,
        PAGE_DUMP,
        STAGE_ARRIVAL,
        STAGE_TRANSFER, //
    },
    disk::Disk,
    logic::{
        gates::Stage,
        select::Selection, //
    },
    look,
    sys::{
        compat::{
            EILSEQ,
            ENODATA,
            ENOLINK,
            EOPNOTSUPP,
            EREMOTEIO, //
        },
        delayed::{
            Delayed,
            Task, //
        },
        group::Group,
        workqueue::QueueHandle, //
    }, //
};
use kernel::{
    prelude::*,
    sync::Arc,
    time::msecs_to_jiffies, //
};

/// How long a gate may outlive its process, in milliseconds.
const AFTERLIFE: u32 = 500;

/// A closed gate. It opens when this is dropped.
pub(super) struct ClosedGate {
    disk: Arc<Disk>,
    id: u64,
    /// Who closed it.
    group: Group,
}

/// A closed gate of an open file. It opens also when its process dies and cannot close the file, since
/// one of its threads sleeps for what the gate holds.
pub(super) struct WatchedGate {
    gate: Arc<ClosedGate>,
    _watch: Delayed<Arc<ClosedGate>>,
}

impl Control {
    pub(super) fn close_gate(&self, argument: &Argument) -> Result {
        let close: abi::CloseGate = argument.read()?;
        let stage = match close.stage {
            STAGE_ARRIVAL => Stage::Arrival,
            STAGE_TRANSFER => Stage::Transfer,
            _ => return Err(EINVAL),
        };
        let is_set_of = |bits: u32, all: u32| bits != 0 && bits & !all == 0;
        if !is_set_of(close.kinds, (1 << KINDS) - 1)
            || !is_set_of(close.classes, CLASSES_ALL)
            || close.first_sector >= close.end_sector
            || close.most == 0
        {
            return Err(EINVAL);
        }
        let selection = Selection {
            kinds: close.kinds,
            classes: close.classes,
            sectors: close.first_sector..close.end_sector,
        };
        let group = Group::current().ok_or(ESRCH)?;
        let disk = self.disk(&close.disk)?;
        let id = disk.gates.close(stage, selection, close.most)?;
        let gate = Arc::new(ClosedGate { disk, id, group }, GFP_KERNEL)?;
        let watched = WatchedGate::new(gate, self.shared.ends)?;
        let handle = self.session.lock().gates.insert(watched)?;
        let answer = argument.write(&abi::CloseGate {
            gate: handle,
            ..close
        });
        if answer.is_err() {
            // Userspace does not know the handle and could not open the gate.
            let unknown = self.session.lock().gates.remove(handle);
            drop(unknown);
        }
        answer
    }

    pub(super) fn wait_gate(&self, argument: &Argument) -> Result {
        let wait: abi::WaitGate = argument.read()?;
        let gate = self.gate(wait.gate)?;
        let timeout = msecs_to_jiffies(wait.timeout);
        let progress = gate.disk.gates.wait(gate.id, wait.bios, timeout)?;
        argument.write(&abi::WaitGate {
            bios: progress.arrived,
            holding: progress.holding,
            ..wait
        })
    }

    pub(super) fn let_go(&self, argument: &Argument) -> Result {
        let let_go: abi::LetGo = argument.read()?;
        let result = outcome(let_go.errno)?;
        let gate = self.gate(let_go.gate)?;
        let (stage, bios) = gate.disk.gates.let_go(gate.id, let_go.bios)?;
        let bios = gate.disk.go_on(stage, bios, result);
        argument.write(&abi::LetGo { bios, ..let_go })
    }

    pub(super) fn open_gate(&self, open: &abi::OpenGate) -> Result {
        if open.reserved != 0 {
            return Err(EINVAL);
        }
        let watched = self.session.lock().gates.remove(open.gate)?;
        let gate = &watched.gate;
        // Now, also where another thread is waiting for this gate and keeps it.
        gate.disk.open_gate(gate.id);
        Ok(())
    }

    pub(super) fn held_bio(&self, argument: &Argument) -> Result {
        let asked: abi::HeldBio = argument.read()?;
        let gate = self.gate(asked.gate)?;
        let told = gate.disk.gates.with_held(gate.id, asked.bio, look::bio)?;
        argument.write(&abi::HeldBio {
            gate: asked.gate,
            bio: asked.bio,
            ..told
        })
    }

    pub(super) fn held_page(&self, argument: &Argument) -> Result {
        let asked: abi::HeldPage = argument.read()?;
        if asked.flags & !PAGE_DUMP != 0 {
            return Err(EINVAL);
        }
        let gate = self.gate(asked.gate)?;
        let dump = asked.flags & PAGE_DUMP != 0;
        let told = gate
            .disk
            .gates
            .with_held(gate.id, asked.bio, |bio| look::page(bio, asked.page, dump))??;
        argument.write(&abi::HeldPage {
            gate: asked.gate,
            bio: asked.bio,
            page: asked.page,
            flags: asked.flags,
            ..told
        })
    }

    fn gate(&self, handle: u32) -> Result<Arc<ClosedGate>> {
        let session = self.session.lock();
        Ok(session.gates.get(handle)?.gate.clone())
    }
}

impl WatchedGate {
    /// Has the gate looked after on `queue`.
    fn new(gate: Arc<ClosedGate>, queue: QueueHandle) -> Result<Self> {
        let watch = Delayed::new(queue, AFTERLIFE, gate.clone())?;
        watch.ask();
        Ok(Self {
            gate,
            _watch: watch,
        })
    }
}

impl Task for Arc<ClosedGate> {
    /// Looks after the gate, until its process dies.
    fn run(&self) -> bool {
        let dying = self.group.is_dying();
        if dying {
            self.disk.open_gate(self.id);
        }
        !dying
    }
}

impl Drop for ClosedGate {
    fn drop(&mut self) {
        self.disk.open_gate(self.id);
    }
}

/// What an errno is to a bio. `EAGAIN` is none: a disk that takes bios has the last word.
fn outcome(errno: u32) -> Result<Result> {
    const OUTCOMES: [Error; 10] = [
        EIO, ENODATA, ENOSPC, ETIMEDOUT, EOPNOTSUPP, ENOLINK, EREMOTEIO, EILSEQ, ENOMEM, EINVAL,
    ];
    if errno == 0 {
        return Ok(Ok(()));
    }
    let is_it = |outcome: &&Error| outcome.to_errno().unsigned_abs() == errno;
    let outcome = OUTCOMES.iter().find(is_it).ok_or(EINVAL)?;
    Ok(Err(*outcome))
}
