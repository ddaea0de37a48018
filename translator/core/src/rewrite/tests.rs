use std::net::{Ipv4Addr, Ipv6Addr};

use etherparse::SlicedPacket;

use super::*;
use crate::packet::testing::{self, FOUR, Family, Ip, SIX, back, in_buffer, pattern};
use crate::packet::{Fragment, Gso, GsoKind, Offload, PartialChecksum, checksum, parse_v4, parse_v6};
use crate::policy::{FlowLabel, HeaderPolicy, UdpZeroChecksum};
use crate::verdict::DropReason;

const POLICY: HeaderPolicy = HeaderPolicy {
    copy_traffic_class: true,
    tos: 0,
    name_routers: false,
    flow_label: FlowLabel::Zero,
    udp_zero_checksum: UdpZeroChecksum::Compute,
};
const ID: u16 = 0x4321;
const ENOUGH: usize = 9000;

type Translated = Result<(Vec<u8>, Offload), DropReason>;

fn to_four_with(packet: &[u8], offload: Offload, policy: &HeaderPolicy) -> Translated {
    let parsed = parse_v6(packet).unwrap();
    let (result, bytes, offload) = in_buffer(packet, offload, |buf| six_to_four(buf, &parsed, &FOUR, policy, ID));
    if result.is_err() {
        assert_eq!(bytes, packet, "a refused packet is as it was");
    }
    result.map(|()| (bytes, offload))
}

fn to_six_with(packet: &[u8], offload: Offload, policy: &HeaderPolicy) -> Translated {
    let parsed = parse_v4(packet).unwrap();
    let (result, bytes, offload) = in_buffer(packet, offload, |buf| four_to_six(buf, &parsed, &back(&SIX), policy, 99));
    if result.is_err() {
        assert_eq!(bytes, packet, "a refused packet is as it was");
    }
    result.map(|()| (bytes, offload))
}

fn to_four(packet: &[u8]) -> Vec<u8> {
    to_four_with(packet, Offload::default(), &POLICY).unwrap().0
}

fn to_six(packet: &[u8]) -> Vec<u8> {
    to_six_with(packet, Offload::default(), &POLICY).unwrap().0
}

/// The IP header that a translated packet of that size has in IPv4.
fn ip4(len: usize) -> Ip {
    Ip { identification: ID, dont_fragment: len > 1260, ..Ip::hops(63) }
}

#[test]
fn tcp_udp_and_echo_become_what_an_ipv4_host_would_have_sent() {
    for len in [0, 1, 2, 3, 500, 1219, 1220, 1221, 1240, 1400, ENOUGH] {
        let payload = pattern(len);
        let (six, six_id) = (Ip::default(), 0x0102);
        assert_eq!(to_four(&testing::tcp(&SIX, &six, &payload)), testing::tcp(&FOUR, &ip4(40 + len), &payload));
        assert_eq!(to_four(&testing::udp(&SIX, &six, &payload)), testing::udp(&FOUR, &ip4(28 + len), &payload));
        for reply in [false, true] {
            let expected = testing::echo(&FOUR, &ip4(28 + len), reply, FOUR.source_port, &payload);
            assert_eq!(to_four(&testing::echo(&SIX, &six, reply, six_id, &payload)), expected);
        }
    }
}

#[test]
fn tcp_udp_and_echo_become_what_an_ipv6_host_would_have_sent() {
    let ip = Ip { identification: 0xbeef, ..Ip::default() };
    for len in [0, 1, 2, 3, 500, 1400, ENOUGH] {
        let payload = pattern(len);
        let (four, six) = (back(&FOUR), back(&SIX));
        assert_eq!(to_six(&testing::tcp(&four, &ip, &payload)), testing::tcp(&six, &Ip::hops(63), &payload));
        assert_eq!(to_six(&testing::udp(&four, &ip, &payload)), testing::udp(&six, &Ip::hops(63), &payload));
        for reply in [false, true] {
            let expected = testing::echo(&six, &Ip::hops(63), reply, six.destination_port, &payload);
            assert_eq!(to_six(&testing::echo(&four, &ip, reply, 0x0102, &payload)), expected);
        }
    }
}

