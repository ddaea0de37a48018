//! Packets, built and read with etherparse and a checksum computed word by word: nothing of the translator's is used.

use std::net::{Ipv4Addr, Ipv6Addr};

use etherparse::{IpNumber, Ipv4Header, Ipv6Header, TcpHeader, TcpHeaderSlice, UdpHeader};

pub(crate) const ICMP: u8 = 1;
pub(crate) const TCP: u8 = 6;
pub(crate) const UDP: u8 = 17;
pub(crate) const FRAGMENT: u8 = 44;
pub(crate) const ICMPV6: u8 = 58;

/// An address and port.
pub(crate) type End<A> = (A, u16);

/// An IPv4 packet whose fields may be set as one likes before [`V4::bytes`].
#[derive(Clone, Debug)]
pub(crate) struct V4 {
    pub(crate) header: Ipv4Header,
    pub(crate) payload: Vec<u8>,
}

/// An IPv6 packet; extension headers are part of the payload.
#[derive(Clone, Debug)]
pub(crate) struct V6 {
    pub(crate) header: Ipv6Header,
    pub(crate) payload: Vec<u8>,
}

/// A Fragment header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fragment {
    pub(crate) next: u8,
    /// In bytes.
    pub(crate) offset: u16,
    pub(crate) more: bool,
    pub(crate) identification: u32,
}

/// An ICMP or ICMPv6 message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Icmp {
    pub(crate) kind: u8,
    pub(crate) code: u8,
    /// The second word of its header.
    pub(crate) rest: u32,
    pub(crate) body: Vec<u8>,
}

impl V4 {
    /// TTL 64, DF clear, identification zero.
    pub(crate) fn new(source: Ipv4Addr, destination: Ipv4Addr, protocol: u8, payload: &[u8]) -> Self {
        let header = Ipv4Header::new(0, 64, IpNumber(protocol), source.octets(), destination.octets()).unwrap();
        Self { header: Ipv4Header { dont_fragment: false, ..header }, payload: payload.to_vec() }
    }

    pub(crate) fn udp(from: End<Ipv4Addr>, to: End<Ipv4Addr>, data: &[u8]) -> Self {
        let mut udp = UdpHeader { source_port: from.1, destination_port: to.1, length: len(data) + 8, checksum: 0 };
        udp.checksum = udp.calc_checksum_ipv4_raw(from.0.octets(), to.0.octets(), data).unwrap();
        Self::new(from.0, to.0, UDP, &[&udp.to_bytes()[..], data].concat())
    }

    pub(crate) fn tcp(from: End<Ipv4Addr>, to: End<Ipv4Addr>, flags: u8, data: &[u8]) -> Self {
        let mut tcp = tcp_header(from.1, to.1, flags);
        tcp.checksum = tcp.calc_checksum_ipv4_raw(from.0.octets(), to.0.octets(), data).unwrap();
        Self::new(from.0, to.0, TCP, &[&tcp.to_bytes()[..], data].concat())
    }

    pub(crate) fn icmp(from: Ipv4Addr, to: Ipv4Addr, message: &Icmp) -> Self {
        Self::new(from, to, ICMP, &message.bytes(0))
    }

    /// With options, which are padded to words.
    pub(crate) fn options(mut self, options: &[u8]) -> Self {
        let mut padded = options.to_vec();
        padded.resize(options.len().next_multiple_of(4), 0);
        self.header.options = padded.as_slice().try_into().unwrap();
        self
    }

    pub(crate) fn with(mut self, change: impl FnOnce(&mut Ipv4Header)) -> Self {
        change(&mut self.header);
        self
    }

