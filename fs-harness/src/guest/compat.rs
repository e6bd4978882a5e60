// SPDX-License-Identifier: MIT OR Apache-2.0

//! Requests as a 32-bit program makes them: a 64-bit one may enter the kernel by the same gate.

use std::arch::asm;
use std::io;
use std::num::NonZeroUsize;
use std::os::fd::RawFd;

use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous};

use super::device::Device;
use super::error::{Doing, Error, Result};
use super::memory::{Memory, PAGE};

/// The number of ioctl(2) on 32-bit x86.
const IOCTL: i32 = 54;

/// Calls ioctl(2) as a 32-bit program.
///
/// # Safety
///
/// Whatever the request writes to must be there for it, at `argument` and at every address in it.
pub unsafe fn ioctl(file: RawFd, request: u32, argument: u32) -> io::Result<()> {
    let answer: i32;
    // SAFETY: the registers are as this gate of the kernel wants them, and all that it changes is named.
    // rbx, which the compiler keeps for itself, is put back.
    unsafe {
        asm!(
            "push rbx",
            "mov ebx, {file:e}",
            "int 0x80",
            "pop rbx",
            file = in(reg) file,
            inlateout("eax") IOCTL => answer,
            in("ecx") request,
            in("edx") argument,
            out("r8") _,
            out("r9") _,
            out("r10") _,
            out("r11") _,
        );
    }
    if answer < 0 { Err(io::Error::from_raw_os_error(-answer)) } else { Ok(()) }
}

/// A caller whose structures lie in a page that a 32-bit program can name.
pub struct Caller {
    page: Memory,
}

impl Caller {
    /// Maps the page.
    pub fn new() -> Result<Self> {
        let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        let flags = MapFlags::MAP_PRIVATE | MapFlags::MAP_32BIT;
        let length = NonZeroUsize::new(PAGE).unwrap_or(NonZeroUsize::MIN);
        // SAFETY: a new mapping at an address of the kernel's choice replaces no other.
        let page = unsafe { mmap_anonymous(None, length, protection, flags) }
            .doing("map a page for a 32-bit program")?;
        Ok(Self { page: Memory::of_mapping(page, 1) })
    }

    /// Makes a request, and returns its structure with the answer in it.
    ///
    /// # Safety
    ///
    /// As for [`Device::request`].
    pub unsafe fn request<T: Copy>(&self, device: &Device, number: u32, structure: T) -> Result<T> {
        const { assert!(size_of::<T>() <= PAGE) }
        let place = self.page.pointer().cast::<T>();
        // SAFETY: the page is ours, large enough, and aligned as no structure wants more.
        unsafe { place.write(structure) };
        let address = u32::try_from(self.page.address())
            .map_err(|_| Error::Unexpected("MAP_32BIT gave an address above 4 GiB".to_owned()))?;
        // SAFETY: the structure is there; for the rest the caller promises.
        unsafe { self.request_at(device, number, address)? };
        // SAFETY: as above; what the kernel wrote is a structure too.
        Ok(unsafe { place.read() })
    }

    /// Makes a request whose structure is at any address.
    ///
    /// # Safety
    ///
    /// As for [`Device::request`].
    pub unsafe fn request_at(&self, device: &Device, number: u32, address: u32) -> Result<()> {
        // SAFETY: the caller promises it.
        unsafe { ioctl(device.descriptor(), number, address) }
            .doing(format!("make the request {number:#x} as a 32-bit program"))
    }
}
