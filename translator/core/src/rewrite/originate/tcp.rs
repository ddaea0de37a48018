//! TCP segments of our own.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::super::Endpoints;
use super::super::header::{DONT_FRAGMENT, V4_LEN, V4Header, V6Header};
use super::super::transport;
use super::HOP_LIMIT;
use crate::packet::checksum::{Sum, pseudo_v4, pseudo_v6};
use crate::packet::{PacketBuf, Parsed, Parsed4, Parsed6, Upper, protocol_number, tcp_flags};

/// Bytes of a TCP header without options.
const HEADER_LEN: u16 = 20;

/// Whether a packet is one that a RST answers (RFC 9293 §3.10.7.1): a TCP segment without RST, and no fragment.
#[must_use]
pub fn is_reset_due<A>(parsed: &Parsed<A>) -> bool {
    matches!(parsed.upper, Upper::Tcp { flags, .. } if flags & tcp_flags::RST == 0) && parsed.fragment.is_none()
}

/// Replaces an IPv6 TCP segment by the RST that answers it (RFC 9293 §3.5.2, §3.10.7.1), and says whether there is one:
/// not for a RST, a fragment or what is no TCP; the packet is then as it was.
#[must_use]
#[cold]
pub fn tcp_reset_v6(packet: &mut PacketBuf<'_>, parsed: &Parsed6) -> bool {
    let Some(reset) = Segment::reset(packet, parsed) else { return false };
    packet.replace(&v6(&answer(parsed), reset));
    true
}

/// Replaces an IPv4 TCP segment by the RST that answers it; see [`tcp_reset_v6`].
#[must_use]
#[cold]
pub fn tcp_reset_v4(packet: &mut PacketBuf<'_>, parsed: &Parsed4, identification: u16) -> bool {
    let Some(reset) = Segment::reset(packet, parsed) else { return false };
    packet.replace(&v4(&answer(parsed), reset, identification));
    true
}

/// The probe that asks an IPv6 endpoint, the destination, whether its connection lives: a TCP segment without data,
/// sequence and acknowledgment number zero, only ACK set (RFC 6146 §3.5.2.2).
#[must_use]
pub fn probe_v6(endpoints: &Endpoints<Ipv6Addr>) -> [u8; 60] {
    v6(endpoints, Segment::PROBE)
}

/// The probe for an IPv4 endpoint; see [`probe_v6`].
#[must_use]
pub fn probe_v4(endpoints: &Endpoints<Ipv4Addr>, identification: u16) -> [u8; 40] {
    v4(endpoints, Segment::PROBE, identification)
}

/// The RST that ends the connection of an IPv6 endpoint, the destination, which expects `sequence` next: no other number is
/// sure to be accepted (RFC 5961 §3.2).
#[must_use]
pub fn reset_v6(endpoints: &Endpoints<Ipv6Addr>, sequence: u32) -> [u8; 60] {
    v6(endpoints, Segment::ending(sequence))
}

/// The RST for an IPv4 endpoint; see [`reset_v6`].
#[must_use]
pub fn reset_v4(endpoints: &Endpoints<Ipv4Addr>, sequence: u32, identification: u16) -> [u8; 40] {
    v4(endpoints, Segment::ending(sequence), identification)
}

/// A TCP segment without data, options or window.
#[derive(Clone, Copy)]
struct Segment {
    sequence: u32,
    acknowledgment: u32,
    flags: u8,
}

impl Segment {
    const PROBE: Self = Self { sequence: 0, acknowledgment: 0, flags: tcp_flags::ACK };

    const fn ending(sequence: u32) -> Self {
        Self { sequence, acknowledgment: 0, flags: tcp_flags::RST }
    }

