//! IPv6 packets and their extension headers (RFC 8200).

use std::net::Ipv6Addr;

use super::ParseError;
use super::upper::{self, Version};
use crate::packet::{Fragment, Parsed6, Upper, protocol_number};
use crate::verdict::DropReason;

/// Bytes of the fixed header.
const HEADER: usize = 40;
/// More extension headers than this before the transport are not walked; hosts may have the same limit (RFC 8504 §5.3).
const MAX_EXTENSIONS: usize = 8;

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const AUTHENTICATION: u8 = 51;
const DESTINATION_OPTIONS: u8 = 60;
const MOBILITY: u8 = 135;
const HOST_IDENTITY: u8 = 139;
const SHIM6: u8 = 140;

/// Parses a packet from the IPv6 side. What follows it in `bytes` is padding.
///
/// # Errors
/// When the packet cannot be translated, with the reason: it is no IPv6, contradicts itself, or has a Routing header
/// with segments left.
#[inline]
pub fn parse_v6(bytes: &[u8]) -> Result<Parsed6, ParseError> {
    let Some((header, rest)) = bytes.split_first_chunk::<HEADER>() else {
        return Err(too_short(bytes));
    };
    if header[0] >> 4 != 6 {
        return Err(ParseError::new(DropReason::NotIp));
    }
    let payload_len = u16::from_be_bytes([header[4], header[5]]);
    let payload = rest.get(..usize::from(payload_len)).ok_or(ParseError::MALFORMED)?;
    let upper = match header[6] {
        protocol_number::TCP => upper::tcp(payload),
        protocol_number::UDP => upper::udp(payload),
        protocol_number::ICMPV6 => upper::icmp(payload, Version::V6),
        _ => return parse_extended(header, payload),
    };
    Ok(fields(header, payload_len, upper.ok_or(ParseError::MALFORMED)?))
}

/// Parses the IPv6 packet inside an ICMPv6 error; see [`super::original_datagram`]. It may be cut after 8 bytes of its
/// transport, or anywhere if it is a fragment that is not the first; its lengths are what they were before the cut.
///
/// # Errors
/// [`DropReason::BadEmbeddedPacket`] if there is less, or an ICMPv6 error.
pub fn parse_embedded_v6(bytes: &[u8]) -> Result<Parsed6, DropReason> {
    embedded(bytes).ok_or(DropReason::BadEmbeddedPacket)
}

fn embedded(bytes: &[u8]) -> Option<Parsed6> {
    let (header, rest) = bytes.split_first_chunk::<HEADER>().filter(|(header, _)| header[0] >> 4 == 6)?;
    let payload_len = u16::from_be_bytes([header[4], header[5]]);
    let payload = rest.get(..usize::from(payload_len)).unwrap_or(rest);
    let chain = Chain::walk(header[6], payload, SegmentsLeft::Ignored).ok()?;
    let upper = upper::embedded(chain.next, payload.get(chain.len..)?, chain.fragment(), Version::V6)?;
    chain.apply(fields(header, payload_len, upper)).ok()
}

#[cold]
fn parse_extended(header: &[u8; HEADER], payload: &[u8]) -> Result<Parsed6, ParseError> {
    let chain = Chain::walk(header[6], payload, SegmentsLeft::Refused)?;
    let data = payload.get(chain.len..).unwrap_or_default();
    let upper = if chain.fragment_header.is_some() && is_extension(chain.next) {
        // Not translated, whichever fragment it is (RFC 7915 §5.1.1).
        Some(Upper::Other(chain.next))
    } else if let Some(fragment) = chain.fragment() {
        upper::fragment(chain.next, data, fragment, Version::V6)
    } else {
        upper::whole(chain.next, data, Version::V6)
    };
    let payload_len = u16::from_be_bytes([header[4], header[5]]);
    chain.apply(fields(header, payload_len, upper.ok_or(ParseError::MALFORMED)?))
}

/// What the fixed header says, for a transport that follows it at once.
#[inline]
fn fields(header: &[u8; HEADER], payload_len: u16, upper: Upper) -> Parsed6 {
    let address = |at: usize| {
        let mut octets = [0; 16];
        octets.copy_from_slice(&header[at..at + 16]);
        Ipv6Addr::from(octets)
    };
    Parsed6 {
        source: address(8),
        destination: address(24),
        traffic_class: header[0] << 4 | header[1] >> 4,
        hop_limit: header[7],
        dont_fragment: true,
        identification: 0,
        header_len: 40,
        total_len: 40 + u32::from(payload_len),
        fragment_header: false,
        fragment: None,
        upper,
    }
}

