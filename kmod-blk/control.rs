// SPDX-License-Identifier: GPL-2.0

//! `/dev/pinblk-control`: the ioctls, and the validation of all that userspace sends.

use crate::{
    abi::{
        self,
        DMA,
        DMA_BYTES_MAX,
        DUMP,
        HELLO,
        HOLD,
        HOLDS_MAX,
        HOLD_PAGES_MAX,
        HOLD_STATISTICS,
        HOLD_WRITE,
        MODE_GET,
        MODE_PIN,
        RELEASE,
        RELEASE_DIRTY,
        STATISTICS,
        VERSION, //
    },
    counters::HoldCounters,
    disks::{
        DiskName,
        Disks, //
    },
    hold::{
        Hold,
        Mode, //
    },
    logic::sectors::PAGE_SIZE,
    sys::misc::OpenFile, //
};
use kernel::{
    alloc::flags::GFP_KERNEL_ACCOUNT,
    new_mutex,
    prelude::*,
    rbtree::RBTree,
    sync::{
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
    /// What was held.
    pub(crate) holds: Arc<HoldCounters>,
}

/// An open file of the control device. What it holds is released when it is closed, also by the
/// death of its process.
#[pin_data]
pub(crate) struct Control {
    shared: Shared,
    #[pin]
    session: Mutex<Session>,
}

#[derive(Default)]
struct Session {
    /// Userspace and the module speak the same version.
    greeted: bool,
    holds: RBTree<u32, Hold>,
    /// How many `holds` there are.
    count: u32,
    /// Handles are never used again: a stale one is seen as such.
    last_handle: u32,
}

/// Where userspace keeps the structure of a request.
struct Argument(usize);

impl OpenFile for Control {
    type Shared = Shared;

    fn open(shared: &Shared) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            shared: shared.clone(),
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
            DMA => self.dma(&argument.read()?),
            RELEASE => self.release(&argument.read()?),
            DUMP => self.dump(&argument),
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
        let disk = CStr::from_bytes_until_nul(&asked.disk)
            .ok()
            .and_then(|name| DiskName::new(name).ok())
            .and_then(|name| self.shared.disks.find(&name))
            .ok_or(ENOENT)?;
        argument.write(&abi::Statistics {
            disk: asked.disk,
            ..disk.statistics()
        })
    }

    fn hold(&self, argument: &Argument) -> Result {
        let hold: abi::Hold = argument.read()?;
        let mode = match hold.mode {
            MODE_GET => Mode::Get,
            MODE_PIN => Mode::Pin,
            _ => return Err(EINVAL),
        };
        if !(1..=HOLD_PAGES_MAX).contains(&hold.pages)
            || hold.flags & !HOLD_WRITE != 0
            || hold.address % abi::PAGE_SIZE != 0
        {
            return Err(EINVAL);
        }
        let held = Hold::acquire(
            &self.shared.holds,
            mode,
            hold.address as usize,
            hold.pages as usize,
            hold.flags & HOLD_WRITE != 0,
        )?;
        let handle = self.session.lock().insert(held)?;
        let answer = argument.write(&abi::Hold { handle, ..hold });
        if answer.is_err() {
            // Userspace does not know the handle and could not release the pages.
            let unknown = self.session.lock().remove(handle);
            drop(unknown);
        }
        answer
    }

    fn dma(&self, dma: &abi::Dma) -> Result {
        if dma.reserved != 0 || !(1..=DMA_BYTES_MAX).contains(&dma.length) {
            return Err(EINVAL);
        }
        let mut bytes = KVVec::new();
        UserSlice::new(UserPtr::from_addr(dma.source as usize), dma.length as usize)
            .read_all(&mut bytes, GFP_KERNEL)?;
        let session = self.session.lock();
        session.get(dma.handle)?.dma(dma.offset as usize, &bytes)
    }

    fn release(&self, release: &abi::Release) -> Result {
        if release.flags & !RELEASE_DIRTY != 0 {
            return Err(EINVAL);
        }
        let dirty = release.flags & RELEASE_DIRTY != 0;
        let mut session = self.session.lock();
        if dirty && !session.get(release.handle)?.is_writable() {
            return Err(EACCES);
        }
        let hold = session.remove(release.handle)?;
        drop(session);
        if dirty {
            hold.release_dirty();
        } else {
            drop(hold);
        }
        Ok(())
    }

    fn dump(&self, argument: &Argument) -> Result {
        let dump: abi::Dump = argument.read()?;
        let state = self
            .session
            .lock()
            .get(dump.handle)?
            .dump(dump.page as usize)?;
        argument.write(&abi::Dump { state, ..dump })
    }
}

impl Session {
    fn insert(&mut self, hold: Hold) -> Result<u32> {
        if self.count == HOLDS_MAX {
            return Err(ENOSPC);
        }
        let handle = self.last_handle.checked_add(1).ok_or(ENOSPC)?;
        self.holds
            .try_create_and_insert(handle, hold, GFP_KERNEL_ACCOUNT)?;
        self.count += 1;
        self.last_handle = handle;
        Ok(handle)
    }

    fn remove(&mut self, handle: u32) -> Result<Hold> {
        let hold = self.holds.remove(&handle).ok_or(ENOENT)?;
        self.count -= 1;
        Ok(hold)
    }

    fn get(&self, handle: u32) -> Result<&Hold> {
        self.holds.get(&handle).ok_or(ENOENT)
    }
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
