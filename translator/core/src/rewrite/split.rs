//! Fragmentation towards IPv6 of what IPv4 allowed to be fragmented (RFC 7915 §4.1).

use super::header::{FRAGMENT_LEN, V6_LEN, fragment_header};
use super::transport;
use crate::packet::checksum::{self, Sum};
use crate::packet::{Fragment, Gso, GsoKind, Offload, PacketBuf, protocol_number};
use crate::spill::Spill;
use crate::verdict::DropReason;

/// Where the packets are after [`split_v6`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Split {
    /// In the buffer, to be written.
    InPlace,
    /// All in the spill, in order; the buffer holds nothing to write.
    Spilled,
}

/// Makes an IPv6 packet, translated by [`super::four_to_six`] from IPv4 without DF, fit `max` bytes (1280 at least).
///
/// `identification` is for a packet that is not a fragment yet: the IPv4 packet's own (RFC 7915 §4.1). The datagrams of
/// a UDP super-packet get it and the numbers after it, those of a TCP super-packet are made shorter and are not
/// fragmented at all.
///
/// # Errors
/// [`DropReason::FragmentLimit`] if the spill has no room for all of the fragments; it then has none of them.
#[inline]
pub fn split_v6(
    packet: &mut PacketBuf<'_>,
    identification: u32,
    max: u16,
    spill: &mut Spill,
) -> Result<Split, DropReason> {
    let max = usize::from(max.max(MIN_MTU));
    match packet.offload.gso {
        _ if packet.len() <= max => Ok(Split::InPlace),
        None => split_packet(packet, identification, max, spill),
        Some(gso) => split_super_packet(packet, gso, identification, max, spill),
    }
}

/// The MTU that every IPv6 link has (RFC 8200 §5).
const MIN_MTU: u16 = 1280;

#[cold]
fn split_packet(
    packet: &mut PacketBuf<'_>,
    identification: u32,
    max: usize,
    spill: &mut Spill,
) -> Result<Split, DropReason> {
    checksum::complete(packet);
    let (header, rest) = packet.bytes().split_first_chunk().ok_or(DropReason::Malformed)?;
    let mut datagram = Datagram { header: *header, protocol: header[6], at: WHOLE, identification };
    let mut data = rest;
    if datagram.protocol == protocol_number::IPV6_FRAGMENT {
        let (&[next, _, a, b, identification @ ..], fragment) =
            rest.split_first_chunk::<8>().ok_or(DropReason::Malformed)?;
        let place = u16::from_be_bytes([a, b]);
        datagram.protocol = next;
        datagram.at = Fragment { offset: place & 0xfff8, more: place & 1 == 1 };
        datagram.identification = u32::from_be_bytes(identification);
        data = fragment;
    }
    let room = Room::for_fragments(data.len(), max);
    if !spill.has_room(room.packets, room.bytes) {
        return Err(DropReason::FragmentLimit);
    }
    datagram.push(&[], data, max, spill);
    Ok(Split::Spilled)
}

#[cold]
fn split_super_packet(
    packet: &mut PacketBuf<'_>,
    gso: Gso,
    identification: u32,
    max: usize,
    spill: &mut Spill,
) -> Result<Split, DropReason> {
    let header_len = usize::from(V6_LEN);
    let transport = packet.bytes().get(header_len..).ok_or(DropReason::Malformed)?;
    let most = max - header_len - transport::segment_header_len(gso.kind, transport);
    if usize::from(gso.segment_size) <= most {
        return Ok(Split::InPlace);
    }
    match gso.kind {
        GsoKind::TcpV4 | GsoKind::TcpV6 => {
            let segment_size = u16::try_from(most).map_err(|_| DropReason::Malformed)?;
            packet.offload.gso = Some(Gso { segment_size, ..gso });
            Ok(Split::InPlace)
        }
        GsoKind::Udp => split_datagrams(packet.bytes(), gso.segment_size, identification, max, spill),
    }
}

