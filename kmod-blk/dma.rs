// SPDX-License-Identifier: GPL-2.0

//! Writing into held pages as a device does by DMA, from a kernel worker.

use crate::{
    hold::Hold,
    pending::{
        Outcome,
        Pending, //
    },
    sys::{
        compat::ECANCELED,
        worker::run_and_wait,
        workqueue::QueueHandle, //
    }, //
};
use kernel::{
    impl_has_work,
    new_work,
    prelude::*,
    sync::Arc,
    time::Msecs,
    workqueue::{
        Work,
        WorkItem, //
    }, //
};

/// What is to be written, and where.
pub(crate) struct Write {
    pub(crate) hold: Arc<Hold>,
    pub(crate) offset: usize,
    pub(crate) bytes: KVVec<u8>,
}

impl Write {
    /// Writes it now. Fails as [`Hold::write`] does.
    pub(crate) fn run(&self) -> Result {
        let mut result = Ok(());
        run_and_wait(|| result = self.hold.write(self.offset, &self.bytes))?;
        result
    }

    /// Writes it later: `pending` is told when it is done. What can be known to fail fails now.
    pub(crate) fn run_later(
        self,
        delay: Msecs,
        pending: Arc<Pending>,
        queue: QueueHandle,
    ) -> Result {
        self.hold.may_write(self.offset, self.bytes.len())?;
        let later = Arc::pin_init(
            pin_init!(Later {
                write: self,
                delay,
                pending,
                work <- new_work!("pinblk_dma"),
            }),
            GFP_KERNEL,
        )?;
        // It was never queued before, so that this cannot fail.
        let _ = queue.enqueue(later);
        Ok(())
    }
}

/// A write with a delay before it.
#[pin_data]
struct Later {
    write: Write,
    delay: Msecs,
    pending: Arc<Pending>,
    #[pin]
    work: Work<Self>,
}

impl_has_work! {
    impl HasWork<Self> for Later { self.work }
}

impl WorkItem for Later {
    type Pointer = Arc<Self>;

    fn run(this: Arc<Self>) {
        let write = &this.write;
        let result = if this.pending.is_abandoned_within(this.delay) {
            Err(ECANCELED)
        } else {
            write.hold.write(write.offset, &write.bytes)
        };
        this.pending.finish(Outcome {
            result,
            bios: 0,
            bytes: result.map_or(0, |()| write.bytes.len() as u64),
        });
    }
}
