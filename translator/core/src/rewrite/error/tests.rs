use super::*;
use crate::packet::testing::{self, FOUR, Family, Ip, SIX, back, error, in_buffer, pattern};
use crate::packet::{Fragment, Offload, original_datagram, parse_embedded_v4, parse_embedded_v6, parse_v4, parse_v6};
use crate::policy::HeaderPolicy;

/// A router in the IPv6 network, and as which address its errors leave.
const ROUTER_6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xffff, 0, 0, 0, 0, 1);
const ROUTER_6_AS_4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 9);
/// A router in the IPv4 network, and as which address its errors leave.
const ROUTER_4: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 9);
const ROUTER_4_AS_6: Ipv6Addr = Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0xcb00, 0x7109);

const ID: u16 = 0x4321;

const fn between<A>(source: A, destination: A) -> Endpoints<A> {
    Endpoints { source, source_port: 0, destination, destination_port: 0 }
}

/// From the router to the IPv6 host, and from the router to the server.
const TO_HOST_6: Endpoints<Ipv6Addr> = between(ROUTER_4_AS_6, SIX.source);
const TO_SERVER_4: Endpoints<Ipv4Addr> = between(ROUTER_6_AS_4, FOUR.destination);

fn to_four_with(packet: &[u8], links: &LinkMtus) -> Result<Vec<u8>, DropReason> {
    let outer = parse_v6(packet).unwrap();
    let embedded = parse_embedded_v6(original_datagram(packet, &outer))?;
    let to = ErrorEndpoints { source: ROUTER_6_AS_4, destination: FOUR.destination, embedded: back(&FOUR) };
    let (result, bytes, _) = in_buffer(packet, Offload::default(), |buf| {
        error_six_to_four(buf, &outer, &embedded, &to, &HeaderPolicy::default(), links, ID)
    });
    if result.is_err() {
        assert_eq!(bytes, packet, "a refused packet is as it was");
    }
    result.map(|()| bytes)
}

fn to_six_with(packet: &[u8], links: &LinkMtus) -> Result<Vec<u8>, DropReason> {
    let outer = parse_v4(packet).unwrap();
    let embedded = parse_embedded_v4(original_datagram(packet, &outer))?;
    let to = ErrorEndpoints { source: ROUTER_4_AS_6, destination: SIX.source, embedded: SIX };
    let (result, bytes, _) = in_buffer(packet, Offload::default(), |buf| {
        error_four_to_six(buf, &outer, &embedded, &to, &HeaderPolicy::default(), links, 1)
    });
    if result.is_err() {
        assert_eq!(bytes, packet, "a refused packet is as it was");
    }
    result.map(|()| bytes)
}

fn to_four(packet: &[u8]) -> Result<Vec<u8>, DropReason> {
    to_four_with(packet, &LinkMtus::default())
}

fn to_six(packet: &[u8]) -> Result<Vec<u8>, DropReason> {
    to_six_with(packet, &LinkMtus::default())
}

/// An ICMPv6 error from the IPv6 network about a packet of the server's.
fn error6(kind: (u8, u8, u32), embedded: &[u8]) -> Vec<u8> {
    error(&between(ROUTER_6, SIX.destination), &Ip::default(), kind, embedded)
}

/// What it is in IPv4.
fn expected4(kind: (u8, u8, u32), embedded: &[u8]) -> Vec<u8> {
    error(&TO_SERVER_4, &Ip { identification: ID, ..Ip::hops(63) }, kind, embedded)
}

/// An ICMP error from the IPv4 network about a packet of the client's.
fn error4(kind: (u8, u8, u32), embedded: &[u8]) -> Vec<u8> {
    error(&between(ROUTER_4, FOUR.source), &Ip { identification: 5, ..Ip::default() }, kind, embedded)
}

/// What it is in IPv6.
fn expected6(kind: (u8, u8, u32), embedded: &[u8]) -> Vec<u8> {
    error(&TO_HOST_6, &Ip::hops(63), kind, embedded)
}

