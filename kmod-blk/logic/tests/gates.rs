// SPDX-License-Identifier: GPL-2.0

//! Gates against a model that keeps every bio in one list with the name of the gate that holds it.

use std::{collections::VecDeque, ops::Range};

use pinblk_logic::{
    classify::Class,
    gates::{Gates, Queue, Refusal, Stage, GATES_MAX},
    select::{Kind, Selection, Target},
};
use proptest::{collection::vec, prelude::*};

#[derive(Default)]
struct Row(VecDeque<usize>);

impl Queue for Row {
    type Item = usize;

    fn push(&mut self, item: usize) {
        self.0.push_back(item);
    }

    fn pop(&mut self) -> Option<usize> {
        self.0.pop_front()
    }
}

const KINDS: [Kind; 5] = [
    Kind::Read,
    Kind::Write,
    Kind::Flush,
    Kind::Discard,
    Kind::WriteZeroes,
];
const CLASSES: [Class; 4] = [
    Class::UserPinned,
    Class::PageCache,
    Class::Metadata,
    Class::Other,
];

#[derive(Clone, Debug)]
enum Step {
    Close(Stage, Selection, u64),
    Arrive(Stage, Target),
    LetGo { gate: usize, most: u64 },
    Open { gate: usize },
    TakeAny,
    End,
}

fn sectors() -> impl Strategy<Value = Range<u64>> {
    (0..20_u64, 1..8_u64).prop_map(|(start, count)| start..start + count)
}

fn stage() -> impl Strategy<Value = Stage> {
    prop_oneof![Just(Stage::Arrival), Just(Stage::Transfer)]
}

fn target() -> impl Strategy<Value = Target> {
    (0..KINDS.len(), 0..CLASSES.len(), sectors()).prop_map(|(kind, class, sectors)| {
        let kind = KINDS[kind];
        Target {
            kind,
            class: matches!(kind, Kind::Read | Kind::Write).then_some(CLASSES[class]),
            sectors: if kind == Kind::Flush { 7..7 } else { sectors },
        }
    })
}

fn step() -> impl Strategy<Value = Step> {
    let selection =
        (1..32_u32, 1..16_u32, sectors()).prop_map(|(kinds, classes, sectors)| Selection {
            kinds,
            classes,
            sectors,
        });
    prop_oneof![
        40 => (stage(), selection, 1..4_u64).prop_map(|(stage, what, most)| Step::Close(stage, what, most)),
        80 => (stage(), target()).prop_map(|(stage, target)| Step::Arrive(stage, target)),
        20 => (0..30_usize, 0..3_u64).prop_map(|(gate, most)| Step::LetGo { gate, most }),
        20 => (0..30_usize).prop_map(|gate| Step::Open { gate }),
        5 => Just(Step::TakeAny),
        1 => Just(Step::End),
    ]
}

/// A gate of the model: everything that it ever took, and which of them it holds.
struct ModelGate {
    id: u64,
    stage: Stage,
    selection: Selection,
    left: u64,
    arrived: u64,
    held: Vec<usize>,
}

