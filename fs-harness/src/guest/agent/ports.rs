// SPDX-License-Identifier: MIT OR Apache-2.0

//! The virtio-serial ports to the host.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use crate::guest::error::{Doing, Error, Result};
use crate::guest::kmsg;
use crate::protocol::{self, AGENT_PORT, FromGuest, KERNEL_LOG_PORT, ToGuest};
use crate::stream;

/// The agent's port, and the others until they are taken.
pub(super) struct Ports {
    /// None once a session hears the host instead.
    hearing: Option<BufReader<File>>,
    speaking: File,
    kernel_log: Option<File>,
    stream: Option<File>,
}

impl Ports {
    pub(super) fn open() -> Result<Self> {
        let speaking = open(AGENT_PORT)?;
        let hearing = speaking.try_clone().doing("duplicate the agent's port")?;
        Ok(Self {
            hearing: Some(BufReader::new(hearing)),
            speaking,
            kernel_log: Some(open(KERNEL_LOG_PORT)?),
            stream: Some(open(stream::PORT)?),
        })
    }

    /// Streams the kernel's log from a thread; the receiver gets each mark once it was written to the port.
    pub(super) fn stream_kernel_log(&mut self) -> Result<Receiver<String>> {
        let port = self.kernel_log.take().ok_or_else(|| taken("the kernel log's port"))?;
        let (sender, marks) = channel();
        thread::spawn(move || {
            let streamed = kmsg::stream(port, |record| {
                if record.contains(protocol::MARK) {
                    // Nobody waits for marks after the verdict.
                    let _ = sender.send(record.to_owned());
                }
            });
            if let Err(error) = streamed {
                eprintln!("pinbed agent: {error}");
            }
        });
        Ok(marks)
    }

    pub(super) fn send(&mut self, message: &FromGuest) -> Result<()> {
        self.send_raw(&protocol::line(message))
    }

    pub(super) fn send_raw(&mut self, text: &str) -> Result<()> {
        self.speaking.write_all(text.as_bytes()).doing("write to the agent's port")
    }

    pub(super) fn receive(&mut self) -> Result<ToGuest> {
        receive(self.hearing.as_mut().ok_or_else(|| taken("the agent's port"))?)
    }

    /// Hears the host from a thread, until it is gone; each message is told to `told`.
    pub(super) fn hear_from_a_thread(
        &mut self,
        mut told: impl FnMut(ToGuest) + Send + 'static,
    ) -> Result<()> {
        let mut port = self.hearing.take().ok_or_else(|| taken("the agent's port"))?;
        thread::spawn(move || {
            while let Ok(message) = receive(&mut port) {
                told(message);
            }
        });
        Ok(())
    }

    /// The port of the [`stream`]s.
    pub(super) fn take_stream(&mut self) -> Result<File> {
        self.stream.take().ok_or_else(|| taken("the port of the streams"))
    }
}

fn receive(port: &mut impl BufRead) -> Result<ToGuest> {
    let mut line = String::new();
    port.read_line(&mut line).doing("read from the agent's port")?;
    serde_json::from_str(&line)
        .map_err(|error| Error::Unexpected(format!("the host sent '{}': {error}", line.trim_end())))
}

fn taken(port: &str) -> Error {
    Error::Unexpected(format!("{port} was taken already"))
}

/// Opens the port of that name; without udev its device is found by the name in sysfs.
fn open(name: &str) -> Result<File> {
    const PORTS: &str = "/sys/class/virtio-ports";
    for entry in fs::read_dir(PORTS).doing(format!("list {PORTS}"))? {
        let entry = entry.doing(format!("list {PORTS}"))?;
        if fs::read_to_string(entry.path().join("name")).is_ok_and(|found| found.trim_end() == name) {
            let device = PathBuf::from("/dev").join(entry.file_name());
            return File::options()
                .read(true)
                .write(true)
                .open(&device)
                .doing(format!("open {} ({name})", device.display()));
        }
    }
    Err(Error::Unexpected(format!("the machine has no virtio-serial port '{name}'")))
}