#[test]
fn ipv4_routers_may_fragment_what_they_could_get_from_an_ipv6_minimum_mtu() {
    for (total_len, dont_fragment) in [(1259, false), (1260, false), (1261, true)] {
        let translated = to_four(&testing::udp(&SIX, &Ip::default(), &pattern(total_len - 28)));
        assert_eq!(translated.len(), total_len);
        assert_eq!(parse_v4(&translated).unwrap().dont_fragment, dont_fragment, "{total_len} bytes");
    }
}

#[test]
fn the_traffic_class_is_copied_or_zero() {
    let ignore = HeaderPolicy { copy_traffic_class: false, ..POLICY };
    for class in [0, 0x03, 0xb8, 0xff] {
        let ip = Ip { traffic_class: class, ..Ip::default() };
        for (policy, expected) in [(&POLICY, class), (&ignore, 0)] {
            let four = to_four_with(&testing::tcp(&SIX, &ip, b""), Offload::default(), policy).unwrap().0;
            assert_eq!(parse_v4(&four).unwrap().traffic_class, expected);
            let six = to_six_with(&testing::tcp(&back(&FOUR), &ip, b""), Offload::default(), policy).unwrap().0;
            assert_eq!(parse_v6(&six).unwrap().traffic_class, expected);
        }
    }
}

#[test]
fn extension_headers_are_removed() {
    let segment = testing::segment(&SIX, testing::tcp_header(&SIX), b"data");
    let headers = [60, 0, 1, 4, 0, 0, 0, 0, 43, 0, 1, 4, 0, 0, 0, 0, 6, 0, 4, 0, 0, 0, 0, 0];
    let packet = Family::packet(&SIX, &Ip::default(), 0, &[&headers[..], &segment].concat());
    assert_eq!(to_four(&packet), testing::tcp(&FOUR, &ip4(44), b"data"));
}

#[test]
fn ipv4_options_are_removed() {
    for options in [vec![1; 4], vec![1; 20], vec![1; 40]] {
        let ip = Ip { options, ..Ip::default() };
        let expected = testing::tcp(&back(&SIX), &Ip::hops(63), b"data");
        assert_eq!(to_six(&testing::tcp(&back(&FOUR), &ip, b"data")), expected);
    }
}

#[test]
fn padding_is_cut_off() {
    let six = [testing::tcp(&SIX, &Ip::default(), b"data"), vec![0; 7]].concat();
    assert_eq!(to_four(&six), testing::tcp(&FOUR, &ip4(44), b"data"));
    let four = [testing::tcp(&back(&FOUR), &Ip::default(), b"data"), vec![0; 7]].concat();
    assert_eq!(to_six(&four), testing::tcp(&back(&SIX), &Ip::hops(63), b"data"));
}

#[test]
fn an_atomic_fragment_keeps_its_identification_and_may_be_fragmented() {
    let atomic = |ip| Ip { identification: 0xfeed, fragment: Some(Fragment { offset: 0, more: false }), ..ip };
    for len in [4, 1400] {
        let packet = testing::udp(&SIX, &atomic(Ip::default()), &pattern(len));
        let ip = Ip { identification: 0xfeed, ..Ip::hops(63) };
        assert_eq!(to_four(&packet), testing::udp(&FOUR, &ip, &pattern(len)));
    }
    let packet = testing::echo(&SIX, &atomic(Ip::default()), false, 1, b"ping");
    let ip = Ip { identification: 0xfeed, ..Ip::hops(63) };
    assert_eq!(to_four(&packet), testing::echo(&FOUR, &ip, false, FOUR.source_port, b"ping"));
}

