//! A super-packet that is translated whole and then segmented gives what its segments give that are translated one by
//! one: every kind, both directions.

use std::net::{Ipv4Addr, Ipv6Addr};

use etherparse::PacketBuilder;
use nat64_core::packet::checksum::Sum;
use nat64_core::policy::PoolRange;
use nat64_core::{
    DropReason, Gso, GsoKind, HEADROOM, Offload, PacketBuf, PartialChecksum, Policy, Timestamp, Translator, Verdict,
    Worker,
};

use super::packets::{finished, verified_payload};
use crate::vnet_hdr;

const HOST: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 1);
const POOL: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const SERVER: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 2);
const SERVER6: Ipv6Addr = Ipv6Addr::new(0x64, 0xff9b, 1, 0, 0, 0, 0xc633, 0x6402);
const PORTS: (u16, u16) = (40_000, 443);

const ACK: u8 = 0x10;
const PSH: u8 = 0x08;
const CWR: u8 = 0x80;

/// Payload bytes of a segment: the smallest, below and above what IPv4 may fragment, jumbo.
const SIZES: [u16; 6] = [1, 536, 1200, 1240, 1440, 8900];

/// A translator with one TCP and one UDP session, and the pool ports of these.
struct Lab {
    translator: Translator,
    worker: Worker,
    tcp_port: u16,
    udp_port: u16,
}

/// A translated packet, or several, with what the device is told.
type Output = Vec<(Vec<u8>, Offload)>;

impl Lab {
    fn new() -> Self {
        let policy = Policy::new(vec!["64:ff9b:1::/96".parse().unwrap()], vec![PoolRange::address(POOL)]);
        let translator = Translator::new(policy, 1).unwrap();
        let mut lab = Self { translator, worker: Worker::new(), tcp_port: 0, udp_port: 0 };
        lab.tcp_port = source_port(&lab.translate(&tcp6(0x02, 999, b""), Offload::default()));
        lab.translate(&tcp4(lab.tcp_port, 0x12, 999, b""), Offload::default());
        lab.translate(&tcp6(ACK, 1000, b""), Offload::default());
        lab.udp_port = source_port(&lab.translate(&udp6(b"first"), Offload::default()));
        lab
    }

    fn verdict(&mut self, packet: &[u8], offload: Offload) -> (Verdict, Output) {
        let mut storage = vec![0; HEADROOM + packet.len() + 128];
        storage[HEADROOM..HEADROOM + packet.len()].copy_from_slice(packet);
        let mut buffer = PacketBuf::new(&mut storage, HEADROOM, packet.len(), offload);
        let mut batch = self.translator.batch(Timestamp::ZERO, &mut self.worker);
        let verdict = batch.translate(&mut buffer);
        let mut output = Vec::new();
        if let Verdict::Translated(_) = verdict {
            output.push((buffer.bytes().to_vec(), buffer.offload));
        }
        batch.worker().spill.drain(|packet, offload| output.push((packet.to_vec(), offload)));
        (verdict, output)
    }

    fn translate(&mut self, packet: &[u8], offload: Offload) -> Output {
        let (verdict, output) = self.verdict(packet, offload);
        assert!(!output.is_empty(), "{verdict:?}");
        output
    }

    /// What comes of a super-packet, finished, and what comes of its segments.
    fn both_ways(&mut self, packet: &[u8], offload: Offload) -> [Vec<Vec<u8>>; 2] {
        let whole = self.translate(packet, offload).into_iter().flat_map(|(packet, offload)| finish(packet, offload));
        let whole = whole.collect();
        let segments = finish(packet.to_vec(), offload);
        let single = segments.iter().flat_map(|segment| self.translate(segment, Offload::default()));
        let single = single.flat_map(|(packet, offload)| finish(packet, offload)).collect();
        [whole, single]
    }
}

fn finish(packet: Vec<u8>, offload: Offload) -> Vec<Vec<u8>> {
    finished(packet, offload).unwrap()
}

