//! In software what the kernel or an interface would do: finish a checksum, split a super-packet.
//!
//! Only needed where a kernel refuses a packet at run time, or the device has no `virtio_net_hdr`.

#[cfg(test)]
mod tests;

use nat64_core::packet::checksum::{self, Sum};
use nat64_core::packet::protocol_number::{TCP, UDP};
use nat64_core::{Gso, GsoKind, Offload, PacketBuf};

use crate::queue::Frame;
use crate::vnet_hdr::{self, InvalidOffload};

const FIN_PSH: u8 = 0x09;
const CWR: u8 = 0x80;

/// Gives `write` the packets that the one in `frame` stands for, each with its checksums complete. Stops at the first error of
/// `write`. A super-packet's segments are built in `scratch`, which must be as long as the packet with its front.
pub(crate) fn finish<E: From<InvalidOffload>>(
    frame: &mut Frame<'_>,
    offload: Offload,
    scratch: &mut [u8],
    mut write: impl FnMut(&mut Frame<'_>) -> Result<(), E>,
) -> Result<(), E> {
    let packet = frame.packet_mut();
    let header_len = usize::from(vnet_hdr::header_len(packet, offload)?);
    match (offload.gso, offload.checksum) {
        (Some(gso), Some(checksum)) => {
            let transport = usize::from(checksum.start);
            split(&Headers { bytes: &packet[..header_len], transport, gso }, &packet[header_len..], scratch, write)
        }
        (None, Some(_)) => {
            let len = packet.len();
            checksum::complete(&mut PacketBuf::new(packet, 0, len, offload));
            write(frame)
        }
        (_, None) => write(frame),
    }
}

/// The headers of a super-packet, all checked.
struct Headers<'p> {
    bytes: &'p [u8],
    /// Where the transport header starts.
    transport: usize,
    gso: Gso,
}

fn split<E: From<InvalidOffload>>(
    headers: &Headers<'_>,
    payload: &[u8],
    scratch: &mut [u8],
    mut write: impl FnMut(&mut Frame<'_>) -> Result<(), E>,
) -> Result<(), E> {
    let header_len = headers.bytes.len();
    let size = usize::from(headers.gso.segment_size);
    let count = payload.len().div_ceil(size).max(1);
    for index in 0..count {
        let chunk = &payload[index * size..payload.len().min((index + 1) * size)];
        let len = header_len + chunk.len();
        let mut frame = Frame::new(scratch.get_mut(..Frame::FRONT + len).ok_or(InvalidOffload::Headers)?);
        let segment = frame.packet_mut();
        segment[..header_len].copy_from_slice(headers.bytes);
        segment[header_len..].copy_from_slice(chunk);
        let place = Place { index, offset: index * size, last: index + 1 == count };
        fix_headers(segment, headers, place)?;
        write(&mut frame)?;
    }
    Ok(())
}

/// Which of the segments it is.
#[derive(Clone, Copy)]
struct Place {
    index: usize,
    /// Payload bytes before it.
    offset: usize,
    last: bool,
}

fn fix_headers(segment: &mut [u8], headers: &Headers<'_>, place: Place) -> Result<(), InvalidOffload> {
    let total = u16::try_from(segment.len()).map_err(|_| InvalidOffload::Headers)?;
    let (ip, transport) = segment.split_at_mut(headers.transport);
    let addresses = if ip[0] >> 4 == 4 {
        put(ip, 2, total);
        put(ip, 4, word(ip, 4).wrapping_add(low_16(place.index as u64)));
        put(ip, 10, 0);
        put(ip, 10, Sum::ZERO.bytes(ip).checksum());
        12..20
    } else {
        put(ip, 4, total - 40);
        8..40
    };
    let len = low_16(transport.len() as u64);
    let (protocol, field) = match headers.gso.kind {
        GsoKind::Udp => {
            put(transport, 4, len);
            (UDP, vnet_hdr::UDP_CHECKSUM)
        }
        GsoKind::TcpV4 | GsoKind::TcpV6 => {
            fix_tcp(transport, place);
            (TCP, vnet_hdr::TCP_CHECKSUM)
        }
    };
    let at = usize::from(field);
    put(transport, at, 0);
    let pseudo_header = Sum::ZERO.bytes(&ip[addresses]).word(u16::from(protocol)).word(len);
    put(transport, at, transport_checksum(pseudo_header.bytes(transport), field));
    Ok(())
}

/// FIN and PSH belong to the last segment, CWR to the first (RFC 3168 §6.1.2).
fn fix_tcp(header: &mut [u8], place: Place) {
    let sequence = u32::from_be_bytes([header[4], header[5], header[6], header[7]]);
    // A super-packet is shorter than 2^32.
    #[expect(clippy::cast_possible_truncation, reason = "sequence numbers count modulo 2^32")]
    let sequence = sequence.wrapping_add(place.offset as u32);
    header[4..8].copy_from_slice(&sequence.to_be_bytes());
    if !place.last {
        header[13] &= !FIN_PSH;
    }
    if place.index > 0 {
        header[13] &= !CWR;
    }
}

/// The checksum for a sum, for the field at this offset of its header. UDP takes zero for "none" (RFC 768).
const fn transport_checksum(sum: Sum, field: u16) -> u16 {
    match sum.checksum() {
        0 if field == vnet_hdr::UDP_CHECKSUM => 0xffff,
        value => value,
    }
}

fn word(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

fn put(bytes: &mut [u8], at: usize, value: u16) {
    bytes[at..at + 2].copy_from_slice(&value.to_be_bytes());
}

#[expect(clippy::cast_possible_truncation, reason = "callers want the low bits, or have checked the range")]
const fn low_16(value: u64) -> u16 {
    value as u16
}
