// SPDX-License-Identifier: MIT OR Apache-2.0

//! A FUSE daemon that speaks to the kernel over `io_uring`, by the raw protocol: `fuser` has none of it.
//! See `fs/fuse/dev_uring.c` and `include/uapi/linux/fuse.h`.

mod entry;
mod requests;
mod ring;
mod wire;

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::path::Path;

use nix::mount::{MsFlags, mount};

use self::requests::Daemon;
use self::ring::Server;
use self::wire::Request;
use super::backing::Backing;
use super::error::{Doing, Error, Result};

/// Without it the kernel does not offer rings.
const ENABLE: &str = "/sys/module/fuse/parameters/enable_uring";

/// How the data of reads and writes gets to the daemon.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// It is copied.
    Copied,
    /// The client's own pages are read into and written from, by direct I/O on the backing files.
    ZeroCopy,
}

impl Transport {
    /// What the kernel must offer for it: flags, and what they are in words.
    fn needs(self) -> &'static [(u32, &'static str)] {
        const RINGS: (u32, &str) = (wire::FUSE_OVER_IO_URING, "FUSE over io_uring");
        const POOLS: (u32, &str) = (
            wire::FUSE_HAS_IO_URING_BUFPOOL,
            "zero copy for FUSE over io_uring, which came with version 7.46 of the protocol",
        );
        match self {
            Self::Copied => &[RINGS],
            Self::ZeroCopy => &[RINGS, POOLS],
        }
    }
}

/// Serves `backing` at `mountpoint` until it is unmounted.
pub fn serve(transport: Transport, backing: &Path, mountpoint: &Path) -> Result<()> {
    fs::write(ENABLE, "1").doing(format!("write {ENABLE}"))?;
    let mut device = File::options().read(true).write(true).open("/dev/fuse").doing("open /dev/fuse")?;
    let options = format!("fd={},rootmode=40000,user_id=0,group_id=0", device.as_raw_fd());
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount(Some("pinbed"), mountpoint, Some("fuse"), flags, Some(options.as_str()))
        .doing(format!("mount FUSE at {}", mountpoint.display()))?;
    agree(&mut device, transport)?;
    let daemon = match transport {
        Transport::Copied => {
            Daemon { backing: Backing::buffered(backing), open_flags: wire::FOPEN_DIRECT_IO }
        }
        Transport::ZeroCopy => Daemon {
            backing: Backing::direct(backing),
            open_flags: wire::FOPEN_DIRECT_IO | wire::FOPEN_IO_URING_ZERO_COPY,
        },
    };
    Server::start(device, daemon, transport)?.run()
}

/// The first request says what the kernel can do, and its answer what is used. All others come over rings,
/// but for those that nobody answers.
fn agree(device: &mut File, transport: Transport) -> Result<()> {
    let mut bytes = vec![0; 2 * wire::MAX_BYTES];
    let length = device.read(&mut bytes).doing("read the first FUSE request")?;
    if length < Request::BYTES {
        return Err(Error::Unexpected(format!("the first FUSE request has {length} bytes")));
    }
    let request = Request::parse(&bytes);
    if request.opcode != wire::INIT {
        return Err(Error::Unexpected(format!("the first FUSE request has the number {}", request.opcode)));
    }
    let offered = wire::offered(&bytes[Request::BYTES..length]);
    if let Some((_, what)) = transport.needs().iter().find(|(flag, _)| offered & flag == 0) {
        return Err(Error::Lacking((*what).to_owned()));
    }
    let agreed = wire::init_out();
    let length = u32::try_from(agreed.len()).expect("the structure has 64 bytes");
    let answer = [wire::out_header(request.unique, 0, length), agreed].concat();
    device.write_all(&answer).doing("answer the first FUSE request")
}
