//! IPv4 to IPv6 (RFC 7915 §4.1).

use std::hash::BuildHasher;
use std::net::Ipv6Addr;

use foldhash::fast::FixedState;

use super::Endpoints;
use super::header::{FRAGMENT_LEN, V6_LEN, V6Header, fragment_header, traffic_class, translated_protocol};
use super::transport::{self, Fix};
use crate::packet::checksum::{Sum, pseudo_v6};
use crate::packet::{PacketBuf, Parsed4, Upper, protocol_number};
use crate::policy::{FlowLabel, HeaderPolicy, UdpZeroChecksum};
use crate::verdict::DropReason;

/// Translates an IPv4 packet to IPv6, its transport included. The caller has refused a TTL below 2.
///
/// A fragment gets a Fragment header; a whole packet never does ([`super::split_v6`] is for what is then too long).
/// TCP and UDP may be fragments. Echo may not, and neither may UDP that is to be given a checksum: the checksum that
/// they need in IPv6 covers the whole message, so they are to be reassembled first. `flow_seed` is a secret that flow labels depend
/// on where policy asks for them.
///
/// # Errors
/// [`DropReason::UntranslatableIcmp`] for ICMP that is no whole echo, [`DropReason::ZeroUdpChecksum`] for UDP
/// without a checksum if policy says so, and for a fragment of it that was to be given one. The packet is then as it was.
#[inline]
pub fn four_to_six(
    packet: &mut PacketBuf<'_>,
    parsed: &Parsed4,
    to: &Endpoints<Ipv6Addr>,
    policy: &HeaderPolicy,
    flow_seed: u64,
) -> Result<(), DropReason> {
    let header_len = usize::from(parsed.header_len);
    packet.truncate(parsed.total_len as usize);
    let partial = packet.offload.checksum.is_some_and(|partial| partial.start == parsed.header_len);
    let payload = packet.bytes_mut().get_mut(header_len..).ok_or(DropReason::Malformed)?;
    let ports = transport::ports(to.source_port, to.destination_port);
    match parsed.upper {
        Upper::Tcp { .. } => transport::tcp(payload, ports, fix(parsed, to, protocol_number::TCP, partial)),
        Upper::Udp { checksum: 0, .. } if !partial => match policy.udp_zero_checksum {
            UdpZeroChecksum::Forward => transport::ports_only(payload, ports),
            UdpZeroChecksum::Compute if parsed.fragment.is_none() => udp_without_checksum(payload, to),
            UdpZeroChecksum::Compute | UdpZeroChecksum::Drop => return Err(DropReason::ZeroUdpChecksum),
        },
        Upper::Udp { .. } => transport::udp(payload, ports, fix(parsed, to, protocol_number::UDP, partial)),
        Upper::Echo { reply, .. } if parsed.fragment.is_none() => {
            transport::echo(payload, ECHO[usize::from(reply)], to.destination_port, echo_fix(parsed, to, partial))
        }
        Upper::Echo { .. } | Upper::IcmpError { .. } | Upper::OtherIcmp { .. } => {
            return Err(DropReason::UntranslatableIcmp);
        }
        Upper::Other(_) | Upper::Tail(_) => Some(()),
    }
    .ok_or(DropReason::Malformed)?;
    let mut headers = headers(parsed, to, policy, flow_seed);
    headers.fixed.hop_limit = headers.fixed.hop_limit.saturating_sub(1);
    make_room(packet, header_len, headers.len().into());
    transport::move_offload(packet, parsed.header_len, headers.len());
    headers.write(packet.bytes_mut()).ok_or(DropReason::Malformed)
}

/// An IPv6 header, and a Fragment header if there is one.
pub(super) struct V6Headers {
    pub(super) fixed: V6Header,
    fragment: Option<[u8; 8]>,
}

impl V6Headers {
    #[inline]
    pub(super) const fn len(&self) -> u16 {
        V6_LEN + if self.fragment.is_some() { FRAGMENT_LEN } else { 0 }
    }

    #[inline]
    pub(super) fn write(&self, packet: &mut [u8]) -> Option<()> {
        let (fixed, rest) = packet.split_first_chunk_mut()?;
        *fixed = self.fixed.to_bytes();
        if let Some(fragment) = self.fragment {
            *rest.first_chunk_mut()? = fragment;
        }
        Some(())
    }
}