/// The server's packet to the client, as it is in both versions.
fn from_server(payload: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let ip = Ip { dont_fragment: payload.len() > 1232, ..Ip::hops(9) };
    (testing::udp(&back(&SIX), &Ip::hops(9), payload), testing::udp(&back(&FOUR), &ip, payload))
}

/// The client's packet to the server, as it is in both versions.
fn from_client(payload: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let ip = Ip { identification: 0xabcd, ..Ip::hops(9) };
    (testing::udp(&SIX, &Ip::hops(9), payload), testing::udp(&FOUR, &ip, payload))
}

#[test]
fn every_icmpv6_type_and_code_is_translated_or_refused() {
    let (six, four) = from_server(b"data");
    for kind in 1..=4 {
        for code in 0..=20 {
            let pointer = 7;
            let rest = if kind == 4 { pointer } else { 0 };
            // RFC 7915 §5.2, without Packet Too Big.
            let expected = match (kind, code) {
                (1, 0 | 2 | 3) => Some((3, 1, 0)),
                (1, 1) => Some((3, 10, 0)),
                (1, 4) => Some((3, 3, 0)),
                (3, code) => Some((11, code, 0)),
                (4, 0) => Some((12, 0, 8 << 24)),
                (4, 1) => Some((3, 2, 0)),
                (2, _) => Some((3, 4, 68)),
                _ => None,
            };
            let expected = expected.map(|kind| expected4(kind, &four)).ok_or(DropReason::UntranslatableIcmp);
            assert_eq!(to_four(&error6((kind, code, rest), &six)), expected, "type {kind} code {code}");
        }
    }
}

#[test]
fn every_icmp_type_and_code_is_translated_or_refused() {
    let (six, four) = from_client(b"data");
    for kind in [3, 4, 5, 11, 12] {
        for code in 0..=20 {
            let rest = if kind == 12 { 8 << 24 } else { 0 };
            // RFC 7915 §4.2, Fragmentation Needed with an unknown MTU.
            let expected = match (kind, code) {
                (3, 0 | 1 | 5 | 6 | 7 | 8 | 11 | 12) => Some((1, 0, 0)),
                (3, 2) => Some((4, 1, 6)),
                (3, 3) => Some((1, 4, 0)),
                (3, 4) => Some((2, 0, 1280)),
                (3, 9 | 10 | 13 | 15) => Some((1, 1, 0)),
                (11, code) => Some((3, code, 0)),
                (12, 0 | 2) => Some((4, 0, 7)),
                _ => None,
            };
            let expected = expected.map(|kind| expected6(kind, &six)).ok_or(DropReason::UntranslatableIcmp);
            assert_eq!(to_six(&error4((kind, code, rest), &four)), expected, "type {kind} code {code}");
        }
    }
}

#[test]
fn every_pointer_is_translated_or_refused() {
    let (six, four) = from_server(b"data");
    for pointer in (0..=300).chain([u32::MAX]) {
        // RFC 7915 Figure 6.
        let translated = match pointer {
            0 | 1 => Some(pointer),
            4 | 5 => Some(2),
            6 => Some(9),
            7 => Some(8),
            8..=23 => Some(12),
            24..=39 => Some(16),
            _ => None,
        };
        let expected = translated.map(|to| expected4((12, 0, to << 24), &four)).ok_or(DropReason::UntranslatableIcmp);
        assert_eq!(to_four(&error6((4, 0, pointer), &six)), expected, "IPv6 pointer {pointer}");
    }
    let (six, four) = from_client(b"data");
    for pointer in 0..=255 {
        // RFC 7915 Figure 3.
        let translated = match pointer {
            0 | 1 => Some(pointer),
            2 | 3 => Some(4),
            8 => Some(7),
            9 => Some(6),
            12..=15 => Some(8),
            16..=19 => Some(24),
            _ => None,
        };
        let expected = translated.map(|to| expected6((4, 0, to), &six)).ok_or(DropReason::UntranslatableIcmp);
        for code in [0, 2] {
            assert_eq!(to_six(&error4((12, code, pointer << 24), &four)), expected, "IPv4 pointer {pointer}");
        }
    }
}

