// SPDX-License-Identifier: GPL-2.0

//! `/sys/kernel/config/pinblk`: disks are made, set up, powered and removed there.

use crate::{
    disk::Disk,
    disks::{
        DiskName,
        Disks,
        Entry, //
    },
    logic::sectors::{
        PAGE_SIZE,
        SECTOR_SIZE, //
    },
    settings::Settings,
    sys::gendisk::GenDisk, //
};
use core::str::FromStr;
use kernel::{
    configfs::{
        AttributeOperations,
        Group,
        GroupOperations,
        Subsystem, //
    },
    configfs_attrs,
    fmt::Write as _,
    new_mutex,
    prelude::*,
    str::Formatter,
    sync::{
        Arc,
        Mutex, //
    }, //
};

/// The largest disk, in MiB. Only what is written takes memory.
const SIZE_MIB_MAX: u32 = 1 << 20;

/// The page of memory into which configfs has an attribute shown.
type AttributePage = [u8; kernel::page::PAGE_SIZE];

/// The directory of all disks: mkdir(2) makes a disk without power.
pub(crate) struct Config {
    disks: Arc<Disks>,
}

impl Config {
    /// Registers the directory.
    pub(crate) fn register(disks: Arc<Disks>) -> impl PinInit<Subsystem<Self>, Error> {
        let item_type = configfs_attrs! {
            container: Subsystem<Config>,
            data: Config,
            child: DiskItem,
            attributes: [],
        };
        Subsystem::new(c"pinblk", item_type, Ok(Self { disks }))
    }
}

#[vtable]
impl GroupOperations for Config {
    type Child = DiskItem;

    fn make_group(&self, name: &CStr) -> Result<impl PinInit<Group<DiskItem>, Error>> {
        let item_type = configfs_attrs! {
            container: Group<DiskItem>,
            data: DiskItem,
            // By the names of null_blk where it has them.
            attributes: [
                power: 0,
                size: 1,
                blocksize: 2,
                write_cache: 3,
                stable_writes: 4,
            ],
        };
        let disk_name = DiskName::new(name)?;
        Ok(Group::new(
            name.try_into()?,
            item_type,
            DiskItem::new(disk_name, self.disks.clone()),
        ))
    }
}

/// The directory of a disk.
///
/// rmdir(2) drops it, also with the power on and the disk in use, for configfs cannot refuse. Then
/// the disk is removed as one that is unplugged: what can be written back is, the filesystem on it
/// is shut down, and whoever still has it open gets I/O errors from then on. The attributes are not
/// reached any more: configfs has cut them off before. Nothing else keeps an item, also no open
/// attribute, so that the disk is gone when rmdir(2) returns.
#[pin_data]
pub(crate) struct DiskItem {
    name: DiskName,
    disks: Arc<Disks>,
    #[pin]
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    settings: Settings,
    /// Present while the power is on.
    live: Option<LiveDisk>,
}

/// A disk with power.
struct LiveDisk {
    // Dropped first: as long as anybody uses the disk, it is known.
    gendisk: GenDisk<Disk>,
    _entry: Entry,
}

impl DiskItem {
    fn new(name: DiskName, disks: Arc<Disks>) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            name,
            disks,
            state <- new_mutex!(State::default()),
        })
    }

    /// Changes a setting. Fails with `EBUSY` while the power is on.
    fn set(&self, change: impl FnOnce(&mut Settings)) -> Result {
        let mut state = self.state.lock();
        if state.live.is_some() {
            return Err(EBUSY);
        }
        change(&mut state.settings);
        Ok(())
    }

    fn power_on(&self) -> Result {
        let mut state = self.state.lock();
        if state.live.is_some() {
            return Ok(());
        }
        let disk = Arc::pin_init(Disk::new(&state.settings), GFP_KERNEL)?;
        let entry = self.disks.enter(self.name, disk.clone())?;
        // The disk comes last: it is opened and read as soon as it is there, so nothing may fail
        // after it.
        let gendisk = GenDisk::add(self.name.as_bytes(), &state.settings.limits(), disk)?;
        state.live = Some(LiveDisk {
            gendisk,
            _entry: entry,
        });
        Ok(())
    }

    /// Fails with `EBUSY` while the disk is open or mounted.
    fn power_off(&self) -> Result {
        let mut state = self.state.lock();
        if let Some(live) = &state.live {
            live.gendisk.bar()?;
        }
        state.live = None;
        Ok(())
    }
}

#[vtable]
impl AttributeOperations<0> for DiskItem {
    type Data = Self;

    fn show(item: &Self, page: &mut AttributePage) -> Result<usize> {
        show(page, item.state.lock().live.is_some())
    }

    fn store(item: &Self, text: &[u8]) -> Result {
        if flag(text)? {
            item.power_on()
        } else {
            item.power_off()
        }
    }
}

#[vtable]
impl AttributeOperations<1> for DiskItem {
    type Data = Self;

    fn show(item: &Self, page: &mut AttributePage) -> Result<usize> {
        show(page, item.state.lock().settings.size_mib)
    }

    fn store(item: &Self, text: &[u8]) -> Result {
        let size_mib = number(text)?;
        if !(1..=SIZE_MIB_MAX).contains(&size_mib) {
            return Err(EINVAL);
        }
        item.set(|settings| settings.size_mib = size_mib)
    }
}

#[vtable]
impl AttributeOperations<2> for DiskItem {
    type Data = Self;

    fn show(item: &Self, page: &mut AttributePage) -> Result<usize> {
        show(page, item.state.lock().settings.block_size)
    }

    fn store(item: &Self, text: &[u8]) -> Result {
        let block_size = number(text)?;
        if ![SECTOR_SIZE as u32, PAGE_SIZE as u32].contains(&block_size) {
            return Err(EINVAL);
        }
        item.set(|settings| settings.block_size = block_size)
    }
}

#[vtable]
impl AttributeOperations<3> for DiskItem {
    type Data = Self;

    fn show(item: &Self, page: &mut AttributePage) -> Result<usize> {
        show(page, item.state.lock().settings.write_cache)
    }

    fn store(item: &Self, text: &[u8]) -> Result {
        let write_cache = flag(text)?;
        item.set(|settings| settings.write_cache = write_cache)
    }
}

#[vtable]
impl AttributeOperations<4> for DiskItem {
    type Data = Self;

    fn show(item: &Self, page: &mut AttributePage) -> Result<usize> {
        show(page, item.state.lock().settings.stable_writes)
    }

    fn store(item: &Self, text: &[u8]) -> Result {
        let stable_writes = flag(text)?;
        item.set(|settings| settings.stable_writes = stable_writes)
    }
}

fn show(page: &mut AttributePage, value: impl Into<u32>) -> Result<usize> {
    let mut text = Formatter::new(page);
    text.write_fmt(fmt!("{}\n", value.into()))?;
    Ok(text.bytes_written())
}

fn number(text: &[u8]) -> Result<u32> {
    let text = core::str::from_utf8(text)?;
    u32::from_str(text.trim()).map_err(|_| EINVAL)
}

/// Not as `kstrtobool()` has it, which takes 17 for true and `nonsense` for false.
fn flag(text: &[u8]) -> Result<bool> {
    match number(text)? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(EINVAL),
    }
}
