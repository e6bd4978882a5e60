// SPDX-License-Identifier: GPL-2.0

//! `/dev/pinblk-control`: the ioctls, and the validation of all that userspace sends.

mod gates;
mod hold;
mod io;
mod log;

use crate::{
    abi::{
        self,
        CLOSE_DISK,
        CLOSE_GATE,
        DISK_NAME_BYTES,
        DMA,
        DUMP,
        GATES_MAX,
        HELD_BIO,
        HELD_PAGE,
        HELLO,
        HOLD,
        HOLDS_MAX,
        HOLD_STATISTICS,
        IO,
        LET_GO,
        LOG_ENTRY,
        LOG_STATE,
        OPEN_DISK,
        OPEN_DISKS_MAX,
        OPEN_GATE,
        PENDING_MAX,
        RELEASE,
        STATISTICS,
        VERSION,
        WAIT,
        WAIT_GATE, //
    },
    counters::HoldCounters,
    disk::Disk,
    disks::{
        DiskName,
        Disks, //
    },
    handles::Handles,
    hold::Hold,
    logic::sectors::PAGE_SIZE,
    pending::Pending,
    sys::{
        compat::EPROTO,
        misc::OpenFile,
        open_disk::OpenDisk,
        workqueue::QueueHandle, //
    }, //
};
use gates::WatchedGate;
use kernel::{
    new_mutex,
    prelude::*,
    sync::{
        atomic::{
            Acquire,
            Atomic, //
        },
        Arc,
        Mutex, //
    },
    transmute::{
        AsBytes,
        FromBytes, //
    },
    uaccess::{
        UserPtr,
        UserSlice, //
    }, //
};

/// What all open files of the control device share.
#[derive(Clone)]
pub(crate) struct Shared {
    /// The disks that there are.
    pub(crate) disks: Arc<Disks>,
    /// What was acquired.
    pub(crate) holds: Arc<HoldCounters>,
    /// Where delayed DMA waits.
    pub(crate) delays: QueueHandle,
    /// Where I/O is ended.
    pub(crate) ends: QueueHandle,
    /// Where pages are released that I/O of this device has read or written: that waits for whoever has
    /// locked them, who may wait for I/O to be ended.
    pub(crate) releases: QueueHandle,
    /// The module has loaded.
    pub(crate) ready: Arc<Atomic<bool>>,
}

/// An open file of the control device. What it holds is released when it is closed, also by the
/// death of its process.
#[pin_data]
pub(crate) struct Control {
    shared: Shared,
    #[pin]
    session: Mutex<Session>,
}

struct Session {
    /// Userspace and the module speak the same version.
    greeted: bool,
    holds: Handles<Arc<Hold>>,
    disks: Handles<Arc<OpenDisk>>,
    pending: Handles<Arc<Pending>>,
    gates: Handles<WatchedGate>,
}

/// Where userspace keeps the structure of a request.
struct Argument(usize);

impl OpenFile for Control {
    type Shared = Shared;

    /// Fails with `ENODEV` before the module has loaded.
    fn open(shared: &Shared) -> impl PinInit<Self, Error> {
        let shared = if shared.ready.load(Acquire) {
            Ok(shared.clone())
        } else {
            Err(ENODEV)
        };
        try_pin_init!(Self {
            shared: shared?,
            session <- new_mutex!(Session::default()),
        })
    }

    fn ioctl(&self, request: u32, argument: usize) -> Result {
        let argument = Argument(argument);
        if request == HELLO {
            return self.hello(&argument);
        }
        if !self.session.lock().greeted {
            return Err(EPROTO);
        }
        match request {
            STATISTICS => self.statistics(&argument),
            HOLD_STATISTICS => argument.write(&self.shared.holds.snapshot()),
            HOLD => self.hold(&argument),
            DMA => self.dma(&argument),
            RELEASE => self.release(&argument.read()?),
            DUMP => self.dump(&argument),
            WAIT => self.wait(&argument),
            CLOSE_GATE => self.close_gate(&argument),
            WAIT_GATE => self.wait_gate(&argument),
            LET_GO => self.let_go(&argument),
            OPEN_GATE => self.open_gate(&argument.read()?),
            HELD_BIO => self.held_bio(&argument),
            HELD_PAGE => self.held_page(&argument),
            OPEN_DISK => self.open_disk(&argument),
            CLOSE_DISK => self.close_disk(&argument.read()?),
            IO => self.io(&argument),
            LOG_STATE => self.log_state(&argument),
            LOG_ENTRY => self.log_entry(&argument),
            _ => Err(ENOTTY),
        }
    }
}

impl Control {
    fn hello(&self, argument: &Argument) -> Result {
        let hello: abi::Hello = argument.read()?;
        if hello.reserved != 0 {
            return Err(EINVAL);
        }
        self.session.lock().greeted = hello.version == VERSION;
        argument.write(&abi::Hello {
            version: VERSION,
            ..hello
        })
    }

    fn statistics(&self, argument: &Argument) -> Result {
        let asked: abi::Statistics = argument.read()?;
        let disk = self.disk(&asked.disk)?;
        argument.write(&abi::Statistics {
            disk: asked.disk,
            ..disk.statistics()
        })
    }

    /// The disk of that name, which ends with a NUL.
    fn disk(&self, name: &[u8; DISK_NAME_BYTES]) -> Result<Arc<Disk>> {
        self.shared.disks.find(&disk_name(name)?).ok_or(ENOENT)
    }

    /// Begins an operation that goes on after the request, and tells userspace its number.
    fn begin(
        &self,
        operation: Arc<Pending>,
        begin: impl FnOnce(Arc<Pending>) -> Result,
        tell: impl FnOnce(u32) -> Result,
    ) -> Result {
        let number = self.session.lock().pending.insert(operation.clone())?;
        let told = begin(operation.clone()).and_then(|()| tell(number));
        if told.is_err() {
            // Userspace does not know of it and could not wait for it.
            operation.abandon();
            let unknown = self.session.lock().pending.remove(number);
            drop(unknown);
        }
        told
    }
}

impl Default for Session {
    fn default() -> Self {
        Self {
            greeted: false,
            holds: Handles::at_most(HOLDS_MAX),
            disks: Handles::at_most(OPEN_DISKS_MAX),
            pending: Handles::at_most(PENDING_MAX),
            gates: Handles::at_most(GATES_MAX),
        }
    }
}

impl Drop for Session {
    /// What is held is released now, clean, also where a delayed DMA still knows of it.
    fn drop(&mut self) {
        for pending in self.pending.values() {
            pending.abandon();
        }
        for hold in self.holds.values() {
            hold.release(false);
        }
    }
}

/// A name that cannot be that of a disk is that of none.
fn disk_name(bytes: &[u8; DISK_NAME_BYTES]) -> Result<DiskName> {
    let name = CStr::from_bytes_until_nul(bytes).map_err(|_| ENOENT)?;
    DiskName::new(name).map_err(|_| ENOENT)
}

impl Argument {
    fn read<T: FromBytes>(&self) -> Result<T> {
        self.slice::<T>().reader().read()
    }

    fn write<T: AsBytes>(&self, value: &T) -> Result {
        self.slice::<T>().writer().write(value)
    }

    fn slice<T>(&self) -> UserSlice {
        UserSlice::new(UserPtr::from_addr(self.0), size_of::<T>())
    }
}

// Pages are counted in the same unit on both sides, and no address is cut short.
const _: () = assert!(
    abi::PAGE_SIZE == PAGE_SIZE as u64
        && PAGE_SIZE == kernel::page::PAGE_SIZE
        && usize::BITS == u64::BITS
);
