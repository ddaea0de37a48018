//! RFC 6052 translation prefixes: the part of NAT64 and DNS64 that both halves must agree on.
//!
//! A [`Pref64`] embeds an IPv4 address in an IPv6 address and takes it out again. [`special`] knows the IPv4 ranges
//! that are not globally reachable, and [`WellKnownPolicy`] applies the rule of RFC 6052 §3.1 to them.

#![forbid(unsafe_code)]

pub mod special;

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use ipnet::Ipv6Net;
use serde::{Deserialize, Serialize};

/// Bits 64 to 71 of an IPv4-embedded IPv6 address, which are zero (RFC 6052 §2.2, the "u" octet).
const U_OCTET: u128 = 0xff << 56;

/// A translation prefix of RFC 6052 §2.2: 32, 40, 48, 56, 64 or 96 bits, host bits zero, bits 64 to 71 zero.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Pref64 {
    bits: u128,
    /// The bits that the length covers.
    mask: u128,
    length: u8,
}

/// Why a prefix cannot be used for translation.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Pref64Error {
    /// The text is not an IPv6 prefix.
    #[error("`{0}` is not an IPv6 prefix; write it as address/length, for example 64:ff9b::/96")]
    Syntax(String),
    /// The length is not one of RFC 6052 §2.2.
    #[error("a translation prefix has 32, 40, 48, 56, 64 or 96 bits (RFC 6052 section 2.2), not {0}")]
    Length(u8),
    /// Bits after the prefix length are set.
    #[error("`{given}` has bits set after its length; the prefix is `{meant}`")]
    HostBits {
        /// The prefix as it was given.
        given: Ipv6Net,
        /// The same with these bits cleared.
        meant: Ipv6Net,
    },
    /// Bits 64 to 71 are set.
    #[error("bits 64 to 71 of `{0}` must be zero (RFC 6052 section 2.2)")]
    UOctet(Ipv6Net),
    /// The prefix cannot be a unicast destination.
    #[error("`{0}` is not a unicast prefix that can be routed to a translator")]
    NotUnicast(Ipv6Net),
}

impl Pref64 {
    /// The well-known prefix `64:ff9b::/96` (RFC 6052 §2.1).
    pub const WELL_KNOWN: Self = Self { bits: 0x0064_ff9b << 96, mask: u128::MAX << 32, length: 96 };

    /// The prefix lengths that RFC 6052 §2.2 allows, in bits.
    pub const LENGTHS: [u8; 6] = [32, 40, 48, 56, 64, 96];

    /// Checks a prefix against RFC 6052 §2.2.
    ///
    /// # Errors
    /// [`Pref64Error`] says which rule the prefix breaks.
    pub fn new(net: Ipv6Net) -> Result<Self, Pref64Error> {
        let length = net.prefix_len();
        if !Self::LENGTHS.contains(&length) {
            return Err(Pref64Error::Length(length));
        }
        if net.addr() != net.network() {
            return Err(Pref64Error::HostBits { given: net, meant: net.trunc() });
        }
        let bits = net.addr().to_bits();
        if bits & U_OCTET != 0 {
            return Err(Pref64Error::UOctet(net));
        }
        let first = net.addr();
        if first.is_multicast() || first.is_unicast_link_local() || bits >> 96 == 0 {
            return Err(Pref64Error::NotUnicast(net));
        }
        Ok(Self { bits, mask: u128::MAX << (128 - length), length })
    }

    /// The prefix as a network.
    #[must_use]
    pub fn net(&self) -> Ipv6Net {
        Ipv6Net::new_assert(Ipv6Addr::from_bits(self.bits), self.length)
    }

    /// The length in bits: 32, 40, 48, 56, 64 or 96.
    #[must_use]
    pub const fn length(&self) -> u8 {
        self.length
    }

    /// Whether this is `64:ff9b::/96`, to which RFC 6052 §3.1 applies.
    #[inline]
    #[must_use]
    pub fn is_well_known(&self) -> bool {
        *self == Self::WELL_KNOWN
    }

