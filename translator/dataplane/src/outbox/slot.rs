//! A packet that waits for the rest of its batch, and what it has been merged with.

use nat64_core::packet::checksum::Sum;
use nat64_core::packet::protocol_number::{TCP, UDP};
use nat64_core::{Gso, Offload, PartialChecksum};

use super::segment::{Headers, PSH};
use crate::queue::Frame;

/// Segments in one super-packet, at most: what every Linux takes of UDP.
const MOST_SEGMENTS: u16 = 64;
/// Bytes of a super-packet, at most.
const MOST_BYTES: usize = 65_535;

/// One packet in a buffer of its own.
#[derive(Debug)]
pub(super) struct Slot {
    /// The packet is behind the front that a [`Frame`] has.
    buffer: Box<[u8]>,
    /// Bytes of the packet.
    len: usize,
    offload: Offload,
    headers: Headers,
    /// Payload bytes of the first segment; none has more.
    segment_size: u16,
    segments: u16,
    /// Nothing may follow: the last segment is shorter, or was pushed.
    complete: bool,
}

impl Slot {
    pub(super) fn new(buffer: Box<[u8]>) -> Self {
        let headers = Headers { ip_len: 0, len: 0, protocol: 0 };
        Self { buffer, len: 0, offload: Offload::default(), headers, segment_size: 0, segments: 0, complete: true }
    }

    /// Takes a packet. It is copied: what is read next finds the same buffer, which super-packets need to be in the CPU's
    /// cache, and a packet that can be merged is short.
    #[inline]
    pub(super) fn put(&mut self, packet: &[u8], offload: Offload, headers: Headers) {
        let payload = packet.len() - usize::from(headers.len);
        // A packet of more than 64 KB is on its own.
        let (size, longer) = u16::try_from(payload).map_or((u16::MAX, true), |size| (size, false));
        self.len = packet.len();
        self.buffer[Frame::FRONT..][..self.len].copy_from_slice(packet);
        self.offload = offload;
        self.headers = headers;
        self.segment_size = size;
        self.segments = 1;
        self.complete = longer || is_pushed(headers, packet);
    }

    /// Whether the packet is of the flow of `packet`.
    #[inline]
    pub(super) fn is_of_flow(&self, headers: Headers, packet: &[u8]) -> bool {
        self.headers.protocol == headers.protocol
            && self.headers.ip_len == headers.ip_len
            && self.headers.flow(self.packet()) == headers.flow(packet)
    }

    /// Adds a segment of the same flow behind this one, if what is segmented later will be the same packets.
    #[inline]
    pub(super) fn append(&mut self, headers: Headers, packet: &[u8]) -> bool {
        let (first, payload) = (self.packet(), &packet[headers.len.into()..]);
        let fits = !self.complete
            && headers == self.headers
            && self.segments < MOST_SEGMENTS
            && payload.len() <= usize::from(self.segment_size)
            && first.len() + payload.len() <= MOST_BYTES
            && headers.continues(first, packet, first.len() - usize::from(headers.len));
        let (start, end) = (self.len, self.len + payload.len());
        let Some(room) = self.buffer.get_mut(Frame::FRONT + start..Frame::FRONT + end).filter(|_| fits) else {
            return false;
        };
        room.copy_from_slice(payload);
        self.len = end;
        self.segments += 1;
        let pushed = is_pushed(headers, packet);
        self.complete = pushed || payload.len() < usize::from(self.segment_size);
        if pushed {
            // Segmentation leaves it to the last segment.
            self.buffer[Frame::FRONT + usize::from(headers.ip_len) + 13] |= PSH;
        }
        true
    }

    /// The packet with its headers as they have to be for its length, what the device is to be told, and how many
    /// packets have been merged with the first.
    pub(super) fn finish(&mut self) -> (Frame<'_>, Offload, u16) {
        let mut frame = Frame::new(&mut self.buffer[..Frame::FRONT + self.len]);
        if self.segments > 1 {
            self.offload = super_packet(frame.packet_mut(), self.headers, self.segment_size);
        }
        (frame, self.offload, self.segments - 1)
    }

    #[inline]
    fn packet(&self) -> &[u8] {
        &self.buffer[Frame::FRONT..Frame::FRONT + self.len]
    }
}

fn is_pushed(headers: Headers, packet: &[u8]) -> bool {
    headers.protocol == TCP && packet[usize::from(headers.ip_len) + 13] & PSH != 0
}

/// Makes the headers those of a super-packet.
fn super_packet(packet: &mut [u8], headers: Headers, segment_size: u16) -> Offload {
    let at = usize::from(headers.ip_len);
    let sum = headers.pseudo_header(packet).fold();
    let len = u16::try_from(packet.len()).unwrap_or(u16::MAX);
    let transport_len = len - u16::from(headers.ip_len);
    let (ip, transport) = packet.split_at_mut(at);
    if ip[0] >> 4 == 4 {
        ip[2..4].copy_from_slice(&len.to_be_bytes());
        ip[10..12].fill(0);
        let checksum = Sum::ZERO.bytes(ip).checksum();
        ip[10..12].copy_from_slice(&checksum.to_be_bytes());
    } else {
        ip[4..6].copy_from_slice(&transport_len.to_be_bytes());
    }
    if headers.protocol == UDP {
        transport[4..6].copy_from_slice(&transport_len.to_be_bytes());
    }
    let field = usize::from(headers.checksum_at());
    transport[field..field + 2].copy_from_slice(&sum.to_be_bytes());
    Offload {
        checksum: Some(PartialChecksum { start: headers.ip_len.into(), offset: headers.checksum_at() }),
        gso: Some(Gso { kind: headers.kind(), segment_size, header_len: headers.len.into(), ecn: false }),
        data_valid: false,
    }
}