/// The fragments of a datagram of that protocol.
fn fragments<A: Family>(ends: &Endpoints<A>, ip: &Ip, protocol: u8, transport: &[u8]) -> Vec<Vec<u8>> {
    let step = 1000;
    let last = (transport.len() - 1) / step;
    let fragment = |(index, data)| {
        let at = Fragment { offset: u16::try_from(index * step).unwrap(), more: index < last };
        A::packet(ends, &Ip { fragment: Some(at), ..ip.clone() }, protocol, data)
    };
    transport.chunks(step).enumerate().map(fragment).collect()
}

/// A TCP segment and a UDP datagram without their IP headers.
fn transports<A: Family>(ends: &Endpoints<A>, payload: &[u8]) -> [(u8, Vec<u8>); 2] {
    [(6, testing::segment(ends, testing::tcp_header(ends), payload)), (17, testing::datagram(ends, payload))]
}

#[test]
fn fragments_of_tcp_and_udp_translate_one_by_one() {
    let payload = pattern(2500);
    let ip = |hops| Ip { identification: 0xfeed, ..Ip::hops(hops) };
    for ((protocol, six), (_, four)) in transports(&SIX, &payload).into_iter().zip(transports(&FOUR, &payload)) {
        let before = fragments(&SIX, &ip(64), protocol, &six);
        let after = fragments(&FOUR, &ip(63), protocol, &four);
        assert_eq!(before.iter().map(|packet| to_four(packet)).collect::<Vec<_>>(), after);
    }
    let (from, to) = (back(&FOUR), back(&SIX));
    for ((protocol, four), (_, six)) in transports(&from, &payload).into_iter().zip(transports(&to, &payload)) {
        let before = fragments(&from, &ip(64), protocol, &four);
        let after = fragments(&to, &ip(63), protocol, &six);
        assert_eq!(before.iter().map(|packet| to_six(packet)).collect::<Vec<_>>(), after);
    }
}

#[test]
fn a_whole_ipv4_packet_never_gets_a_fragment_header() {
    for dont_fragment in [false, true] {
        let ip = Ip { dont_fragment, identification: 7, ..Ip::default() };
        let translated = to_six(&testing::udp(&back(&FOUR), &ip, &pattern(3000)));
        assert!(!parse_v6(&translated).unwrap().fragment_header);
    }
}

#[test]
fn icmp_in_fragments_is_refused() {
    let message = testing::icmp(&SIX, 128, 0, [1, 2, 0, 1], &pattern(2000));
    let parts = fragments(&SIX, &Ip::default(), 58, &message);
    assert_eq!(to_four_with(&parts[0], Offload::default(), &POLICY), Err(DropReason::UntranslatableIcmp));
    let message = testing::icmp(&FOUR, 8, 0, [1, 2, 0, 1], &pattern(2000));
    let parts = fragments(&FOUR, &Ip::default(), 1, &message);
    assert_eq!(to_six_with(&parts[0], Offload::default(), &POLICY), Err(DropReason::UntranslatableIcmp));
}

#[test]
fn icmp_that_is_no_echo_is_refused() {
    for kind in (0..=255).filter(|kind| !matches!(kind, 128 | 129)) {
        let packet = Family::packet(&SIX, &Ip::default(), 58, &testing::icmp(&SIX, kind, 0, [0; 4], &[0; 40]));
        assert_eq!(to_four_with(&packet, Offload::default(), &POLICY), Err(DropReason::UntranslatableIcmp), "{kind}");
    }
    for kind in (0..=255).filter(|kind| !matches!(kind, 0 | 8)) {
        let packet = Family::packet(&FOUR, &Ip::default(), 1, &testing::icmp(&FOUR, kind, 0, [0; 4], &[0; 40]));
        assert_eq!(to_six_with(&packet, Offload::default(), &POLICY), Err(DropReason::UntranslatableIcmp), "{kind}");
    }
}

