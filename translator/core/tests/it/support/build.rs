//! Packets, built by `etherparse`. The one place that does.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use etherparse::{
    Icmpv4Type, Icmpv6Type, IpFragOffset, IpNumber, Ipv4Header, Ipv4Options, Ipv6Header, TcpHeader, UdpHeader,
};

pub(crate) const FIN: u8 = 1;
pub(crate) const SYN: u8 = 2;
pub(crate) const RST: u8 = 4;
pub(crate) const ACK: u8 = 16;

/// Source and destination, of one IP version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ends {
    pub(crate) source: IpAddr,
    pub(crate) destination: IpAddr,
}

impl Ends {
    pub(crate) fn new(source: impl Into<IpAddr>, destination: impl Into<IpAddr>) -> Self {
        Self { source: source.into(), destination: destination.into() }
    }
}

/// What an IP header says beside addresses and lengths.
#[derive(Clone, Debug)]
pub(crate) struct Ip {
    pub(crate) hop_limit: u8,
    pub(crate) traffic_class: u8,
    pub(crate) identification: u32,
    pub(crate) dont_fragment: bool,
    /// Offset in bytes, and whether fragments follow. In IPv6 it makes a Fragment header.
    pub(crate) fragment: Option<(usize, bool)>,
    /// IPv4 options.
    pub(crate) options: Vec<u8>,
    /// IPv6 extension headers in front of the Fragment header: each its number and its bytes, of which the first, its
    /// next header, is filled in.
    pub(crate) extensions: Vec<(u8, Vec<u8>)>,
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
            extensions: Vec::new(),
        }
    }
}

/// What a packet carries.
#[derive(Clone, Debug)]
pub(crate) enum Body {
    Tcp { from: u16, to: u16, flags: u8, sequence: u32, acknowledgment: u32, mss: Option<u16>, data: Vec<u8> },
    Udp { from: u16, to: u16, checksum: bool, data: Vec<u8> },
    Echo { reply: bool, id: u16, data: Vec<u8> },
    Icmp { kind: u8, code: u8, rest: u32, data: Vec<u8> },
    Raw { protocol: u8, data: Vec<u8> },
}

impl Body {
    pub(crate) fn tcp(from: u16, to: u16, flags: u8) -> Self {
        Self::Tcp { from, to, flags, sequence: 1000, acknowledgment: 2000, mss: None, data: Vec::new() }
    }

    pub(crate) fn udp(from: u16, to: u16, data: &[u8]) -> Self {
        Self::Udp { from, to, checksum: true, data: data.to_vec() }
    }
}

/// A packet. Its checksums are right.
pub(crate) fn packet(ends: Ends, ip: &Ip, body: &Body) -> Vec<u8> {
    let (protocol, payload) = transport(ends, body);
    ip_packet(ends, ip, protocol, &payload)
}

/// An IP packet around a payload.
pub(crate) fn ip_packet(ends: Ends, ip: &Ip, protocol: u8, payload: &[u8]) -> Vec<u8> {
    match (ends.source, ends.destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => v4(source, destination, ip, protocol, payload),
        (IpAddr::V6(source), IpAddr::V6(destination)) => v6(source, destination, ip, protocol, payload),
        mixed => panic!("one IP version at a time: {mixed:?}"),
    }
}

/// Cuts a packet without extension headers into fragments with `data` bytes each but the last.
pub(crate) fn fragments(packet: &[u8], data: usize, identification: u32) -> Vec<Vec<u8>> {
    assert!(data.is_multiple_of(8));
    let six = packet[0] >> 4 == 6;
    let ends = super::check::ends_of(packet);
    let (header, protocol) = if six { (40, packet[6]) } else { (usize::from(packet[0] & 0xf) * 4, packet[9]) };
    let payload = &packet[header..];
    let ip = Ip { hop_limit: if six { packet[7] } else { packet[8] }, identification, ..Ip::default() };
    let piece = |offset: usize| {
        let end = (offset + data).min(payload.len());
        let ip = Ip { fragment: Some((offset, end < payload.len())), ..ip.clone() };
        ip_packet(ends, &ip, protocol, &payload[offset..end])
    };
    (0..payload.len()).step_by(data).map(piece).collect()
}

fn v4(source: Ipv4Addr, destination: Ipv4Addr, ip: &Ip, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let mut header = Ipv4Header {
        dscp: (ip.traffic_class >> 2).try_into().unwrap(),
        ecn: (ip.traffic_class & 3).try_into().unwrap(),
        identification: u16::try_from(ip.identification & 0xffff).unwrap(),
        dont_fragment: ip.dont_fragment,
        time_to_live: ip.hop_limit,
        protocol: IpNumber(protocol),
        source: source.octets(),
        destination: destination.octets(),
        options: Ipv4Options::try_from(ip.options.as_slice()).unwrap(),
        ..Ipv4Header::default()
    };
    header.set_payload_len(payload.len()).unwrap();
    if let Some((offset, more)) = ip.fragment {
        header.fragment_offset = IpFragOffset::try_new(u16::try_from(offset / 8).unwrap()).unwrap();
        header.more_fragments = more;
    }
    header.header_checksum = header.calc_header_checksum();
    [&header.to_bytes(), payload].concat()
}

