// SPDX-License-Identifier: GPL-2.0

//! The store's layers against a naive model that keeps each sector by itself.

use std::{
    cell::Cell,
    collections::BTreeMap,
    ops::{Deref, DerefMut, Range},
};

use pinblk_logic::{
    layers::{Layer, Layers, Reach},
    patch::{Frame, PageBytes, Patch, Patience},
    sectors::{pieces, PAGE_SECTORS, PAGE_SIZE, SECTOR_SIZE},
};
use proptest::{collection::vec, prelude::*};

const PAGES: u64 = 4;
const SECTORS: u64 = PAGES * PAGE_SECTORS as u64;
const TENANT: u8 = 0xDE;

thread_local! {
    static OUT_OF_MEMORY: Cell<bool> = const { Cell::new(false) };
}

#[derive(Debug, PartialEq)]
struct NoMemory;

struct HeapFrame(Box<PageBytes>);

impl Deref for HeapFrame {
    type Target = PageBytes;

    fn deref(&self) -> &PageBytes {
        &self.0
    }
}

impl DerefMut for HeapFrame {
    fn deref_mut(&mut self) -> &mut PageBytes {
        &mut self.0
    }
}

impl Frame for HeapFrame {
    type Error = NoMemory;

    fn zeroed(_: Patience) -> Result<Self, NoMemory> {
        if OUT_OF_MEMORY.get() {
            Err(NoMemory)
        } else {
            Ok(Self(Box::new([0; PAGE_SIZE])))
        }
    }
}

#[derive(Default)]
struct Tree(BTreeMap<u64, Patch<HeapFrame>>);

impl Layer for Tree {
    type Frame = HeapFrame;

    fn get(&self, page: u64) -> Option<&Patch<HeapFrame>> {
        self.0.get(&page)
    }

    fn get_mut(&mut self, page: u64) -> Option<&mut Patch<HeapFrame>> {
        self.0.get_mut(&page)
    }

    fn insert(&mut self, page: u64, patch: Patch<HeapFrame>, _: Patience) -> Result<(), NoMemory> {
        assert!(
            self.0.insert(page, patch).is_none(),
            "page {page} was there already"
        );
        Ok(())
    }

    fn remove(&mut self, pages: Range<u64>) {
        self.0.retain(|page, _| !pages.contains(page));
    }

    fn drain_into(&mut self, below: &mut Self) {
        for (page, patch) in std::mem::take(&mut self.0) {
            if let Some(older) = below.0.get_mut(&page) {
                older.cover(patch);
            } else {
                below.0.insert(page, patch);
            }
        }
    }
}

/// One byte stands for a sector: every sector is full of one byte in these tests.
#[derive(Default)]
struct Model {
    cache: BTreeMap<u64, u8>,
    media: BTreeMap<u64, u8>,
}

impl Model {
    fn write(&mut self, sectors: Range<u64>, byte: u8, reach: Reach) {
        for sector in sectors {
            match reach {
                Reach::Cache => self.cache.insert(sector, byte),
                Reach::Media => {
                    self.cache.remove(&sector);
                    self.media.insert(sector, byte)
                }
            };
        }
    }

    fn flush(&mut self) {
        self.media.append(&mut self.cache);
    }

    fn discard(&mut self, sectors: Range<u64>) {
        for sector in sectors {
            self.cache.remove(&sector);
            self.media.remove(&sector);
        }
    }

    fn read(&self, sector: u64) -> u8 {
        *self
            .cache
            .get(&sector)
            .or_else(|| self.media.get(&sector))
            .unwrap_or(&TENANT)
    }
}

#[derive(Clone, Debug)]
enum Step {
    Write {
        sectors: Range<u64>,
        byte: u8,
        reach: Reach,
    },
    WriteZeroes {
        sectors: Range<u64>,
        reach: Reach,
    },
    Flush,
    Discard {
        sectors: Range<u64>,
    },
    DropCache,
}

fn step() -> impl Strategy<Value = Step> {
    let sectors =
        || (0..SECTORS, 1..=SECTORS).prop_map(|(start, count)| start..(start + count).min(SECTORS));
    let reach = || prop_oneof![3 => Just(Reach::Cache), 1 => Just(Reach::Media)];
    // Zeros are written as data too: a whole page of them takes another way through the code.
    let byte = || prop_oneof![1 => Just(0_u8), 4 => any::<u8>()];
    prop_oneof![
        8 => (sectors(), byte(), reach())
            .prop_map(|(sectors, byte, reach)| Step::Write { sectors, byte, reach }),
        2 => (sectors(), reach())
            .prop_map(|(sectors, reach)| Step::WriteZeroes { sectors, reach }),
        2 => Just(Step::Flush),
        2 => sectors().prop_map(|sectors| Step::Discard { sectors }),
        1 => Just(Step::DropCache),
    ]
}

/// The store under test.
#[derive(Default)]
struct Store {
    layers: Layers<Tree>,
}

