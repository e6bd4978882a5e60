// SPDX-License-Identifier: GPL-2.0

//! `/sys/kernel/config/pinblk`: disks are made, set up, powered and removed there.

#[cfg(before_7_3)]
// configfs_attrs! has it by this name.
use crate::THIS_MODULE;
use crate::{
    disk::Disk,
    disks::{
        DiskName,
        Disks,
        Entry, //
    },
    settings::{
        Rules,
        Settings, //
    },
    sys::{
        debugfs::{
            Directory,
            ReportFile, //
        },
        gendisk::GenDisk,
        workqueue::QueueHandle, //
    }, //
};
use kernel::{
    configfs::{
        Group,
        GroupOperations,
        Subsystem, //
    },
    configfs_attrs,
    new_mutex,
    prelude::*,
    sync::{
        Arc,
        Mutex, //
    }, //
};

/// The directory of all disks: mkdir(2) makes a disk without power.
pub(crate) struct Config {
    disks: Arc<Disks>,
    /// In debugfs, where each disk shows its counters.
    reports: Arc<Directory>,
    /// Where late transfers are done.
    queue: QueueHandle,
}

impl Config {
    /// Registers the directory.
    pub(crate) fn register(
        disks: Arc<Disks>,
        queue: QueueHandle,
    ) -> impl PinInit<Subsystem<Self>, Error> {
        let item_type = configfs_attrs! {
            container: Subsystem<Config>,
            data: Config,
            child: DiskItem,
            attributes: [],
        };
        let config = Arc::new(Directory::new(c"pinblk"), GFP_KERNEL)
            .map(|reports| Self {
                disks,
                reports,
                queue,
            })
            .map_err(Error::from);
        Subsystem::new(c"pinblk", item_type, config)
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
                // A number is the position in the table of `attributes.rs`.
                power: 0,
                size: 1,
                blocksize: 2,
                write_cache: 3,
                fua: 4,
                stable_writes: 5,
                nowait: 6,
                late_transfer: 7,
                power_cut: 8,
                errors: 9,
                policy: 10,
                skip_budget: 11,
                defer_deadline: 12,
                copy_of: 13,
                log: 14,
            ],
        };
        let disk_name = DiskName::new(name)?;
        Ok(Group::new(
            name.try_into()?,
            item_type,
            DiskItem::new(disk_name, self),
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
    reports: Arc<Directory>,
    queue: QueueHandle,
    #[pin]
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    settings: Settings,
    /// The disk whose media this one begins with.
    copy_of: Option<DiskName>,
    /// Present while the power is on.
    live: Option<LiveDisk>,
}

/// A disk with power.
struct LiveDisk {
    // Dropped first: as long as anybody uses the disk, it is known.
    gendisk: GenDisk<Disk>,
    disk: Arc<Disk>,
    _entry: Entry,
    _report: ReportFile<Disk>,
}

impl DiskItem {
    fn new(name: DiskName, config: &Config) -> impl PinInit<Self, Error> {
        let (disks, reports, queue) = (config.disks.clone(), config.reports.clone(), config.queue);
        try_pin_init!(Self {
            name,
            disks,
            reports,
            queue,
            state <- new_mutex!(State::default()),
        })
    }

    /// Its name.
    pub(crate) fn name(&self) -> &DiskName {
        &self.name
    }

    /// Looks at the settings.
    pub(crate) fn get<R>(&self, look: impl FnOnce(&Settings) -> R) -> R {
        look(&self.state.lock().settings)
    }

    /// Changes a setting. Fails with `EBUSY` while the power is on.
    pub(crate) fn set(&self, change: impl FnOnce(&mut Settings)) -> Result {
        let mut state = self.state.lock();
        if state.live.is_some() {
            return Err(EBUSY);
        }
        change(&mut state.settings);
        Ok(())
    }

    /// The disk whose media this one begins with when it gets its power.
    pub(crate) fn copy_of(&self) -> Option<DiskName> {
        self.state.lock().copy_of
    }

    /// Changes that. Fails with `EBUSY` while the power is on.
    pub(crate) fn set_copy_of(&self, name: Option<DiskName>) -> Result {
        let mut state = self.state.lock();
        if state.live.is_some() {
            return Err(EBUSY);
        }
        state.copy_of = name;
        Ok(())
    }

    /// Changes a rule, also while the power is on.
    pub(crate) fn set_rule(&self, change: impl FnOnce(&mut Rules)) {
        let mut state = self.state.lock();
        let state = &mut *state;
        change(&mut state.settings.rules);
        if let Some(live) = &state.live {
            live.disk.judge.follow(&state.settings.rules);
        }
    }

    /// The disk while it has power.
    pub(crate) fn live(&self) -> Option<Arc<Disk>> {
        let state = self.state.lock();
        state.live.as_ref().map(|live| live.disk.clone())
    }

    /// Makes the disk, if it is not there.
    pub(crate) fn power_on(&self) -> Result {
        let mut state = self.state.lock();
        if state.live.is_some() {
            return Ok(());
        }
        let disk = Arc::new(Disk::new(&state.settings, self.queue)?, GFP_KERNEL)?;
        if let Some(name) = &state.copy_of {
            let original = self.disks.find(name).ok_or(ENOENT)?;
            disk.media.copy_from(&original.media)?;
        }
        let entry = self.disks.enter(self.name, disk.clone())?;
        let report = self.reports.file(self.name.as_c_str(), disk.clone());
        // The disk comes last: it is opened and read as soon as it is there, so nothing may fail
        // after it.
        let gendisk = GenDisk::add(self.name.as_bytes(), &state.settings.limits(), disk.clone())?;
        entry.tell_number(gendisk.number());
        state.live = Some(LiveDisk {
            gendisk,
            disk,
            _entry: entry,
            _report: report,
        });
        Ok(())
    }

    /// Removes the disk, if it is there. Fails with `EBUSY` while it is open or mounted.
    pub(crate) fn power_off(&self) -> Result {
        let mut state = self.state.lock();
        if let Some(live) = &state.live {
            live.gendisk.bar()?;
        }
        state.live = None;
        Ok(())
    }
}
