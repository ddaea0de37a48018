//! What of a packet matters for merging: its flow, and whether it can be a segment of a super-packet.

use nat64_core::packet::checksum::Sum;
use nat64_core::packet::protocol_number::{TCP, UDP};
use nat64_core::{GsoKind, Offload};

use crate::vnet_hdr;

const V4_LEN: u8 = 20;
const V6_LEN: u8 = 40;
const UDP_LEN: u8 = 8;
const MIN_TCP_LEN: u8 = 20;

pub(super) const PSH: u8 = 0x08;
const ACK: u8 = 0x10;
/// More fragments, or an offset.
const FRAGMENT: u16 = 0x3fff;

/// Where the headers are of a whole TCP or UDP packet without IPv4 options or IPv6 extension headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Headers {
    /// Bytes of the IP header.
    pub(super) ip_len: u8,
    /// Bytes of both headers.
    pub(super) len: u8,
    /// The transport's protocol number.
    pub(super) protocol: u8,
}

impl Headers {
    /// None if it cannot be told which flow the packet belongs to, or only with more work than it is worth.
    #[inline]
    pub(super) fn of(packet: &[u8]) -> Option<Self> {
        let (ip_len, protocol) = match packet.first()? {
            0x45 if word(packet, 6)? & FRAGMENT == 0 => (V4_LEN, *packet.get(9)?),
            first if first >> 4 == 6 => (V6_LEN, *packet.get(6)?),
            _ => return None,
        };
        let at = usize::from(ip_len);
        let transport_len = match protocol {
            UDP => UDP_LEN,
            TCP => (packet.get(at + 12)? >> 4) * 4,
            _ => return None,
        };
        let least = if protocol == UDP { UDP_LEN } else { MIN_TCP_LEN };
        let len = ip_len + transport_len;
        (transport_len >= least && packet.len() >= usize::from(len)).then_some(Self { ip_len, len, protocol })
    }

    /// Addresses and ports.
    #[inline]
    pub(super) fn flow(self, packet: &[u8]) -> &[u8] {
        let (from, to) = if self.ip_len == V4_LEN { (12, 24) } else { (8, 44) };
        &packet[from..to]
    }

    /// The kind of super-packet that this packet can be a segment of.
    pub(super) const fn kind(self) -> GsoKind {
        match (self.protocol, self.ip_len) {
            (UDP, _) => GsoKind::Udp,
            (_, V4_LEN) => GsoKind::TcpV4,
            (_, _) => GsoKind::TcpV6,
        }
    }

    /// Where the checksum field is in the transport header.
    pub(super) const fn checksum_at(self) -> u16 {
        if self.protocol == UDP { vnet_hdr::UDP_CHECKSUM } else { vnet_hdr::TCP_CHECKSUM }
    }

    /// Whether the packet can be a segment: data, nothing beside it, and intact.
    #[inline]
    pub(super) fn is_segment(self, packet: &[u8], offload: Offload) -> bool {
        let transport = &packet[usize::from(self.ip_len)..];
        let has_form = match self.protocol {
            UDP => {
                word(transport, 4).is_some_and(|len| usize::from(len) == transport.len()) && transport[6..8] != [0; 2]
            }
            _ => transport[13] & !PSH == ACK,
        };
        offload.gso.is_none()
            && packet.len() > usize::from(self.len)
            && has_form
            && self.tells_its_length(packet)
            && self.is_intact(packet, offload)
    }

    fn tells_its_length(self, packet: &[u8]) -> bool {
        let told = if self.ip_len == V4_LEN {
            word(packet, 2).map(usize::from)
        } else {
            word(packet, 4).map(|payload| usize::from(payload) + usize::from(V6_LEN))
        };
        told == Some(packet.len())
    }

    /// A super-packet's checksums are computed anew, which must not make a damaged packet look whole.
    fn is_intact(self, packet: &[u8], offload: Offload) -> bool {
        match offload.checksum {
            Some(partial) => partial.start == u16::from(self.ip_len) && partial.offset == self.checksum_at(),
            None => {
                offload.data_valid || self.pseudo_header(packet).bytes(&packet[self.ip_len.into()..]).fold() == 0xffff
            }
        }
    }

    /// The sum of the pseudo-header of the packet as long as it is now.
    pub(super) fn pseudo_header(self, packet: &[u8]) -> Sum {
        let addresses = &self.flow(packet)[..if self.ip_len == V4_LEN { 8 } else { 32 }];
        let transport_len = packet.len() - usize::from(self.ip_len);
        let len = u32::try_from(transport_len).unwrap_or(u32::MAX);
        Sum::ZERO.bytes(addresses).word(self.protocol.into()).long(len)
    }

    /// Whether the headers of `next` are those that segmentation would give the segment `payload` bytes after `first`.
    #[inline]
    pub(super) fn continues(self, first: &[u8], next: &[u8], payload: usize) -> bool {
        let same = |from: usize, to: usize| first[from..to] == next[from..to];
        // All but lengths, the IPv4 identification and checksums.
        let same_ip = if self.ip_len == V4_LEN { same(0, 2) && same(6, 10) } else { same(0, 4) && same(6, 8) };
        if self.protocol == UDP || !same_ip {
            return same_ip;
        }
        let at = usize::from(self.ip_len);
        let sequence = |packet: &[u8]| long(packet, at + 4);
        let offset = u32::try_from(payload).ok();
        // Acknowledgment and data offset; window; urgent pointer and options.
        sequence(first).zip(offset).map(|(start, offset)| start.wrapping_add(offset)) == sequence(next)
            && same(at + 8, at + 13)
            && same(at + 14, at + 16)
            && same(at + 18, self.len.into())
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().copied().map(u16::from_be_bytes)
}

fn long(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().copied().map(u32::from_be_bytes)
}