    /// The packet, its length and header checksum right.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut header = self.header.clone();
        header.set_payload_len(self.payload.len()).unwrap();
        header.header_checksum = header.calc_header_checksum();
        [&header.to_bytes()[..], &self.payload].concat()
    }

    /// The fragments whose data start at `cuts`, with that identification. Zero is the first cut and not given.
    pub(crate) fn fragments(&self, cuts: &[usize], identification: u16) -> Vec<Self> {
        let part = |(start, end): (usize, usize)| {
            let mut packet = Self { header: self.header.clone(), payload: self.payload[start..end].to_vec() };
            packet.header.identification = identification;
            packet.header.more_fragments = end < self.payload.len();
            packet.header.fragment_offset = u16::try_from(start / 8).unwrap().try_into().unwrap();
            packet
        };
        ranges(cuts, self.payload.len()).map(part).collect()
    }

    /// Reads a packet, whose length and header checksum must be right.
    pub(crate) fn read(bytes: &[u8]) -> Self {
        let (header, payload) = Ipv4Header::from_slice(bytes).unwrap();
        assert_eq!(usize::from(header.total_len), bytes.len(), "total length");
        assert_eq!(header.header_checksum, header.calc_header_checksum(), "header checksum");
        Self { header, payload: payload.to_vec() }
    }

    pub(crate) fn source(&self) -> Ipv4Addr {
        self.header.source.into()
    }

    pub(crate) fn destination(&self) -> Ipv4Addr {
        self.header.destination.into()
    }

    pub(crate) fn protocol(&self) -> u8 {
        self.header.protocol.0
    }

    pub(crate) fn tos(&self) -> u8 {
        self.header.dscp.value() << 2 | self.header.ecn.value()
    }

    /// The offset in bytes.
    pub(crate) fn offset(&self) -> u16 {
        self.header.fragment_offset.value() * 8
    }

    /// Ports of a UDP datagram, or of what starts like one.
    pub(crate) fn ports(&self) -> (u16, u16) {
        ports(&self.payload)
    }

    /// The ICMP message, whose checksum must be right.
    pub(crate) fn read_icmp(&self) -> Icmp {
        assert_eq!(self.protocol(), ICMP);
        assert_eq!(self.transport_sum(), 0xffff, "checksum of {self:?}");
        Icmp::read(&self.payload)
    }

    /// The data of a UDP datagram or TCP segment, whose checksum must be right.
    pub(crate) fn data(&self) -> &[u8] {
        assert_eq!(self.transport_sum(), 0xffff, "checksum of {self:?}");
        transport_data(self.protocol(), &self.payload)
    }

    /// What the words under the transport checksum add up to: 0xffff if it is right.
    pub(crate) fn transport_sum(&self) -> u16 {
        let (source, destination) = (self.header.source, self.header.destination);
        match self.protocol() {
            ICMP => sum(&[&self.payload]),
            protocol => sum(&[&source, &destination, &pseudo(protocol, self.payload.len()), &self.payload]),
        }
    }
}

impl V6 {
    /// Hop limit 64, no traffic class, no flow label.
    pub(crate) fn new(source: Ipv6Addr, destination: Ipv6Addr, next: u8, payload: &[u8]) -> Self {
        let header = Ipv6Header {
            next_header: IpNumber(next),
            hop_limit: 64,
            source: source.octets(),
            destination: destination.octets(),
            ..Ipv6Header::default()
        };
        Self { header, payload: payload.to_vec() }
    }

    pub(crate) fn udp(from: End<Ipv6Addr>, to: End<Ipv6Addr>, data: &[u8]) -> Self {
        let mut udp = UdpHeader { source_port: from.1, destination_port: to.1, length: len(data) + 8, checksum: 0 };
        udp.checksum = udp.calc_checksum_ipv6_raw(from.0.octets(), to.0.octets(), data).unwrap();
        Self::new(from.0, to.0, UDP, &[&udp.to_bytes()[..], data].concat())
    }

    pub(crate) fn tcp(from: End<Ipv6Addr>, to: End<Ipv6Addr>, flags: u8, data: &[u8]) -> Self {
        let mut tcp = tcp_header(from.1, to.1, flags);
        tcp.checksum = tcp.calc_checksum_ipv6_raw(from.0.octets(), to.0.octets(), data).unwrap();
        Self::new(from.0, to.0, TCP, &[&tcp.to_bytes()[..], data].concat())
    }