impl Store {
    fn write(&mut self, sectors: Range<u64>, byte: u8, reach: Reach) -> Result<(), NoMemory> {
        for piece in pieces(sectors.start, sectors.end - sectors.start) {
            // As the driver does it: whole pages without memory of their own, if they can be.
            let is_whole = piece.count == PAGE_SECTORS;
            let fill = |bytes: &mut PageBytes| bytes.fill(byte);
            if is_whole && self.layers.rewrite(piece.page, reach, fill) {
                continue;
            }
            self.layers
                .write(piece, reach, Patience::MaySleep, |bytes| bytes.fill(byte))?;
        }
        Ok(())
    }

    fn read(&self, sector: u64) -> Vec<u8> {
        let mut bytes = vec![0x55; PAGE_SIZE];
        for piece in pieces(sector, 1) {
            self.layers
                .read(piece, |range, from| bytes[range].copy_from_slice(from));
            bytes = bytes[piece.bytes()].to_vec();
            if let Some(page) = self.layers.page(piece.page) {
                assert_eq!(bytes, page[piece.bytes()], "the page lies in a row");
            }
        }
        bytes
    }
}

fn apply(step: &Step, store: &mut Store, model: &mut Model) {
    match step.clone() {
        Step::Write {
            sectors,
            byte,
            reach,
        } => {
            store
                .write(sectors.clone(), byte, reach)
                .expect("memory is there");
            model.write(sectors, byte, reach);
        }
        Step::WriteZeroes { sectors, reach } => {
            store
                .layers
                .write_zeroes(sectors.clone(), reach, Patience::MaySleep)
                .expect("memory is there");
            model.write(sectors, 0, reach);
        }
        Step::Flush => {
            store.layers.flush();
            model.flush();
        }
        Step::Discard { sectors } => {
            store.layers.discard(sectors.clone());
            model.discard(sectors);
        }
        Step::DropCache => {
            store.layers.cache = Tree::default();
            model.cache.clear();
        }
    }
}

fn assert_same(store: &Store, model: &Model) -> Result<(), TestCaseError> {
    for sector in 0..SECTORS {
        prop_assert_eq!(
            store.read(sector),
            vec![model.read(sector); SECTOR_SIZE],
            "sector {} differs",
            sector
        );
    }
    let pages = |sectors: &BTreeMap<u64, u8>| {
        let mut pages: Vec<u64> = sectors
            .keys()
            .map(|sector| sector / PAGE_SECTORS as u64)
            .collect();
        pages.dedup();
        pages
    };
    prop_assert_eq!(
        store.layers.cache.0.keys().copied().collect::<Vec<_>>(),
        pages(&model.cache)
    );
    prop_assert_eq!(
        store.layers.media.0.keys().copied().collect::<Vec<_>>(),
        pages(&model.media)
    );
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn the_store_is_the_model(steps in vec(step(), 0..40)) {
        let mut store = Store::default();
        let mut model = Model::default();
        for step in &steps {
            apply(step, &mut store, &mut model);
            assert_same(&store, &model)?;
        }
    }
}

#[test]
fn a_write_without_memory_changes_nothing_and_what_needs_none_goes_on() {
    let mut store = Store::default();
    store.write(0..8, 1, Reach::Media).unwrap();
    store.write(4..12, 2, Reach::Cache).unwrap();

    OUT_OF_MEMORY.set(true);
    assert_eq!(store.write(16..24, 3, Reach::Cache), Err(NoMemory));
    store.write(4..8, 4, Reach::Cache).unwrap();
    store.layers.flush();
    store
        .layers
        .write_zeroes(8..10, Reach::Cache, Patience::MaySleep)
        .unwrap();
    OUT_OF_MEMORY.set(false);

    let first_bytes: Vec<u8> = (0..20).map(|sector| store.read(sector)[0]).collect();
    let expected = [[1; 4].as_slice(), &[4; 4], &[0; 2], &[2; 2], &[TENANT; 8]].concat();
    assert_eq!(first_bytes, expected);
}

#[test]
fn zeros_spend_no_memory() {
    let mut store = Store::default();
    OUT_OF_MEMORY.set(true);
    store
        .layers
        .write_zeroes(3..17, Reach::Cache, Patience::MaySleep)
        .unwrap();
    OUT_OF_MEMORY.set(false);

    assert_eq!(store.read(2), [TENANT; SECTOR_SIZE]);
    assert_eq!(store.read(3), [0; SECTOR_SIZE]);
    assert_eq!(store.read(16), [0; SECTOR_SIZE]);

    // Once data was a whole page of zeros, its memory is free for the next page.
    store.write(24..32, 7, Reach::Cache).unwrap();
    store.write(24..32, 0, Reach::Cache).unwrap();
    OUT_OF_MEMORY.set(true);
    assert_eq!(
        store.write(24..25, 7, Reach::Cache),
        Err(NoMemory),
        "the page still had memory"
    );
    OUT_OF_MEMORY.set(false);
}