fn source_port(output: &Output) -> u16 {
    u16::from_be_bytes([output[0].0[20], output[0].0[21]])
}

fn tcp6(flags: u8, sequence: u32, payload: &[u8]) -> Vec<u8> {
    let mut packet = Vec::new();
    let ip = PacketBuilder::ipv6(HOST.octets(), SERVER6.octets(), 64);
    with_flags(ip.tcp(PORTS.0, PORTS.1, sequence, 4096), flags).write(&mut packet, payload).unwrap();
    packet
}

fn tcp4(port: u16, flags: u8, sequence: u32, payload: &[u8]) -> Vec<u8> {
    let mut packet = Vec::new();
    let ip = PacketBuilder::ipv4(SERVER.octets(), POOL.octets(), 64);
    with_flags(ip.tcp(PORTS.1, port, sequence, 4096), flags).write(&mut packet, payload).unwrap();
    packet
}

fn with_flags(
    builder: etherparse::PacketBuilderStep<etherparse::TcpHeader>,
    flags: u8,
) -> etherparse::PacketBuilderStep<etherparse::TcpHeader> {
    let builder = if flags & 0x02 != 0 { builder.syn() } else { builder };
    let builder = if flags & PSH != 0 { builder.psh() } else { builder };
    let builder = if flags & CWR != 0 { builder.cwr() } else { builder };
    if flags & ACK != 0 { builder.ack(7) } else { builder }
}

fn udp6(payload: &[u8]) -> Vec<u8> {
    let mut packet = Vec::new();
    let ip = PacketBuilder::ipv6(HOST.octets(), SERVER6.octets(), 64);
    ip.udp(PORTS.0, PORTS.1).write(&mut packet, payload).unwrap();
    packet
}

fn udp4(port: u16, payload: &[u8]) -> Vec<u8> {
    let mut packet = Vec::new();
    PacketBuilder::ipv4(SERVER.octets(), POOL.octets(), 64).udp(PORTS.1, port).write(&mut packet, payload).unwrap();
    packet
}

/// The offload of a super-packet, its transport header at `start`, with the partial checksum put in place.
fn super_packet(packet: &mut [u8], kind: GsoKind, start: u16, segment_size: u16) -> Offload {
    let at = usize::from(start);
    let (protocol, offset) =
        if kind == GsoKind::Udp { (17, vnet_hdr::UDP_CHECKSUM) } else { (6, vnet_hdr::TCP_CHECKSUM) };
    let addresses = if packet[0] >> 4 == 4 { 12..20 } else { 8..40 };
    let len = u16::try_from(packet.len() - at).unwrap();
    let sum = Sum::ZERO.bytes(&packet[addresses]).word(protocol).word(len).fold();
    let field = at + usize::from(offset);
    packet[field..field + 2].copy_from_slice(&sum.to_be_bytes());
    let ecn = kind != GsoKind::Udp && packet[at + 13] & CWR != 0;
    Offload {
        checksum: Some(PartialChecksum { start, offset }),
        // A device's own value is not to be trusted.
        gso: Some(Gso { kind, segment_size, header_len: 9999, ecn }),
        data_valid: false,
    }
}

/// Lets routers fragment an IPv4 packet, which the builder does not.
fn allow_fragmentation(packet: &mut [u8], identification: u16) {
    packet[4..6].copy_from_slice(&identification.to_be_bytes());
    packet[6] &= !0x40;
    packet[10..12].fill(0);
    let checksum = Sum::ZERO.bytes(&packet[..20]).checksum();
    packet[10..12].copy_from_slice(&checksum.to_be_bytes());
}

/// Payloads of one, several, and several segments with an odd last one.
fn payloads(size: u16) -> impl Iterator<Item = Vec<u8>> {
    let size = usize::from(size);
    [size, size * 3, size * 3 + size.div_ceil(2), size * 5 + 1]
        .into_iter()
        .map(|len| (0..len).map(|at| u8::try_from(at % 251).unwrap()).collect())
}

