//! IPv4 packets and their options (RFC 791).

use std::net::Ipv4Addr;

use super::ParseError;
use super::upper::{self, Version};
use crate::packet::checksum::Sum;
use crate::packet::{Fragment, Parsed4, Upper, protocol_number};
use crate::verdict::DropReason;

/// Bytes of the header without options.
const HEADER: usize = 20;
const DONT_FRAGMENT: u16 = 0x4000;
const MORE_FRAGMENTS: u16 = 0x2000;
const OFFSET: u16 = 0x1fff;

const END_OF_OPTIONS: u8 = 0;
const NO_OPERATION: u8 = 1;
const LOOSE_SOURCE_ROUTE: u8 = 131;
const STRICT_SOURCE_ROUTE: u8 = 137;

/// Parses a packet from the IPv4 side. What follows it in `bytes` is padding.
///
/// # Errors
/// When the packet cannot be translated, with the reason: it is no IPv4, contradicts itself, its header checksum is
/// wrong, or it has a source route that has not expired.
#[inline]
pub fn parse_v4(bytes: &[u8]) -> Result<Parsed4, ParseError> {
    let Some(header) = bytes.first_chunk::<HEADER>() else {
        return Err(too_short(bytes));
    };
    if header[0] != 0x45 {
        return parse_with_options(bytes, header);
    }
    if header_sum(header).fold() != 0xffff {
        return Err(ParseError::new(DropReason::BadHeaderChecksum));
    }
    parse_payload(bytes, header, HEADER)
}

/// Parses the IPv4 packet inside an ICMP error; see [`super::original_datagram`]. It may be cut after 8 bytes of its
/// transport, or anywhere if it is a fragment that is not the first; its lengths are what they were before the cut. Its
/// options are skipped and its checksum is not verified: routers may quote a header that they have changed.
///
/// # Errors
/// [`DropReason::BadEmbeddedPacket`] if there is less, or an ICMP error.
pub fn parse_embedded_v4(bytes: &[u8]) -> Result<Parsed4, DropReason> {
    embedded(bytes).ok_or(DropReason::BadEmbeddedPacket)
}

fn embedded(bytes: &[u8]) -> Option<Parsed4> {
    let header = bytes.first_chunk::<HEADER>().filter(|header| header[0] >> 4 == 4)?;
    let header_len = usize::from(header[0] & 0xf) * 4;
    let total_len = usize::from(total_len(header));
    if header_len < HEADER || total_len < header_len {
        return None;
    }
    let payload = bytes.get(header_len..total_len.min(bytes.len()))?;
    let upper = upper::embedded(header[9], payload, fragment(header), Version::V4)?;
    fields(header, header_len, upper)
}

#[cold]
fn parse_with_options(bytes: &[u8], header: &[u8; HEADER]) -> Result<Parsed4, ParseError> {
    if header[0] >> 4 != 4 {
        return Err(ParseError::new(DropReason::NotIp));
    }
    let header_len = usize::from(header[0] & 0xf) * 4;
    if header_len < HEADER {
        return Err(ParseError::MALFORMED);
    }
    let whole = bytes.get(..header_len).ok_or(ParseError::MALFORMED)?;
    if Sum::ZERO.bytes(whole).fold() != 0xffff {
        return Err(ParseError::new(DropReason::BadHeaderChecksum));
    }
    check_options(whole.get(HEADER..).unwrap_or_default())?;
    parse_payload(bytes, header, header_len)
}

#[inline(always)]
fn parse_payload(bytes: &[u8], header: &[u8; HEADER], header_len: usize) -> Result<Parsed4, ParseError> {
    // A total length below the header's, or beyond the buffer, is no range of it.
    let payload = bytes.get(header_len..usize::from(total_len(header))).ok_or(ParseError::MALFORMED)?;
    let upper = match (header[9], fragment(header)) {
        (protocol_number::TCP, None) => upper::tcp(payload),
        (protocol_number::UDP, None) => upper::udp(payload),
        (protocol_number::ICMP, None) => upper::icmp(payload, Version::V4),
        (other, None) => Some(Upper::Other(other)),
        (protocol, Some(at)) => upper::fragment(protocol, payload, at, Version::V4),
    };
    upper.and_then(|upper| fields(header, header_len, upper)).ok_or(ParseError::MALFORMED)
}

#[inline]
fn fields(header: &[u8; HEADER], header_len: usize, upper: Upper) -> Option<Parsed4> {
    Some(Parsed4 {
        source: Ipv4Addr::new(header[12], header[13], header[14], header[15]),
        destination: Ipv4Addr::new(header[16], header[17], header[18], header[19]),
        traffic_class: header[1],
        hop_limit: header[8],
        dont_fragment: flags_and_offset(header) & DONT_FRAGMENT != 0,
        identification: u32::from(u16::from_be_bytes([header[4], header[5]])),
        header_len: u16::try_from(header_len).ok()?,
        total_len: u32::from(total_len(header)),
        fragment_header: false,
        fragment: fragment(header),
        upper,
    })
}

/// Looks for what options a packet cannot be translated with; the others are ignored (RFC 7915 §4.1).
fn check_options(mut options: &[u8]) -> Result<(), ParseError> {
    while let [kind, rest @ ..] = options {
        match *kind {
            END_OF_OPTIONS => return Ok(()),
            NO_OPERATION => options = rest,
            kind => {
                let len = rest.first().map_or(0, |len| usize::from(*len));
                let (option, after) =
                    options.split_at_checked(len).filter(|_| len >= 2).ok_or(ParseError::MALFORMED)?;
                if matches!(kind, LOOSE_SOURCE_ROUTE | STRICT_SOURCE_ROUTE) {
                    let pointer = option.get(2).copied().filter(|pointer| *pointer >= 4);
                    // Expired is a route whose pointer is past its end (RFC 791 §3.1).
                    if usize::from(pointer.ok_or(ParseError::MALFORMED)?) <= len {
                        return Err(ParseError::new(DropReason::SourceRoute));
                    }
                }
                options = after;
            }
        }
    }
    Ok(())
}

#[inline]
const fn header_sum(header: &[u8; HEADER]) -> Sum {
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, s, t] = *header;
    Sum::ZERO
        .long_bytes([a, b, c, d])
        .long_bytes([e, f, g, h])
        .long_bytes([i, j, k, l])
        .long_bytes([m, n, o, p])
        .long_bytes([q, r, s, t])
}

#[inline]
const fn total_len(header: &[u8; HEADER]) -> u16 {
    u16::from_be_bytes([header[2], header[3]])
}

#[inline]
const fn flags_and_offset(header: &[u8; HEADER]) -> u16 {
    u16::from_be_bytes([header[6], header[7]])
}

#[inline]
fn fragment(header: &[u8; HEADER]) -> Option<Fragment> {
    let place = flags_and_offset(header) & (MORE_FRAGMENTS | OFFSET);
    (place != 0).then(|| Fragment { offset: (place & OFFSET) * 8, more: place & MORE_FRAGMENTS != 0 })
}

#[cold]
fn too_short(bytes: &[u8]) -> ParseError {
    let v4 = bytes.first().is_some_and(|first| first >> 4 == 4);
    if v4 { ParseError::MALFORMED } else { ParseError::new(DropReason::NotIp) }
}
