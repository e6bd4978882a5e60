// SPDX-License-Identifier: MIT OR Apache-2.0

//! Test data: bytes that tell whose they are and where they belong.

/// A stream of bytes, different for each number. Every word depends on its offset, so that data at
/// the wrong place differs from data at the right one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pattern(pub u8);

impl Pattern {
    /// The bytes of the stream from `offset` on.
    pub fn bytes(self, offset: usize, length: usize) -> Vec<u8> {
        let words = offset / 8..(offset + length).div_ceil(8);
        let mut bytes = Vec::with_capacity(8 * words.len());
        for word in words {
            bytes.extend_from_slice(&self.word(word));
        }
        bytes[offset % 8..][..length].to_vec()
    }

    /// The first byte of `data`, found at `offset` of the stream, that is not the pattern's.
    pub fn difference(self, offset: usize, data: &[u8]) -> Option<Difference> {
        let mut pairs = self.bytes(offset, data.len()).into_iter().zip(data.iter().copied());
        let at = pairs.position(|(expected, found)| expected != found)?;
        Some(Difference { at: offset + at, expected: self.bytes(offset + at, 1)[0], found: data[at] })
    }

    /// Eight bytes, the `index`th of the stream.
    fn word(self, index: usize) -> [u8; 8] {
        let word = (index as u64) << 8 | u64::from(self.0);
        // The finaliser of SplitMix64: neighbouring words share no bytes to speak of.
        let mut mixed = word.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ mixed >> 31).to_le_bytes()
    }
}

/// Where data is not what it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Byte offset in the stream.
    pub at: usize,
    /// The pattern's byte.
    pub expected: u8,
    /// The byte that is there.
    pub found: u8,
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { at, expected, found } = self;
        write!(f, "byte {at} is {found:#04x}, not {expected:#04x}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_wrong_byte_is_found_and_named() {
        let mut data = Pattern(1).bytes(4096, 4096);
        assert_eq!(Pattern(1).difference(4096, &data), None);
        data[17] ^= 1;
        let difference = Pattern(1).difference(4096, &data).unwrap();
        assert_eq!(difference.at, 4096 + 17);
        assert_eq!(difference.found, difference.expected ^ 1);
    }

    #[test]
    fn another_pattern_and_another_place_differ() {
        assert!(Pattern(2).difference(0, &Pattern(1).bytes(0, 64)).is_some());
        assert!(Pattern(1).difference(0, &Pattern(1).bytes(4096, 64)).is_some());
    }
}
