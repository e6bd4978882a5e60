// SPDX-License-Identifier: MIT OR Apache-2.0

//! Device-mapper, as far as a scenario needs it: a device with one target, made by the requests of
//! `linux/dm-ioctl.h`. Nobody waits for udev, which the guest has not.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

use nix::libc;
use nix::sys::stat;

use super::error::{Doing, Result};

const CONTROL: &str = "/dev/mapper/control";

/// The version of the interface that is spoken here.
const VERSION: [u32; 3] = [4, 0, 0];

/// Bytes of `struct dm_ioctl`, and where its fields are that are used here.
const HEAD: usize = 312;
const DATA_SIZE: usize = 12;
const DATA_START: usize = 16;
const TARGET_COUNT: usize = 20;
const DEVICE: usize = 40;
const NAME: usize = 48;
const NAME_MOST: usize = 127;

/// Numbers of the requests.
const DEV_CREATE: u8 = 3;
const DEV_REMOVE: u8 = 4;
const DEV_SUSPEND: u8 = 6;
const TABLE_LOAD: u8 = 9;
const TARGET_MSG: u8 = 14;

/// Bytes of a target's type in `struct dm_target_spec`.
const TYPE: usize = 16;

/// A device of device-mapper. It stays when this is dropped, and is there until [`Mapped::remove`].
#[derive(Clone, Debug)]
pub(super) struct Mapped {
    name: &'static str,
    /// Its node.
    pub(super) node: String,
}

impl Mapped {
    /// Makes a device of so many sectors with one target, which takes these parameters.
    pub(super) fn make(name: &'static str, sectors: u64, target: &str, parameters: &str) -> Result<Self> {
        let made = ask(DEV_CREATE, name, &[], "make")?;
        let device = u64::from_ne_bytes(made[DEVICE..DEVICE + 8].try_into().expect("eight bytes"));
        let table = table(sectors, target, parameters);
        ask(TABLE_LOAD, name, &table, &format!("load the target {target} {parameters} of"))?;
        // Without the flag that suspends it is a request to resume, which has the table take effect.
        ask(DEV_SUSPEND, name, &[], "resume")?;
        Ok(Self { name, node: format!("/dev/dm-{}", stat::minor(device)) })
    }

    /// Says something to its target.
    pub(super) fn message(&self, text: &str) -> Result<()> {
        // To the target of its first sector.
        let message = [&0_u64.to_ne_bytes(), text.as_bytes(), &[0]].concat();
        ask(TARGET_MSG, self.name, &message, &format!("send '{text}' to")).map(drop)
    }

    /// Removes it. Nobody may have it open.
    pub(super) fn remove(self) -> Result<()> {
        ask(DEV_REMOVE, self.name, &[], "remove").map(drop)
    }
}

/// A `struct dm_target_spec` with its parameters.
fn table(sectors: u64, target: &str, parameters: &str) -> Vec<u8> {
    let mut kind = [0; TYPE];
    kind[..target.len()].copy_from_slice(target.as_bytes());
    let no_status_and_no_next = [0; 8];
    let start = 0_u64.to_ne_bytes();
    [&start[..], &sectors.to_ne_bytes(), &no_status_and_no_next, &kind, parameters.as_bytes(), &[0]].concat()
}

/// Makes a request about the device of that name; what the kernel wrote over it.
fn ask(number: u8, name: &str, payload: &[u8], doing: &str) -> Result<Vec<u8>> {
    assert!(name.len() <= NAME_MOST, "names of devices are short");
    let mut request = vec![0; HEAD];
    let mut put = |at: usize, value: u32| request[at..at + 4].copy_from_slice(&value.to_ne_bytes());
    for (index, part) in VERSION.into_iter().enumerate() {
        put(index * 4, part);
    }
    let size = |bytes| u32::try_from(bytes).expect("a request is small");
    put(DATA_SIZE, size(HEAD + payload.len()));
    put(DATA_START, size(HEAD));
    put(TARGET_COUNT, u32::from(number == TABLE_LOAD));
    request[NAME..NAME + name.len()].copy_from_slice(name.as_bytes());
    request.extend(payload);
    let doing = || format!("{doing} the device '{name}' of device-mapper");
    let control = File::options().read(true).write(true).open(CONTROL).doing(format!("open {CONTROL}"))?;
    let code = nix::request_code_readwrite!(0xfd, number, HEAD);
    // SAFETY: the kernel reads and writes as many bytes as the request says that it has, and so many are there.
    let returned = unsafe { libc::ioctl(control.as_raw_fd(), code, request.as_mut_ptr()) };
    if returned < 0 { Err(io::Error::last_os_error()).doing(doing()) } else { Ok(request) }
}
