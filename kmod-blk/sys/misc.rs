// SPDX-License-Identifier: GPL-2.0

//! A misc device whose open files share something.
//!
//! `kernel::miscdevice` gives an open file nothing but the registration that it was opened
//! through, so the shared part lives beside the registration.

use super::compat::keep_module;
use core::{
    pin::Pin,
    ptr::from_ref, //
};
use kernel::{
    container_of,
    fs::File,
    miscdevice::{
        MiscDevice,
        MiscDeviceOptions,
        MiscDeviceRegistration, //
    },
    prelude::*, //
};

/// An open file of such a device.
pub(crate) trait OpenFile: Send + Sync + Sized + 'static {
    /// What all open files share.
    type Shared: Send + Sync;

    /// Opens a file.
    fn open(shared: &Self::Shared) -> impl PinInit<Self, Error>;

    /// Serves an ioctl.
    fn ioctl(&self, request: u32, argument: usize) -> Result;
}

/// The registration of a misc device, which ends when this is dropped.
#[pin_data]
pub(crate) struct SharedMiscDevice<T: OpenFile> {
    #[pin]
    registration: MiscDeviceRegistration<Adapter<T>>,
    // Initialized first and dropped last: a file can be opened as long as the registration is
    // there. Fields are dropped in the order of their declaration.
    shared: T::Shared,
}

impl<T: OpenFile> SharedMiscDevice<T> {
    /// Registers a device named `name`.
    pub(crate) fn register(name: &'static CStr, shared: T::Shared) -> impl PinInit<Self, Error> {
        // Fields are initialized in the order of this list.
        try_pin_init!(Self {
            shared,
            registration <- MiscDeviceRegistration::register(MiscDeviceOptions { name }),
        })
        .pin_chain(|device| {
            keep_module(&device.registration);
            Ok(())
        })
    }
}

/// The open file as the kernel crate wants it. Private, so that only [`SharedMiscDevice`]
/// registers it.
#[pin_data]
struct Adapter<T> {
    #[pin]
    file: T,
}

#[vtable]
impl<T: OpenFile> MiscDevice for Adapter<T> {
    type Ptr = Pin<KBox<Self>>;

    fn open(_file: &File, misc: &MiscDeviceRegistration<Self>) -> Result<Self::Ptr> {
        // SAFETY: Every registration of an `Adapter<T>` is the field of a `SharedMiscDevice<T>`,
        // whose shared part is initialized before the registration begins, is dropped after it
        // has ended, and is never borrowed mutably. A registration does not end while a file is
        // being opened through it.
        let device = unsafe { &*container_of!(from_ref(misc), SharedMiscDevice<T>, registration) };
        KBox::try_pin_init(
            try_pin_init!(Self {
                file <- T::open(&device.shared),
            }),
            GFP_KERNEL,
        )
    }

    fn ioctl(adapter: Pin<&Self>, _file: &File, request: u32, argument: usize) -> Result<isize> {
        adapter.file.ioctl(request, argument)?;
        Ok(0)
    }
}