    pub(crate) fn icmp(from: Ipv6Addr, to: Ipv6Addr, message: &Icmp) -> Self {
        let pseudo = pseudo(ICMPV6, message.body.len() + 8);
        Self::new(from, to, ICMPV6, &message.bytes(sum(&[&from.octets(), &to.octets(), &pseudo])))
    }

    pub(crate) fn with(mut self, change: impl FnOnce(&mut Ipv6Header)) -> Self {
        change(&mut self.header);
        self
    }

    /// With an extension header of that kind in front of what the packet carries: `rest` is what follows its next
    /// header and length fields and is 6 bytes long, or 8 more for each step.
    pub(crate) fn extended(mut self, kind: u8, rest: &[u8]) -> Self {
        assert_eq!(rest.len() % 8, 6);
        let header = [&[self.header.next_header.0, u8::try_from(rest.len() / 8).unwrap()], rest].concat();
        self.header.next_header = IpNumber(kind);
        self.payload.splice(0..0, header);
        self
    }

    /// With a Fragment header that says it is whole (RFC 6946).
    pub(crate) fn atomic(mut self, identification: u32) -> Self {
        let next = self.header.next_header.0;
        let header = Fragment { next, offset: 0, more: false, identification };
        self.header.next_header = IpNumber(FRAGMENT);
        self.payload.splice(0..0, header.bytes());
        self
    }

    /// The fragments whose data start at `cuts`, with that identification. Zero is the first cut and not given.
    pub(crate) fn fragments(&self, cuts: &[usize], identification: u32) -> Vec<Self> {
        let next = self.header.next_header.0;
        let part = |(start, end): (usize, usize)| {
            let more = end < self.payload.len();
            let header = Fragment { next, offset: u16::try_from(start).unwrap(), more, identification };
            let payload = [&header.bytes()[..], &self.payload[start..end]].concat();
            Self { header: Ipv6Header { next_header: IpNumber(FRAGMENT), ..self.header.clone() }, payload }
        };
        ranges(cuts, self.payload.len()).map(part).collect()
    }

    /// The packet, its length right.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let header = Ipv6Header { payload_length: len(&self.payload), ..self.header.clone() };
        [&header.to_bytes()[..], &self.payload].concat()
    }

    /// Reads a packet, whose length must be right.
    pub(crate) fn read(bytes: &[u8]) -> Self {
        let (header, payload) = Ipv6Header::from_slice(bytes).unwrap();
        assert_eq!(usize::from(header.payload_length), payload.len(), "payload length");
        Self { header, payload: payload.to_vec() }
    }

    pub(crate) fn source(&self) -> Ipv6Addr {
        self.header.source.into()
    }

    pub(crate) fn destination(&self) -> Ipv6Addr {
        self.header.destination.into()
    }

    pub(crate) fn next(&self) -> u8 {
        self.header.next_header.0
    }

    /// The Fragment header, if the packet starts with one.
    pub(crate) fn fragment(&self) -> Option<Fragment> {
        (self.next() == FRAGMENT).then(|| Fragment::read(&self.payload))
    }

    /// What follows the Fragment header.
    pub(crate) fn fragment_data(&self) -> &[u8] {
        assert_eq!(self.next(), FRAGMENT);
        &self.payload[8..]
    }

    /// Ports of a UDP datagram, or of what starts like one.
    pub(crate) fn ports(&self) -> (u16, u16) {
        ports(&self.payload)
    }

    /// The ICMPv6 message, whose checksum must be right.
    pub(crate) fn read_icmp(&self) -> Icmp {
        assert_eq!(self.next(), ICMPV6);
        assert_eq!(self.transport_sum(), 0xffff, "checksum of {self:?}");
        Icmp::read(&self.payload)
    }

    /// The data of a UDP datagram or TCP segment, whose checksum must be right.
    pub(crate) fn data(&self) -> &[u8] {
        assert_eq!(self.transport_sum(), 0xffff, "checksum of {self:?}");
        transport_data(self.next(), &self.payload)
    }

    /// What the words under the transport checksum add up to: 0xffff if it is right.
    pub(crate) fn transport_sum(&self) -> u16 {
        let pseudo = pseudo(self.next(), self.payload.len());
        sum(&[&self.header.source, &self.header.destination, &pseudo, &self.payload])
    }
}

