//! Packets for tests, built by `etherparse`: what translation makes of a packet of one IP version is compared, byte by
//! byte, with the packet that it builds for the other.

use std::net::{Ipv4Addr, Ipv6Addr};

use etherparse::{
    Icmpv4Type, Icmpv6Type, IpFragOffset, IpNumber, Ipv4Header, Ipv4Options, Ipv6Header, TcpHeader, UdpHeader,
};

use super::{Fragment, HEADROOM, Offload, PacketBuf};
use crate::rewrite::Endpoints;

/// A client's packet to a server, in IPv6.
pub(crate) const SIX: Endpoints<Ipv6Addr> = Endpoints {
    source: Ipv6Addr::new(0x2001, 0xdb8, 0xaaaa, 0xbb, 0, 0, 0xfe12, 0x10),
    source_port: 40_000,
    destination: Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0xc633, 0x6450),
    destination_port: 443,
};

/// The same packet in IPv4.
pub(crate) const FOUR: Endpoints<Ipv4Addr> = Endpoints {
    source: Ipv4Addr::new(192, 0, 2, 1),
    source_port: 61_234,
    destination: Ipv4Addr::new(198, 51, 100, 80),
    destination_port: 443,
};

/// The other direction of the same flow.
pub(crate) const fn back<A: Copy>(ends: &Endpoints<A>) -> Endpoints<A> {
    Endpoints {
        source: ends.destination,
        source_port: ends.destination_port,
        destination: ends.source,
        destination_port: ends.source_port,
    }
}

/// What an IP header says beside addresses and lengths.
#[derive(Clone, Debug)]
pub(crate) struct Ip {
    pub(crate) hop_limit: u8,
    pub(crate) traffic_class: u8,
    pub(crate) identification: u16,
    pub(crate) dont_fragment: bool,
    pub(crate) fragment: Option<Fragment>,
    /// IPv4 options.
    pub(crate) options: Vec<u8>,
}

impl Default for Ip {
    fn default() -> Self {
        Self {
            hop_limit: 64,
            traffic_class: 0,
            identification: 0,
            dont_fragment: false,
            fragment: None,
            options: Vec::new(),
        }
    }
}

impl Ip {
    /// With that hop limit or TTL.
    pub(crate) fn hops(hop_limit: u8) -> Self {
        Self { hop_limit, ..Self::default() }
    }
}

/// An IP version, by its addresses.
pub(crate) trait Family: Copy {
    /// The protocol number of its ICMP.
    const ICMP: u8;
    /// Its echo request and reply.
    const ECHO: [u8; 2];

    fn packet(ends: &Endpoints<Self>, ip: &Ip, protocol: u8, payload: &[u8]) -> Vec<u8>;
    fn tcp_checksum(ends: &Endpoints<Self>, header: &TcpHeader, payload: &[u8]) -> u16;
    fn udp_checksum(ends: &Endpoints<Self>, header: &UdpHeader, payload: &[u8]) -> u16;
    fn icmp_checksum(ends: &Endpoints<Self>, kind: u8, code: u8, rest: [u8; 4], payload: &[u8]) -> u16;
}

impl Family for Ipv4Addr {
    const ICMP: u8 = 1;
    const ECHO: [u8; 2] = [8, 0];

    fn packet(ends: &Endpoints<Self>, ip: &Ip, protocol: u8, payload: &[u8]) -> Vec<u8> {
        let options = Ipv4Options::try_from(ip.options.as_slice()).unwrap();
        let mut header = Ipv4Header {
            dscp: (ip.traffic_class >> 2).try_into().unwrap(),
            ecn: (ip.traffic_class & 3).try_into().unwrap(),
            identification: ip.identification,
            dont_fragment: ip.dont_fragment,
            time_to_live: ip.hop_limit,
            protocol: IpNumber(protocol),
            source: ends.source.octets(),
            destination: ends.destination.octets(),
            options,
            ..Ipv4Header::default()
        };
        header.set_payload_len(payload.len()).unwrap();
        if let Some(at) = ip.fragment {
            header.fragment_offset = IpFragOffset::try_new(at.offset / 8).unwrap();
            header.more_fragments = at.more;
        }
        header.header_checksum = header.calc_header_checksum();
        [&header.to_bytes(), payload].concat()
    }

    fn tcp_checksum(ends: &Endpoints<Self>, header: &TcpHeader, payload: &[u8]) -> u16 {
        header.calc_checksum_ipv4_raw(ends.source.octets(), ends.destination.octets(), payload).unwrap()
    }

    fn udp_checksum(ends: &Endpoints<Self>, header: &UdpHeader, payload: &[u8]) -> u16 {
        header.calc_checksum_ipv4_raw(ends.source.octets(), ends.destination.octets(), payload).unwrap()
    }

    fn icmp_checksum(_: &Endpoints<Self>, kind: u8, code: u8, rest: [u8; 4], payload: &[u8]) -> u16 {
        Icmpv4Type::Unknown { type_u8: kind, code_u8: code, bytes5to8: rest }.calc_checksum(payload)
    }
}

impl Family for Ipv6Addr {
    const ICMP: u8 = 58;
    const ECHO: [u8; 2] = [128, 129];

