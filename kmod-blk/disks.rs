// SPDX-License-Identifier: GPL-2.0

//! The disks that there are, by name.

use crate::{
    abi::DISK_NAME_BYTES,
    disk::Disk,
    sys::compat::ENAMETOOLONG, //
};
use kernel::{
    new_mutex,
    prelude::*,
    rbtree::{
        RBTree,
        RBTreeNode, //
    },
    sync::{
        Arc,
        Mutex, //
    }, //
};

/// The name of a disk: of its directory in configfs, and of its node in `/dev`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct DiskName([u8; DISK_NAME_BYTES]);

impl DiskName {
    /// Fails with `ENAMETOOLONG`, or with `EINVAL` for what cannot be the name of a node: devtmpfs
    /// takes an exclamation mark for a slash.
    pub(crate) fn new(name: &CStr) -> Result<Self> {
        Self::of_bytes(name.to_bytes())
    }

    /// The same of text. Fails with `EINVAL` also for one that is too long.
    pub(crate) fn parse(name: &str) -> Result<Self> {
        Self::of_bytes(name.as_bytes()).map_err(|_| EINVAL)
    }

    fn of_bytes(name: &[u8]) -> Result<Self> {
        // A NUL ends it.
        if name.len() >= DISK_NAME_BYTES {
            return Err(ENAMETOOLONG);
        }
        let is_allowed = |byte: &u8| byte.is_ascii_graphic() && !b"/!".contains(byte);
        if name.is_empty() || !name.iter().all(is_allowed) {
            return Err(EINVAL);
        }
        let mut bytes = [0; DISK_NAME_BYTES];
        bytes[..name.len()].copy_from_slice(name);
        Ok(Self(bytes))
    }

    /// The name.
    pub(crate) fn as_c_str(&self) -> &CStr {
        // There is always a NUL: `new` left room for it.
        CStr::from_bytes_until_nul(&self.0).unwrap_or_default()
    }

    /// The name, filled up with NULs: at least one.
    pub(crate) fn as_bytes(&self) -> &[u8; DISK_NAME_BYTES] {
        &self.0
    }
}

/// The powered disks. The lock is held for a look and no longer: a disk that is slow to go keeps
/// nobody from another.
#[pin_data]
pub(crate) struct Disks {
    #[pin]
    by_name: Mutex<RBTree<DiskName, Known>>,
}

struct Known {
    disk: Arc<Disk>,
    /// The device number; none as long as there is no node of it.
    number: Option<u32>,
}

impl Disks {
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            by_name <- new_mutex!(RBTree::new()),
        })
    }

    /// The disk of that name.
    pub(crate) fn find(&self, name: &DiskName) -> Option<Arc<Disk>> {
        Some(self.by_name.lock().get(name)?.disk.clone())
    }

    /// The device number of the disk of that name.
    pub(crate) fn number(&self, name: &DiskName) -> Option<u32> {
        self.by_name.lock().get(name)?.number
    }

    /// Makes a disk known until the entry is dropped. Nobody else may have that name: configfs sees
    /// to it.
    pub(crate) fn enter(self: &Arc<Self>, name: DiskName, disk: Arc<Disk>) -> Result<Entry> {
        let known = Known { disk, number: None };
        let node = RBTreeNode::new(name, known, GFP_KERNEL)?;
        self.by_name.lock().insert(node);
        Ok(Entry {
            disks: self.clone(),
            name,
        })
    }
}

/// What makes a disk known.
pub(crate) struct Entry {
    disks: Arc<Disks>,
    name: DiskName,
}

impl Entry {
    /// The disk has got its device number.
    pub(crate) fn tell_number(&self, number: u32) {
        if let Some(known) = self.disks.by_name.lock().get_mut(&self.name) {
            known.number = Some(number);
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let gone = self.disks.by_name.lock().remove(&self.name);
        // A disk may have much memory to free: not under the lock.
        drop(gone);
    }
}
