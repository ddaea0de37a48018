//! The entries of the tables: mappings (BIB entries), sessions (STEs) and subscribers.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::overlap::Scope;
use super::pool::{AddressIndex, External};
use super::tcp::TcpState;
use super::wheel::{Links, Tick};
use crate::packet::Protocol;

/// A mapping: the BIB entry of RFC 6146 §3.1.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mapping {
    pub(crate) internal: Ipv6Addr,
    pub(crate) internal_port: u16,
    pub(crate) external: External,
    pub(crate) protocol: Protocol,
    pub(crate) kind: MappingKind,
    /// A static mapping has its host's or its pool's end by now, so that it ends soon.
    pub(crate) ousted: bool,
    /// The destination that the mapping is for; everywhere for endpoint-independent ones.
    pub(crate) scope: Scope,
    pub(crate) subscriber: u32,
    pub(crate) sessions: u32,
    pub(crate) created: Tick,
}

/// How a mapping came to be, which decides when it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MappingKind {
    /// It was removed; the entry waits for reuse.
    Free,
    /// It goes with its last session.
    Dynamic,
    /// It is for one destination, shares its port with others, and goes with its session.
    Overlapping,
    /// The configuration has it; it stays.
    Static,
    /// The configuration had it; it goes with its last session.
    Former,
}

/// A session: the STE of RFC 6146 §3.1. Its protocol and the IPv6 side are in its mapping.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Session {
    pub(crate) mapping: u32,
    pub(crate) remote: Ipv4Addr,
    pub(crate) remote_port: u16,
    /// Meaningful for TCP only.
    pub(crate) state: TcpState,
    /// Which translation prefix the IPv6 host used, or is shown.
    pub(crate) prefix: u8,
    pub(crate) expires: Tick,
    pub(crate) links: Links,
    pub(crate) created: Tick,
    pub(crate) outbound: Tally,
    pub(crate) inbound: Tally,
    /// By direction: the sequence number that the receiver has said it expects next; zero while it has said nothing.
    pub(crate) expected: [u32; 2],
}

/// Packets and bytes of one direction, as [`crate::event::Traffic`] in less space.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    packets: u32,
    packets_high: u16,
    bytes_high: u16,
    bytes: u32,
}

impl Tally {
    /// Adds packets and bytes, in 48 bits each.
    #[inline]
    pub(crate) const fn add(&mut self, packets: u32, bytes: u32) {
        let carry;
        (self.packets, carry) = self.packets.overflowing_add(packets);
        self.packets_high = self.packets_high.wrapping_add(carry as u16);
        let carry;
        (self.bytes, carry) = self.bytes.overflowing_add(bytes);
        self.bytes_high = self.bytes_high.wrapping_add(carry as u16);
    }

    /// Those of the packet that opened a session.
    #[inline]
    pub(crate) const fn first(packets: u32, bytes: u32) -> Self {
        Self { packets, bytes, ..Self::ZERO }
    }

    /// As many as these.
    #[expect(clippy::cast_possible_truncation, reason = "the numbers are cut into their parts")]
    pub(crate) const fn of(traffic: crate::event::Traffic) -> Self {
        Self {
            packets: traffic.packets as u32,
            packets_high: (traffic.packets >> 32) as u16,
            bytes_high: (traffic.bytes >> 32) as u16,
            bytes: traffic.bytes as u32,
        }
    }

    pub(crate) const fn total(&self) -> crate::event::Traffic {
        crate::event::Traffic {
            packets: (self.packets_high as u64) << 32 | self.packets as u64,
            bytes: (self.bytes_high as u64) << 32 | self.bytes as u64,
        }
    }
}

/// A subscriber: a source prefix of the policy's length that has mappings.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Subscriber {
    /// The bits of the prefix; the rest is zero.
    pub(crate) prefix: u128,
    pub(crate) mappings: u32,
    pub(crate) sessions: u32,
    /// The pool address of its mappings (RFC 4787 REQ-2, "paired").
    pub(crate) address: AddressIndex,
    /// The second in which it opened its last mapping, and how many it opened in that.
    pub(crate) second: u32,
    pub(crate) opened: u32,
}

impl Subscriber {
    /// How many mappings it has opened in a second that is no earlier one.
    pub(crate) const fn opened_in(&self, second: u32) -> u32 {
        if self.second == second { self.opened } else { 0 }
    }
}

impl Session {
    /// What an entry that is free has as its mapping.
    pub(crate) const REMOVED: u32 = u32::MAX;

    /// A session that nobody has.
    pub(crate) const BLANK: Self = Self {
        mapping: Self::REMOVED,
        remote: Ipv4Addr::UNSPECIFIED,
        remote_port: 0,
        state: TcpState::V6Init,
        prefix: 0,
        expires: Tick::ZERO,
        links: Links::NEW,
        created: Tick::ZERO,
        outbound: Tally::ZERO,
        inbound: Tally::ZERO,
        expected: [0; 2],
    };
}

impl Tally {
    pub(crate) const ZERO: Self = Self { packets: 0, packets_high: 0, bytes_high: 0, bytes: 0 };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_fit_their_share_of_160_bytes() {
        assert!(size_of::<Session>() <= 64, "{}", size_of::<Session>());
        assert!(size_of::<Mapping>() <= 44, "{}", size_of::<Mapping>());
    }

    #[test]
    fn tallies_carry_beyond_32_bits() {
        let mut tally = Tally::default();
        for _ in 0..3 {
            tally.add(u32::MAX, u32::MAX);
        }
        assert_eq!(tally.total().packets, 3 * u64::from(u32::MAX));
        assert_eq!(tally.total().bytes, 3 * u64::from(u32::MAX));
    }
}
