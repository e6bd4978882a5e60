// SPDX-License-Identifier: GPL-2.0

//! What the kernels that pinblk builds for do not have alike. `Kbuild` says `before_7_3` for 7.2.

#[cfg(not(before_7_3))]
mod here {
    use crate::LocalModule;
    use kernel::{
        bindings,
        miscdevice::{
            MiscDevice,
            MiscDeviceRegistration, //
        },
        module,
        prelude::*,
        sync::barrier, //
    };

    pub(crate) use kernel::error::code::*;

    /// This module.
    pub(crate) const fn this_module() -> &'static ThisModule {
        module::this_module::<LocalModule>()
    }

    /// Open files keep the module already.
    pub(crate) fn keep_module<T: MiscDevice>(_registration: &MiscDeviceRegistration<T>) {}

    /// What was read before is read before what is read after.
    #[inline(always)]
    pub(crate) fn read_barrier() {
        barrier::smp_mb(barrier::Read);
    }

    /// How many bytes of its segment an iterator has behind it.
    #[inline(always)]
    pub(crate) fn bytes_done(iter: &bindings::bvec_iter) -> u32 {
        iter.bi_offset
    }
}

#[cfg(before_7_3)]
mod here {
    use core::{
        cell::UnsafeCell,
        mem::MaybeUninit,
        num::NonZeroI32, //
    };
    use kernel::{
        bindings,
        miscdevice::{
            MiscDevice,
            MiscDeviceRegistration, //
        },
        prelude::*,
        sync::barrier, //
    };

    /// Some numbers that the kernel crate has no names for yet.
    macro_rules! errors {
        ($($name:ident)*) => {
            $(pub(crate) const $name: Error = error(bindings::$name);)*
        };
    }

    errors! {
        ECANCELED EILSEQ ENAMETOOLONG ENODATA ENOLINK EOPNOTSUPP EPROTO EREMOTEIO ESTALE
    }

    const fn error(errno: u32) -> Error {
        let Some(number) = NonZeroI32::new(-(errno as i32)) else {
            panic!("no errno is zero")
        };
        // SAFETY: An error is a number other than zero, and nothing else: it has no room for more. Any
        // errno of the kernel's is valid there. There is no function for it that can be called here.
        unsafe { core::mem::transmute::<NonZeroI32, Error>(number) }
    }

    /// This module.
    pub(crate) const fn this_module() -> &'static ThisModule {
        &crate::THIS_MODULE
    }

    /// The operations of this module's only misc device, with their owner.
    struct Operations(UnsafeCell<MaybeUninit<bindings::file_operations>>);

    // SAFETY: They are written once, while the module is loaded.
    unsafe impl Sync for Operations {}

    static OPERATIONS: Operations = Operations(UnsafeCell::new(MaybeUninit::uninit()));

    /// Has open files keep the module, which those of the kernel crate do not: their operations have no
    /// owner. Only for the module's one device, while the module is loaded: nobody opens it so early.
    pub(crate) fn keep_module<T: MiscDevice>(registration: &MiscDeviceRegistration<T>) {
        let misc = registration.as_raw();
        // SAFETY: The device is registered, so that it has operations, and the place of the others is a
        // static that nobody reads yet. What is told their address reads them only as long as the device
        // is registered or a file is open, and the owner is this module, which has them.
        unsafe {
            let mut operations = (*misc).fops.read();
            operations.owner = this_module().as_ptr();
            (*OPERATIONS.0.get()).write(operations);
            (&raw mut (*misc).fops).write_volatile(OPERATIONS.0.get().cast());
        }
    }

    /// What was read before is read before what is read after.
    #[inline(always)]
    pub(crate) fn read_barrier() {
        barrier::smp_rmb();
    }

    /// How many bytes of its segment an iterator has behind it.
    #[inline(always)]
    pub(crate) fn bytes_done(iter: &bindings::bvec_iter) -> u32 {
        iter.bi_bvec_done
    }
}

pub(crate) use here::*;
