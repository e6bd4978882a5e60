// SPDX-License-Identifier: MIT OR Apache-2.0

//! Between the user and a program in the guest: standard input goes in, output comes out. Two threads,
//! since what the user's side does may block for as long as it likes.

use std::io::{self, Read, Write, stderr, stdin, stdout};
use std::os::unix::net::UnixStream;
use std::thread;

use anyhow::{Context, Result};
use fs_harness::stream::{self, Stream};
use tokio::net::UnixStream as Port;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;

use super::channels::Event;
use crate::interrupt;
use crate::tty::{self, Raw};

/// A relay under way.
pub(super) struct Relay {
    /// Tells how passing on the program's output ended; none once it was heard.
    output: Option<oneshot::Receiver<io::Result<()>>>,
    /// Tells that the terminal has another size.
    resized: Signal,
    /// While the program has a terminal.
    _raw: Option<Raw>,
}

impl Relay {
    /// Passes on the luggage, and from then on what the user and the program say; every key of the
    /// terminal if the program has one of its own.
    pub(super) fn start(port: Port, luggage: Vec<u8>, on_terminal: bool) -> Result<Self> {
        let doing = "take over the port of the streams";
        let outgoing = port.into_std().context(doing)?;
        outgoing.set_nonblocking(false).context(doing)?;
        let incoming = outgoing.try_clone().context(doing)?;
        let (done, output) = oneshot::channel();
        // This one ends with the process: nothing wakes it while it waits for the user.
        thread::spawn(move || speak(outgoing, &luggage, on_terminal));
        // That nobody waits for the end is fine.
        thread::spawn(move || drop(done.send(listen(incoming))));
        let resized = signal(SignalKind::window_change()).context("watch the terminal's size")?;
        let raw = on_terminal.then(Raw::begin).transpose()?;
        Ok(Self { output: Some(output), resized, _raw: raw })
    }

    /// What the event loop must know: the terminal's new size, or that the output cannot be passed on.
    pub(super) async fn next(&mut self) -> Event {
        loop {
            tokio::select! {
                error = failed(&mut self.output) => return Event::Unheard(error),
                _ = self.resized.recv() => {
                    if let Some(size) = tty::size() {
                        return Event::Resized(size);
                    }
                }
            }
        }
    }

    /// Waits until all output is passed on.
    pub(super) async fn drained(&mut self) {
        if let Some(output) = self.output.take() {
            // Whether somebody read it to the end makes no difference any more.
            let _ = output.await;
        }
    }
}

/// Why the output could not be passed on; nothing ever where it was, to the guest's end.
async fn failed(output: &mut Option<oneshot::Receiver<io::Result<()>>>) -> io::Error {
    if let Some(receiver) = output {
        let ended = receiver.await;
        *output = None;
        if let Ok(Err(error)) = ended {
            return error;
        }
    }
    std::future::pending().await
}

/// Errors mean that the guest is gone, which the event loop sees too.
fn speak(mut port: UnixStream, luggage: &[u8], on_terminal: bool) {
    let sent = stream::send_all(&mut port, Stream::Files, luggage);
    let input = stdin().lock();
    let _ = sent.and_then(|()| {
        if on_terminal {
            stream::send_all(&mut port, Stream::Input, Keys(input))
        } else {
            stream::send_all(&mut port, Stream::Input, input)
        }
    });
}

/// Ctrl-], as in telnet: ends a guest that answers no key any more.
const WAY_OUT: u8 = 0x1d;

/// Keys, until the one that ends the guest.
struct Keys<R>(R);

impl<R: Read> Read for Keys<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.0.read(buffer)?;
        if buffer[..length].contains(&WAY_OUT) {
            interrupt::raise();
            return Ok(0);
        }
        Ok(length)
    }
}

fn listen(mut port: UnixStream) -> io::Result<()> {
    // A guest that was killed may leave half a piece.
    while let Ok(Some((stream, bytes))) = stream::read_piece(&mut port) {
        match stream {
            Stream::Errors => stderr().write_all(&bytes)?,
            _ => stdout().write_all(&bytes).and_then(|()| stdout().flush())?,
        }
    }
    Ok(())
}
