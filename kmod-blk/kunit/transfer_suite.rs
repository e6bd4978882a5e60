// SPDX-License-Identifier: GPL-2.0

//! Where a transfer lets go of its pages, whoever ends its bios. The driver's own disks end them in threads;
//! any other disk does so in interrupts, where pages can be neither dirtied nor unpinned.

use crate::{
    abi::{
        DISK_NAME_BYTES,
        STATE_DIRTY, //
    },
    acquisition::CountedPages,
    counters::HoldCounters,
    logic::{
        classify::Direction,
        sectors::{
            PAGE_SIZE,
            SECTOR_SIZE, //
        }, //
    },
    pending::Pending,
    sys::{
        acquire::{
            Path,
            Pin as ByPin, //
        },
        bio::Bio,
        compat::{
            this_module,
            ENODATA, //
        },
        gendisk::{
            BioDevice,
            GenDisk,
            Limits, //
        },
        open_disk::OpenDisk,
        queues::one_by_one,
        transfer::{
            Buffer,
            Transfer, //
        },
        workqueue::OwnedQueue, //
    },
    user_pages_suite::{
        wanted,
        Watched,
        PAGES,
        PIN, //
    }, //
};
use kernel::{
    impl_has_hr_timer,
    new_mutex,
    prelude::*,
    sync::{
        Arc,
        Completion,
        Mutex, //
    },
    time::{
        hrtimer::{
            HrTimer,
            HrTimerCallback,
            HrTimerCallbackContext,
            HrTimerPointer,
            HrTimerRestart,
            RelativeMode, //
        },
        Delta,
        Monotonic, //
    },
    types::ScopeGuard, //
};

/// A disk that keeps the last bio that came.
#[pin_data]
struct Keeper {
    #[pin]
    kept: Mutex<Option<Bio>>,
}

impl BioDevice for Keeper {
    fn submit(&self, bio: Bio) {
        let earlier = self.kept.lock().replace(bio);
        drop(earlier);
    }

    fn retire(&self) {
        drop(self.kept.lock().take());
    }
}

/// Adds a disk of a few sectors that the keeper serves.
fn disk(keeper: &Arc<Keeper>) -> Result<GenDisk<Keeper>> {
    let limits = Limits {
        sectors: (2 * PAGES * PAGE_SIZE / SECTOR_SIZE) as u64,
        logical_block: SECTOR_SIZE as u32,
        physical_block: PAGE_SIZE as u32,
        write_cache: false,
        fua: false,
        stable_writes: false,
        nowait: false,
    };
    let mut name = [0; DISK_NAME_BYTES];
    for (to, from) in name.iter_mut().zip(b"pinblk-kunit") {
        *to = *from;
    }
    GenDisk::add(&name, &limits, keeper.clone())
}

/// An interrupt in which a bio ends.
#[pin_data]
struct Interrupt {
    #[pin]
    timer: HrTimer<Self>,
    bio: Option<Bio>,
    over: Arc<Over>,
}

/// The interrupt has been.
#[pin_data]
struct Over {
    #[pin]
    over: Completion,
}

impl Over {
    fn new() -> Result<Arc<Self>> {
        Arc::pin_init(pin_init!(Self { over <- Completion::new() }), GFP_KERNEL)
    }
}

impl HrTimerCallback for Interrupt {
    type Pointer<'a> = Pin<KBox<Self>>;

    fn run(this: Pin<&mut Self>, _: HrTimerCallbackContext<'_, Self>) -> HrTimerRestart {
        let this = this.project();
        if let Some(bio) = this.bio.take() {
            bio.complete(Ok(()));
        }
        this.over.over.complete_all();
        HrTimerRestart::NoRestart
    }
}

impl_has_hr_timer! {
    impl HasHrTimer<Self> for Interrupt {
        mode: RelativeMode<Monotonic>, field: self.timer
    }
}

/// Ends the bio in an interrupt, and returns when that is over.
fn end_in_interrupt(bio: Bio) -> Result {
    let over = Over::new()?;
    let told = over.clone();
    let interrupt = KBox::pin_init(
        pin_init!(Interrupt {
            timer <- HrTimer::new(),
            bio: Some(bio),
            over: told,
        }),
        GFP_KERNEL,
    )?;
    let timer = interrupt.start(Delta::from_millis(1));
    over.over.wait_for_completion();
    drop(timer);
    Ok(())
}

#[kunit_tests(pinblk_transfer)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_dirtied_and_unpinned_by_a_worker_also_where_an_interrupt_ends_the_bio() -> Result {
        let watched = Watched::new()?;
        let before = watched.counts();
        let keeper = Arc::pin_init(pin_init!(Keeper { kept <- new_mutex!(None) }), GFP_KERNEL)?;
        let disk = disk(&keeper)?;
        let queue = OwnedQueue::for_reclaim(this_module(), c"pinblk-kunit")?;
        one_by_one(&queue);
        let first = Over::new()?;
        let waited = first.clone();
        queue
            .handle()
            .try_spawn(GFP_KERNEL, move || waited.over.wait_for_completion())?;
        // Whatever happens below, the queue can come to its end.
        let go_on = ScopeGuard::new(move || first.over.complete_all());
        let counters = Arc::new(HoldCounters::new()?, GFP_KERNEL)?;
        let pages =
            CountedPages::<ByPin>::acquire(&counters, &Path::Fast, &wanted(&watched.memory))?;
        let mut buffers = KVVec::new();
        let buffer = Buffer {
            pages,
            offset: 0,
            length: PAGES * PAGE_SIZE,
        };
        buffers.push(buffer, GFP_KERNEL)?;
        let pending = Arc::pin_init(Pending::new(None), GFP_KERNEL)?;
        Transfer::submit(
            Direction::Read,
            Arc::new(OpenDisk::open(disk.number())?, GFP_KERNEL)?,
            0,
            buffers,
            pending.clone(),
            queue.handle(),
        )?;
        let bio = keeper.kept.lock().take().ok_or(ENODATA)?;
        end_in_interrupt(bio)?;
        let (held, dirty) = (watched.counts(), watched.all(STATE_DIRTY));
        drop(go_on);
        let outcome = pending.wait()?;
        assert_eq!(held, Watched::counts_plus(before, PIN));
        assert_eq!(dirty, Some(false));
        assert!(outcome.result.is_ok() && outcome.bytes == (PAGES * PAGE_SIZE) as u64);
        assert_eq!(watched.counts(), before);
        assert_eq!(watched.all(STATE_DIRTY), Some(true));
        Ok(())
    }

    #[test]
    fn who_waits_for_what_never_began_is_told() -> Result {
        let pending = Arc::pin_init(Pending::new(None), GFP_KERNEL)?;
        pending.abandon();
        assert_eq!(pending.wait().err(), Some(ENOENT));
        Ok(())
    }
}