#[test]
fn other_transports_get_their_header_translated() {
    let packet = Family::packet(&SIX, &Ip::default(), 132, b"sctp it is");
    assert_eq!(to_four(&packet), <Ipv4Addr as Family>::packet(&FOUR, &ip4(30), 132, b"sctp it is"));
    let packet = Family::packet(&back(&FOUR), &Ip::default(), 50, b"esp it is");
    assert_eq!(to_six(&packet), <Ipv6Addr as Family>::packet(&back(&SIX), &Ip::hops(63), 50, b"esp it is"));
}

#[test]
fn more_than_ipv4_can_hold_is_too_big() {
    let fits = Family::packet(&SIX, &Ip::default(), 132, &vec![0; 65_515]);
    assert_eq!(to_four(&fits).len(), 65_535);
    let packet = Family::packet(&SIX, &Ip::default(), 132, &vec![0; 65_516]);
    assert_eq!(to_four_with(&packet, Offload::default(), &POLICY), Err(DropReason::TooBig));
}

#[test]
fn a_wrong_checksum_stays_wrong() {
    // (packet, where its checksum is from the transport header on)
    let six = [
        (testing::tcp(&SIX, &Ip::default(), b"data"), 16),
        (testing::udp(&SIX, &Ip::default(), b"data"), 6),
        (testing::echo(&SIX, &Ip::default(), false, 1, b"data"), 2),
    ];
    for (right, at) in six {
        for damage in [0x0001, 0x8000, 0xffff] {
            let damaged = damage_at(&right, 40 + at, damage);
            let (expected, translated) = (to_four(&right), to_four(&damaged));
            assert_eq!(distance(&damaged, &right, 40 + at), distance(&translated, &expected, 20 + at));
        }
    }
    let four = [
        (testing::tcp(&back(&FOUR), &Ip::default(), b"data"), 16),
        (testing::udp(&back(&FOUR), &Ip::default(), b"data"), 6),
        (testing::echo(&back(&FOUR), &Ip::default(), true, 1, b"data"), 2),
    ];
    for (right, at) in four {
        for damage in [0x0001, 0x8000, 0x1234] {
            let damaged = damage_at(&right, 20 + at, damage);
            let (expected, translated) = (to_six(&right), to_six(&damaged));
            assert_eq!(distance(&damaged, &right, 20 + at), distance(&translated, &expected, 40 + at));
        }
    }
}

fn damage_at(packet: &[u8], at: usize, damage: u16) -> Vec<u8> {
    let mut damaged = packet.to_vec();
    let field = u16::from_be_bytes([packet[at], packet[at + 1]]) ^ damage;
    damaged[at..at + 2].copy_from_slice(&field.to_be_bytes());
    damaged
}

/// How far two checksum fields are from each other, in one's complement.
fn distance(one: &[u8], other: &[u8], at: usize) -> u32 {
    let field = |packet: &[u8]| u32::from(u16::from_be_bytes([packet[at], packet[at + 1]]));
    (field(one) + 0xffff - field(other)) % 0xffff
}

#[test]
fn a_udp_checksum_that_becomes_zero_is_sent_as_ones() {
    // The checksum of zeroes, as payload, makes the checksum zero.
    let zeroes = testing::datagram(&FOUR, &[0, 0]);
    let payload = [zeroes[6], zeroes[7]];
    let translated = to_four(&testing::udp(&SIX, &Ip::default(), &payload));
    assert_eq!(translated[26..28], [0xff, 0xff]);
    assert_eq!(translated, testing::udp(&FOUR, &ip4(30), &payload));

    let zeroes = testing::datagram(&back(&SIX), &[0, 0]);
    let payload = [zeroes[6], zeroes[7]];
    let translated = to_six(&testing::udp(&back(&FOUR), &Ip::default(), &payload));
    assert_eq!(translated[46..48], [0xff, 0xff]);
    assert_eq!(translated, testing::udp(&back(&SIX), &Ip::hops(63), &payload));
}