#[test]
fn the_mtu_of_packet_too_big_loses_what_the_header_is_shorter() {
    let links = |ipv4, ipv6| LinkMtus { ipv4, ipv6 };
    let cases = [
        (1500, links(None, None), 1480),
        (1280, links(None, None), 1260),
        (9000, links(Some(1500), None), 1500),
        (9000, links(None, Some(1500)), 1480),
        (9000, links(Some(1400), Some(1500)), 1400),
        (1300, links(Some(1400), Some(1500)), 1280),
        (1000, links(None, None), 980),
        (70_000, links(None, None), 65_535),
        (u32::MAX, links(None, None), 65_535),
        (3, links(None, None), 68),
    ];
    let (six, four) = from_server(b"data");
    for (mtu, links, expected) in cases {
        let translated = to_four_with(&error6((2, 0, mtu), &six), &links);
        assert_eq!(translated, Ok(expected4((3, 4, expected), &four)), "MTU {mtu}, {links:?}");
    }
}

#[test]
fn the_mtu_for_a_fragment_loses_the_fragment_header_too() {
    let ip = |ip| Ip { identification: 77, fragment: Some(Fragment { offset: 0, more: true }), ..ip };
    let (six, four) = (
        testing::tcp(&back(&SIX), &ip(Ip::hops(9)), &pattern(100)),
        testing::tcp(&back(&FOUR), &ip(Ip::hops(9)), &pattern(100)),
    );
    assert_eq!(to_four(&error6((2, 0, 1500), &six)), Ok(expected4((3, 4, 1472), &four)));
}

#[test]
fn the_mtu_of_fragmentation_needed_gains_what_the_header_is_longer() {
    let links = |ipv4, ipv6| LinkMtus { ipv4, ipv6 };
    let cases = [
        (1500, links(None, None), 1520),
        (1400, links(None, None), 1420),
        (1260, links(None, None), 1280),
        (576, links(None, None), 1280),
        (68, links(None, None), 1280),
        (9000, links(Some(1500), None), 1520),
        (9000, links(None, Some(1500)), 1500),
        (9000, links(Some(1400), Some(1500)), 1420),
        (1400, links(Some(300), Some(400)), 1280),
        (65_535, links(None, None), 65_555),
    ];
    let (six, four) = from_client(b"data");
    for (mtu, links, expected) in cases {
        let translated = to_six_with(&error4((3, 4, mtu), &four), &links);
        assert_eq!(translated, Ok(expected6((2, 0, expected), &six)), "MTU {mtu}, {links:?}");
    }
}

#[test]
fn an_unknown_mtu_is_the_next_plateau_below_the_packet() {
    // (bytes of the packet in error, MTU of RFC 1191 §7.1 below it and 20)
    let cases = [
        (1280, 1280),
        (1492, 1280),
        (1493, 1512),
        (1500, 1512),
        (2002, 1512),
        (2003, 2022),
        (9000, 8186),
        (20_000, 17_934),
        (65_535, 32_020),
    ];
    for (len, expected) in cases {
        let mut four = from_client(b"data").1;
        four[2..4].copy_from_slice(&u16::to_be_bytes(len));
        let six = to_six(&error4((3, 4, 0), &four)).unwrap();
        assert_eq!(six[40..42], [2, 0]);
        assert_eq!(six[44..48], u32::to_be_bytes(expected), "{len} bytes");
    }
}