fn v6(source: Ipv6Addr, destination: Ipv6Addr, ip: &Ip, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let mut chain = ip.extensions.clone();
    if let Some((offset, more)) = ip.fragment {
        let place = (u16::try_from(offset).unwrap() | u16::from(more)).to_be_bytes();
        chain.push((44, [&[0, 0], &place[..], &ip.identification.to_be_bytes()].concat()));
    }
    let mut headers = Vec::new();
    for index in 0..chain.len() {
        chain[index].1[0] = chain.get(index + 1).map_or(protocol, |next| next.0);
        headers.extend_from_slice(&chain[index].1);
    }
    let mut header = Ipv6Header {
        traffic_class: ip.traffic_class,
        next_header: IpNumber(chain.first().map_or(protocol, |first| first.0)),
        hop_limit: ip.hop_limit,
        source: source.octets(),
        destination: destination.octets(),
        ..Ipv6Header::default()
    };
    header.set_payload_length(headers.len() + payload.len()).unwrap();
    [&header.to_bytes()[..], &headers, payload].concat()
}

/// The protocol number and the bytes of a body.
pub(crate) fn transport(ends: Ends, body: &Body) -> (u8, Vec<u8>) {
    match body {
        Body::Tcp { data, .. } => {
            let header = tcp_header(ends, body);
            (6, [&header.to_bytes(), &data[..]].concat())
        }
        Body::Udp { from, to, checksum, data } => (17, udp(ends, *from, *to, *checksum, data)),
        Body::Echo { reply, id, data } => {
            let kinds = if ends.source.is_ipv6() { [128, 129] } else { [8, 0] };
            icmp(ends, kinds[usize::from(*reply)], 0, u32::from(*id) << 16 | 7, data)
        }
        Body::Icmp { kind, code, rest, data } => icmp(ends, *kind, *code, *rest, data),
        Body::Raw { protocol, data } => (*protocol, data.clone()),
    }
}

fn tcp_header(ends: Ends, body: &Body) -> TcpHeader {
    let Body::Tcp { from, to, flags, sequence, acknowledgment, mss, data } = body else { panic!("no TCP: {body:?}") };
    let mut header = TcpHeader::new(*from, *to, *sequence, 65_000);
    header.acknowledgment_number = *acknowledgment;
    header.fin = flags & FIN != 0;
    header.syn = flags & SYN != 0;
    header.rst = flags & RST != 0;
    header.ack = flags & ACK != 0;
    if let Some(mss) = mss {
        header.set_options(&[etherparse::TcpOptionElement::MaximumSegmentSize(*mss)]).unwrap();
    }
    header.checksum = match (ends.source, ends.destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            header.calc_checksum_ipv4_raw(source.octets(), destination.octets(), data)
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            header.calc_checksum_ipv6_raw(source.octets(), destination.octets(), data)
        }
        mixed => panic!("one IP version at a time: {mixed:?}"),
    }
    .unwrap();
    header
}

fn udp(ends: Ends, from: u16, to: u16, checksum: bool, data: &[u8]) -> Vec<u8> {
    let length = u16::try_from(8 + data.len()).unwrap();
    let mut header = UdpHeader { source_port: from, destination_port: to, length, checksum: 0 };
    if checksum {
        header.checksum = match (ends.source, ends.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                header.calc_checksum_ipv4_raw(source.octets(), destination.octets(), data)
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                header.calc_checksum_ipv6_raw(source.octets(), destination.octets(), data)
            }
            mixed => panic!("one IP version at a time: {mixed:?}"),
        }
        .unwrap();
    }
    [&header.to_bytes(), data].concat()
}

fn icmp(ends: Ends, kind: u8, code: u8, rest: u32, data: &[u8]) -> (u8, Vec<u8>) {
    let rest = rest.to_be_bytes();
    let (protocol, checksum) = match (ends.source, ends.destination) {
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let message = Icmpv6Type::Unknown { type_u8: kind, code_u8: code, bytes5to8: rest };
            (58, message.calc_checksum(source.octets(), destination.octets(), data).unwrap())
        }
        _ => (1, Icmpv4Type::Unknown { type_u8: kind, code_u8: code, bytes5to8: rest }.calc_checksum(data)),
    };
    (protocol, [&[kind, code][..], &checksum.to_be_bytes(), &rest, data].concat())
}