    /// Whether the first bits of `address` are this prefix.
    #[inline]
    #[must_use]
    pub const fn contains(&self, address: Ipv6Addr) -> bool {
        address.to_bits() & self.mask == self.bits
    }

    /// The IPv4-embedded IPv6 address of `address`, with a zero suffix (RFC 6052 §2.2, figure 1).
    #[inline]
    #[must_use]
    pub const fn embed(&self, address: Ipv4Addr) -> Ipv6Addr {
        let v4 = address.to_bits() as u128;
        let embedded = if self.length == 96 {
            v4
        } else {
            // The 32 bits follow the prefix; those from bit 64 on move 8 further, past the u octet.
            let straight = v4 << (96 - self.length);
            let before_u = straight >> 64 << 64;
            let after_u = straight & (u64::MAX as u128);
            before_u | after_u >> 8
        };
        Ipv6Addr::from_bits(self.bits | embedded)
    }

    /// The IPv4 address in `address`, or nothing if the address is not under this prefix or has bits 64 to 71 set.
    ///
    /// The suffix is ignored, as RFC 6052 §2.2 asks.
    #[inline]
    #[must_use]
    pub const fn extract(&self, address: Ipv6Addr) -> Option<Ipv4Addr> {
        let bits = address.to_bits();
        if bits & self.mask != self.bits {
            return None;
        }
        if self.length == 96 {
            return Some(Ipv4Addr::from_bits(low_32(bits)));
        }
        if bits & U_OCTET != 0 {
            return None;
        }
        let before_u = bits >> 64 << 64;
        let after_u = (bits & (u64::MAX as u128)) << 8;
        // The shift by 8 cannot reach into the first half: the u octet above it is zero.
        Some(Ipv4Addr::from_bits(low_32((before_u | after_u) >> (96 - self.length))))
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the low 32 bits are what is asked for")]
const fn low_32(bits: u128) -> u32 {
    bits as u32
}

impl fmt::Display for Pref64 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.net().fmt(f)
    }
}

impl fmt::Debug for Pref64 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.net().fmt(f)
    }
}

impl FromStr for Pref64 {
    type Err = Pref64Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let syntax = || Pref64Error::Syntax(text.to_owned());
        let (address, length) = text.split_once('/').ok_or_else(syntax)?;
        let address: Ipv6Addr = address.parse().map_err(|_| syntax())?;
        let length: u8 = length.parse().map_err(|_| syntax())?;
        let net = Ipv6Net::new(address, length).map_err(|_| Pref64Error::Length(length))?;
        Self::new(net)
    }
}

impl TryFrom<String> for Pref64 {
    type Error = Pref64Error;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Pref64> for String {
    fn from(prefix: Pref64) -> Self {
        prefix.to_string()
    }
}

/// What RFC 6052 §3.1 forbids: the well-known prefix must not carry IPv4 addresses that are not global.
///
/// Network-specific prefixes may carry any address, so this policy says nothing about them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WellKnownPolicy {
    /// The rule as the RFC has it.
    #[default]
    Strict,
    /// Any routable unicast address is allowed: RFC 1918 and RFC 6598 space, as clouds with private IPv4 need, and the
    /// documentation and benchmarking ranges.
    AllowPrivate,
}

impl WellKnownPolicy {
    /// Whether `address` may be represented under `prefix`.
    ///
    /// `192.0.0.170` and `192.0.0.171` always may, since `ipv4only.arpa` is how hosts find the prefix (RFC 7050 §2.2).
    #[inline]
    #[must_use]
    pub fn permits(self, prefix: Pref64, address: Ipv4Addr) -> bool {
        !prefix.is_well_known()
            || special::is_global(address)
            || (self == Self::AllowPrivate && special::is_routable_unicast(address))
            || special::IPV4ONLY_ARPA.contains(&address)
    }
}

#[cfg(test)]
mod tests;
