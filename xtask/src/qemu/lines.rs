// SPDX-License-Identifier: MIT OR Apache-2.0

//! The lines of one of the guest's channels, of which no more than a bound is ever read: no guest can
//! fill the host's memory.

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader, Take};

/// What a channel says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// A line, without its end.
    Line(String),
    /// What came last was no whole line.
    Cut(String),
    /// As much came as is read at all.
    TooMuch,
}

/// Lines of bytes, since consoles print what they like; none after the end.
pub(super) struct Lines<R> {
    reader: Option<BufReader<Take<R>>>,
    /// The beginning of a line whose end has not come yet.
    begun: Vec<u8>,
}

impl<R: AsyncRead + Unpin> Lines<R> {
    /// At most `bytes` are read.
    pub(super) fn of(stream: R, bytes: u64) -> Self {
        Self { reader: Some(BufReader::new(stream.take(bytes))), begun: Vec::new() }
    }

    /// What comes next; at the end of the stream none, once, and then nothing ever again. It may be
    /// dropped while it waits: what was read until then is kept.
    pub(super) async fn next(&mut self) -> Option<Said> {
        let Some(reader) = &mut self.reader else { return std::future::pending().await };
        // An error is the end of the stream: QEMU is gone.
        let _ = reader.read_until(b'\n', &mut self.begun).await;
        let line = std::mem::take(&mut self.begun);
        let text = String::from_utf8_lossy(&line);
        if let Some(text) = text.strip_suffix('\n') {
            return Some(Said::Line(text.trim_end_matches('\r').to_owned()));
        }
        let too_much = reader.get_ref().limit() == 0;
        self.reader = None;
        if too_much {
            return Some(Said::TooMuch);
        }
        (!text.is_empty()).then(|| Said::Cut(text.into_owned()))
    }

    /// Whether more can come.
    pub(super) fn is_open(&self) -> bool {
        self.reader.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All that is heard of `bytes`, of which at most `bound` are read.
    fn heard(bytes: &[u8], bound: u64) -> Vec<Said> {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let mut lines = Lines::of(bytes, bound);
            let mut heard = Vec::new();
            while lines.is_open() {
                heard.extend(lines.next().await);
            }
            heard
        })
    }

    #[test]
    fn lines_come_without_their_ends_and_an_end_of_one_is_told_apart() {
        let line = |text: &str| Said::Line(text.to_owned());
        assert_eq!(heard(b"one\r\n\ntwo\n", 100), [line("one"), line(""), line("two")]);
        assert_eq!(heard(b"one\ntw", 100), [line("one"), Said::Cut("tw".to_owned())]);
        assert_eq!(heard(b"", 100), []);
    }

    #[test]
    fn no_more_than_the_bound_is_read() {
        assert_eq!(heard(&[b'x'; 1000], 100), [Said::TooMuch]);
        assert_eq!(heard(b"one\ntwo\nthree\n", 8).last(), Some(&Said::TooMuch));
    }

    #[test]
    fn a_wait_that_is_given_up_loses_nothing() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let (mut guest, host) = tokio::io::duplex(64);
            let mut lines = Lines::of(host, 100);
            tokio::io::AsyncWriteExt::write_all(&mut guest, b"half ").await.unwrap();
            let given_up = tokio::time::timeout(std::time::Duration::from_millis(10), lines.next()).await;
            assert!(given_up.is_err());
            tokio::io::AsyncWriteExt::write_all(&mut guest, b"and half\n").await.unwrap();
            assert_eq!(lines.next().await, Some(Said::Line("half and half".to_owned())));
        });
    }
}