/// Makes each datagram of a UDP super-packet a packet, and fragments those.
fn split_datagrams(
    packet: &[u8],
    segment_size: u16,
    identification: u32,
    max: usize,
    spill: &mut Spill,
) -> Result<Split, DropReason> {
    let (header, rest) = packet.split_first_chunk::<40>().ok_or(DropReason::Malformed)?;
    let (udp, payload) = rest.split_first_chunk::<8>().ok_or(DropReason::Malformed)?;
    let segment_size = usize::from(segment_size);
    let room = Room::for_fragments(udp.len() + segment_size, max).times(payload.len().div_ceil(segment_size));
    if !spill.has_room(room.packets, room.bytes) {
        return Err(DropReason::FragmentLimit);
    }
    let mut identification = identification;
    for payload in payload.chunks(segment_size) {
        let udp = datagram_header(header, *udp, payload);
        let datagram = Datagram { header: *header, protocol: header[6], at: WHOLE, identification };
        datagram.push(&udp, payload, max, spill);
        // As a sender of IPv4 counts, whose identification has 16 bits.
        identification = identification.wrapping_add(1) & 0xffff;
    }
    Ok(Split::Spilled)
}

/// The UDP header of one datagram of a super-packet whose header is `udp`.
fn datagram_header(header: &[u8; 40], mut udp: [u8; 8], payload: &[u8]) -> [u8; 8] {
    let len = u16::try_from(udp.len() + payload.len()).unwrap_or(u16::MAX);
    udp[4..6].copy_from_slice(&len.to_be_bytes());
    udp[6..8].fill(0);
    let addresses = Sum::ZERO.bytes(&header[8..]);
    let pseudo = addresses.word(protocol_number::UDP.into()).word(len);
    let checksum = transport::never_zero(pseudo.bytes(&udp).bytes(payload).checksum());
    udp[6..8].copy_from_slice(&checksum.to_be_bytes());
    udp
}

const WHOLE: Fragment = Fragment { offset: 0, more: false };

/// What all fragments of a datagram have in common.
struct Datagram {
    /// The IPv6 header, of which payload length and next header are still to be set.
    header: [u8; 40],
    protocol: u8,
    /// What is split: the whole datagram, or a fragment of it.
    at: Fragment,
    identification: u32,
}

impl Datagram {
    /// Spills `start` and `data`, which follow each other, in fragments of `max` bytes; as one packet if that fits. The
    /// caller has made sure that there is room. `start` has 8 bytes at most.
    fn push(mut self, start: &[u8], data: &[u8], max: usize, spill: &mut Spill) {
        let whole = usize::from(V6_LEN) + start.len() + data.len();
        if whole <= max && self.at == WHOLE {
            self.header[6] = self.protocol;
            self.set_payload_len(start.len() + data.len());
            spill.push(&[&self.header, start, data], Offload::default());
            return;
        }
        let step = fragment_payload(max);
        let (mut start, mut data, mut offset) = (start, data, self.at.offset);
        self.header[6] = protocol_number::IPV6_FRAGMENT;
        while !(start.is_empty() && data.is_empty()) {
            let (now, later) = data.split_at(data.len().min(step - start.len()));
            let at = Fragment { offset, more: self.at.more || !later.is_empty() };
            let fragment = fragment_header(self.protocol, at, self.identification);
            self.set_payload_len(fragment.len() + start.len() + now.len());
            spill.push(&[&self.header, &fragment, start, now], Offload::default());
            offset = offset.saturating_add(u16::try_from(step).unwrap_or(u16::MAX));
            (start, data) = (&[], later);
        }
    }

    fn set_payload_len(&mut self, len: usize) {
        let len = u16::try_from(len).unwrap_or(u16::MAX);
        self.header[4..6].copy_from_slice(&len.to_be_bytes());
    }
}

/// Bytes of a datagram in each of its fragments but the last: what `max` leaves, a multiple of 8.
fn fragment_payload(max: usize) -> usize {
    (max - usize::from(V6_LEN + FRAGMENT_LEN)) & !7
}

/// What fragments need in the spill.
struct Room {
    packets: usize,
    bytes: usize,
}

impl Room {
    fn for_fragments(len: usize, max: usize) -> Self {
        let packets = len.div_ceil(fragment_payload(max));
        Self { packets, bytes: len + packets * usize::from(V6_LEN + FRAGMENT_LEN) }
    }

    const fn times(self, count: usize) -> Self {
        Self { packets: self.packets * count, bytes: self.bytes * count }
    }
}

#[cfg(test)]
mod tests;