/// Each packet without what each is free to choose: the IPv4 identification, and in a last segment so short that a
/// router might fragment it, whether one may (RFC 7915 §5.1), which a super-packet tells for all alike.
fn essence(packets: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let last = packets.len() - 1;
    let one = |(index, packet): (usize, &Vec<u8>)| {
        verified_payload(packet);
        let mut packet = packet.clone();
        if packet[0] >> 4 == 4 {
            packet[4..6].fill(0);
            packet[10..12].fill(0);
            if index == last && packet.len() <= 1260 {
                packet[6] &= !0x40;
            }
        }
        packet
    };
    packets.iter().enumerate().map(one).collect()
}

#[track_caller]
fn assert_same([whole, single]: [Vec<Vec<u8>>; 2], what: &str) {
    assert_eq!(whole.len(), single.len(), "{what}");
    assert!(essence(&whole) == essence(&single), "{what}");
}

#[test]
fn tcp_from_ipv6_is_the_same_whole_and_in_segments() {
    let mut lab = Lab::new();
    for size in SIZES {
        for flags in [ACK, ACK | PSH, ACK | CWR, ACK | PSH | CWR] {
            for payload in payloads(size) {
                let mut packet = tcp6(flags, u32::MAX - 500, &payload);
                let offload = super_packet(&mut packet, GsoKind::TcpV6, 40, size);
                let ways = lab.both_ways(&packet, offload);
                assert_same(ways, &format!("{} bytes by {size}, flags {flags:#x}", payload.len()));
            }
        }
    }
}

#[test]
fn tcp_from_ipv4_is_the_same_whole_and_in_segments() {
    let mut lab = Lab::new();
    for size in SIZES {
        for flags in [ACK, ACK | PSH, ACK | CWR, ACK | PSH | CWR] {
            for payload in payloads(size) {
                let mut packet = tcp4(lab.tcp_port, flags, u32::MAX - 500, &payload);
                let offload = super_packet(&mut packet, GsoKind::TcpV4, 20, size);
                let ways = lab.both_ways(&packet, offload);
                assert_same(ways, &format!("{} bytes by {size}, flags {flags:#x}", payload.len()));
            }
        }
    }
}

#[test]
fn udp_from_either_side_is_the_same_whole_and_in_datagrams() {
    let mut lab = Lab::new();
    for size in SIZES {
        for payload in payloads(size) {
            let mut packet = udp6(&payload);
            let offload = super_packet(&mut packet, GsoKind::Udp, 40, size);
            assert_same(lab.both_ways(&packet, offload), &format!("IPv6, {} bytes by {size}", payload.len()));
            let mut packet = udp4(lab.udp_port, &payload);
            let offload = super_packet(&mut packet, GsoKind::Udp, 20, size);
            assert_same(lab.both_ways(&packet, offload), &format!("IPv4, {} bytes by {size}", payload.len()));
        }
    }
}

#[test]
fn the_transport_may_stand_behind_extension_headers() {
    let mut lab = Lab::new();
    for (kind, plain) in [(GsoKind::TcpV6, tcp6(ACK | CWR, 1000, &[7; 2500])), (GsoKind::Udp, udp6(&[7; 2500]))] {
        let mut packet = plain.clone();
        // Destination Options of 8 bytes, all padding (RFC 8200 §4.6).
        packet.splice(40..40, [plain[6], 0, 1, 4, 0, 0, 0, 0]);
        packet[6] = 60;
        let len = u16::try_from(packet.len() - 40).unwrap();
        packet[4..6].copy_from_slice(&len.to_be_bytes());
        let offload = super_packet(&mut packet, kind, 48, 1000);

        assert_same(lab.both_ways(&packet, offload), &format!("{kind:?}"));
    }
}

