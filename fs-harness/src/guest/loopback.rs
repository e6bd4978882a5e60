// SPDX-License-Identifier: MIT OR Apache-2.0

//! A TCP connection within the guest whose receiver takes nothing for now, so that what is sent stays with the sender.

use std::io::{self, Read};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::time::Duration;

use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::error::{Doing, Error, Result, count};
use super::memory::Memory;

/// How much the receiver keeps for who does not read, before the kernel doubles it.
const RECEIVED: i32 = 16 << 10;
/// Much more than that, and much less than the sender may keep.
const STUFFING: usize = 128 << 10;
const UNSENT: i32 = 512 << 10;
/// A reader makes room by segments, and loopback's own are larger than all of the above.
const SEGMENT: i32 = 1024;

/// How long something may take that takes no time: TCP asks a full receiver at growing intervals.
const PATIENCE: Duration = Duration::from_secs(20);

/// Who tells an error of a socket, and what it tells: of `linux/errqueue.h`.
const ORIGIN_ZEROCOPY: u8 = 5;
const ZEROCOPY_COPIED: u8 = 1;

/// Both ends of a connection.
pub struct Connection {
    sender: TcpStream,
    receiver: TcpStream,
}

impl Connection {
    /// Connects, and sends more than the receiver takes: what is sent from now on waits in the sender's queue.
    pub fn stuffed() -> Result<Self> {
        let connection = Self::connect().doing("connect within the guest")?;
        let stuffing = vec![0; STUFFING];
        // The end of a record: what follows goes into a packet of its own.
        // SAFETY: the bytes live for the whole call, which copies them.
        let sent =
            unsafe { libc::send(connection.sender(), stuffing.as_ptr().cast(), STUFFING, libc::MSG_EOR) };
        expect(count(sent).doing("fill the receiver")?, STUFFING)?;
        Ok(connection)
    }

    fn connect() -> io::Result<Self> {
        bring_up()?;
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        set(listener.as_raw_fd(), libc::SOL_SOCKET, libc::SO_RCVBUF, RECEIVED)?;
        set(listener.as_raw_fd(), libc::IPPROTO_TCP, libc::TCP_MAXSEG, SEGMENT)?;
        let sender = TcpStream::connect(listener.local_addr()?)?;
        set(sender.as_raw_fd(), libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, UNSENT)?;
        set(sender.as_raw_fd(), libc::SOL_SOCKET, libc::SO_ZEROCOPY, 1)?;
        let (receiver, _) = listener.accept()?;
        receiver.set_read_timeout(Some(PATIENCE))?;
        Ok(Self { sender, receiver })
    }

    /// The socket of the sender.
    pub fn sender(&self) -> RawFd {
        self.sender.as_raw_fd()
    }

    /// Sends all of `memory` by `MSG_ZEROCOPY`. The kernel uses the memory until [`Connection::wait_until_sent`]
    /// returns.
    pub fn send_zero_copy(&self, memory: &Memory) -> Result<()> {
        let (start, length) = (memory.pointer().cast(), memory.length());
        // SAFETY: the memory is mapped, and the kernel holds its pages for as long as it reads them.
        let sent = unsafe { libc::send(self.sender(), start, length, libc::MSG_ZEROCOPY) };
        expect(count(sent).doing("send by MSG_ZEROCOPY")?, length)
    }

    /// Receives what was sent after the stuffing: so many bytes.
    pub fn receive(&mut self, length: usize) -> Result<Vec<u8>> {
        let mut bytes = vec![0; STUFFING + length];
        self.receiver.read_exact(&mut bytes).doing("receive what was sent")?;
        Ok(bytes.split_off(STUFFING))
    }

    /// Waits until the kernel is done with what was sent by `MSG_ZEROCOPY`; whether it copied it after all.
    pub fn wait_until_sent(&self) -> Result<bool> {
        let milliseconds = PollTimeout::try_from(PATIENCE).unwrap_or(PollTimeout::MAX);
        let mut errors = [PollFd::new(self.sender.as_fd(), PollFlags::empty())];
        if poll(&mut errors, milliseconds).doing("wait for the notification of what was sent")? == 0 {
            let words = format!("no notification of what was sent came in {} s", PATIENCE.as_secs());
            return Err(Error::Unexpected(words));
        }
        notification(self.sender()).doing("read the notification of what was sent")
    }
}

/// Brings the loopback device up: in a guest that has just booted it is down.
fn bring_up() -> io::Result<()> {
    let socket = std::net::UdpSocket::bind(("0.0.0.0", 0))?;
    // SAFETY: all zeros are a request: numbers, and a name of no length.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (place, byte) in request.ifr_name.iter_mut().zip(b"lo") {
        *place = byte.cast_signed();
    }
    let flags = libc::IFF_UP | libc::IFF_RUNNING;
    request.ifr_ifru.ifru_flags = i16::try_from(flags).expect("the flags of a device have 16 bits");
    // SAFETY: the request reads the structure that it is made for.
    let set = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) };
    if set < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn set(socket: RawFd, level: i32, option: i32, value: i32) -> io::Result<()> {
    let size = libc::socklen_t::try_from(size_of::<i32>()).expect("a number has four bytes");
    // SAFETY: every option used here takes one number, which lives for the whole call.
    let set = unsafe { libc::setsockopt(socket, level, option, (&raw const value).cast(), size) };
    if set < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Takes one notification out of the socket's queue of errors; whether it says that the data was copied.
fn notification(socket: RawFd) -> io::Result<bool> {
    // Aligned as the kernel's headers of messages are.
    let mut control = [0_u64; 16];
    // SAFETY: all zeros are a message: no name, no data, no room for anything.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = size_of_val(&control);
    // SAFETY: the kernel writes no more than `msg_controllen` bytes there.
    count(unsafe { libc::recvmsg(socket, &raw mut message, libc::MSG_ERRQUEUE) })?;
    // SAFETY: the kernel has filled the message.
    let header = unsafe { libc::CMSG_FIRSTHDR(&raw const message) };
    if header.is_null() {
        return Err(io::Error::other("it says nothing"));
    }
    // SAFETY: IPv4 sockets put this structure there, wherever it lies.
    let error = unsafe { libc::CMSG_DATA(header).cast::<libc::sock_extended_err>().read_unaligned() };
    if error.ee_origin != ORIGIN_ZEROCOPY || error.ee_errno != 0 {
        return Err(io::Error::other(format!("it is an error {} instead", error.ee_errno)));
    }
    Ok(error.ee_code & ZEROCOPY_COPIED != 0)
}

fn expect(sent: usize, length: usize) -> Result<()> {
    if sent == length {
        return Ok(());
    }
    Err(Error::Unexpected(format!("send {length} bytes: only {sent} were taken")))
}
