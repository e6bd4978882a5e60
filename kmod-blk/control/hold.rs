// SPDX-License-Identifier: GPL-2.0

//! The ioctls of held pages and of what goes on in them.

use super::{
    Argument,
    Control, //
};
use crate::{
    abi::{
        self,
        DMA_BYTES_MAX,
        DMA_DELAY_MAX,
        DMA_FILL,
        HOLD_ADD,
        HOLD_PAGES_MAX,
        HOLD_PARTIAL,
        HOLD_WRITE,
        MODE_GET,
        RELEASE_DIRTY,
        WAIT_NOT, //
    },
    acquisition::How,
    dma::Write,
    hold::Hold,
    pending::Pending,
    sys::acquire::Wanted, //
};
use kernel::{
    alloc::flags::GFP_KERNEL_ACCOUNT,
    prelude::*,
    sync::Arc,
    uaccess::{
        UserPtr,
        UserSlice, //
    }, //
};

impl Control {
    pub(super) fn hold(&self, argument: &Argument) -> Result {
        let hold: abi::Hold = argument.read()?;
        if !(1..=HOLD_PAGES_MAX).contains(&hold.pages)
            || hold.times == 0
            || hold.flags & !(HOLD_WRITE | HOLD_PARTIAL | HOLD_ADD) != 0
            || hold.flags & HOLD_ADD != 0 && hold.how.mode == MODE_GET
            || hold.reserved != 0
            || hold.address % abi::PAGE_SIZE != 0
        {
            return Err(EINVAL);
        }
        let wanted = Wanted {
            address: hold.address as usize,
            count: hold.pages as usize,
            times: hold.times,
            writable: hold.flags & HOLD_WRITE != 0,
            partial: hold.flags & HOLD_PARTIAL != 0,
            add: hold.flags & HOLD_ADD != 0,
        };
        let held = Hold::acquire(&self.shared.holds, &How::parse(&hold.how)?, &wanted)?;
        let inserted = self.session.lock().holds.insert(held.clone());
        let answer = inserted.and_then(|handle| {
            argument.write(&abi::Hold {
                handle,
                pages: held.count as u32,
                times: held.times,
                ..hold
            })
        });
        if answer.is_err() {
            // Userspace does not know the handle and could not release the pages.
            held.release(false);
            if let Ok(handle) = inserted {
                let unknown = self.session.lock().holds.remove(handle);
                drop(unknown);
            }
        }
        answer
    }

    pub(super) fn dma(&self, argument: &Argument) -> Result {
        let dma: abi::Dma = argument.read()?;
        if dma.flags & !DMA_FILL != 0
            || dma.delay > DMA_DELAY_MAX
            || !(1..=DMA_BYTES_MAX).contains(&dma.length)
        {
            return Err(EINVAL);
        }
        let write = Write {
            bytes: bytes_of(&dma)?,
            offset: dma.offset as usize,
            hold: self.find_hold(dma.handle)?,
        };
        if dma.delay == 0 {
            return write.run();
        }
        let pending = Arc::pin_init(Pending::new(None), GFP_KERNEL)?;
        self.begin(
            pending,
            |pending| write.run_later(dma.delay, pending, self.shared.delays),
            |pending| argument.write(&abi::Dma { pending, ..dma }),
        )
    }

    pub(super) fn wait(&self, argument: &Argument) -> Result {
        let wait: abi::Wait = argument.read()?;
        if wait.flags & !WAIT_NOT != 0 {
            return Err(EINVAL);
        }
        let operation = self.session.lock().pending.get(wait.pending)?.clone();
        let outcome = if wait.flags & WAIT_NOT != 0 {
            operation.outcome().ok_or(EAGAIN)?
        } else {
            operation.wait()?
        };
        argument.write(&abi::Wait {
            error: outcome
                .result
                .map_or_else(|error| error.to_errno().unsigned_abs(), |()| 0),
            bios: outcome.bios,
            bytes: outcome.bytes,
            ..wait
        })?;
        // Somebody else may have waited for it too.
        let told = self.session.lock().pending.remove(wait.pending);
        drop(told);
        Ok(())
    }

    pub(super) fn release(&self, release: &abi::Release) -> Result {
        if release.flags & !RELEASE_DIRTY != 0 {
            return Err(EINVAL);
        }
        let dirty = release.flags & RELEASE_DIRTY != 0;
        if dirty && !self.find_hold(release.handle)?.is_writable()? {
            return Err(EACCES);
        }
        let hold = self.session.lock().holds.remove(release.handle)?;
        hold.release(dirty);
        Ok(())
    }

    pub(super) fn dump(&self, argument: &Argument) -> Result {
        let dump: abi::Dump = argument.read()?;
        let state = self.find_hold(dump.handle)?.dump(dump.page as usize)?;
        argument.write(&abi::Dump { state, ..dump })
    }

    fn find_hold(&self, handle: u32) -> Result<Arc<Hold>> {
        Ok(self.session.lock().holds.get(handle)?.clone())
    }
}

/// What a DMA is to write.
fn bytes_of(dma: &abi::Dma) -> Result<KVVec<u8>> {
    let length = dma.length as usize;
    if dma.flags & DMA_FILL != 0 {
        let byte = u8::try_from(dma.source)?;
        return Ok(KVVec::from_elem(byte, length, GFP_KERNEL_ACCOUNT)?);
    }
    let mut bytes = KVVec::new();
    UserSlice::new(UserPtr::from_addr(dma.source as usize), length)
        .read_all(&mut bytes, GFP_KERNEL_ACCOUNT)?;
    Ok(bytes)
}
