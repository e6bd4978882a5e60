// SPDX-License-Identifier: MIT OR Apache-2.0

//! The kernel's log, read and written through `/dev/kmsg`.

use std::fs::File;
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;

use nix::libc;

use super::error::{Doing, Error, Result};
use crate::kernel_log::LogRecord;

const KMSG: &str = "/dev/kmsg";

/// The kernel refuses shorter reads than its longest record.
const RECORD_BYTES: usize = 8192;

/// Everything that is logged from the moment it is made.
pub struct Tail(File);

impl Tail {
    /// Starts behind the last record.
    pub fn start() -> Result<Self> {
        let mut file = File::options()
            .read(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(KMSG)
            .doing(format!("open {KMSG}"))?;
        file.seek(SeekFrom::End(0)).doing(format!("seek to the end of {KMSG}"))?;
        Ok(Self(file))
    }

    /// Records logged since the start or since the last call, without waiting.
    pub fn records(&mut self) -> Result<Vec<LogRecord>> {
        let mut records = Vec::new();
        let mut buffer = vec![0; RECORD_BYTES];
        loop {
            match self.0.read(&mut buffer) {
                Ok(length) => {
                    let text = String::from_utf8_lossy(&buffer[..length]);
                    records.extend(LogRecord::parse(text.lines().next().unwrap_or_default()));
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(records),
                Err(error) if error.raw_os_error() == Some(libc::EPIPE) => {
                    return Err(Error::Unexpected("the kernel's log overflowed".to_owned()));
                }
                Err(error) => return Err(error).doing(format!("read {KMSG}")),
            }
        }
    }
}

/// Copies every record, old and new, to `port` for as long as the guest lives; `copied` is told of each.
pub fn stream(mut port: File, mut copied: impl FnMut(&str)) -> Result<()> {
    let mut kmsg = File::open(KMSG).doing(format!("open {KMSG}"))?;
    let mut buffer = vec![0; RECORD_BYTES];
    loop {
        match kmsg.read(&mut buffer) {
            Ok(length) => {
                port.write_all(&buffer[..length]).doing("write to the kernel log port")?;
                copied(&String::from_utf8_lossy(&buffer[..length]));
            }
            // Overwritten before it was read: the gap in the sequence numbers tells the host.
            Err(error) if error.raw_os_error() == Some(libc::EPIPE) => {}
            Err(error) => return Err(error).doing(format!("read {KMSG}")),
        }
    }
}

/// Writes one line into the kernel's log.
pub fn write(line: &str) -> Result<()> {
    let mut kmsg = File::options().write(true).open(KMSG).doing(format!("open {KMSG}"))?;
    // Without its line feed a record stays open for continuation, and no reader sees it.
    kmsg.write_all(format!("{line}\n").as_bytes()).doing(format!("write to {KMSG}"))
}