    fn reset<A>(packet: &PacketBuf<'_>, parsed: &Parsed<A>) -> Option<Self> {
        let Upper::Tcp { flags, .. } = parsed.upper else { return None };
        if !is_reset_due(parsed) {
            return None;
        }
        let header = packet.bytes().get(parsed.header_len.into()..)?.first_chunk::<20>()?;
        let [_, _, _, _, a, b, c, d, e, f, g, h, data_offset, ..] = *header;
        let sequence = u32::from_be_bytes([a, b, c, d]);
        if flags & tcp_flags::ACK != 0 {
            return Some(Self::ending(u32::from_be_bytes([e, f, g, h])));
        }
        let headers = u32::from(parsed.header_len) + u32::from(data_offset >> 4) * 4;
        let data = parsed.total_len.saturating_sub(headers);
        // SYN and FIN are counted like a byte of data.
        let controls = u32::from(flags & tcp_flags::SYN != 0) + u32::from(flags & tcp_flags::FIN != 0);
        let acknowledgment = sequence.wrapping_add(data).wrapping_add(controls);
        Some(Self { sequence: 0, acknowledgment, flags: tcp_flags::RST | tcp_flags::ACK })
    }

    fn to_bytes(self, source_port: u16, destination_port: u16, pseudo: Sum) -> [u8; HEADER_LEN as usize] {
        let mut bytes = [0; HEADER_LEN as usize];
        bytes[0..4].copy_from_slice(&transport::ports(source_port, destination_port));
        bytes[4..8].copy_from_slice(&self.sequence.to_be_bytes());
        bytes[8..12].copy_from_slice(&self.acknowledgment.to_be_bytes());
        // Five 32-bit words.
        bytes[12] = 5 << 4;
        bytes[13] = self.flags;
        let checksum = pseudo.bytes(&bytes).checksum();
        bytes[16..18].copy_from_slice(&checksum.to_be_bytes());
        bytes
    }
}

/// From where a segment was going to where it came from.
fn answer<A: Copy>(parsed: &Parsed<A>) -> Endpoints<A> {
    let (source_port, destination_port) = match parsed.upper {
        Upper::Tcp { source_port, destination_port, .. } => (destination_port, source_port),
        Upper::Udp { .. }
        | Upper::Echo { .. }
        | Upper::IcmpError { .. }
        | Upper::OtherIcmp { .. }
        | Upper::Other(_)
        | Upper::Tail(_) => (0, 0),
    };
    Endpoints { source: parsed.destination, source_port, destination: parsed.source, destination_port }
}

fn v6(endpoints: &Endpoints<Ipv6Addr>, segment: Segment) -> [u8; 60] {
    let Endpoints { source, destination, .. } = *endpoints;
    let header = V6Header {
        traffic_class: 0,
        flow_label: 0,
        payload_len: HEADER_LEN,
        next_header: protocol_number::TCP,
        hop_limit: HOP_LIMIT,
        source,
        destination,
    };
    let pseudo = pseudo_v6(source, destination, protocol_number::TCP, HEADER_LEN.into());
    let mut packet = [0; 60];
    packet[..40].copy_from_slice(&header.to_bytes());
    packet[40..].copy_from_slice(&segment.to_bytes(endpoints.source_port, endpoints.destination_port, pseudo));
    packet
}

fn v4(endpoints: &Endpoints<Ipv4Addr>, segment: Segment, identification: u16) -> [u8; 40] {
    let Endpoints { source, destination, .. } = *endpoints;
    let header = V4Header {
        traffic_class: 0,
        total_len: V4_LEN + HEADER_LEN,
        identification,
        flags_and_offset: DONT_FRAGMENT,
        ttl: HOP_LIMIT,
        protocol: protocol_number::TCP,
        source,
        destination,
    };
    let pseudo = pseudo_v4(source, destination, protocol_number::TCP, HEADER_LEN.into());
    let mut packet = [0; 40];
    packet[..20].copy_from_slice(&header.to_bytes());
    packet[20..].copy_from_slice(&segment.to_bytes(endpoints.source_port, endpoints.destination_port, pseudo));
    packet
}
