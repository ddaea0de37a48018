//! Which packets may be answered by an error.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::packet::{Chain, SegmentsLeft, protocol_number};

/// The lowest ICMPv6 type that is no error (RFC 4443 §2.1).
const FIRST_INFORMATIONAL: u8 = 128;
/// ICMPv6 Redirect (RFC 4861 §4.5).
const REDIRECT: u8 = 137;

/// Whether an IPv6 packet, which parsing may have refused, may be answered by an ICMPv6 error (RFC 4443 §2.4 (e)): its
/// source is one node's and its destination no group's, and it is no ICMPv6 error or redirect, nor a fragment that may
/// be of one.
#[must_use]
#[cold]
pub fn may_answer_v6(packet: &[u8]) -> bool {
    let Some((header, payload)) = packet.split_first_chunk::<40>() else { return false };
    let address = |at: usize| {
        let mut octets = [0; 16];
        octets.copy_from_slice(&header[at..at + 16]);
        Ipv6Addr::from(octets)
    };
    let (source, destination) = (address(8), address(24));
    if source.is_unspecified() || source.is_multicast() || source.is_loopback() || destination.is_multicast() {
        return false;
    }
    let Ok(chain) = Chain::walk(header[6], payload, SegmentsLeft::Ignored) else { return false };
    if chain.next != protocol_number::ICMPV6 {
        return true;
    }
    let first = chain.fragment().is_none_or(|at| at.offset == 0);
    let kind = payload.get(chain.len).copied().filter(|_| first);
    kind.is_some_and(|kind| kind >= FIRST_INFORMATIONAL && kind != REDIRECT)
}

/// Whether an IPv4 packet, which parsing may have refused, may be answered by an ICMP error (RFC 1812 §4.3.2.7): its
/// source is one host's and its destination no group's, it is no ICMP error, and no fragment but the first.
#[must_use]
#[cold]
pub fn may_answer_v4(packet: &[u8]) -> bool {
    let Some(header) = packet.first_chunk::<20>() else { return false };
    let source = Ipv4Addr::new(header[12], header[13], header[14], header[15]);
    // Multicast, class E and the limited broadcast.
    let is_group = |first_octet: u8| first_octet >= 224;
    let nobody = matches!(source.octets()[0], 0 | 127) || is_group(header[12]);
    let tail = u16::from_be_bytes([header[6], header[7]]) & 0x1fff != 0;
    if nobody || tail || is_group(header[16]) {
        return false;
    }
    let kind = packet.get(usize::from(header[0] & 0xf) * 4);
    // Unreachable, source quench, redirect, time exceeded, parameter problem.
    header[9] != protocol_number::ICMP || kind.is_some_and(|kind| !matches!(kind, 3 | 4 | 5 | 11 | 12))
}
