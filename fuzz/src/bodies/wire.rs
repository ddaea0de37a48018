//! Packets as plain bytes, and what is right about them, word by word.

use std::net::{Ipv4Addr, Ipv6Addr};

/// An IPv6 packet.
pub(super) fn v6(source: Ipv6Addr, destination: Ipv6Addr, next: u8, hop_limit: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend(u16::try_from(payload.len()).unwrap_or(u16::MAX).to_be_bytes());
    packet.extend([next, hop_limit]);
    packet.extend(source.octets());
    packet.extend(destination.octets());
    packet.extend(payload);
    packet
}

/// An IPv4 packet with these flags and offset.
pub(super) fn v4(
    source: Ipv4Addr,
    destination: Ipv4Addr,
    protocol: u8,
    place: u16,
    id: u16,
    payload: &[u8],
) -> Vec<u8> {
    let mut packet = vec![0x45, 0];
    packet.extend(u16::try_from(20 + payload.len()).unwrap_or(u16::MAX).to_be_bytes());
    packet.extend(id.to_be_bytes());
    packet.extend(place.to_be_bytes());
    packet.extend([64, protocol, 0, 0]);
    packet.extend(source.octets());
    packet.extend(destination.octets());
    packet.extend(payload);
    set_header_checksum(&mut packet);
    packet
}

/// Fills in the checksum of an IPv4 header, if there is one.
pub(super) fn set_header_checksum(packet: &mut [u8]) {
    let len = packet.first().map_or(0, |first| usize::from(first & 0xf) * 4);
    if packet.len() >= len && len >= 20 {
        packet[10..12].fill(0);
        let checksum = !sum(&packet[..len]);
        packet[10..12].copy_from_slice(&checksum.to_be_bytes());
    }
}

/// Makes the transport checksum of a whole packet without options or extension headers right, if it has a place for one.
pub(super) fn set_transport_checksum(packet: &mut [u8]) {
    let Some((protocol, start)) = transport(packet) else { return };
    let at = start
        + match protocol {
            6 => 16,
            17 => 6,
            1 | 58 => 2,
            _ => return,
        };
    if packet.len() >= at + 2 {
        packet[at..at + 2].fill(0);
        let checksum = !transport_sum(packet, protocol, start);
        let checksum = if protocol == 17 && checksum == 0 { 0xffff } else { checksum };
        packet[at..at + 2].copy_from_slice(&checksum.to_be_bytes());
    }
}

/// Whether a packet is as long as its header says, and an IPv4 header's checksum is right.
pub(super) fn has_a_right_header(packet: &[u8]) -> bool {
    match packet.first().map(|first| first >> 4) {
        Some(4) if packet.len() >= 20 => {
            let len = usize::from(packet[0] & 0xf) * 4;
            let total = usize::from(u16::from_be_bytes([packet[2], packet[3]]));
            len >= 20 && len <= packet.len() && sum(&packet[..len]) == 0xffff && total == packet.len()
        }
        Some(6) if packet.len() >= 40 => usize::from(u16::from_be_bytes([packet[4], packet[5]])) == packet.len() - 40,
        _ => false,
    }
}

/// Whether a packet is whole, without options or extension headers, and all its checksums are right.
pub(super) fn is_plain_and_right(packet: &[u8]) -> bool {
    let Some((protocol, start)) = transport(packet).filter(|_| has_a_right_header(packet)) else { return false };
    if start == 20 && (u16::from_be_bytes([packet[6], packet[7]]) & 0x3fff != 0 || packet[0] != 0x45) {
        return false;
    }
    let payload = &packet[start..];
    match (protocol, start) {
        // A datagram that is shorter than its packet has a checksum over itself alone.
        (17, _) if payload.len() < 8 || usize::from(u16::from_be_bytes([payload[4], payload[5]])) != payload.len() => {
            false
        }
        (17, 20) if payload[6..8] == [0, 0] => true,
        (17, _) if payload[6..8] == [0, 0] => false,
        (6 | 17, _) | (1, 20) | (58, 40) => transport_sum(packet, protocol, start) == 0xffff,
        _ => false,
    }
}

fn transport(packet: &[u8]) -> Option<(u8, usize)> {
    match packet.first()? >> 4 {
        4 if packet.len() >= 20 => Some((packet[9], 20)),
        6 if packet.len() >= 40 => Some((packet[6], 40)),
        _ => None,
    }
}

fn transport_sum(packet: &[u8], protocol: u8, start: usize) -> u16 {
    let payload = &packet[start..];
    let addresses = if start == 40 { &packet[8..40] } else { &packet[12..20] };
    if protocol == 1 {
        return sum(payload);
    }
    let len = u32::try_from(payload.len()).unwrap_or(0).to_be_bytes();
    sum(&[addresses, &len, &[0, protocol], payload].concat())
}

/// RFC 1071.
fn sum(bytes: &[u8]) -> u16 {
    let mut sum = 0_u32;
    for pair in bytes.chunks(2) {
        sum += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
        sum = (sum & 0xffff) + (sum >> 16);
    }
    u16::try_from(sum).unwrap_or(0)
}
