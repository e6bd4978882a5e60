// SPDX-License-Identifier: MIT OR Apache-2.0

//! What a program of the user's reads and writes, on its way between host and guest: several streams of
//! bytes on one port, in pieces that say which stream they belong to.
//!
//! A piece is one byte for the stream, four for the length of the rest (little endian), and the rest. An
//! empty piece ends its stream.

use std::io::{self, ErrorKind, Read, Write};

/// Name of the virtio-serial port that carries the pieces.
pub const PORT: &str = "pinbed.stream";

/// The longest piece, without its head.
pub const LONGEST: usize = 1 << 16;

/// Length of a piece's head.
const HEAD: usize = 5;

/// Which of the streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// To the guest: a cpio archive of files that the program needs.
    Files = 0,
    /// To the guest: what the program reads on its standard input.
    Input = 1,
    /// To the host: what the program writes on its standard output, or on its terminal.
    Output = 2,
    /// To the host: what the program writes on its standard error.
    Errors = 3,
}

impl Stream {
    const ALL: [Self; 4] = [Self::Files, Self::Input, Self::Output, Self::Errors];
}

/// Writes one piece of at most [`LONGEST`] bytes.
pub fn write_piece(port: &mut impl Write, stream: Stream, bytes: &[u8]) -> io::Result<()> {
    let length = u32::try_from(bytes.len()).map_err(|_| io::Error::from(ErrorKind::InvalidInput))?;
    let mut piece = Vec::with_capacity(HEAD + bytes.len());
    piece.push(stream as u8);
    piece.extend_from_slice(&length.to_le_bytes());
    piece.extend_from_slice(bytes);
    port.write_all(&piece)
}

/// Copies `from` to the port until its end, and ends the stream. Each piece is what one read returned:
/// nothing waits for more.
pub fn send_all(port: &mut impl Write, stream: Stream, mut from: impl Read) -> io::Result<()> {
    let mut buffer = vec![0; LONGEST];
    loop {
        match from.read(&mut buffer) {
            Ok(length) => {
                write_piece(port, stream, &buffer[..length])?;
                if length == 0 {
                    return Ok(());
                }
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Reads one piece; none where the other side is gone.
pub fn read_piece(port: &mut impl Read) -> io::Result<Option<(Stream, Vec<u8>)>> {
    let mut head = [0; HEAD];
    if port.read(&mut head[..1])? == 0 {
        return Ok(None);
    }
    port.read_exact(&mut head[1..])?;
    let [kind, length @ ..] = head;
    let length = u32::from_le_bytes(length) as usize;
    let stream = Stream::ALL.into_iter().find(|&stream| stream as u8 == kind);
    let Some(stream) = stream.filter(|_| length <= LONGEST) else {
        return Err(io::Error::new(
            ErrorKind::InvalidData,
            format!("a piece of stream {kind}, {length} bytes"),
        ));
    };
    let mut bytes = vec![0; length];
    port.read_exact(&mut bytes)?;
    Ok(Some((stream, bytes)))
}

/// One stream of a port as a reader, up to the stream's end.
pub struct Incoming<R> {
    port: R,
    stream: Stream,
    /// What was read from the port and not yet taken.
    piece: io::Cursor<Vec<u8>>,
    ended: bool,
}

impl<R: Read> Incoming<R> {
    /// Expects nothing but this stream on the port until it has ended.
    pub fn new(port: R, stream: Stream) -> Self {
        Self { port, stream, piece: io::Cursor::default(), ended: false }
    }
}

impl<R: Read> Read for Incoming<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let length = self.piece.read(buffer)?;
            if length > 0 || self.ended || buffer.is_empty() {
                return Ok(length);
            }
            match read_piece(&mut self.port)? {
                Some((stream, bytes)) if stream == self.stream => {
                    self.ended = bytes.is_empty();
                    self.piece = io::Cursor::new(bytes);
                }
                Some((stream, _)) => {
                    let words = format!("{stream:?} where only {:?} may be", self.stream);
                    return Err(io::Error::new(ErrorKind::InvalidData, words));
                }
                None => self.ended = true,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_no_piece_is_refused() {
        let refused = |mut bytes: &[u8]| read_piece(&mut bytes).is_err();
        assert!(refused(&[9, 0, 0, 0, 0]), "an unknown stream");
        assert!(refused(&[1, 1, 0, 1, 0]), "a piece that is too long");
        assert!(refused(&[1, 2, 0, 0, 0, b'x']), "half a piece");
        assert_eq!(read_piece(&mut &b""[..]).unwrap(), None);
    }

    #[test]
    fn a_stream_ends_where_it_says_and_refuses_another() {
        let mut port = Vec::new();
        send_all(&mut port, Stream::Files, &b"archive"[..]).unwrap();
        write_piece(&mut port, Stream::Input, b"typed").unwrap();
        let mut port = port.as_slice();
        let mut files = Vec::new();
        Incoming::new(&mut port, Stream::Files).read_to_end(&mut files).unwrap();
        assert_eq!(files, b"archive");
        assert!(Incoming::new(port, Stream::Files).read_to_end(&mut files).is_err());
    }

    proptest! {
        #[test]
        fn bytes_survive_the_way(bytes in proptest::collection::vec(any::<u8>(), 0..200_000)) {
            let mut port = Vec::new();
            send_all(&mut port, Stream::Output, bytes.as_slice()).unwrap();
            let mut arrived = Vec::new();
            Incoming::new(port.as_slice(), Stream::Output).read_to_end(&mut arrived).unwrap();
            prop_assert_eq!(arrived, bytes);
        }
    }
}