/// The same question, asked sector by sector.
fn is_selected(selection: &Selection, bio: &Target) -> bool {
    let kind = KINDS
        .iter()
        .position(|kind| *kind == bio.kind)
        .expect("it lists all kinds");
    let class = bio.class.map(|of| {
        CLASSES
            .iter()
            .position(|class| *class == of)
            .expect("it lists all classes")
    });
    let touches = bio
        .sectors
        .clone()
        .any(|sector| selection.sectors.contains(&sector));
    selection.kinds >> kind & 1 == 1
        && class.is_none_or(|class| selection.classes >> class & 1 == 1)
        && (bio.kind == Kind::Flush || touches)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn the_gates_are_the_model(steps in vec(step(), 0..80)) {
        let mut gates = Gates::<Row>::new();
        let mut model: Vec<ModelGate> = Vec::new();
        let mut ids = Vec::new();
        let mut ended = false;
        for (number, step) in steps.into_iter().enumerate() {
            match step {
                Step::Close(stage, selection, most) => {
                    let closed = gates.close(stage, selection.clone(), most);
                    let expected = if ended {
                        Err(Refusal::Ended)
                    } else if model.len() == GATES_MAX {
                        Err(Refusal::Full)
                    } else {
                        Ok(())
                    };
                    prop_assert_eq!(closed.map(|_| ()), expected);
                    if let Ok(id) = closed {
                        prop_assert!(!ids.contains(&id), "an id is used again");
                        ids.push(id);
                        model.push(ModelGate { id, stage, selection, left: most, arrived: 0, held: Vec::new() });
                    }
                }
                Step::Arrive(stage, bio) => {
                    // Gates are in the order in which they were closed: the oldest one first.
                    let taker = model.iter_mut().find(|gate| {
                        !ended && gate.stage == stage && gate.left > 0 && is_selected(&gate.selection, &bio)
                    });
                    let passed = gates.arrive(stage, &bio, number);
                    prop_assert_eq!(passed, taker.is_none().then_some(number));
                    if let Some(gate) = taker {
                        gate.left -= 1;
                        gate.arrived += 1;
                        gate.held.push(number);
                    }
                }
                Step::LetGo { gate, most } => {
                    let id = ids.get(gate).copied().unwrap_or(u64::MAX);
                    let gone = gates.let_go(id, most).map(|(stage, row)| (stage, Vec::from(row.0)));
                    let expected = model.iter_mut().find(|gate| gate.id == id).map(|gate| {
                        let count = usize::try_from(most).unwrap().min(gate.held.len());
                        (gate.stage, gate.held.drain(..count).collect::<Vec<_>>())
                    });
                    prop_assert_eq!(gone, expected);
                }
                Step::Open { gate } => {
                    let id = ids.get(gate).copied().unwrap_or(u64::MAX);
                    let opened = gates.open(id).map(|(stage, row)| (stage, Vec::from(row.0)));
                    let at = model.iter().position(|gate| gate.id == id);
                    let expected = at.map(|at| model.remove(at)).map(|gate| (gate.stage, gate.held));
                    prop_assert_eq!(opened, expected);
                }
                Step::TakeAny => match gates.take_any() {
                    Some((stage, row)) => {
                        let row = Vec::from(row.0);
                        let of = model.iter_mut().find(|gate| gate.held == row && !row.is_empty());
                        let of = of.expect("these are the bios of one gate, all of them");
                        prop_assert_eq!(of.stage, stage);
                        of.held.clear();
                    }
                    None => prop_assert!(model.iter().all(|gate| gate.held.is_empty())),
                },
                Step::End => {
                    gates.end();
                    ended = true;
                }
            }
            prop_assert_eq!(gates.is_empty(), model.is_empty());
            prop_assert_eq!(gates.has_ended(), ended);
            for gate in &model {
                let same = gates.get(gate.id).unwrap();
                prop_assert_eq!(same.arrived(), gate.arrived);
                prop_assert_eq!(same.holding(), gate.held.len() as u64);
                prop_assert_eq!(Vec::from(same.held().0.clone()), gate.held.clone());
            }
        }
    }
}

#[test]
fn the_oldest_gate_that_takes_a_bio_has_it() {
    let everything = || Selection {
        kinds: u32::MAX,
        classes: u32::MAX,
        sectors: 0..u64::MAX,
    };
    let bio = Target {
        kind: Kind::Write,
        class: Some(Class::PageCache),
        sectors: 8..16,
    };
    let mut gates = Gates::<Row>::new();
    let first = gates.close(Stage::Arrival, everything(), 1).unwrap();
    let second = gates.close(Stage::Arrival, everything(), 1).unwrap();
    assert_eq!(gates.arrive(Stage::Arrival, &bio, 1), None);
    assert_eq!(gates.arrive(Stage::Arrival, &bio, 2), None);
    assert_eq!(gates.arrive(Stage::Arrival, &bio, 3), Some(3));
    assert_eq!(gates.get(first).unwrap().held().0, [1]);
    assert_eq!(gates.get(second).unwrap().held().0, [2]);
}