impl Fragment {
    pub(crate) fn bytes(self) -> [u8; 8] {
        let [a, b] = (self.offset | u16::from(self.more)).to_be_bytes();
        let [c, d, e, f] = self.identification.to_be_bytes();
        [self.next, 0, a, b, c, d, e, f]
    }

    pub(crate) fn read(bytes: &[u8]) -> Self {
        let place = u16::from_be_bytes([bytes[2], bytes[3]]);
        let identification = u32::from_be_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]);
        Self { next: bytes[0], offset: place & 0xfff8, more: place & 1 == 1, identification }
    }
}

impl Icmp {
    /// An error about `packet`.
    pub(crate) fn error(kind: u8, code: u8, rest: u32, packet: &[u8]) -> Self {
        Self { kind, code, rest, body: packet.to_vec() }
    }

    pub(crate) fn echo(kind: u8, identifier: u16, sequence: u16, data: &[u8]) -> Self {
        Self { kind, code: 0, rest: u32::from(identifier) << 16 | u32::from(sequence), body: data.to_vec() }
    }

    pub(crate) fn identifier(&self) -> u16 {
        u16::try_from(self.rest >> 16).unwrap()
    }

    /// The message with a checksum that covers `pseudo` too.
    pub(crate) fn bytes(&self, pseudo: u16) -> Vec<u8> {
        let mut bytes = vec![self.kind, self.code, 0, 0];
        bytes.extend(self.rest.to_be_bytes());
        bytes.extend(&self.body);
        let checksum = !sum(&[&pseudo.to_be_bytes(), &bytes]);
        bytes[2..4].copy_from_slice(&checksum.to_be_bytes());
        bytes
    }

    fn read(bytes: &[u8]) -> Self {
        let rest = u32::from_be_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]);
        Self { kind: bytes[0], code: bytes[1], rest, body: bytes[8..].to_vec() }
    }
}

/// Bytes that differ from their neighbours.
pub(crate) fn pattern(len: usize) -> Vec<u8> {
    (0..=250).cycle().take(len).collect()
}

/// The one's complement sum of `parts` (RFC 1071), all but the last of which have even lengths.
pub(crate) fn sum(parts: &[&[u8]]) -> u16 {
    let mut total = 0_u32;
    for pair in parts.iter().flat_map(|part| part.chunks(2)) {
        total += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
        total = (total & 0xffff) + (total >> 16);
    }
    u16::try_from(total).unwrap()
}

fn pseudo(protocol: u8, len: usize) -> [u8; 8] {
    let [a, b, c, d] = u32::try_from(len).unwrap().to_be_bytes();
    [a, b, c, d, 0, 0, 0, protocol]
}

fn len(bytes: &[u8]) -> u16 {
    u16::try_from(bytes.len()).unwrap()
}

fn ranges(cuts: &[usize], len: usize) -> impl Iterator<Item = (usize, usize)> {
    let starts = std::iter::once(0).chain(cuts.iter().copied());
    starts.zip(cuts.iter().copied().chain([len]))
}

fn ports(transport: &[u8]) -> (u16, u16) {
    let word = |at: usize| u16::from_be_bytes([transport[at], transport[at + 1]]);
    (word(0), word(2))
}

fn transport_data(protocol: u8, transport: &[u8]) -> &[u8] {
    match protocol {
        UDP => &transport[8..],
        TCP => &transport[usize::from(TcpHeaderSlice::from_slice(transport).unwrap().data_offset()) * 4..],
        other => panic!("{other} has no data to be looked at"),
    }
}

fn tcp_header(from: u16, to: u16, flags: u8) -> TcpHeader {
    TcpHeader {
        fin: flags & 1 != 0,
        syn: flags & 2 != 0,
        rst: flags & 4 != 0,
        psh: flags & 8 != 0,
        ack: flags & 16 != 0,
        urg: flags & 32 != 0,
        acknowledgment_number: if flags & 16 == 0 { 0 } else { 2000 },
        ..TcpHeader::new(from, to, 1000, 65_000)
    }
}