    fn packet(ends: &Endpoints<Self>, ip: &Ip, protocol: u8, payload: &[u8]) -> Vec<u8> {
        let fragment = ip.fragment.map(|at| {
            let place = (at.offset | u16::from(at.more)).to_be_bytes();
            let id = u32::from(ip.identification).to_be_bytes();
            [protocol, 0, place[0], place[1], id[0], id[1], id[2], id[3]]
        });
        let mut header = Ipv6Header {
            traffic_class: ip.traffic_class,
            next_header: IpNumber(if fragment.is_some() { 44 } else { protocol }),
            hop_limit: ip.hop_limit,
            source: ends.source.octets(),
            destination: ends.destination.octets(),
            ..Ipv6Header::default()
        };
        let payload = [fragment.as_ref().map_or(&[][..], |fragment| fragment), payload].concat();
        header.set_payload_length(payload.len()).unwrap();
        [&header.to_bytes()[..], &payload].concat()
    }

    fn tcp_checksum(ends: &Endpoints<Self>, header: &TcpHeader, payload: &[u8]) -> u16 {
        header.calc_checksum_ipv6_raw(ends.source.octets(), ends.destination.octets(), payload).unwrap()
    }

    fn udp_checksum(ends: &Endpoints<Self>, header: &UdpHeader, payload: &[u8]) -> u16 {
        header.calc_checksum_ipv6_raw(ends.source.octets(), ends.destination.octets(), payload).unwrap()
    }

    fn icmp_checksum(ends: &Endpoints<Self>, kind: u8, code: u8, rest: [u8; 4], payload: &[u8]) -> u16 {
        Icmpv6Type::Unknown { type_u8: kind, code_u8: code, bytes5to8: rest }
            .calc_checksum(ends.source.octets(), ends.destination.octets(), payload)
            .unwrap()
    }
}

/// The TCP header of a segment in the middle of a connection.
pub(crate) fn tcp_header<A>(ends: &Endpoints<A>) -> TcpHeader {
    let mut header = TcpHeader::new(ends.source_port, ends.destination_port, 0x0102_0304, 502);
    header.acknowledgment_number = 0xa0b0_c0d0;
    header.ack = true;
    header
}

/// A TCP segment with the ports of `ends`, without its IP header.
pub(crate) fn segment<A: Family>(ends: &Endpoints<A>, mut header: TcpHeader, payload: &[u8]) -> Vec<u8> {
    (header.source_port, header.destination_port) = (ends.source_port, ends.destination_port);
    header.checksum = A::tcp_checksum(ends, &header, payload);
    [&header.to_bytes(), payload].concat()
}

/// A UDP datagram without its IP header.
pub(crate) fn datagram<A: Family>(ends: &Endpoints<A>, payload: &[u8]) -> Vec<u8> {
    let mut header = UdpHeader {
        source_port: ends.source_port,
        destination_port: ends.destination_port,
        length: u16::try_from(8 + payload.len()).unwrap(),
        checksum: 0,
    };
    header.checksum = A::udp_checksum(ends, &header, payload);
    [&header.to_bytes(), payload].concat()
}

/// An ICMP message of that version without its IP header.
pub(crate) fn icmp<A: Family>(ends: &Endpoints<A>, kind: u8, code: u8, rest: [u8; 4], payload: &[u8]) -> Vec<u8> {
    let checksum = A::icmp_checksum(ends, kind, code, rest, payload);
    [&[kind, code][..], &checksum.to_be_bytes(), &rest, payload].concat()
}

/// A TCP packet in the middle of a connection.
pub(crate) fn tcp<A: Family>(ends: &Endpoints<A>, ip: &Ip, payload: &[u8]) -> Vec<u8> {
    A::packet(ends, ip, 6, &segment(ends, tcp_header(ends), payload))
}

/// A UDP packet.
pub(crate) fn udp<A: Family>(ends: &Endpoints<A>, ip: &Ip, payload: &[u8]) -> Vec<u8> {
    A::packet(ends, ip, 17, &datagram(ends, payload))
}

/// An echo request or reply with that identifier.
pub(crate) fn echo<A: Family>(ends: &Endpoints<A>, ip: &Ip, reply: bool, identifier: u16, payload: &[u8]) -> Vec<u8> {
    let [a, b] = identifier.to_be_bytes();
    A::packet(ends, ip, A::ICMP, &icmp(ends, A::ECHO[usize::from(reply)], 0, [a, b, 0, 7], payload))
}

/// An ICMP error of that version about `embedded`.
pub(crate) fn error<A: Family>(
    ends: &Endpoints<A>,
    ip: &Ip,
    (kind, code, rest): (u8, u8, u32),
    embedded: &[u8],
) -> Vec<u8> {
    A::packet(ends, ip, A::ICMP, &icmp(ends, kind, code, rest.to_be_bytes(), embedded))
}

/// What a test does to a packet in a buffer like a device's, and what becomes of the packet and its offload state.
pub(crate) fn in_buffer<R>(
    packet: &[u8],
    offload: Offload,
    act: impl FnOnce(&mut PacketBuf<'_>) -> R,
) -> (R, Vec<u8>, Offload) {
    let mut storage = vec![0xee; HEADROOM + packet.len()];
    storage[HEADROOM..].copy_from_slice(packet);
    let mut buf = PacketBuf::new(&mut storage, HEADROOM, packet.len(), offload);
    let result = act(&mut buf);
    (result, buf.bytes().to_vec(), buf.offload)
}

/// Bytes that are not all alike.
pub(crate) fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|at| u8::try_from(at * 7 % 251).unwrap()).collect()
}
