// SPDX-License-Identifier: GPL-2.0

//! Workers: what they do at once, what they do later, and that nothing of it outlives its owner.

use crate::sys::{
    compat::this_module,
    delayed::{
        Delayed,
        Task, //
    },
    worker::run_and_wait,
    workqueue::OwnedQueue, //
};
use core::ptr::from_ref;
use kernel::{
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc,
        Completion, //
    },
    time::{
        delay::fsleep,
        Delta, //
    }, //
};

/// What a task did, for who asked for it.
#[pin_data]
struct Witness {
    runs: Atomic<u64>,
    /// The task ran as often as it was to.
    #[pin]
    done: Completion,
}

impl Witness {
    fn new() -> Result<Arc<Self>> {
        let witness = pin_init!(Self {
            runs: Atomic::new(0),
            done <- Completion::new(),
        });
        Arc::pin_init(witness, GFP_KERNEL)
    }
}

/// A task that is to run that many times, once for each time that it is asked.
struct Times {
    times: u64,
    witness: Arc<Witness>,
}

impl Task for Times {
    fn run(&self) -> bool {
        let runs = self.witness.runs.load(Relaxed) + 1;
        self.witness.runs.store(runs, Relaxed);
        if runs == self.times {
            self.witness.done.complete_all();
        }
        runs < self.times
    }
}

/// A task that tells that it began, and goes on for a while.
struct Long(Arc<Witness>);

impl Task for Long {
    fn run(&self) -> bool {
        self.0.done.complete_all();
        fsleep(Delta::from_millis(20));
        self.0.runs.store(1, Relaxed);
        false
    }
}

fn queue() -> Result<OwnedQueue> {
    OwnedQueue::for_delays(this_module())
}

/// A task that is to run that many times, and what it does.
fn task(
    queue: &OwnedQueue,
    milliseconds: u32,
    times: u64,
) -> Result<(Arc<Witness>, Delayed<Times>)> {
    let witness = Witness::new()?;
    let task = Times {
        times,
        witness: witness.clone(),
    };
    let delayed = Delayed::new(queue.handle(), milliseconds, task)?;
    Ok((witness, delayed))
}

/// Asks for one run and waits for it.
fn run_once(queue: &OwnedQueue, milliseconds: u32) -> Result {
    let (witness, delayed) = task(queue, milliseconds, 1)?;
    delayed.ask();
    witness.done.wait_for_completion();
    Ok(())
}

/// The running thread.
fn thread() -> usize {
    from_ref(&**kernel::current!()) as usize
}

#[kunit_tests(pinblk_worker)]
mod tests {
    use super::*;

    #[test]
    fn a_job_runs_on_another_thread_and_is_waited_for() -> Result {
        let mut ran_on = None;
        run_and_wait(|| {
            fsleep(Delta::from_millis(20));
            ran_on = Some(thread());
        })?;
        assert!(ran_on.is_some_and(|worker| worker != thread()));
        Ok(())
    }

    #[test]
    fn a_task_that_is_asked_often_before_it_runs_runs_once() -> Result {
        let queue = queue()?;
        let (witness, delayed) = task(&queue, 20, 1)?;
        for _ in 0..3 {
            delayed.ask();
        }
        witness.done.wait_for_completion();
        run_once(&queue, 60)?;
        assert_eq!(witness.runs.load(Relaxed), 1);
        Ok(())
    }

    #[test]
    fn a_task_that_wants_to_run_again_does() -> Result {
        let queue = queue()?;
        let (witness, delayed) = task(&queue, 1, 3)?;
        delayed.ask();
        witness.done.wait_for_completion();
        run_once(&queue, 20)?;
        assert_eq!(witness.runs.load(Relaxed), 3);
        Ok(())
    }

    #[test]
    fn a_task_that_is_dropped_before_its_time_never_runs() -> Result {
        let queue = queue()?;
        let (witness, delayed) = task(&queue, 20, 1)?;
        delayed.ask();
        drop(delayed);
        run_once(&queue, 60)?;
        assert_eq!(witness.runs.load(Relaxed), 0);
        Ok(())
    }

    #[test]
    fn a_task_that_runs_is_waited_for_when_it_is_dropped() -> Result {
        let queue = queue()?;
        let witness = Witness::new()?;
        let delayed = Delayed::new(queue.handle(), 0, Long(witness.clone()))?;
        delayed.ask();
        witness.done.wait_for_completion();
        drop(delayed);
        assert_eq!(witness.runs.load(Relaxed), 1);
        Ok(())
    }

    #[test]
    fn a_queue_that_is_dropped_has_done_all_that_was_queued() -> Result {
        let queue = OwnedQueue::for_reclaim(this_module(), c"pinblk-kunit")?;
        let witness = Witness::new()?;
        let job = Long(witness.clone());
        queue.handle().try_spawn(GFP_KERNEL, move || {
            job.run();
        })?;
        drop(queue);
        assert_eq!(witness.runs.load(Relaxed), 1);
        Ok(())
    }
}
