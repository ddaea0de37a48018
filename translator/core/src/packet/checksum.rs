//! The Internet checksum (RFC 1071), its incremental update (RFC 1624) and the pseudo-headers of both IP versions.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::PacketBuf;

/// A one's complement sum of 16-bit words in network order, not folded yet.
///
/// It is the same sum in either byte order (RFC 1071 §2 (B)), and 64 bits wide as well as 16 (C): words are added as the
/// machine reads them, as many as a register holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum(u64);

impl Sum {
    /// The sum of nothing.
    pub const ZERO: Self = Self(0);

    /// With a 16-bit word.
    #[inline]
    #[must_use]
    pub const fn word(self, word: u16) -> Self {
        self.add(word.to_be() as u64)
    }

    /// With a 32-bit value, two words.
    #[inline]
    #[must_use]
    pub const fn long(self, value: u32) -> Self {
        self.add(value.to_be() as u64)
    }

    /// With four bytes as they stand in a packet, two words.
    #[inline]
    #[must_use]
    pub const fn long_bytes(self, bytes: [u8; 4]) -> Self {
        self.add(u32::from_ne_bytes(bytes) as u64)
    }

    /// With an IPv4 address.
    #[inline]
    #[must_use]
    pub const fn v4(self, address: Ipv4Addr) -> Self {
        self.long_bytes(address.octets())
    }

    /// With an IPv6 address.
    #[inline]
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "the address is taken apart")]
    pub const fn v6(self, address: Ipv6Addr) -> Self {
        let bits = u128::from_ne_bytes(address.octets());
        self.add((bits >> 64) as u64).add(bits as u64)
    }

    /// With the words of `bytes`, a last odd byte filled up with zero.
    #[must_use]
    pub fn bytes(self, bytes: &[u8]) -> Self {
        let (longs, rest) = bytes.as_chunks::<4>();
        let mut last = [0; 4];
        last[..rest.len()].copy_from_slice(rest);
        // No carry can come of the words of a packet, so that this adds several at a time.
        self.add(longs.iter().chain([&last]).map(|long| u64::from(u32::from_ne_bytes(*long))).sum())
    }

    /// With what `other` has.
    #[inline]
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        self.add(other.0)
    }

    /// The sum in 16 bits, carries added back. It is zero only if all that was added is zero.
    #[inline]
    #[must_use]
    pub const fn fold(self) -> u16 {
        // Adding the halves both ways round puts into the upper one their sum with its carry.
        let sum = (self.0.wrapping_add(self.0.rotate_left(32)) >> 32) as u32;
        u16::from_be((sum.wrapping_add(sum.rotate_left(16)) >> 16) as u16)
    }

    /// The same sum with `other` taken away.
    #[inline]
    const fn minus(self, other: Self) -> Self {
        self.add(!other.0)
    }

    #[inline]
    const fn add(self, words: u64) -> Self {
        let (sum, carry) = self.0.overflowing_add(words);
        Self(sum + carry as u64)
    }

    /// The checksum: the complement of the folded sum.
    #[inline]
    #[must_use]
    pub const fn checksum(self) -> u16 {
        !self.fold()
    }
}

/// The sum of IPv4's pseudo-header (RFC 9293 §3.1); `len` is that of transport header and payload in bytes.
#[inline]
#[must_use]
pub const fn pseudo_v4(source: Ipv4Addr, destination: Ipv4Addr, protocol: u8, len: u32) -> Sum {
    Sum::ZERO.v4(source).v4(destination).word(protocol as u16).long(len)
}

/// The sum of IPv6's pseudo-header (RFC 8200 §8.1); `len` is that of transport header and payload in bytes.
#[inline(always)]
#[must_use]
pub const fn pseudo_v6(source: Ipv6Addr, destination: Ipv6Addr, protocol: u8, len: u32) -> Sum {
    Sum::ZERO.v6(source).v6(destination).word(protocol as u16).long(len)
}

/// `checksum` after `removed` has made place for `added` in what it covers (RFC 1624 §3, equation 3).
///
/// A checksum that was wrong is as wrong as before.
#[inline(always)]
#[must_use]
pub const fn update(checksum: u16, removed: Sum, added: Sum) -> u16 {
    added.word(!checksum).minus(removed).checksum()
}

/// Computes a checksum that was left to the device, for a packet that the device cannot finish.
pub fn complete(packet: &mut PacketBuf<'_>) {
    let Some(partial) = packet.offload.checksum.take() else { return };
    let covered = packet.bytes_mut().get_mut(usize::from(partial.start)..).unwrap_or_default();
    let checksum = Sum::ZERO.bytes(covered).checksum();
    let at = usize::from(partial.offset);
    if let Some(field) = covered.get_mut(at..).and_then(|rest| rest.first_chunk_mut()) {
        // Zero means "no checksum" in UDP; its other representation is right everywhere.
        *field = if checksum == 0 { 0xffff_u16 } else { checksum }.to_be_bytes();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// RFC 1071 §4.1, word by word.
    fn naive(bytes: &[u8]) -> u16 {
        let mut sum = 0_u32;
        for pair in bytes.chunks(2) {
            sum += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
            sum = (sum & 0xffff) + (sum >> 16);
        }
        u16::try_from(sum).unwrap()
    }

    #[test]
    fn the_example_of_rfc_1071_adds_up() {
        let sum = Sum::ZERO.bytes(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]);
        assert_eq!(sum.fold(), 0xddf2);
    }

    #[test]
    fn the_example_of_rfc_1624_updates() {
        assert_eq!(update(0xdd2f, Sum::ZERO.word(0x5555), Sum::ZERO.word(0x3285)), 0x0000);
    }

    proptest! {
        #[test]
        fn fast_and_naive_sums_are_the_same(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert_eq!(Sum::ZERO.bytes(&bytes).fold(), naive(&bytes));
        }

        #[test]
        fn addresses_add_up_like_their_bytes(bits in any::<u128>()) {
            let address = Ipv6Addr::from_bits(bits);
            prop_assert_eq!(Sum::ZERO.v6(address).fold(), naive(&address.octets()));
        }

        #[test]
        fn an_update_gives_what_a_full_computation_gives(
            mut words in proptest::collection::vec(any::<u16>(), 2..40),
            new in any::<u16>(),
        ) {
            // Something that is never zero stands for the pseudo-header.
            words[0] |= 1;
            let sum = |words: &[u16]| words.iter().fold(Sum::ZERO, |sum, word| sum.word(*word));
            let before = sum(&words).checksum();
            let old = std::mem::replace(&mut words[1], new);
            let updated = update(before, Sum::ZERO.word(old), Sum::ZERO.word(new));
            prop_assert_eq!(updated, sum(&words).checksum());
        }

        #[test]
        fn a_wrong_checksum_stays_exactly_as_wrong(right in any::<u16>(), wrong in any::<u16>(), a in 1..u32::MAX, b in 1..u32::MAX) {
            let update = |checksum| update(checksum, Sum::ZERO.long(a), Sum::ZERO.long(b));
            let distance = |one: u16, other: u16| Sum::ZERO.word(one).word(!other).fold() % 0xffff;
            prop_assert_eq!(distance(update(right), update(wrong)), distance(right, wrong));
        }
    }
}
