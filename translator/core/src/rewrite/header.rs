//! The headers that translation writes.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::packet::checksum::Sum;
use crate::packet::{Fragment, Parsed, Upper, protocol_number};
use crate::policy::HeaderPolicy;

/// Bytes of an IPv4 header without options.
pub(super) const V4_LEN: u16 = 20;
/// Bytes of an IPv6 header.
pub(super) const V6_LEN: u16 = 40;
/// Bytes of a Fragment header.
pub(super) const FRAGMENT_LEN: u16 = 8;

/// DF of the IPv4 header, in the word of flags and offset.
pub(super) const DONT_FRAGMENT: u16 = 0x4000;
const MORE_FRAGMENTS: u16 = 0x2000;

/// What an IPv4 header without options says. Lengths are in bytes.
#[derive(Clone, Copy)]
pub(super) struct V4Header {
    pub(super) traffic_class: u8,
    pub(super) total_len: u16,
    pub(super) identification: u16,
    pub(super) flags_and_offset: u16,
    pub(super) ttl: u8,
    pub(super) protocol: u8,
    pub(super) source: Ipv4Addr,
    pub(super) destination: Ipv4Addr,
}

impl V4Header {
    #[inline(always)]
    pub(super) fn to_bytes(self) -> [u8; 20] {
        let length = u32::from_be_bytes([0x45, self.traffic_class, 0, 0]) | u32::from(self.total_len);
        let fragment = u32::from(self.identification) << 16 | u32::from(self.flags_and_offset);
        let transport = u32::from_be_bytes([self.ttl, self.protocol, 0, 0]);
        let sum = Sum::ZERO.long(length).long(fragment).long(transport).v4(self.source).v4(self.destination);
        let transport = transport | u32::from(sum.checksum());
        let mut bytes = [0; 20];
        bytes[0..4].copy_from_slice(&length.to_be_bytes());
        bytes[4..8].copy_from_slice(&fragment.to_be_bytes());
        bytes[8..12].copy_from_slice(&transport.to_be_bytes());
        bytes[12..16].copy_from_slice(&self.source.octets());
        bytes[16..20].copy_from_slice(&self.destination.octets());
        bytes
    }
}

/// What an IPv6 header says. Lengths are in bytes.
#[derive(Clone, Copy)]
pub(super) struct V6Header {
    pub(super) traffic_class: u8,
    pub(super) flow_label: u32,
    pub(super) payload_len: u16,
    pub(super) next_header: u8,
    pub(super) hop_limit: u8,
    pub(super) source: Ipv6Addr,
    pub(super) destination: Ipv6Addr,
}

impl V6Header {
    #[inline(always)]
    pub(super) fn to_bytes(self) -> [u8; 40] {
        let first = 6 << 28 | u32::from(self.traffic_class) << 20 | self.flow_label & 0xf_ffff;
        let mut bytes = [0; 40];
        bytes[0..4].copy_from_slice(&first.to_be_bytes());
        bytes[4..6].copy_from_slice(&self.payload_len.to_be_bytes());
        bytes[6] = self.next_header;
        bytes[7] = self.hop_limit;
        bytes[8..24].copy_from_slice(&self.source.octets());
        bytes[24..40].copy_from_slice(&self.destination.octets());
        bytes
    }
}

/// The `N` bytes at `at` of a header, which has them.
#[inline(always)]
pub(super) fn part<const N: usize>(header: &[u8], at: usize) -> &[u8; N] {
    header.get(at..).and_then(|rest| rest.first_chunk()).unwrap_or(const { &[0; N] })
}

/// A Fragment header (RFC 8200 §4.5).
pub(super) fn fragment_header(next: u8, at: Fragment, identification: u32) -> [u8; 8] {
    let [a, b] = (at.offset & 0xfff8 | u16::from(at.more)).to_be_bytes();
    let [c, d, e, f] = identification.to_be_bytes();
    [next, 0, a, b, c, d, e, f]
}

/// IPv4's word of flags and offset for a fragment, DF clear (RFC 7915 §5.1.1).
pub(super) const fn flags_and_offset(at: Option<Fragment>) -> u16 {
    match at {
        Some(Fragment { offset, more }) => offset / 8 + if more { MORE_FRAGMENTS } else { 0 },
        None => 0,
    }
}

/// The TOS octet that a packet gets in IPv4 (RFC 7915 §5.1).
#[inline(always)]
pub(super) const fn tos(traffic_class: u8, policy: &HeaderPolicy) -> u8 {
    if policy.copy_traffic_class { traffic_class } else { policy.tos }
}

/// The traffic class that a packet gets in IPv6 (RFC 7915 §4.1).
#[inline(always)]
pub(super) const fn traffic_class(tos: u8, policy: &HeaderPolicy) -> u8 {
    if policy.copy_traffic_class { tos } else { 0 }
}

/// The protocol number that goes with what a packet carries in the other IP version: its own ICMP, or the same.
#[inline]
pub(super) const fn translated_protocol<A: Copy>(parsed: &Parsed<A>, from_icmp: u8, to_icmp: u8) -> u8 {
    match parsed.upper {
        Upper::Tcp { .. } => protocol_number::TCP,
        Upper::Udp { .. } => protocol_number::UDP,
        Upper::Echo { .. } | Upper::IcmpError { .. } | Upper::OtherIcmp { .. } => to_icmp,
        Upper::Other(protocol) | Upper::Tail(protocol) if protocol == from_icmp => to_icmp,
        Upper::Other(protocol) | Upper::Tail(protocol) => protocol,
    }
}