#[test]
fn the_packet_inside_is_translated_like_any_other_but_for_its_hop_limit() {
    let ip = |hops| Ip { traffic_class: 0xb8, ..Ip::hops(hops) };
    let tcp = (testing::tcp(&back(&SIX), &ip(1), b"data"), testing::tcp(&back(&FOUR), &ip(1), b"data"));
    let udp = (testing::udp(&back(&SIX), &ip(0), b"data"), testing::udp(&back(&FOUR), &ip(0), b"data"));
    let port = FOUR.source_port;
    let echo = |reply| {
        let six = testing::echo(&back(&SIX), &ip(3), reply, SIX.source_port, b"data");
        (six, testing::echo(&back(&FOUR), &ip(3), reply, port, b"data"))
    };
    for (six, four) in [tcp, udp, echo(false), echo(true)] {
        assert_eq!(to_four(&error6((1, 4, 0), &six)), Ok(expected4((3, 3, 0), &four)));
    }

    let tcp = (testing::tcp(&SIX, &ip(1), b"data"), testing::tcp(&FOUR, &ip(1), b"data"));
    let udp = (testing::udp(&SIX, &ip(0), b"data"), testing::udp(&FOUR, &ip(0), b"data"));
    let echo = |reply| {
        let six = testing::echo(&SIX, &ip(3), reply, SIX.source_port, b"data");
        (six, testing::echo(&FOUR, &ip(3), reply, port, b"data"))
    };
    for (six, four) in [tcp, udp, echo(false), echo(true)] {
        assert_eq!(to_six(&error4((3, 3, 0), &four)), Ok(expected6((1, 4, 0), &six)));
    }
}

#[test]
fn the_packet_inside_may_be_cut_anywhere_after_eight_bytes() {
    let tcp6 = testing::tcp(&back(&SIX), &Ip::hops(9), &pattern(60));
    let tcp4 = testing::tcp(&back(&FOUR), &Ip::hops(9), &pattern(60));
    for len in 0..=80 {
        let translated = to_four(&error6((3, 0, 0), &tcp6[..40 + len]));
        if len < 8 {
            assert_eq!(translated, Err(DropReason::BadEmbeddedPacket));
        } else {
            // A checksum that is cut in two is left alone.
            let mut expected = tcp4[..20 + len].to_vec();
            if len == 17 {
                expected[36] = tcp6[56];
            }
            assert_eq!(translated, Ok(expected4((11, 0, 0), &expected)), "{len} bytes");
        }
    }
    let (udp6, udp4) = from_client(&pattern(60));
    for len in 0..=68 {
        let translated = to_six(&error4((11, 0, 0), &udp4[..20 + len]));
        if len < 8 {
            assert_eq!(translated, Err(DropReason::BadEmbeddedPacket));
        } else {
            assert_eq!(translated, Ok(expected6((3, 0, 0), &udp6[..40 + len])), "{len} bytes");
        }
    }
}

#[test]
fn extension_headers_and_options_inside_are_removed() {
    let datagram = testing::datagram(&back(&SIX), b"data");
    let headers = [60, 0, 1, 4, 0, 0, 0, 0, 17, 0, 1, 4, 0, 0, 0, 0];
    let six = <Ipv6Addr as Family>::packet(&back(&SIX), &Ip::hops(9), 0, &[&headers[..], &datagram].concat());
    assert_eq!(to_four(&error6((1, 0, 0), &six)), Ok(expected4((3, 1, 0), &from_server(b"data").1)));

    let ip = Ip { options: vec![7, 7, 4, 0, 0, 0, 0, 0], ..Ip::hops(9) };
    let four = testing::udp(&FOUR, &ip, b"data");
    assert_eq!(to_six(&error4((3, 1, 0), &four)), Ok(expected6((1, 0, 0), &from_client(b"data").0)));
}

#[test]
fn headers_outside_are_as_long_as_they_are() {
    let message = testing::icmp(&between(ROUTER_6, SIX.destination), 1, 4, [0; 4], &from_server(b"data").0);
    let packet = <Ipv6Addr as Family>::packet(
        &between(ROUTER_6, SIX.destination),
        &Ip::default(),
        60,
        &[&[58, 0, 1, 4, 0, 0, 0, 0][..], &message].concat(),
    );
    assert_eq!(to_four(&packet), Ok(expected4((3, 3, 0), &from_server(b"data").1)));

    let ip = Ip { options: vec![1; 24], ..Ip::default() };
    let packet = error(&between(ROUTER_4, FOUR.source), &ip, (3, 3, 0), &from_client(b"data").1);
    assert_eq!(to_six(&packet), Ok(expected6((1, 4, 0), &from_client(b"data").0)));
}