#[test]
fn a_partial_checksum_alone_is_translated_as_a_complete_one_is() {
    let mut lab = Lab::new();
    let (tcp_port, udp_port) = (lab.tcp_port, lab.udp_port);
    for (complete, start, kind) in [
        (tcp6(ACK, 1000, b"some data"), 40, GsoKind::TcpV6),
        (tcp4(tcp_port, ACK, 1000, b"odd data!"), 20, GsoKind::TcpV4),
        (udp6(b"some data"), 40, GsoKind::Udp),
        (udp4(udp_port, b"odd data!"), 20, GsoKind::Udp),
    ] {
        let mut partial = complete.clone();
        let offload = Offload { gso: None, ..super_packet(&mut partial, kind, start, 1) };

        let of_partial = lab.translate(&partial, offload).into_iter().flat_map(|(one, offload)| finish(one, offload));
        let of_partial: Vec<_> = of_partial.collect();
        let of_complete = lab.translate(&complete, Offload::default()).into_iter().map(|(packet, _)| packet).collect();

        assert_same([of_partial, of_complete], &format!("{kind:?} at {start}"));
    }
}

#[test]
fn segments_that_ipv4_may_fragment_are_made_to_fit_the_smallest_ipv6_link() {
    const LOWEST: usize = 1280;
    let mut lab = Lab::new();
    let payload: Vec<u8> = (0..5001_u16).map(|at| u8::try_from(at % 251).unwrap()).collect();
    let mut tcp = tcp4(lab.tcp_port, ACK, 1000, &payload);
    let offload = super_packet(&mut tcp, GsoKind::TcpV4, 20, 1460);
    let mut udp = udp4(lab.udp_port, &payload);
    allow_fragmentation(&mut tcp, 1);
    allow_fragmentation(&mut udp, u16::MAX);
    let datagrams = super_packet(&mut udp, GsoKind::Udp, 20, 1472);

    let segments: Vec<_> =
        lab.translate(&tcp, offload).into_iter().flat_map(|(one, offload)| finish(one, offload)).collect();
    let [whole, single] = lab.both_ways(&udp, datagrams);

    assert!(segments.iter().all(|segment| segment.len() <= LOWEST && segment[6] == 6));
    assert_eq!(segments.iter().flat_map(|segment| verified_payload(segment)).collect::<Vec<_>>(), payload);
    assert_eq!(whole, single);
    assert!(whole.iter().all(|fragment| fragment.len() <= LOWEST));
    assert!(whole.iter().any(|fragment| fragment[6] == 44), "datagrams are fragmented");
}

#[test]
fn a_super_packet_is_translated_up_to_what_length_fields_can_tell() {
    let mut lab = Lab::new();
    // 65,535 bytes of IPv4 are 65,555 of IPv6.
    for headers in [20, 8] {
        let is_tcp = headers == 20;
        let payload = vec![7; 65_535 - 20 - headers];
        let (mut to_v4, mut to_v6, kinds) = if is_tcp {
            (tcp6(ACK, 1000, &payload), tcp4(lab.tcp_port, ACK, 1000, &payload), [GsoKind::TcpV6, GsoKind::TcpV4])
        } else {
            (udp6(&payload), udp4(lab.udp_port, &payload), [GsoKind::Udp; 2])
        };
        let offload = super_packet(&mut to_v4, kinds[0], 40, 1400);
        assert_same(lab.both_ways(&to_v4, offload), "IPv6");
        let offload = super_packet(&mut to_v6, kinds[1], 20, 1400);
        assert_same(lab.both_ways(&to_v6, offload), "IPv4");

        let payload = vec![7; 65_535 - 20 - headers + 1];
        let mut beyond = if is_tcp { tcp6(ACK, 1000, &payload) } else { udp6(&payload) };
        let offload = super_packet(&mut beyond, kinds[0], 40, 1400);
        let (verdict, _) = lab.verdict(&beyond, offload);
        assert!(
            matches!(verdict, Verdict::Dropped(DropReason::TooBig) | Verdict::Refused(DropReason::TooBig)),
            "{verdict:?}"
        );
    }
}
