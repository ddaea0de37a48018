//! Packets that are TCP or UDP right behind a plain IP header, in one piece: the same translation with less to ask.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::Endpoints;
use super::header::{self, DONT_FRAGMENT, V4_LEN, V4Header, V6_LEN, V6Header};
use super::six_to_four::dont_fragment;
use super::transport::{self, Fix};
use crate::packet::checksum::{Sum, pseudo_v4, pseudo_v6};
use crate::packet::{PacketBuf, protocol_number};
use crate::policy::HeaderPolicy;

/// The fields of an IPv6 header with nothing between it and TCP or UDP, in a packet with nothing behind it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plain6 {
    pub(crate) source: Ipv6Addr,
    pub(crate) destination: Ipv6Addr,
    pub(crate) protocol: u8,
    pub(crate) hop_limit: u8,
    traffic_class: u8,
    payload_len: u16,
}

/// The fields of an IPv4 header without options in front of TCP or UDP, in one piece and with nothing behind it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plain4 {
    pub(crate) source: Ipv4Addr,
    pub(crate) destination: Ipv4Addr,
    pub(crate) protocol: u8,
    pub(crate) ttl: u8,
    pub(crate) dont_fragment: bool,
    traffic_class: u8,
    payload_len: u16,
}

const V6: usize = V6_LEN as usize;
const V4: usize = V4_LEN as usize;

impl Plain6 {
    #[inline(always)]
    pub(crate) fn of(packet: &[u8]) -> Option<Self> {
        let (header, payload) = packet.split_first_chunk::<V6>()?;
        let payload_len = u16::from_be_bytes([header[4], header[5]]);
        // What IPv4 cannot announce is for others to refuse.
        if header[0] >> 4 != 6 || payload.len() != usize::from(payload_len) || payload_len > u16::MAX - V4_LEN {
            return None;
        }
        let [_, _, _, _, _, _, _, _, addresses @ ..] = *header;
        let (source, destination) = addresses.split_first_chunk::<16>()?;
        Some(Self {
            source: Ipv6Addr::from(*source),
            destination: Ipv6Addr::from(*destination.first_chunk::<16>()?),
            protocol: header[6],
            hop_limit: header[7],
            traffic_class: header[0] << 4 | header[1] >> 4,
            payload_len,
        })
    }

    /// What follows the header, in the packet it was read from.
    #[inline(always)]
    pub(crate) fn transport<'p>(&self, packet: &'p [u8]) -> &'p [u8] {
        packet.get(V6..).unwrap_or_default()
    }
}

impl Plain4 {
    #[inline(always)]
    pub(crate) fn of(packet: &[u8]) -> Option<Self> {
        let (header, payload) = packet.split_first_chunk::<V4>()?;
        let [version, class, a, b, _, _, c, d, ttl, protocol, _, _, e, f, g, h, i, j, k, l] = *header;
        let (total_len, place) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
        if version != 0x45 || place & !DONT_FRAGMENT != 0 || packet.len() != usize::from(total_len) {
            return None;
        }
        let longs = header.as_chunks::<4>().0.iter();
        if longs.fold(Sum::ZERO, |sum, long| sum.long(u32::from_be_bytes(*long))).fold() != 0xffff {
            return None;
        }
        Some(Self {
            source: Ipv4Addr::new(e, f, g, h),
            destination: Ipv4Addr::new(i, j, k, l),
            protocol,
            ttl,
            dont_fragment: place != 0,
            traffic_class: class,
            payload_len: u16::try_from(payload.len()).ok()?,
        })
    }

    /// What follows the header, in the packet it was read from.
    #[inline(always)]
    pub(crate) fn transport<'p>(&self, packet: &'p [u8]) -> &'p [u8] {
        packet.get(V4..).unwrap_or_default()
    }
}

/// As [`super::six_to_four`], for the packet that `plain` was read from, of which the transport header is whole.
#[inline(always)]
pub(crate) fn plain_six_to_four(
    packet: &mut PacketBuf<'_>,
    plain: &Plain6,
    to: &Endpoints<Ipv4Addr>,
    policy: &HeaderPolicy,
    identification: u16,
) {
    let total_len = plain.payload_len + V4_LEN;
    let longest = if packet.offload.gso.is_none() { total_len.into() } else { transport::segment_len(packet, V6) + V4 };
    let header = V4Header {
        traffic_class: header::tos(plain.traffic_class, policy),
        total_len,
        identification,
        flags_and_offset: dont_fragment(longest),
        ttl: plain.hop_limit - 1,
        protocol: plain.protocol,
        source: to.source,
        destination: to.destination,
    };
    let fix = if packet.offload.checksum.is_some_and(|partial| partial.start == V6_LEN) {
        Fix::Partial(pseudo_v4(to.source, to.destination, plain.protocol, plain.payload_len.into()).fold())
    } else {
        Fix::Update {
            removed: Sum::ZERO.v6(plain.source).v6(plain.destination),
            added: Sum::ZERO.v4(to.source).v4(to.destination),
        }
    };
    let (front, transport) = packet.bytes_mut().split_at_mut(V6);
    rewrite_transport(transport, plain.protocol, transport::ports(to.source_port, to.destination_port), fix);
    front[V6 - V4..].copy_from_slice(&header.to_bytes());
    packet.cut_front(V6 - V4);
    if packet.offload.checksum.is_some() || packet.offload.gso.is_some() {
        transport::move_offload(packet, V6_LEN, V4_LEN);
    }
}

/// As [`super::four_to_six`], for the packet that `plain` was read from, of which the transport header is whole.
#[inline(always)]
pub(crate) fn plain_four_to_six(
    packet: &mut PacketBuf<'_>,
    plain: &Plain4,
    to: &Endpoints<Ipv6Addr>,
    policy: &HeaderPolicy,
) {
    let header = V6Header {
        traffic_class: header::traffic_class(plain.traffic_class, policy),
        flow_label: 0,
        payload_len: plain.payload_len,
        next_header: plain.protocol,
        hop_limit: plain.ttl - 1,
        source: to.source,
        destination: to.destination,
    };
    let fix = if packet.offload.checksum.is_some_and(|partial| partial.start == V4_LEN) {
        Fix::Partial(pseudo_v6(to.source, to.destination, plain.protocol, plain.payload_len.into()).fold())
    } else {
        Fix::Update {
            removed: Sum::ZERO.v4(plain.source).v4(plain.destination),
            added: Sum::ZERO.v6(to.source).v6(to.destination),
        }
    };
    packet.grow_front(V6 - V4);
    let (front, transport) = packet.bytes_mut().split_at_mut(V6);
    rewrite_transport(transport, plain.protocol, transport::ports(to.source_port, to.destination_port), fix);
    front.copy_from_slice(&header.to_bytes());
    if packet.offload.checksum.is_some() || packet.offload.gso.is_some() {
        transport::move_offload(packet, V4_LEN, V6_LEN);
    }
}

#[inline(always)]
fn rewrite_transport(transport: &mut [u8], protocol: u8, ports: [u8; 4], fix: Fix) {
    let written = if protocol == protocol_number::TCP {
        transport::tcp(transport, ports, fix)
    } else {
        transport::udp(transport, ports, fix)
    };
    debug_assert!(written.is_some(), "the transport header is whole");
}