#[cold]
fn too_short(bytes: &[u8]) -> ParseError {
    let v6 = bytes.first().is_some_and(|first| first >> 4 == 6);
    if v6 { ParseError::MALFORMED } else { ParseError::new(DropReason::NotIp) }
}

/// What to do about a Routing header that asks to be followed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum SegmentsLeft {
    /// The packet must not be translated.
    Refused,
    /// The header is skipped like one that has been followed.
    Ignored,
}

/// A packet's extension headers, walked.
pub(crate) struct Chain {
    /// The protocol after the last of them.
    pub(crate) next: u8,
    /// Their bytes.
    pub(crate) len: usize,
    /// Where in its datagram a Fragment header puts the packet, and the identification.
    fragment_header: Option<(Fragment, u32)>,
}

impl Chain {
    /// Walks the headers that `payload` starts with, the first of which is a `first`, up to the transport or to a
    /// Fragment header.
    pub(crate) fn walk(first: u8, payload: &[u8], segments_left: SegmentsLeft) -> Result<Self, ParseError> {
        let mut chain = Self { next: first, len: 0, fragment_header: None };
        for _ in 0..=MAX_EXTENSIONS {
            match chain.next {
                // Its only place is right after the fixed header (RFC 8200 §4.1).
                HOP_BY_HOP if chain.len > 0 => return Err(ParseError::MALFORMED),
                HOP_BY_HOP | ROUTING | DESTINATION_OPTIONS => chain.skip(payload, segments_left)?,
                protocol_number::IPV6_FRAGMENT => return chain.end_at_fragment_header(payload),
                _ => return Ok(chain),
            }
        }
        Err(ParseError::MALFORMED)
    }

    /// Where in its datagram the packet belongs; none if it is whole (RFC 6946).
    pub(crate) fn fragment(&self) -> Option<Fragment> {
        self.fragment_header.map(|(fragment, _)| fragment).filter(|at| at.offset > 0 || at.more)
    }

    fn skip(&mut self, payload: &[u8], segments_left: SegmentsLeft) -> Result<(), ParseError> {
        let rest = payload.get(self.len..).unwrap_or_default();
        let header = rest.first_chunk::<8>().ok_or(ParseError::MALFORMED)?;
        let len = (usize::from(header[1]) + 1) * 8;
        if len > rest.len() {
            return Err(ParseError::MALFORMED);
        }
        if self.next == ROUTING && header[3] > 0 && segments_left == SegmentsLeft::Refused {
            let pointer = u16::try_from(HEADER + self.len + 3).map_err(|_| ParseError::MALFORMED)?;
            return Err(ParseError { reason: DropReason::RoutingHeader, pointer });
        }
        self.next = header[0];
        self.len += len;
        Ok(())
    }

    fn end_at_fragment_header(mut self, payload: &[u8]) -> Result<Self, ParseError> {
        let rest = payload.get(self.len..).unwrap_or_default();
        let header = rest.first_chunk::<8>().ok_or(ParseError::MALFORMED)?;
        let place = u16::from_be_bytes([header[2], header[3]]);
        let identification = u32::from_be_bytes([header[4], header[5], header[6], header[7]]);
        self.fragment_header = Some((Fragment { offset: place & 0xfff8, more: place & 1 == 1 }, identification));
        self.next = header[0];
        self.len += header.len();
        Ok(self)
    }

    fn apply(&self, fixed: Parsed6) -> Result<Parsed6, ParseError> {
        Ok(Parsed6 {
            identification: self.fragment_header.map_or(0, |(_, identification)| identification),
            header_len: u16::try_from(HEADER + self.len).map_err(|_| ParseError::MALFORMED)?,
            fragment_header: self.fragment_header.is_some(),
            fragment: self.fragment(),
            ..fixed
        })
    }
}

/// Whether a next header value is an extension header in the sense of RFC 7915 §5.1.1: AH is, ESP is not.
const fn is_extension(next: u8) -> bool {
    matches!(
        next,
        HOP_BY_HOP
            | ROUTING
            | protocol_number::IPV6_FRAGMENT
            | AUTHENTICATION
            | DESTINATION_OPTIONS
            | MOBILITY
            | HOST_IDENTITY
            | SHIM6
    )
}