#[test]
fn fragments_inside_stay_fragments() {
    for (offset, more) in [(0, true), (1480, false)] {
        let at = |hops| Ip { identification: 77, fragment: Some(Fragment { offset, more }), ..Ip::hops(hops) };
        let (data6, data4) = if offset == 0 {
            (testing::datagram(&SIX, &pattern(40)), testing::datagram(&FOUR, &pattern(40)))
        } else {
            (pattern(48), pattern(48))
        };
        let six = <Ipv6Addr as Family>::packet(&SIX, &at(9), 17, &data6);
        let four = <Ipv4Addr as Family>::packet(&FOUR, &at(9), 17, &data4);
        assert_eq!(to_six(&error4((11, 1, 0), &four)), Ok(expected6((3, 1, 0), &six)));

        let (data6, data4) = if offset == 0 {
            (testing::datagram(&back(&SIX), &pattern(40)), testing::datagram(&back(&FOUR), &pattern(40)))
        } else {
            (pattern(48), pattern(48))
        };
        let six = <Ipv6Addr as Family>::packet(&back(&SIX), &at(9), 17, &data6);
        let four = <Ipv4Addr as Family>::packet(&back(&FOUR), &at(9), 17, &data4);
        assert_eq!(to_four(&error6((3, 1, 0), &six)), Ok(expected4((11, 1, 0), &four)));
    }
}

#[test]
fn a_udp_packet_inside_without_a_checksum_stays_without() {
    let (mut six, mut four) = from_client(b"data");
    six[46..48].fill(0);
    four[26..28].fill(0);
    assert_eq!(to_six(&error4((3, 3, 0), &four)), Ok(expected6((1, 4, 0), &six)));
}

#[test]
fn errors_in_fragments_and_errors_inside_errors_are_refused() {
    let fragment = |ip| Ip { fragment: Some(Fragment { offset: 0, more: true }), ..ip };
    let (six, four) = from_server(&pattern(96));
    let packet = error(&between(ROUTER_6, SIX.destination), &fragment(Ip::default()), (1, 0, 0), &six);
    assert_eq!(to_four(&packet), Err(DropReason::UntranslatableIcmp));
    let packet = error(&between(ROUTER_4, FOUR.source), &fragment(Ip::default()), (3, 0, 0), &four[..120]);
    assert_eq!(to_six(&packet), Err(DropReason::UntranslatableIcmp));

    assert_eq!(to_four(&error6((1, 0, 0), &error6((1, 0, 0), &six))), Err(DropReason::BadEmbeddedPacket));
    assert_eq!(to_six(&error4((3, 0, 0), &error4((3, 0, 0), &four))), Err(DropReason::BadEmbeddedPacket));
}

#[test]
fn errors_are_cut_to_what_their_version_allows() {
    let (six, four) = from_server(&pattern(1400));
    let cut = &six[..1280 - 48];
    let translated = to_four(&error6((1, 4, 0), cut)).unwrap();
    assert_eq!(translated, expected4((3, 3, 0), &four[..576 - 28]));

    let (six, four) = from_client(&pattern(1400));
    let translated = to_six(&error4((3, 3, 0), &four)).unwrap();
    assert_eq!(translated, expected6((1, 4, 0), &six[..1280 - 48]));
    let translated = to_six(&error4((3, 3, 0), &four[..576 - 28])).unwrap();
    assert_eq!(translated, expected6((1, 4, 0), &six[..548 + 20]));
}

#[test]
fn a_wrong_checksum_of_an_error_stays_as_wrong() {
    /// How far the 16-bit fields there are from each other, in one's complement.
    fn distance(one: &[u8], other: &[u8], at: usize) -> u32 {
        let field = |packet: &[u8]| u32::from(u16::from_be_bytes([packet[at], packet[at + 1]]));
        (field(one) + 0xffff - field(other)) % 0xffff
    }
    let (six, four) = from_server(b"data");
    let right = error6((1, 4, 0), &six);
    for damage in [0x01, 0x80, 0xff] {
        let mut damaged = right.clone();
        damaged[43] ^= damage;
        let (translated, expected) = (to_four(&damaged).unwrap(), expected4((3, 3, 0), &four));
        assert_ne!(translated, expected);
        assert_eq!(distance(&translated, &expected, 22), distance(&damaged, &right, 42));
        assert_eq!(translated[24..], expected[24..]);
    }
}

