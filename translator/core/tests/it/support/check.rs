//! Reading packets that came out, by `etherparse` where it can, and word by word where it cannot.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use etherparse::{NetSlice, SlicedPacket, TransportSlice};

use super::build::Ends;

/// Source and destination address of a packet.
pub(crate) fn ends_of(packet: &[u8]) -> Ends {
    if packet[0] >> 4 == 6 {
        let address = |at: usize| Ipv6Addr::from(<[u8; 16]>::try_from(&packet[at..at + 16]).unwrap());
        Ends::new(address(8), address(24))
    } else {
        let address = |at: usize| Ipv4Addr::from(<[u8; 4]>::try_from(&packet[at..at + 4]).unwrap());
        Ends::new(address(12), address(16))
    }
}

/// Source and destination ports; for echo the identifier and zero.
pub(crate) fn ports(packet: &[u8]) -> (u16, u16) {
    match SlicedPacket::from_ip(packet).unwrap().transport.unwrap() {
        TransportSlice::Udp(udp) => (udp.source_port(), udp.destination_port()),
        TransportSlice::Tcp(tcp) => (tcp.source_port(), tcp.destination_port()),
        TransportSlice::Icmpv4(icmp) => (u16::from_be_bytes([icmp.slice()[4], icmp.slice()[5]]), 0),
        TransportSlice::Icmpv6(icmp) => (u16::from_be_bytes([icmp.slice()[4], icmp.slice()[5]]), 0),
        TransportSlice::Igmp(_) => panic!("no ports"),
    }
}

/// Bytes after the transport header (8 bytes of it for ICMP).
pub(crate) fn payload(packet: &[u8]) -> Vec<u8> {
    match SlicedPacket::from_ip(packet).unwrap().transport.unwrap() {
        TransportSlice::Udp(udp) => udp.payload().to_vec(),
        TransportSlice::Tcp(tcp) => tcp.payload().to_vec(),
        TransportSlice::Icmpv4(icmp) => icmp.slice()[8..].to_vec(),
        TransportSlice::Icmpv6(icmp) => icmp.slice()[8..].to_vec(),
        TransportSlice::Igmp(_) => panic!("no payload"),
    }
}

/// Type and code of an ICMP message of either version, if the packet is one.
pub(crate) fn icmp_type(packet: &[u8]) -> Option<(u8, u8)> {
    match SlicedPacket::from_ip(packet).ok()?.transport? {
        TransportSlice::Icmpv4(icmp) => Some((icmp.slice()[0], icmp.slice()[1])),
        TransportSlice::Icmpv6(icmp) => Some((icmp.slice()[0], icmp.slice()[1])),
        TransportSlice::Udp(_) | TransportSlice::Tcp(_) | TransportSlice::Igmp(_) => None,
    }
}

/// RFC 1071, word by word; 0xffff if a checksum among the bytes is right.
pub(crate) fn sum(parts: &[&[u8]]) -> u32 {
    let mut sum = 0_u32;
    for part in parts {
        for pair in part.chunks(2) {
            sum += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
            sum = (sum & 0xffff) + (sum >> 16);
        }
    }
    sum
}

/// Whether a whole packet is what its headers say, with right checksums. IPv6 UDP must have one.
pub(crate) fn is_sound(packet: &[u8]) -> Result<(), String> {
    let sliced = SlicedPacket::from_ip(packet).map_err(|error| format!("{error}: {packet:02x?}"))?;
    let (protocol, payload, fragmented, total) = match sliced.net.as_ref() {
        Some(NetSlice::Ipv4(ip)) => {
            if sum(&[ip.header().slice()]) != 0xffff {
                return Err(format!("header checksum of {packet:02x?}"));
            }
            let payload = ip.payload();
            (payload.ip_number.0, payload.payload, payload.fragmented, usize::from(ip.header().total_len()))
        }
        Some(NetSlice::Ipv6(ip)) => {
            let payload = ip.payload();
            let total = 40 + usize::from(ip.header().payload_length());
            (payload.ip_number.0, payload.payload, payload.fragmented, total)
        }
        _ => return Err("no IP".to_owned()),
    };
    if total != packet.len() {
        return Err(format!("{total} bytes by its header, {} in fact", packet.len()));
    }
    if fragmented { Ok(()) } else { transport_is_right(ends_of(packet), protocol, payload) }
}

/// Whether a packet is a fragment, and not a whole datagram with a Fragment header.
pub(crate) fn is_fragment(packet: &[u8]) -> bool {
    match SlicedPacket::from_ip(packet).ok().and_then(|sliced| sliced.net) {
        Some(NetSlice::Ipv4(ip)) => ip.payload().fragmented,
        Some(NetSlice::Ipv6(ip)) => ip.payload().fragmented,
        _ => false,
    }
}

/// Whether a packet is UDP without a checksum.
pub(crate) fn is_without_checksum(packet: &[u8]) -> bool {
    let transport = SlicedPacket::from_ip(packet).ok().and_then(|sliced| sliced.transport);
    matches!(transport, Some(TransportSlice::Udp(udp)) if udp.checksum() == 0)
}

fn transport_is_right(ends: Ends, protocol: u8, payload: &[u8]) -> Result<(), String> {
    let six = ends.source.is_ipv6();
    let udp_len = payload.get(4..6).map_or(0, |len| usize::from(u16::from_be_bytes([len[0], len[1]])));
    let right = match protocol {
        6 => payload.len() >= 20 && pseudo_sum(ends, 6, payload) == 0xffff,
        17 if payload.get(6..8) == Some(&[0, 0]) => !six,
        17 => payload.get(..udp_len).is_some_and(|datagram| pseudo_sum(ends, 17, datagram) == 0xffff),
        1 if !six => sum(&[payload]) == 0xffff,
        58 if six => pseudo_sum(ends, 58, payload) == 0xffff,
        other => return Err(format!("protocol {other}")),
    };
    if right { Ok(()) } else { Err(format!("transport checksum: {protocol} {payload:02x?}")) }
}

/// The sum of a payload with the pseudo-header of its IP version (IPv6's has the same words in another order).
pub(crate) fn pseudo_sum(ends: Ends, protocol: u8, payload: &[u8]) -> u32 {
    let octets = |address: IpAddr| match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    sum(&[&octets(ends.source), &octets(ends.destination), &length, &[0, protocol], payload])
}
