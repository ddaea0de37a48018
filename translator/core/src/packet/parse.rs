//! Parsing.

use super::{Parsed, Parsed4, Parsed6};
use crate::verdict::DropReason;

/// Why a packet cannot be translated, as far as its own bytes tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParseError {
    /// The reason.
    pub reason: DropReason,
    /// For [`DropReason::RoutingHeader`]: where in the packet the Segments Left field is, in bytes. Otherwise zero.
    pub pointer: u16,
}

/// Parses a packet from the IPv6 side.
///
/// # Errors
/// When the packet cannot be translated, with the reason.
pub fn parse_v6(bytes: &[u8]) -> Result<Parsed6, ParseError> {
    let _ = bytes;
    Err(ParseError { reason: DropReason::Malformed, pointer: 0 })
}

/// Parses a packet from the IPv4 side.
///
/// # Errors
/// When the packet cannot be translated, with the reason.
pub fn parse_v4(bytes: &[u8]) -> Result<Parsed4, ParseError> {
    let _ = bytes;
    Err(ParseError { reason: DropReason::Malformed, pointer: 0 })
}

/// The bytes of the packet in error that the ICMP or ICMPv6 error `bytes`, parsed as `outer`, carries.
pub fn original_datagram<'p, A>(bytes: &'p [u8], outer: &Parsed<A>) -> &'p [u8] {
    bytes.get(usize::from(outer.header_len) + 8..).unwrap_or_default()
}

/// Parses the IPv6 packet inside an ICMPv6 error; see [`original_datagram`].
///
/// # Errors
/// [`DropReason::BadEmbeddedPacket`].
pub fn parse_embedded_v6(bytes: &[u8]) -> Result<Parsed6, DropReason> {
    let _ = bytes;
    Err(DropReason::BadEmbeddedPacket)
}

/// Parses the IPv4 packet inside an ICMP error; see [`original_datagram`].
///
/// # Errors
/// [`DropReason::BadEmbeddedPacket`].
pub fn parse_embedded_v4(bytes: &[u8]) -> Result<Parsed4, DropReason> {
    let _ = bytes;
    Err(DropReason::BadEmbeddedPacket)
}