#[test]
fn udp_without_a_checksum_gets_one_or_is_dropped() {
    for len in [0, 1, 4, 1001] {
        let mut packet = testing::udp(&back(&FOUR), &Ip::default(), &pattern(len));
        packet[26..28].fill(0);
        assert_eq!(to_six(&packet), testing::udp(&back(&SIX), &Ip::hops(63), &pattern(len)));
        let policy = HeaderPolicy { udp_zero_checksum: UdpZeroChecksum::Drop, ..POLICY };
        assert_eq!(to_six_with(&packet, Offload::default(), &policy), Err(DropReason::ZeroUdpChecksum));
    }
}

#[test]
fn the_computed_checksum_covers_the_datagram_and_not_what_is_behind_it() {
    let mut datagram = testing::datagram(&back(&FOUR), b"data");
    datagram[6..8].fill(0);
    let packet = Family::packet(&back(&FOUR), &Ip::default(), 17, &[&datagram[..], b"surplus"].concat());
    let six = [&testing::datagram(&back(&SIX), b"data")[..], b"surplus"].concat();
    assert_eq!(to_six(&packet), <Ipv6Addr as Family>::packet(&back(&SIX), &Ip::hops(63), 17, &six));
}

#[test]
fn a_fragment_of_udp_without_a_checksum_is_refused() {
    let mut datagram = testing::datagram(&back(&FOUR), &pattern(1500));
    datagram[6..8].fill(0);
    let parts = fragments(&back(&FOUR), &Ip::default(), 17, &datagram);
    assert_eq!(to_six_with(&parts[0], Offload::default(), &POLICY), Err(DropReason::ZeroUdpChecksum));
}

#[test]
fn flow_labels_are_zero_or_a_hash_of_the_flow() {
    let policy = HeaderPolicy { flow_label: FlowLabel::Hash, ..POLICY };
    let label = |payload: &[u8], to: &Endpoints<Ipv6Addr>, seed| {
        let packet = testing::tcp(&back(&FOUR), &Ip::default(), payload);
        let parsed = parse_v4(&packet).unwrap();
        let (_, bytes, _) =
            in_buffer(&packet, Offload::default(), |buf| four_to_six(buf, &parsed, to, &policy, seed).unwrap());
        let sliced = SlicedPacket::from_ip(&bytes).unwrap();
        sliced.net.unwrap().ipv6_ref().unwrap().header().flow_label().value()
    };
    let one = label(b"one", &back(&SIX), 1);
    assert_ne!(one, 0);
    assert_eq!(one, label(b"another packet of the flow", &back(&SIX), 1));
    assert_ne!(one, label(b"one", &Endpoints { source_port: 444, ..back(&SIX) }, 1));
    assert_ne!(one, label(b"one", &back(&SIX), 2));
    assert_eq!(to_six(&testing::tcp(&back(&FOUR), &Ip::default(), b""))[..4], [0x60, 0, 0, 0]);
}

/// A packet whose checksum is left to the device: the field has the sum of the pseudo-header.
fn leave_checksum(packet: &mut [u8], header_len: u16, offset: u16, pseudo: checksum::Sum) -> PartialChecksum {
    let at = usize::from(header_len + offset);
    packet[at..at + 2].copy_from_slice(&pseudo.fold().to_be_bytes());
    PartialChecksum { start: header_len, offset }
}

/// (protocol, offset of the checksum, builders of both versions)
type Build<A> = fn(&Endpoints<A>, &Ip, &[u8]) -> Vec<u8>;
const TRANSPORTS: [(u8, u16, Build<Ipv6Addr>, Build<Ipv4Addr>); 2] =
    [(6, 16, testing::tcp::<Ipv6Addr>, testing::tcp::<Ipv4Addr>), (17, 6, testing::udp, testing::udp)];

