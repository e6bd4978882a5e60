// SPDX-License-Identifier: GPL-2.0

//! Where a long transfer is cut into bios.

/// What one bio may carry.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Segments: runs of contiguous memory.
    pub segments: usize,
    /// The longest segment in bytes.
    pub segment_bytes: usize,
    /// Bytes.
    pub bytes: usize,
    /// The logical block in bytes, of which a bio carries whole ones.
    pub block: usize,
}

/// How many bytes the next bio carries, of memory that begins with `runs`, each at most as long as a
/// segment may be: as many as the limits allow.
///
/// Zero if there is no whole block in as many runs as a bio may have segments.
pub fn next_bio(runs: impl Iterator<Item = usize>, limits: &Limits) -> usize {
    let mut bytes = 0;
    for run in runs.take(limits.segments) {
        debug_assert!(run <= limits.segment_bytes);
        bytes += run;
        if bytes >= limits.bytes {
            bytes = limits.bytes;
            break;
        }
    }
    bytes - bytes % limits.block
}
