// SPDX-License-Identifier: MIT OR Apache-2.0

//! Requests as a 32-bit program makes them: a 64-bit one may enter the kernel by the same gate.

use std::arch::asm;
use std::io;
use std::os::fd::RawFd;

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
