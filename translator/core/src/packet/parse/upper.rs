//! Transport headers.

use crate::packet::{Fragment, Upper, protocol_number};

/// The IP version that a transport header was found in; it decides what ICMP is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    V4,
    V6,
}

impl Version {
    /// This version's ICMP.
    const fn icmp(self) -> u8 {
        match self {
            Self::V4 => protocol_number::ICMP,
            Self::V6 => protocol_number::ICMPV6,
        }
    }

    /// What an ICMP type means: an echo (and whether it is a reply), an error that carries a packet, or another.
    const fn icmp_message(self, kind: u8, code: u8, identifier: u16) -> Upper {
        match (self, kind) {
            (Self::V4, 8) | (Self::V6, 128) => Upper::Echo { identifier, reply: false },
            (Self::V4, 0) | (Self::V6, 129) => Upper::Echo { identifier, reply: true },
            (Self::V4, 3 | 4 | 5 | 11 | 12) | (Self::V6, 1..=4) => Upper::IcmpError { kind, code },
            _ => Upper::OtherIcmp { kind, code },
        }
    }
}

/// A TCP header with its options; none if it is not all there.
#[inline]
pub(super) fn tcp(payload: &[u8]) -> Option<Upper> {
    let header = payload.first_chunk::<20>()?;
    let header_len = usize::from(header[12] >> 4) * 4;
    if header_len < header.len() || header_len > payload.len() {
        return None;
    }
    let [source_port, destination_port] = ports([header[0], header[1], header[2], header[3]]);
    Some(Upper::Tcp { source_port, destination_port, flags: header[13] })
}

/// A UDP header of a whole datagram.
///
/// Its length field may be smaller than the payload: RFC 768 gives the datagram its own length, and the surplus is
/// where UDP options are (RFC 9868). It cannot be larger.
#[inline]
pub(super) fn udp(payload: &[u8]) -> Option<Upper> {
    let (upper, len) = udp_header(payload)?;
    (len <= payload.len()).then_some(upper)
}

/// An ICMP message; none if its first 8 bytes are not all there.
#[inline]
pub(super) fn icmp(payload: &[u8], version: Version) -> Option<Upper> {
    let header = payload.first_chunk::<8>()?;
    Some(version.icmp_message(header[0], header[1], u16::from_be_bytes([header[4], header[5]])))
}

/// The transport of a whole packet.
pub(super) fn whole(protocol: u8, payload: &[u8], version: Version) -> Option<Upper> {
    match protocol {
        protocol_number::TCP => tcp(payload),
        protocol_number::UDP => udp(payload),
        other if other == version.icmp() => icmp(payload, version),
        other => Some(Upper::Other(other)),
    }
}

/// The transport of a fragment that arrives by itself; none if the fragment cannot be one.
pub(super) fn fragment(protocol: u8, data: &[u8], at: Fragment, version: Version) -> Option<Upper> {
    let uneven = at.more && !data.len().is_multiple_of(8);
    let too_long = usize::from(at.offset) + data.len() > usize::from(u16::MAX);
    // Overwriting the flags of a TCP header by a second fragment (RFC 1858 §3, RFC 3128 §2).
    let tiny = protocol == protocol_number::TCP && at.offset == 8;
    if data.is_empty() || uneven || too_long || tiny {
        return None;
    }
    match protocol {
        protocol_number::TCP | protocol_number::UDP if at.offset > 0 => Some(Upper::Tail(protocol)),
        other if other == version.icmp() && at.offset > 0 => Some(Upper::Tail(protocol)),
        // The datagram's length is that of all its fragments.
        protocol_number::UDP => udp_header(data).map(|(upper, _)| upper),
        other => whole(other, data, version),
    }
}

/// The transport inside an ICMP error, of which 8 bytes are enough (RFC 792); none if it cannot be made out, or is an
/// ICMP error itself (RFC 7915 §4.3, §5.3).
pub(super) fn embedded(protocol: u8, payload: &[u8], at: Option<Fragment>, version: Version) -> Option<Upper> {
    if at.is_some_and(|at| at.offset > 0) {
        return Some(Upper::Tail(protocol));
    }
    let header = payload.first_chunk::<8>()?;
    let [source_port, destination_port] = ports([header[0], header[1], header[2], header[3]]);
    match protocol {
        protocol_number::TCP => {
            let flags = payload.get(13).copied().unwrap_or_default();
            Some(Upper::Tcp { source_port, destination_port, flags })
        }
        protocol_number::UDP => {
            let checksum = u16::from_be_bytes([header[6], header[7]]);
            Some(Upper::Udp { source_port, destination_port, checksum })
        }
        other if other == version.icmp() => {
            let message = icmp(payload, version)?;
            let unknown_error = version == Version::V6 && header[0] < 128;
            (!matches!(message, Upper::IcmpError { .. }) && !unknown_error).then_some(message)
        }
        other => Some(Upper::Other(other)),
    }
}

fn udp_header(payload: &[u8]) -> Option<(Upper, usize)> {
    let header = payload.first_chunk::<8>()?;
    let len = usize::from(u16::from_be_bytes([header[4], header[5]]));
    let [source_port, destination_port] = ports([header[0], header[1], header[2], header[3]]);
    let checksum = u16::from_be_bytes([header[6], header[7]]);
    (len >= header.len()).then_some((Upper::Udp { source_port, destination_port, checksum }, len))
}

const fn ports([a, b, c, d]: [u8; 4]) -> [u16; 2] {
    [u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])]
}
