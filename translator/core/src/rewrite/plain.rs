//! Packets that are TCP or UDP right behind a plain IP header, in one piece: the same translation with less to ask.
//!
//! They are read where they stand, and again when they are rewritten: what is not read before it is needed is in nobody's
//! way while the session is looked up.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::Endpoints;
use super::header::{self, DONT_FRAGMENT, V4_LEN, V4Header, V6_LEN, V6Header};
use super::six_to_four::dont_fragment;
use super::transport::{self, Fix};
use crate::packet::checksum::{Sum, pseudo_v4, pseudo_v6};
use crate::packet::{PacketBuf, protocol_number};
use crate::policy::HeaderPolicy;

/// An IPv6 packet with nothing between its header and TCP or UDP, and nothing behind it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plain6<'p> {
    header: &'p [u8; V6],
    /// What follows the header.
    pub(crate) transport: &'p [u8],
}

/// An IPv4 packet without options in front of TCP or UDP, in one piece and with nothing behind it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plain4<'p> {
    header: &'p [u8; V4],
    /// What follows the header.
    pub(crate) transport: &'p [u8],
}

const V6: usize = V6_LEN as usize;
const V4: usize = V4_LEN as usize;

impl<'p> Plain6<'p> {
    #[inline(always)]
    pub(crate) fn of(packet: &'p [u8]) -> Option<Self> {
        let (header, transport) = packet.split_first_chunk::<V6>()?;
        let payload_len = u16::from_be_bytes([header[4], header[5]]);
        // What IPv4 cannot announce is for others to refuse.
        if header[0] >> 4 != 6 || transport.len() != usize::from(payload_len) || payload_len > u16::MAX - V4_LEN {
            return None;
        }
        Some(Self { header, transport })
    }

    #[inline(always)]
    pub(crate) const fn protocol(self) -> u8 {
        self.header[6]
    }

    #[inline(always)]
    pub(crate) const fn hop_limit(self) -> u8 {
        self.header[7]
    }

    #[inline(always)]
    pub(crate) fn source(self) -> Ipv6Addr {
        Ipv6Addr::from(*header::part(self.header, 8))
    }

    #[inline(always)]
    pub(crate) fn destination(self) -> Ipv6Addr {
        Ipv6Addr::from(*header::part(self.header, 24))
    }
}

impl<'p> Plain4<'p> {
    #[inline(always)]
    pub(crate) fn of(packet: &'p [u8]) -> Option<Self> {
        let (header, transport) = packet.split_first_chunk::<V4>()?;
        let total_len = u16::from_be_bytes([header[2], header[3]]);
        let place = u16::from_be_bytes([header[6], header[7]]);
        if header[0] != 0x45 || place & !DONT_FRAGMENT != 0 || packet.len() != usize::from(total_len) {
            return None;
        }
        let longs = header.as_chunks::<4>().0.iter();
        if longs.fold(Sum::ZERO, |sum, long| sum.long_bytes(*long)).fold() != 0xffff {
            return None;
        }
        Some(Self { header, transport })
    }

    #[inline(always)]
    pub(crate) const fn protocol(self) -> u8 {
        self.header[9]
    }

    #[inline(always)]
    pub(crate) const fn ttl(self) -> u8 {
        self.header[8]
    }

    #[inline(always)]
    pub(crate) const fn dont_fragment(self) -> bool {
        self.header[6] != 0
    }

    #[inline(always)]
    pub(crate) fn source(self) -> Ipv4Addr {
        Ipv4Addr::from(*header::part(self.header, 12))
    }

    #[inline(always)]
    pub(crate) fn destination(self) -> Ipv4Addr {
        Ipv4Addr::from(*header::part(self.header, 16))
    }
}

/// As [`super::six_to_four`], for a packet that is [`Plain6`] with a whole transport header.
#[inline(always)]
pub(crate) fn plain_six_to_four(
    packet: &mut PacketBuf<'_>,
    to: &Endpoints<Ipv4Addr>,
    policy: &HeaderPolicy,
    identification: u16,
) {
    let checksum = packet.offload.checksum;
    let longest = if packet.offload.gso.is_none() { packet.len() } else { transport::segment_len(packet, V6) + V6 };
    let Some((front, transport)) = packet.bytes_mut().split_first_chunk_mut::<V6>() else {
        debug_assert!(false, "the header is whole");
        return;
    };
    let (protocol, payload_len) = (front[6], u16::from_be_bytes([front[4], front[5]]));
    let header = V4Header {
        traffic_class: header::tos(front[0] << 4 | front[1] >> 4, policy),
        total_len: payload_len + V4_LEN,
        identification,
        flags_and_offset: dont_fragment(longest - (V6 - V4)),
        ttl: front[7] - 1,
        protocol,
        source: to.source,
        destination: to.destination,
    };
    let fix = if checksum.is_some_and(|partial| partial.start == V6_LEN) {
        Fix::Partial(pseudo_v4(to.source, to.destination, protocol, payload_len.into()).fold())
    } else {
        Fix::Update {
            removed: Sum::ZERO.v6(Ipv6Addr::from(*header::part(front, 8))).v6(Ipv6Addr::from(*header::part(front, 24))),
            added: Sum::ZERO.v4(to.source).v4(to.destination),
        }
    };
    rewrite_transport(transport, protocol, transport::ports(to.source_port, to.destination_port), fix);
    front[V6 - V4..].copy_from_slice(&header.to_bytes());
    packet.cut_front(V6 - V4);
    if checksum.is_some() || packet.offload.gso.is_some() {
        transport::move_offload(packet, V6_LEN, V4_LEN);
    }
}

/// As [`super::four_to_six`], for a packet that is [`Plain4`] with a whole transport header.
#[inline(always)]
pub(crate) fn plain_four_to_six(packet: &mut PacketBuf<'_>, to: &Endpoints<Ipv6Addr>, policy: &HeaderPolicy) {
    let checksum = packet.offload.checksum;
    packet.grow_front(V6 - V4);
    let Some((front, transport)) = packet.bytes_mut().split_first_chunk_mut::<V6>() else {
        debug_assert!(false, "the header is whole");
        return;
    };
    let old = *header::part::<V4>(front, V6 - V4);
    let (protocol, payload_len) = (old[9], u16::from_be_bytes([old[2], old[3]]) - V4_LEN);
    let header = V6Header {
        traffic_class: header::traffic_class(old[1], policy),
        flow_label: 0,
        payload_len,
        next_header: protocol,
        hop_limit: old[8] - 1,
        source: to.source,
        destination: to.destination,
    };
    let fix = if checksum.is_some_and(|partial| partial.start == V4_LEN) {
        Fix::Partial(pseudo_v6(to.source, to.destination, protocol, payload_len.into()).fold())
    } else {
        Fix::Update {
            removed: Sum::ZERO.long_bytes(*header::part(&old, 12)).long_bytes(*header::part(&old, 16)),
            added: Sum::ZERO.v6(to.source).v6(to.destination),
        }
    };
    rewrite_transport(transport, protocol, transport::ports(to.source_port, to.destination_port), fix);
    *front = header.to_bytes();
    if checksum.is_some() || packet.offload.gso.is_some() {
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
