//! The bytes of an ICMP error: headers, the packet in error, RFC 4884 extensions, padding.

use super::kind::Kind;
use crate::packet::MIN_ORIGINAL;
use crate::packet::checksum::Sum;
use crate::rewrite::header::{V4_LEN, V6_LEN};

/// How an IP version shapes its ICMP errors.
#[derive(Clone, Copy)]
pub(super) struct Shape {
    /// Bytes of the IP header.
    header_len: usize,
    /// Bytes of the whole packet at most.
    max: usize,
    /// What the length attribute counts in, and the original datagram is padded to, in bytes.
    unit: usize,
    /// Where in the ICMP header the length attribute is.
    attribute: usize,
    /// The types that have one (RFC 4884 §4.6).
    extensible: &'static [u8],
}

impl Shape {
    /// ICMP: 576 bytes (RFC 1812 §4.3.2.3), 32-bit words (RFC 4884 §4.1).
    pub(super) const V4: Self =
        Self { header_len: V4_LEN as usize, max: 576, unit: 4, attribute: 5, extensible: &[3, 11, 12] };
    /// ICMPv6: 1280 bytes (RFC 4443 §2.4 (c)), 64-bit words (RFC 4884 §4.4).
    pub(super) const V6: Self =
        Self { header_len: V6_LEN as usize, max: 1280, unit: 8, attribute: 4, extensible: &[1, 3] };
}

/// The packet in error, as it is to stand in the error.
pub(super) struct Original<'p> {
    /// Its IP headers.
    pub(super) headers: &'p [u8],
    /// What there is after them.
    pub(super) payload: &'p [u8],
    /// Bytes of `payload` that are the packet's; what there is beyond is padding.
    pub(super) payload_len: usize,
}

/// An ICMP error that is being put together.
pub(super) struct Message {
    bytes: [u8; 1280],
    len: usize,
    shape: Shape,
    /// Where the packet in error has its transport, and where it ends.
    transport: (usize, usize),
}

impl Message {
    /// An error of `kind` with its payload, cut to what its IP version allows. Its IP header and checksum are zero.
    pub(super) fn new(shape: Shape, kind: Kind, original: &Original<'_>, extension: Option<&[u8]>) -> Self {
        let mut message = Self { bytes: [0; 1280], len: shape.header_len, shape, transport: (0, 0) };
        let [a, b, c, d] = kind.rest.to_be_bytes();
        message.append(&[kind.kind, kind.code, 0, 0, a, b, c, d]);
        let room = shape.max - message.len;
        match extension {
            None => message.append_original(original, original.payload, room),
            Some(extension) => {
                let own = original.payload.get(..original.payload_len).unwrap_or(original.payload);
                if shape.extensible.contains(&kind.kind) {
                    message.append_extended(original, own, extension, room);
                } else {
                    message.append_original(original, own, room);
                }
            }
        }
        message
    }

    /// The transport of the packet in error, to be translated.
    pub(super) fn transport_mut(&mut self) -> &mut [u8] {
        self.bytes.get_mut(self.transport.0..self.transport.1).unwrap_or_default()
    }

    /// Bytes after the IP header.
    pub(super) fn payload_len(&self) -> u16 {
        u16::try_from(self.len - self.shape.header_len).unwrap_or_default()
    }

    /// The whole packet: with its IP header, and a checksum that is as wrong as one that gave the sum `received`. What
    /// the checksum covers beside the message is `pseudo`.
    pub(super) fn finish(&mut self, header: &[u8], pseudo: Sum, received: u16) -> &[u8] {
        let (front, icmp) = self.bytes.split_at_mut(self.shape.header_len);
        front.copy_from_slice(header);
        let icmp = icmp.get_mut(..self.len - self.shape.header_len).unwrap_or_default();
        let right = pseudo.bytes(icmp).checksum();
        // 0xffff is the sum of a right one.
        let checksum = if received == 0xffff { right } else { Sum::ZERO.word(right).word(received).fold() };
        if let Some(field) = icmp.get_mut(2..4) {
            field.copy_from_slice(&checksum.to_be_bytes());
        }
        self.bytes.get(..self.len).unwrap_or_default()
    }

    fn append_original(&mut self, original: &Original<'_>, payload: &[u8], room: usize) {
        self.append(original.headers);
        let start = self.len;
        self.append(payload.get(..room.saturating_sub(original.headers.len())).unwrap_or(payload));
        self.transport = (start, self.len);
    }

    /// Appends the original datagram, padded, and the extension structure. What is too long is taken from the datagram,
    /// down to what RFC 4884 requires of it, then from the structure (RFC 7915 §4.2).
    fn append_extended(&mut self, original: &Original<'_>, payload: &[u8], extension: &[u8], room: usize) {
        let unit = self.shape.unit;
        let start = self.len;
        let most = (room.saturating_sub(extension.len()) / unit * unit).max(MIN_ORIGINAL);
        self.append_original(original, payload, most);
        let padded = (self.len - start).next_multiple_of(unit).max(MIN_ORIGINAL);
        self.len = start + padded;
        self.append(extension.get(..room - padded).unwrap_or(extension));
        // At most 1280 / 8 or 576 / 4.
        let attribute = u8::try_from(padded / unit).unwrap_or_default();
        self.bytes[self.shape.header_len + self.shape.attribute] = attribute;
    }

    fn append(&mut self, part: &[u8]) {
        if let Some(room) = self.bytes.get_mut(self.len..self.len + part.len()) {
            room.copy_from_slice(part);
            self.len += part.len();
        }
    }
}