/// The IPv6 headers of a packet, the hop limit not decremented.
#[inline(always)]
pub(super) fn headers(parsed: &Parsed4, to: &Endpoints<Ipv6Addr>, policy: &HeaderPolicy, flow_seed: u64) -> V6Headers {
    let protocol = translated_protocol(parsed, protocol_number::ICMP, protocol_number::ICMPV6);
    let fragment = parsed.fragment.map(|at| fragment_header(protocol, at, parsed.identification));
    let len = parsed.total_len.saturating_sub(parsed.header_len.into())
        + if fragment.is_some() { u32::from(FRAGMENT_LEN) } else { 0 };
    V6Headers {
        fixed: V6Header {
            traffic_class: traffic_class(parsed.traffic_class, policy),
            flow_label: match policy.flow_label {
                FlowLabel::Zero => 0,
                FlowLabel::Hash => flow_label(to, protocol, flow_seed),
            },
            // An IPv4 packet has 65535 bytes at most, 20 of which are not payload.
            payload_len: u16::try_from(len).unwrap_or(u16::MAX),
            next_header: if fragment.is_some() { protocol_number::IPV6_FRAGMENT } else { protocol },
            hop_limit: parsed.hop_limit,
            source: to.source,
            destination: to.destination,
        },
        fragment,
    }
}

/// What becomes of the checksum of TCP or UDP.
#[inline]
pub(super) fn fix(parsed: &Parsed4, to: &Endpoints<Ipv6Addr>, protocol: u8, partial: bool) -> Fix {
    if partial {
        let len = parsed.total_len.saturating_sub(parsed.header_len.into());
        return Fix::Partial(pseudo_v6(to.source, to.destination, protocol, len).fold());
    }
    Fix::Update {
        removed: Sum::ZERO.v4(parsed.source).v4(parsed.destination),
        added: Sum::ZERO.v6(to.source).v6(to.destination),
    }
}

/// What becomes of the checksum of an echo: ICMP has a pseudo-header in IPv6 only (RFC 7915 §4.2).
#[inline]
pub(super) fn echo_fix(parsed: &Parsed4, to: &Endpoints<Ipv6Addr>, partial: bool) -> Fix {
    let len = parsed.total_len.saturating_sub(parsed.header_len.into());
    let added = pseudo_v6(to.source, to.destination, protocol_number::ICMPV6, len);
    if partial { Fix::Partial(added.fold()) } else { Fix::Update { removed: Sum::ZERO, added } }
}

/// The ICMPv6 types of an echo request and of its reply (RFC 7915 §4.2).
pub(super) const ECHO: [u8; 2] = [128, 129];

/// A flow label that is the same for all packets of a flow and tells nothing of it (RFC 6437 §3).
fn flow_label(to: &Endpoints<Ipv6Addr>, protocol: u8, seed: u64) -> u32 {
    let ports = u32::from_be_bytes(transport::ports(to.source_port, to.destination_port));
    let flow = (to.source.to_bits(), to.destination.to_bits(), ports, protocol);
    let hash = FixedState::with_seed(seed).hash_one(flow);
    // Zero would say that there is no label.
    u32::try_from(hash >> 44).unwrap_or_default().max(1)
}

/// Gives a whole datagram that has no checksum one, which IPv6 requires (RFC 6146 §3.4).
#[cold]
fn udp_without_checksum(payload: &mut [u8], to: &Endpoints<Ipv6Addr>) -> Option<()> {
    let header = payload.first_chunk_mut::<8>()?;
    header[0..4].copy_from_slice(&transport::ports(to.source_port, to.destination_port));
    let len = u16::from_be_bytes([header[4], header[5]]);
    let datagram = payload.get_mut(..usize::from(len))?;
    let pseudo = pseudo_v6(to.source, to.destination, protocol_number::UDP, len.into());
    let checksum = transport::never_zero(pseudo.bytes(datagram).checksum());
    datagram.get_mut(6..8)?.copy_from_slice(&checksum.to_be_bytes());
    Some(())
}

/// Moves the packet's start so that `new` bytes of header stand where `old` ones did.
#[inline]
fn make_room(packet: &mut PacketBuf<'_>, old: usize, new: usize) {
    if new >= old {
        packet.grow_front(new - old);
    } else {
        packet.cut_front(old - new);
    }
}
