//! Parsing: one look at a packet, after which nothing has to be checked again.

mod upper;
mod v4;
mod v6;

use super::Parsed;
use crate::verdict::DropReason;

pub use v4::{parse_embedded_v4, parse_v4};
pub(crate) use v6::{Chain, SegmentsLeft};
pub use v6::{parse_embedded_v6, parse_v6};

/// Why a packet cannot be translated, as far as its own bytes tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParseError {
    /// The reason.
    pub reason: DropReason,
    /// For [`DropReason::RoutingHeader`]: where in the packet the Segments Left field is, in bytes. Otherwise zero.
    pub pointer: u16,
}

impl ParseError {
    const MALFORMED: Self = Self::new(DropReason::Malformed);

    const fn new(reason: DropReason) -> Self {
        Self { reason, pointer: 0 }
    }
}

/// The bytes of the packet in error that an ICMP or ICMPv6 error carries: `bytes` is the error from its IP header on,
/// `outer` what parsing it gave. An extension structure after them (RFC 4884) is left out.
#[must_use]
pub fn original_datagram<'p, A>(bytes: &'p [u8], outer: &Parsed<A>) -> &'p [u8] {
    split_original(bytes, outer).0
}

/// An error's "original datagram" field, and the extension structure that follows it if a length attribute says so.
pub(crate) fn split_original<'p, A>(bytes: &'p [u8], outer: &Parsed<A>) -> (&'p [u8], Option<&'p [u8]>) {
    let end = usize::try_from(outer.total_len).unwrap_or(usize::MAX).min(bytes.len());
    let message = bytes.get(usize::from(outer.header_len)..end).unwrap_or_default();
    let Some((header, body)) = message.split_first_chunk::<8>() else { return (&[], None) };
    let v6 = bytes.first().is_some_and(|first| first >> 4 == 6);
    // RFC 4884 §4.1 to §4.5: which messages have the attribute, where, and in which unit.
    let attribute = match (v6, header[0]) {
        (true, 1 | 3) => usize::from(header[4]) * 8,
        (false, 3 | 11 | 12) => usize::from(header[5]) * 4,
        _ => 0,
    };
    // Shorter than RFC 4884 §3 allows, or longer than the message: no attribute but noise in an unused field.
    if attribute < MIN_ORIGINAL {
        (body, None)
    } else {
        body.split_at_checked(attribute).map_or((body, None), |(original, extension)| (original, Some(extension)))
    }
}

/// Bytes that an "original datagram" field has at least when an extension structure follows (RFC 4884 §3).
pub(crate) const MIN_ORIGINAL: usize = 128;

#[cfg(test)]
mod tests;