/// An MPLS label stack (RFC 4950) as extension structure.
const EXTENSION: [u8; 12] = [0x20, 0, 0x7d, 0xf2, 0, 8, 1, 1, 0, 0x3e, 0x81, 0xff];

fn padded(packet: &[u8], len: usize) -> Vec<u8> {
    let mut padded = packet.to_vec();
    padded.resize(len, 0);
    padded
}

#[test]
fn extensions_are_kept_and_their_length_attribute_adjusted() {
    // (bytes of the packet in error, of the original datagram in IPv6, in IPv4)
    for (len6, field6, field4) in [(60, 128, 128), (128, 128, 128), (136, 136, 128), (150, 152, 132), (400, 400, 380)] {
        let (six, four) = from_server(&pattern(len6 - 48));
        for (kind6, kind4) in [((1, 4), (3, 3)), ((3, 0), (11, 0))] {
            let length = u32::try_from(field6 / 8).unwrap() << 24;
            let body = [&padded(&six, field6)[..], &EXTENSION].concat();
            let translated = to_four(&error6((kind6.0, kind6.1, length), &body));
            let length = u32::try_from(field4 / 4).unwrap() << 16;
            let body = [&padded(&four, field4)[..], &EXTENSION].concat();
            assert_eq!(translated, Ok(expected4((kind4.0, kind4.1, length), &body)), "{len6} bytes");
        }
    }
    // (bytes of the packet in error, of the original datagram in IPv4, in IPv6)
    for (len4, field4, field6) in [(60, 128, 128), (128, 128, 152), (130, 132, 152), (132, 132, 152), (400, 400, 424)] {
        let (six, four) = from_client(&pattern(len4 - 28));
        for (kind4, kind6) in [((3, 3), (1, 4)), ((11, 0), (3, 0))] {
            let length = u32::try_from(field4 / 4).unwrap() << 16;
            let body = [&padded(&four, field4)[..], &EXTENSION].concat();
            let translated = to_six(&error4((kind4.0, kind4.1, length), &body));
            let length = u32::try_from(field6 / 8).unwrap() << 24;
            let body = [&padded(&six, field6)[..], &EXTENSION].concat();
            assert_eq!(translated, Ok(expected6((kind6.0, kind6.1, length), &body)), "{len4} bytes");
        }
    }
}

#[test]
fn extensions_are_dropped_where_ipv6_has_no_place_for_them() {
    let (six, four) = from_client(&pattern(100));
    let body = [&padded(&four, 128)[..], &EXTENSION].concat();
    for (kind4, kind6) in [((3, 4, 1400), (2, 0, 1420)), ((3, 2, 0), (4, 1, 6)), ((12, 0, 8 << 24), (4, 0, 7))] {
        let kind4 = (kind4.0, kind4.1, kind4.2 | 32 << 16);
        assert_eq!(to_six(&error4(kind4, &body)), Ok(expected6(kind6, &six)));
    }
}

#[test]
fn the_original_datagram_makes_place_for_extensions_and_then_they_are_cut() {
    let long: Vec<u8> = EXTENSION.repeat(20);
    let (six, four) = from_server(&pattern(900));
    let body = [&padded(&six, 800)[..], &long].concat();
    let translated = to_four(&error6((1, 4, 100 << 24), &body)).unwrap();
    let original = (576 - 28 - 240) / 4 * 4;
    let expected = [&four[..original], &long].concat();
    assert_eq!(translated, expected4((3, 3, u32::try_from(original / 4).unwrap() << 16), &expected));

    let longer: Vec<u8> = EXTENSION.repeat(60);
    let body = [&padded(&six, 128)[..], &longer].concat();
    let translated = to_four(&error6((1, 4, 16 << 24), &body)).unwrap();
    assert_eq!(translated.len(), 576);
    let expected = [&four[..108], &[0; 20], &longer[..576 - 28 - 128]].concat();
    assert_eq!(translated, expected4((3, 3, 32 << 16), &expected));
}
