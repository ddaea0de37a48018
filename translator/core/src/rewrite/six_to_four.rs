//! IPv6 to IPv4 (RFC 7915 §5.1).

use std::net::Ipv4Addr;

use super::Endpoints;
use super::header::{DONT_FRAGMENT, V4_LEN, V4Header, flags_and_offset, tos, translated_protocol};
use super::transport::{self, Fix};
use crate::packet::checksum::{Sum, pseudo_v4, pseudo_v6};
use crate::packet::{PacketBuf, Parsed6, Upper, protocol_number};
use crate::policy::{HeaderPolicy, UdpZeroChecksum};
use crate::verdict::DropReason;

/// Up to this size, in bytes, IPv4 routers may fragment what came from IPv6 (RFC 7915 §5.1), because its sender need not
/// send less than 1280 bytes in IPv6 whatever MTU it is told.
const MAY_BE_FRAGMENTED: usize = 1260;

/// Translates an IPv6 packet to IPv4, its transport included. The caller has refused a hop limit below 2.
///
/// A packet without a Fragment header gets `identification`. TCP and UDP may be fragments. Echo may not: the
/// pseudo-header that leaves its checksum has the length of the whole message, so it is to be reassembled first.
///
/// # Errors
/// [`DropReason::UntranslatableIcmp`] for ICMPv6 that is no whole echo, [`DropReason::TooBig`] if the result would have
/// more than 65535 bytes. The packet is then as it was.
#[inline]
pub fn six_to_four(
    packet: &mut PacketBuf<'_>,
    parsed: &Parsed6,
    to: &Endpoints<Ipv4Addr>,
    policy: &HeaderPolicy,
    identification: u16,
) -> Result<(), DropReason> {
    let header_len = usize::from(parsed.header_len);
    let mut header = header(parsed, to, policy, identification)?;
    header.ttl = header.ttl.saturating_sub(1);
    packet.truncate(parsed.total_len as usize);
    if packet.offload.gso.is_some() && !parsed.fragment_header {
        header.flags_and_offset = dont_fragment(transport::segment_len(packet, header_len) + usize::from(V4_LEN));
    }
    let partial = packet.offload.checksum.is_some_and(|partial| partial.start == parsed.header_len);
    let payload = packet.bytes_mut().get_mut(header_len..).ok_or(DropReason::Malformed)?;
    let ports = transport::ports(to.source_port, to.destination_port);
    match parsed.upper {
        Upper::Tcp { .. } => transport::tcp(payload, ports, fix(parsed, to, protocol_number::TCP, partial)),
        Upper::Udp { checksum: 0, .. } if policy.udp_zero_checksum == UdpZeroChecksum::Forward && !partial => {
            transport::ports_only(payload, ports)
        }
        Upper::Udp { .. } => transport::udp(payload, ports, fix(parsed, to, protocol_number::UDP, partial)),
        Upper::Echo { reply, .. } if parsed.fragment.is_none() => {
            transport::echo(payload, ECHO[usize::from(reply)], to.source_port, echo_fix(parsed, partial))
        }
        Upper::Echo { .. } | Upper::IcmpError { .. } | Upper::OtherIcmp { .. } => {
            return Err(DropReason::UntranslatableIcmp);
        }
        Upper::Other(_) | Upper::Tail(_) => Some(()),
    }
    .ok_or(DropReason::Malformed)?;
    packet.cut_front(header_len.saturating_sub(V4_LEN.into()));
    transport::move_offload(packet, parsed.header_len, V4_LEN);
    let front = packet.bytes_mut().first_chunk_mut().ok_or(DropReason::Malformed)?;
    *front = header.to_bytes();
    Ok(())
}

/// The IPv4 header of a packet, its TTL not decremented.
#[inline]
pub(super) fn header(
    parsed: &Parsed6,
    to: &Endpoints<Ipv4Addr>,
    policy: &HeaderPolicy,
    identification: u16,
) -> Result<V4Header, DropReason> {
    let total_len = parsed.total_len.saturating_sub(parsed.header_len.into()) + u32::from(V4_LEN);
    let (identification, flags_and_offset) = if parsed.fragment_header {
        (low_half(parsed.identification), flags_and_offset(parsed.fragment))
    } else {
        (identification, dont_fragment(total_len as usize))
    };
    Ok(V4Header {
        traffic_class: tos(parsed.traffic_class, policy),
        total_len: u16::try_from(total_len).map_err(|_| DropReason::TooBig)?,
        identification,
        flags_and_offset,
        ttl: parsed.hop_limit,
        protocol: translated_protocol(parsed, protocol_number::ICMPV6, protocol_number::ICMP),
        source: to.source,
        destination: to.destination,
    })
}

/// What becomes of the checksum of TCP or UDP.
#[inline]
pub(super) fn fix(parsed: &Parsed6, to: &Endpoints<Ipv4Addr>, protocol: u8, partial: bool) -> Fix {
    if partial {
        let len = parsed.total_len.saturating_sub(parsed.header_len.into());
        return Fix::Partial(pseudo_v4(to.source, to.destination, protocol, len).fold());
    }
    Fix::Update {
        removed: Sum::ZERO.v6(parsed.source).v6(parsed.destination),
        added: Sum::ZERO.v4(to.source).v4(to.destination),
    }
}

/// What becomes of the checksum of an echo: ICMP has no pseudo-header in IPv4 (RFC 7915 §5.2).
#[inline]
pub(super) fn echo_fix(parsed: &Parsed6, partial: bool) -> Fix {
    if partial {
        return Fix::Partial(0);
    }
    let len = parsed.total_len.saturating_sub(parsed.header_len.into());
    let removed = pseudo_v6(parsed.source, parsed.destination, protocol_number::ICMPV6, len);
    Fix::Update { removed, added: Sum::ZERO }
}

/// The ICMP types of an echo request and of its reply (RFC 7915 §5.2).
pub(super) const ECHO: [u8; 2] = [8, 0];

/// The word of flags and offset for a whole packet of `len` bytes.
#[inline]
pub(super) const fn dont_fragment(len: usize) -> u16 {
    if len <= MAY_BE_FRAGMENTED { 0 } else { DONT_FRAGMENT }
}

#[expect(clippy::cast_possible_truncation, reason = "the low-order 16 bits are what is wanted (RFC 7915 §5.1.1)")]
const fn low_half(identification: u32) -> u16 {
    identification as u16
}
