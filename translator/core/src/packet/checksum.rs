//! The Internet checksum.

/// The one's complement sum of `bytes`, folded to 16 bits and not complemented.
#[must_use]
pub fn sum(bytes: &[u8]) -> u16 {
    let _ = bytes;
    0
}
