// SPDX-License-Identifier: MIT OR Apache-2.0

//! A guest whose cell did not pass, in the hands of the user.

use std::time::{Duration, Instant};

use anyhow::Result;
use fs_harness::protocol::{FromGuest, ToGuest};
use tokio::process::Child;

use super::super::channels::{Channels, Event};
use super::super::debugger;
use super::super::keep::{Choice, Keep};
use super::Guest;

impl Guest<'_> {
    /// The guest stands still, and is the user's until the user leaves it. With that the run ends too, so
    /// that an interruption means no more than that.
    pub(super) async fn keep(
        &mut self,
        keep: &Keep,
        channels: &mut Channels,
        qemu: &mut Child,
    ) -> Result<()> {
        channels.pause()?;
        let mut offer = keep.offer(&self.seen);
        let forever = Instant::now() + Duration::from_hours(24 * 365);
        loop {
            let event = tokio::select! {
                event = channels.next(qemu, forever) => event?,
                () = debugger::left(&mut self.debugger) => return Ok(()),
                choice = offer.taken() => {
                    self.handed_over = true;
                    match choice {
                        Choice::End => return Ok(()),
                        Choice::Debugger(words) => {
                            self.debugger = Some(debugger::start(&words, self.folder)?);
                        }
                        Choice::Shell(program) => {
                            channels.go_on()?;
                            channels.say(&self.script.start_of(program)).await?;
                        }
                    }
                    continue;
                }
            };
            match event {
                Event::Agent(line) => match serde_json::from_str(&line) {
                    Ok(FromGuest::Begun { .. }) => channels.relay(keep.luggage.clone(), true)?,
                    Ok(FromGuest::Exited { .. } | FromGuest::Verdict { .. }) => return Ok(()),
                    _ => {}
                },
                Event::Resized(size) => channels.say(&ToGuest::Resize(size)).await?,
                Event::Ended(status) => {
                    self.seen.exit = Some(status);
                    if self.debugger.is_some() {
                        debugger::left(&mut self.debugger).await;
                    }
                    return Ok(());
                }
                Event::Interrupted if self.debugger.is_some() => {}
                Event::Interrupted | Event::Unheard(_) => return Ok(()),
                Event::Panicked if self.handed_over && self.debugger.is_none() => return Ok(()),
                event if !self.handed_over => self.hear(event),
                _ => {}
            }
        }
    }
}
