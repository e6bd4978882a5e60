// SPDX-License-Identifier: GPL-2.0

//! Gates: places on the way of a bio where chosen ones are held until they are let go.

use super::select::{
    Selection,
    Target, //
};
use core::mem::take;

/// The most gates of one disk at a time.
pub const GATES_MAX: usize = 16;

/// Where on its way a bio is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// As it arrives, before the disk decides what to do with its pages.
    Arrival,
    /// When that is decided, before its data is copied.
    Transfer,
}

/// Bios in the order in which they came.
pub trait Queue: Default {
    /// A bio.
    type Item;

    /// Puts one behind the others.
    fn push(&mut self, item: Self::Item);

    /// Takes the one that came first.
    fn pop(&mut self) -> Option<Self::Item>;
}

/// The gates of a disk.
pub struct Gates<Q> {
    slots: [Option<Gate<Q>>; GATES_MAX],
    last_id: u64,
    /// There are no gates any more, and there will be none.
    ended: bool,
}

/// A closed gate.
pub struct Gate<Q> {
    id: u64,
    stage: Stage,
    selection: Selection,
    /// How many more bios it holds before it lets all pass.
    left: u64,
    arrived: u64,
    held: Q,
    holding: u64,
}

/// Why there is no gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// There are as many gates as there can be.
    Full,
    /// The disk is going away.
    Ended,
}

impl<Q: Queue> Gates<Q> {
    /// No gate.
    pub fn new() -> Self {
        Self {
            slots: [const { None }; GATES_MAX],
            last_id: 0,
            ended: false,
        }
    }

    /// Closes a gate: from now on it holds those that are selected, `most` of them; later ones pass.
    pub fn close(&mut self, stage: Stage, selection: Selection, most: u64) -> Result<u64, Refusal> {
        if self.ended {
            return Err(Refusal::Ended);
        }
        let slot = self.slots.iter_mut().find(|slot| slot.is_none());
        let slot = slot.ok_or(Refusal::Full)?;
        self.last_id += 1;
        *slot = Some(Gate {
            id: self.last_id,
            stage,
            selection,
            left: most,
            arrived: 0,
            held: Q::default(),
            holding: 0,
        });
        Ok(self.last_id)
    }

    /// Whether there is no gate.
    pub fn is_empty(&self) -> bool {
        self.slots.iter().all(Option::is_none)
    }

    /// A bio comes to a stage: the oldest gate there that takes it has it, or it is returned and goes
    /// on. A bio that a gate let go does not come to the same stage again.
    pub fn arrive(&mut self, stage: Stage, bio: &Target, item: Q::Item) -> Option<Q::Item> {
        let takes =
            |gate: &&mut Gate<Q>| gate.stage == stage && gate.left > 0 && gate.selection.takes(bio);
        let takers = self.slots.iter_mut().flatten().filter(takes);
        let Some(gate) = takers.min_by_key(|gate| gate.id) else {
            return Some(item);
        };
        gate.left -= 1;
        gate.arrived += 1;
        gate.holding += 1;
        gate.held.push(item);
        None
    }

    /// The gate of that id.
    pub fn get(&self, id: u64) -> Option<&Gate<Q>> {
        self.slots.iter().flatten().find(|gate| gate.id == id)
    }

    /// Lets the bios go that came first, at most `most` of them; the gate stays closed.
    pub fn let_go(&mut self, id: u64, most: u64) -> Option<(Stage, Q)> {
        let gate = self.slots.iter_mut().flatten().find(|gate| gate.id == id)?;
        let mut gone = Q::default();
        for _ in 0..most.min(gate.holding) {
            if let Some(item) = gate.held.pop() {
                gate.holding -= 1;
                gone.push(item);
            }
        }
        Some((gate.stage, gone))
    }

    /// Opens a gate: it is gone, and its bios are let go.
    pub fn open(&mut self, id: u64) -> Option<(Stage, Q)> {
        let is_it = |slot: &&mut Option<Gate<Q>>| slot.as_ref().is_some_and(|gate| gate.id == id);
        let gate = self.slots.iter_mut().find(is_it)?.take()?;
        Some((gate.stage, gate.held))
    }

    /// The bios of some gate that holds any; it stays closed.
    pub fn take_any(&mut self) -> Option<(Stage, Q)> {
        let gate = self
            .slots
            .iter_mut()
            .flatten()
            .find(|gate| gate.holding > 0)?;
        gate.holding = 0;
        Some((gate.stage, take(&mut gate.held)))
    }

    /// From now on every bio passes, and no gate can be closed. Those that are held stay until they
    /// are taken.
    pub fn end(&mut self) {
        self.ended = true;
        for gate in self.slots.iter_mut().flatten() {
            gate.left = 0;
        }
    }

    /// Whether [`Self::end`] was called.
    pub fn has_ended(&self) -> bool {
        self.ended
    }
}

impl<Q: Queue> Default for Gates<Q> {
    fn default() -> Self {
        Self::new()
    }
}

impl<Q> Gate<Q> {
    /// How many bios it has taken, also those that it let go.
    pub fn arrived(&self) -> u64 {
        self.arrived
    }

    /// How many it holds.
    pub fn holding(&self) -> u64 {
        self.holding
    }

    /// Those that it holds.
    pub fn held(&self) -> &Q {
        &self.held
    }
}