#[test]
fn a_partial_checksum_stays_partial_and_completes_to_the_right_one() {
    let payload = pattern(777);
    for (protocol, offset, six, four) in TRANSPORTS {
        let mut packet = six(&SIX, &Ip::default(), &payload);
        let len = u32::try_from(packet.len()).unwrap() - 40;
        let pseudo = checksum::pseudo_v6(SIX.source, SIX.destination, protocol, len);
        let partial = leave_checksum(&mut packet, 40, offset, pseudo);
        let offload = Offload { checksum: Some(partial), data_valid: true, gso: None };
        let (translated, after) = to_four_with(&packet, offload, &POLICY).unwrap();
        let moved = PartialChecksum { start: 20, offset };
        assert_eq!(after, Offload { checksum: Some(moved), data_valid: true, gso: None });
        let (_, complete, offload) = in_buffer(&translated, after, checksum::complete);
        assert_eq!(complete, four(&FOUR, &ip4(complete.len()), &payload));
        assert_eq!(offload.checksum, None);

        let (ends, to) = (back(&FOUR), back(&SIX));
        let mut packet = four(&ends, &Ip::default(), &payload);
        let pseudo = checksum::pseudo_v4(ends.source, ends.destination, protocol, len);
        let partial = leave_checksum(&mut packet, 20, offset, pseudo);
        let (translated, after) =
            to_six_with(&packet, Offload { checksum: Some(partial), ..Offload::default() }, &POLICY).unwrap();
        assert_eq!(after.checksum, Some(PartialChecksum { start: 40, offset }));
        let (_, complete, _) = in_buffer(&translated, after, checksum::complete);
        assert_eq!(complete, six(&to, &Ip::hops(63), &payload));
    }
}

#[test]
fn a_checksum_left_in_a_tunnel_inside_stays_where_it_is() {
    let packet = testing::udp(&SIX, &Ip::default(), &pattern(100));
    let inner = PartialChecksum { start: 90, offset: 16 };
    let offload = Offload { checksum: Some(inner), ..Offload::default() };
    let (translated, after) = to_four_with(&packet, offload, &POLICY).unwrap();
    assert_eq!(translated, testing::udp(&FOUR, &ip4(128), &pattern(100)));
    assert_eq!(after.checksum, Some(PartialChecksum { start: 70, offset: 16 }));
}

#[test]
fn a_super_packet_stays_one() {
    let payload = pattern(30_000);
    let cases = [(&TRANSPORTS[0], GsoKind::TcpV6, GsoKind::TcpV4, 20), (&TRANSPORTS[1], GsoKind::Udp, GsoKind::Udp, 8)];
    for ((protocol, offset, six, four), kind6, kind4, transport_len) in cases {
        for segment_size in [500, 1400] {
            let mut packet = six(&SIX, &Ip::default(), &payload);
            let len = u32::try_from(packet.len()).unwrap() - 40;
            let pseudo = checksum::pseudo_v6(SIX.source, SIX.destination, *protocol, len);
            let partial = leave_checksum(&mut packet, 40, *offset, pseudo);
            // The device's header length is not to be trusted.
            let gso = Gso { kind: kind6, segment_size, header_len: 3, ecn: true };
            let offload = Offload { checksum: Some(partial), gso: Some(gso), data_valid: false };
            let (translated, after) = to_four_with(&packet, offload, &POLICY).unwrap();
            let expected = Gso { kind: kind4, segment_size, header_len: 20 + transport_len, ecn: true };
            assert_eq!(after.gso, Some(expected));
            // DF goes by what is on the wire.
            let ip = ip4(usize::from(20 + transport_len + segment_size));
            let (_, complete, _) = in_buffer(&translated, Offload { gso: None, ..after }, checksum::complete);
            assert_eq!(complete, four(&FOUR, &ip, &payload));

            let (back_translated, after) = {
                let parsed = parse_v4(&translated).unwrap();
                let (result, bytes, offload) =
                    in_buffer(&translated, after, |buf| four_to_six(buf, &parsed, &SIX, &POLICY, 0));
                result.unwrap();
                (bytes, offload)
            };
            assert_eq!(after.gso, Some(Gso { kind: kind6, header_len: 40 + transport_len, ..expected }));
            let (_, complete, _) = in_buffer(&back_translated, Offload { gso: None, ..after }, checksum::complete);
            assert_eq!(complete, six(&SIX, &Ip::hops(62), &payload));
        }
    }
}
