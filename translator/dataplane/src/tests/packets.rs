//! Packets as a kernel hands them over.

use etherparse::{NetSlice, PacketBuilder, SlicedPacket, TransportSlice};
use nat64_core::{Gso, GsoKind, Offload, PartialChecksum};

use crate::queue::Frame;
use crate::segment;
use crate::vnet_hdr;

pub(crate) const V4: ([u8; 4], [u8; 4]) = ([192, 0, 2, 1], [198, 51, 100, 2]);
pub(crate) const V6: ([u8; 16], [u8; 16]) = (
    [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
    [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2],
);

/// A finished UDP packet over IPv4.
pub(crate) fn udp4(payload: &[u8]) -> Vec<u8> {
    let mut packet = Vec::new();
    PacketBuilder::ipv4(V4.0, V4.1, 64).udp(1000, 2000).write(&mut packet, payload).unwrap();
    packet
}

/// A finished UDP packet over IPv6.
pub(crate) fn udp6(payload: &[u8]) -> Vec<u8> {
    let mut packet = Vec::new();
    PacketBuilder::ipv6(V6.0, V6.1, 64).udp(1000, 2000).write(&mut packet, payload).unwrap();
    packet
}

/// A TCP packet with CWR, ECE, PSH, ACK and FIN and 12 bytes of options.
pub(crate) fn tcp(kind: GsoKind, payload: &[u8]) -> Vec<u8> {
    let options = [1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2];
    let mut packet = Vec::new();
    let sequence = u32::MAX - 1500;
    if kind == GsoKind::TcpV4 {
        let builder = PacketBuilder::ipv4(V4.0, V4.1, 64).tcp(1000, 2000, sequence, 4096).ack(7).psh().fin();
        builder.options_raw(&options).unwrap().write(&mut packet, payload).unwrap();
        packet[4..6].copy_from_slice(&0xfffe_u16.to_be_bytes());
        packet[20 + 13] |= 0xc0;
    } else {
        let builder = PacketBuilder::ipv6(V6.0, V6.1, 64).tcp(1000, 2000, sequence, 4096).ack(7).psh().fin();
        builder.options_raw(&options).unwrap().write(&mut packet, payload).unwrap();
        packet[40 + 13] |= 0xc0;
    }
    packet
}

/// The offload of a super-packet made of `packet`, with a header length as the device reports it: unknown.
pub(crate) fn super_packet(packet: &[u8], kind: GsoKind, segment_size: u16) -> Offload {
    let start = if packet[0] >> 4 == 4 { 20 } else { 40 };
    let offset = if kind == GsoKind::Udp { vnet_hdr::UDP_CHECKSUM } else { vnet_hdr::TCP_CHECKSUM };
    let ecn = kind != GsoKind::Udp;
    Offload {
        checksum: Some(PartialChecksum { start, offset }),
        gso: Some(Gso { kind, segment_size, header_len: 0, ecn }),
        data_valid: false,
    }
}

/// A finished UDP packet, with its checksum undone as a kernel leaves it: the pseudo-header's sum.
pub(crate) fn with_partial_checksum(mut packet: Vec<u8>) -> (Vec<u8>, Offload) {
    let (addresses, start) = if packet[0] >> 4 == 4 { (12..20, 20) } else { (8..40, 40) };
    let words = packet[addresses].chunks(2).map(|word| u32::from(u16::from_be_bytes([word[0], word[1]])));
    let sum = words.sum::<u32>() + 17 + u32::try_from(packet.len() - start).unwrap();
    let folded = u16::try_from((sum & 0xffff) + (sum >> 16)).unwrap();
    packet[start + 6..start + 8].copy_from_slice(&folded.to_be_bytes());
    let checksum = PartialChecksum { start: u16::try_from(start).unwrap(), offset: vnet_hdr::UDP_CHECKSUM };
    (packet, Offload { checksum: Some(checksum), ..Offload::default() })
}

/// All packets that `packet` stands for.
pub(crate) fn finished(packet: Vec<u8>, offload: Offload) -> Result<Vec<Vec<u8>>, vnet_hdr::InvalidOffload> {
    let mut bytes = [&[0; Frame::FRONT][..], &packet].concat();
    let mut scratch = vec![0; bytes.len()];
    let mut parts = Vec::new();
    segment::finish(&mut Frame::new(&mut bytes), offload, &mut scratch, |part| {
        parts.push(part.packet().to_vec());
        Ok(())
    })?;
    Ok(parts)
}

/// Asserts with another implementation that lengths and checksums of a packet are right, and returns its payload.
pub(crate) fn verified_payload(packet: &[u8]) -> Vec<u8> {
    let sliced = SlicedPacket::from_ip(packet).unwrap();
    let net = sliced.net.unwrap();
    if let NetSlice::Ipv4(ip) = &net {
        assert_eq!(ip.header().to_header().calc_header_checksum(), ip.header().header_checksum(), "IPv4 checksum");
        assert_eq!(usize::from(ip.header().total_len()), packet.len());
    }
    match sliced.transport.unwrap() {
        TransportSlice::Tcp(tcp) => {
            let header = tcp.to_header();
            let expected = match &net {
                NetSlice::Ipv4(ip) => header.calc_checksum_ipv4(&ip.header().to_header(), tcp.payload()),
                NetSlice::Ipv6(ip) => header.calc_checksum_ipv6(&ip.header().to_header(), tcp.payload()),
                NetSlice::Arp(_) => unreachable!("IP only"),
            };
            assert_eq!(header.checksum, expected.unwrap(), "TCP checksum");
            tcp.payload().to_vec()
        }
        TransportSlice::Udp(udp) => {
            let header = udp.to_header();
            let expected = match &net {
                NetSlice::Ipv4(ip) => header.calc_checksum_ipv4(&ip.header().to_header(), udp.payload()),
                NetSlice::Ipv6(ip) => header.calc_checksum_ipv6(&ip.header().to_header(), udp.payload()),
                NetSlice::Arp(_) => unreachable!("IP only"),
            };
            assert_eq!(header.checksum, expected.unwrap(), "UDP checksum");
            assert_eq!(usize::from(header.length), 8 + udp.payload().len());
            udp.payload().to_vec()
        }
        TransportSlice::Icmpv4(_) | TransportSlice::Icmpv6(_) | TransportSlice::Igmp(_) => unreachable!("TCP or UDP"),
    }
}
