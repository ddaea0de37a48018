//! Packets of our own.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::Endpoints;
use crate::packet::{PacketBuf, Parsed4, Parsed6};

/// What the sender of a packet is told. Each has a type and code in both IP versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Hop limit or TTL exceeded in transit.
    HopLimitExceeded,
    /// Fragment reassembly time exceeded.
    ReassemblyTimeExceeded,
    /// Nobody listens on that port.
    PortUnreachable,
    /// The address cannot be reached.
    AddressUnreachable,
    /// Communication administratively prohibited.
    AdministrativelyProhibited,
    /// The transport is not supported; port unreachable in IPv6 (RFC 6146 §3.4).
    ProtocolUnreachable,
    /// The packet is larger than this MTU, in bytes of the version the sender speaks.
    PacketTooBig(u32),
    /// The header field at this offset in the packet is wrong.
    ParameterProblem(u16),
    /// A source route cannot be followed.
    SourceRouteFailed,
}

/// Whether `packet`, an IPv6 packet, parsed or not, may be answered by an ICMPv6 error (RFC 4443 §2.4 (e)).
#[must_use]
pub fn may_answer_v6(packet: &[u8]) -> bool {
    let _ = packet;
    false
}

/// Whether `packet`, an IPv4 packet, parsed or not, may be answered by an ICMP error (RFC 1812 §4.3.2.7).
#[must_use]
pub fn may_answer_v4(packet: &[u8]) -> bool {
    let _ = packet;
    false
}

/// Replaces an IPv6 packet by the ICMPv6 error for its sender. Ask [`may_answer_v6`] first.
pub fn icmpv6_error(packet: &mut PacketBuf<'_>, refusal: Refusal, source: Ipv6Addr) {
    let _ = (packet, refusal, source);
}

/// Replaces an IPv4 packet by the ICMP error for its sender. Ask [`may_answer_v4`] first.
pub fn icmpv4_error(packet: &mut PacketBuf<'_>, refusal: Refusal, source: Ipv4Addr, identification: u16) {
    let _ = (packet, refusal, source, identification);
}

/// Replaces a TCP segment by the RST that answers it (RFC 9293 §3.5.2), or says that it is not to be answered: it is a
/// RST itself, or no whole TCP segment.
#[must_use]
pub fn tcp_reset_v6(packet: &mut PacketBuf<'_>, parsed: &Parsed6) -> bool {
    let _ = (packet, parsed);
    false
}

/// As [`tcp_reset_v6`], for IPv4.
#[must_use]
pub fn tcp_reset_v4(packet: &mut PacketBuf<'_>, parsed: &Parsed4, identification: u16) -> bool {
    let _ = (packet, parsed, identification);
    false
}

/// The probe that asks an IPv6 endpoint whether its connection lives: a TCP segment without data, sequence and
/// acknowledgment number zero, only ACK set (RFC 6146 §3.5.2.2).
#[must_use]
pub fn probe_v6(endpoints: &Endpoints<Ipv6Addr>) -> [u8; 60] {
    let _ = endpoints;
    [0; 60]
}

/// As [`probe_v6`], for an IPv4 endpoint.
#[must_use]
pub fn probe_v4(endpoints: &Endpoints<Ipv4Addr>, identification: u16) -> [u8; 40] {
    let _ = (endpoints, identification);
    [0; 40]
}
