//! Packets of our own: ICMP errors, TCP resets and probes.

mod answer;
mod tcp;

use std::net::{Ipv4Addr, Ipv6Addr};

pub use self::answer::{may_answer_v4, may_answer_v6};
pub use self::tcp::{is_reset_due, probe_v4, probe_v6, reset_v4, reset_v6, tcp_reset_v4, tcp_reset_v6};
use super::header::{V4_LEN, V4Header, V6_LEN, V6Header};
use crate::packet::checksum::{self, Sum, pseudo_v6};
use crate::packet::{PacketBuf, protocol_number};

/// Hop limit and TTL of packets of our own (IANA's recommended default, RFC 1700).
const HOP_LIMIT: u8 = 64;
/// TOS of ICMP errors: precedence "internetwork control" (RFC 1812 §4.3.2.5).
const INTERNETWORK_CONTROL: u8 = 6 << 5;

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

impl Refusal {
    /// Type, code and second word in ICMPv6 (RFC 4443 §3).
    const fn icmpv6(self) -> (u8, u8, u32) {
        match self {
            // No route to destination, as its ICMP counterpart is translated (RFC 7915 §4.2).
            Self::SourceRouteFailed => (1, 0, 0),
            Self::AdministrativelyProhibited => (1, 1, 0),
            Self::AddressUnreachable => (1, 3, 0),
            Self::PortUnreachable | Self::ProtocolUnreachable => (1, 4, 0),
            Self::PacketTooBig(mtu) => (2, 0, mtu),
            Self::HopLimitExceeded => (3, 0, 0),
            Self::ReassemblyTimeExceeded => (3, 1, 0),
            Self::ParameterProblem(pointer) => (4, 0, pointer as u32),
        }
    }

    /// Type, code and second word in ICMP (RFC 792, RFC 1191 §4, RFC 1812 §5.2.7.1).
    const fn icmpv4(self) -> (u8, u8, u32) {
        match self {
            Self::AddressUnreachable => (3, 1, 0),
            Self::ProtocolUnreachable => (3, 2, 0),
            Self::PortUnreachable => (3, 3, 0),
            Self::PacketTooBig(mtu) => (3, 4, if mtu < 0xffff { mtu } else { 0xffff }),
            Self::SourceRouteFailed => (3, 5, 0),
            Self::AdministrativelyProhibited => (3, 13, 0),
            Self::HopLimitExceeded => (11, 0, 0),
            Self::ReassemblyTimeExceeded => (11, 1, 0),
            // The field has 8 bits, and a header 60 bytes.
            Self::ParameterProblem(pointer) => (12, 0, (pointer as u32 & 0xff) << 24),
        }
    }
}

/// Replaces an IPv6 packet by the ICMPv6 error for its sender, with as much of the packet as 1280 bytes hold. Ask
/// [`may_answer_v6`] first. What is no IPv6 header stays as it is.
#[cold]
pub fn icmpv6_error(packet: &mut PacketBuf<'_>, refusal: Refusal, source: Ipv6Addr) {
    let total_len = packet.bytes().first_chunk::<40>().map(|header| u16::from_be_bytes([header[4], header[5]]));
    let sender = packet.bytes().get(8..24).and_then(|address| address.first_chunk::<16>()).copied();
    let (Some(payload_len), Some(sender)) = (total_len, sender) else { return };
    let invoking = invoking_packet(packet, usize::from(V6_LEN) + usize::from(payload_len));

    let mut error = Error::new(V6_LEN.into(), 1280, refusal.icmpv6(), invoking);
    let destination = Ipv6Addr::from(sender);
    let header = V6Header {
        traffic_class: 0,
        flow_label: 0,
        payload_len: error.message_len(),
        next_header: protocol_number::ICMPV6,
        hop_limit: HOP_LIMIT,
        source,
        destination,
    };
    let pseudo = pseudo_v6(source, destination, protocol_number::ICMPV6, error.message_len().into());
    packet.replace(error.finish(&header.to_bytes(), pseudo));
}

/// Replaces an IPv4 packet by the ICMP error for its sender, with as much of the packet as 576 bytes hold
/// (RFC 1812 §4.3.2.3). Ask [`may_answer_v4`] first. What is no IPv4 header stays as it is.
#[cold]
pub fn icmpv4_error(packet: &mut PacketBuf<'_>, refusal: Refusal, source: Ipv4Addr, identification: u16) {
    let Some(header) = packet.bytes().first_chunk::<20>() else { return };
    let destination = Ipv4Addr::new(header[12], header[13], header[14], header[15]);
    let total_len = u16::from_be_bytes([header[2], header[3]]);
    let invoking = invoking_packet(packet, total_len.into());

    let mut error = Error::new(V4_LEN.into(), 576, refusal.icmpv4(), invoking);
    let header = V4Header {
        traffic_class: INTERNETWORK_CONTROL,
        total_len: V4_LEN + error.message_len(),
        identification,
        flags_and_offset: 0,
        ttl: HOP_LIMIT,
        protocol: protocol_number::ICMP,
        source,
        destination,
    };
    packet.replace(error.finish(&header.to_bytes(), Sum::ZERO));
}

/// The packet that an error is about, of which `total_len` bytes are no padding, with its checksum as it would have been
/// sent. A super-packet has none as a whole.
fn invoking_packet<'p>(packet: &'p mut PacketBuf<'_>, total_len: usize) -> &'p [u8] {
    packet.truncate(total_len);
    if packet.offload.gso.is_none() {
        checksum::complete(packet);
    }
    packet.bytes()
}

/// An ICMP error that is being put together.
struct Error {
    bytes: [u8; 1280],
    header_len: usize,
    len: usize,
}

impl Error {
    /// An error of `max` bytes at most, of which `header_len` are the IP header, without that and without a checksum.
    fn new(header_len: usize, max: usize, (kind, code, rest): (u8, u8, u32), invoking: &[u8]) -> Self {
        let mut bytes = [0; 1280];
        let start = header_len + 8;
        let invoking = invoking.get(..max - start).unwrap_or(invoking);
        let [a, b, c, d] = rest.to_be_bytes();
        bytes[header_len..start].copy_from_slice(&[kind, code, 0, 0, a, b, c, d]);
        bytes[start..start + invoking.len()].copy_from_slice(invoking);
        Self { bytes, header_len, len: start + invoking.len() }
    }

    fn message_len(&self) -> u16 {
        u16::try_from(self.len - self.header_len).unwrap_or_default()
    }

    fn finish(&mut self, header: &[u8], pseudo: Sum) -> &[u8] {
        let (front, message) = self.bytes[..self.len].split_at_mut(self.header_len);
        front.copy_from_slice(header);
        let checksum = pseudo.bytes(message).checksum();
        message[2..4].copy_from_slice(&checksum.to_be_bytes());
        &self.bytes[..self.len]
    }
}

#[cfg(test)]
mod tests;
