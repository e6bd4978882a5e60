// SPDX-License-Identifier: MIT OR Apache-2.0

//! A program of the user's from its files to its end: what it reads and writes goes over the port of
//! the [`stream`]s, and the pins and the traffic of its time are counted.

use std::fs::{self, File};
use std::io::{self, ErrorKind, PipeReader, Read, Write};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Child, ExitStatus};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use nix::libc;
use nix::mount::{MsFlags, mount};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::ports::Ports;
use super::process::{self, Ends, Process};
use super::unpack::unpack;
use crate::guest::counters::Counters;
use crate::guest::device::Device;
use crate::guest::error::{Doing, Error, Result};
use crate::guest::site::Site;
use crate::protocol::{FromGuest, Program, ToGuest};
use crate::record::Step;
use crate::stream::{self, Incoming, Stream};

/// What programs expect to be mounted and cells do not need.
const MOUNTS: &[(&str, &str)] = &[("devpts", "/dev/pts"), ("tmpfs", "/dev/shm")];

/// Runs the program to its end, and tells the host how it ended and what was counted.
pub(super) fn run(ports: &mut Ports, program: &Program, site: &Site) -> Result<()> {
    let port = ports.take_stream()?;
    for (kind, target) in MOUNTS {
        fs::create_dir_all(target).doing(format!("make {target}"))?;
        mount(Some(*kind), *target, Some(*kind), MsFlags::empty(), None::<&str>)
            .doing(format!("mount {kind} at {target}"))?;
    }
    unpack(Incoming::new(&port, Stream::Files), Path::new("/"))?;
    ports.send(&FromGuest::Doing(format!("running {}", program.words.join(" "))))?;
    let device = Device::open()?;
    let before = Counters::read(&device, site.disk())?;
    let (code, problem) = match process::start(program, site) {
        Ok((process, child, ends)) => (follow(ports, &process, child, ends, port)?, String::new()),
        Err(not) => (not.code, not.problem),
    };
    // The host sees from the numbers where the two witnesses disagree.
    let (after, _) = Counters::settled(&device, site.disk(), before, 0)?;
    ports.send(&FromGuest::Step(Box::new(Step {
        name: "the program ended".to_owned(),
        pins: after.pins.since(before.pins),
        device_pins: after.device_pins().since(before.device_pins()),
        device_references: after.device_references().since(before.device_references()),
        traffic: after.traffic_since(&before),
        decisions: after.decisions_since(&before),
        pages: Vec::new(),
    })))?;
    ports.send(&FromGuest::Exited { code, problem })
}

/// What a session hears of.
enum Event {
    Host(ToGuest),
    Ended(io::Result<ExitStatus>),
}

/// Relays until the program has ended and all that it wrote is on its way; returns its exit code.
fn follow(ports: &mut Ports, process: &Process, mut child: Child, ends: Ends, port: File) -> Result<u8> {
    let (sender, events) = channel();
    let host = sender.clone();
    // A failed send means that the session is over: nobody waits for the message.
    ports.hear_from_a_thread(move |message| drop(host.send(Event::Host(message))))?;
    thread::spawn(move || sender.send(Event::Ended(child.wait())));

    let hearing = port.try_clone().doing("duplicate the port of the streams")?;
    thread::spawn(move || feed(hearing, ends.input));
    let (over, end) = io::pipe().doing("make a pipe")?;
    let (over, port) = (Arc::new(over), Arc::new(Mutex::new(port)));
    let outgoing = [(Stream::Output, Some(ends.output)), (Stream::Errors, ends.errors)];
    let outgoing = outgoing.into_iter().filter_map(|(stream, from)| Some((stream, from?)));
    let relays: Vec<_> = outgoing
        .map(|(stream, from)| {
            let (over, port) = (Arc::clone(&over), Arc::clone(&port));
            thread::spawn(move || relay(from, &over, stream, &port))
        })
        .collect();

    let status = loop {
        match events.recv() {
            Ok(Event::Ended(status)) => break status.doing("wait for the program")?,
            Ok(Event::Host(ToGuest::Interrupt)) => process.interrupt(),
            Ok(Event::Host(ToGuest::Resize(size))) => process.resize(size),
            Ok(Event::Host(other)) => {
                return Err(Error::Unexpected(format!("the host said {other:?} to a running program")));
            }
            Err(_) => return Err(Error::Unexpected("nobody waits for the program".to_owned())),
        }
    };
    process.clean_up();
    drop(end);
    for relay in relays {
        let relayed = relay.join().map_err(|_| Error::Unexpected("a relay panicked".to_owned()))?;
        relayed.doing("pass on what the program wrote")?;
    }
    Ok(process::exit_code(status))
}

/// Passes on what the host sends to the program, until it ends. A program that does not listen is fine.
fn feed(mut port: File, input: File) -> io::Result<()> {
    let mut input = Some(input);
    while let Some((_, bytes)) = stream::read_piece(&mut port)? {
        let heard = !bytes.is_empty() && input.as_mut().is_some_and(|input| input.write_all(&bytes).is_ok());
        if !heard {
            input = None;
        }
    }
    Ok(())
}

/// Passes on what the program writes, until its end or, once the writing side of `over` is closed,
/// until there is no more of it now: what it left running may keep its output open for ever.
fn relay(mut from: File, over: &PipeReader, stream: Stream, port: &Mutex<File>) -> io::Result<()> {
    let mut buffer = vec![0; stream::LONGEST];
    loop {
        let mut ready =
            [PollFd::new(from.as_fd(), PollFlags::POLLIN), PollFd::new(over.as_fd(), PollFlags::POLLIN)];
        poll(&mut ready, PollTimeout::NONE)?;
        if !ready[0].any().unwrap_or(true) {
            return Ok(());
        }
        match from.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(length) => {
                let mut port = port.lock().unwrap_or_else(PoisonError::into_inner);
                stream::write_piece(&mut *port, stream, &buffer[..length])?;
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            // A terminal that nobody has open any more.
            Err(error) if error.raw_os_error() == Some(libc::EIO) => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}
