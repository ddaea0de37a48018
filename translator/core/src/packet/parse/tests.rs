use proptest::prelude::*;

use super::*;
use crate::packet::testing::{self, FOUR, Family, Ip, SIX, back, pattern};
use crate::packet::{Fragment, Upper};

const TCP: Upper = Upper::Tcp { source_port: 40_000, destination_port: 443, flags: 0x10 };

fn reason<T: std::fmt::Debug>(result: Result<T, ParseError>) -> DropReason {
    result.unwrap_err().reason
}

/// An IPv6 packet whose payload starts with a header of that kind.
fn v6(first: u8, payload: &[u8]) -> Vec<u8> {
    Family::packet(&SIX, &Ip::default(), first, payload)
}

fn v4(ip: &Ip, protocol: u8, payload: &[u8]) -> Vec<u8> {
    Family::packet(&FOUR, ip, protocol, payload)
}

fn with_options(options: &[u8]) -> Ip {
    Ip { options: options.to_vec(), ..Ip::default() }
}

fn tcp6() -> Vec<u8> {
    testing::segment(&SIX, testing::tcp_header(&SIX), b"data")
}

fn tcp4() -> Vec<u8> {
    testing::segment(&FOUR, testing::tcp_header(&FOUR), b"data")
}

/// A Fragment header.
fn fragment(next: u8, offset: u16, more: bool) -> [u8; 8] {
    let [a, b] = (offset | u16::from(more)).to_be_bytes();
    [next, 0, a, b, 0x12, 0x34, 0x56, 0x78]
}

#[test]
fn the_fields_of_an_ipv6_packet_are_found() {
    let ip = Ip { hop_limit: 7, traffic_class: 0xb9, ..Ip::default() };
    let parsed = parse_v6(&testing::tcp(&SIX, &ip, b"data")).unwrap();
    assert_eq!((parsed.source, parsed.destination), (SIX.source, SIX.destination));
    assert_eq!((parsed.traffic_class, parsed.hop_limit), (0xb9, 7));
    assert_eq!((parsed.header_len, parsed.total_len), (40, 64));
    assert_eq!((parsed.fragment, parsed.fragment_header, parsed.upper), (None, false, TCP));
}

#[test]
fn the_fields_of_an_ipv4_packet_are_found() {
    let ip = Ip { hop_limit: 7, traffic_class: 0xb9, identification: 0xabcd, dont_fragment: true, ..Ip::default() };
    let parsed = parse_v4(&testing::udp(&FOUR, &ip, b"data")).unwrap();
    assert_eq!((parsed.source, parsed.destination), (FOUR.source, FOUR.destination));
    assert_eq!((parsed.traffic_class, parsed.hop_limit), (0xb9, 7));
    assert_eq!((parsed.header_len, parsed.total_len), (20, 32));
    assert_eq!((parsed.identification, parsed.dont_fragment, parsed.fragment), (0xabcd, true, None));
    let Upper::Udp { source_port, destination_port, checksum } = parsed.upper else { panic!("UDP it was") };
    assert_eq!((source_port, destination_port), (61_234, 443));
    assert_ne!(checksum, 0);
}

#[test]
fn padding_behind_a_packet_does_not_matter() {
    for packet in [testing::tcp(&SIX, &Ip::default(), b"x"), testing::udp(&SIX, &Ip::default(), b"x")] {
        assert_eq!(parse_v6(&[&packet[..], &[0; 9]].concat()), parse_v6(&packet));
    }
    let packet = testing::tcp(&FOUR, &Ip::default(), b"x");
    assert_eq!(parse_v4(&[&packet[..], &[0; 9]].concat()), parse_v4(&packet));
}

#[test]
fn a_packet_that_is_cut_anywhere_is_malformed() {
    let six = [v6(6, &tcp6()), v6(44, &[&fragment(6, 0, false)[..], &tcp6()].concat())];
    for packet in six {
        for len in 1..packet.len() {
            assert_eq!(reason(parse_v6(&packet[..len])), DropReason::Malformed, "{len} bytes");
        }
    }
    let packet = v4(&with_options(&[1, 1, 1, 1]), 6, &tcp4());
    for len in 1..packet.len() {
        assert_eq!(reason(parse_v4(&packet[..len])), DropReason::Malformed, "{len} bytes");
    }
}

#[test]
fn another_version_is_no_ip() {
    for first in [0x00, 0x55, 0xf0] {
        assert_eq!(reason(parse_v6(&[first; 60])), DropReason::NotIp);
        assert_eq!(reason(parse_v4(&[first; 60])), DropReason::NotIp);
    }
    assert_eq!(reason(parse_v6(&[])), DropReason::NotIp);
    assert_eq!(reason(parse_v4(&[])), DropReason::NotIp);
}

#[test]
fn a_wrong_ipv4_header_checksum_is_noticed_in_every_byte() {
    for packet in [testing::tcp(&FOUR, &Ip::default(), b""), v4(&with_options(&[7, 7, 4, 0, 0, 0, 0, 0]), 6, &tcp4())] {
        let header_len = usize::from(packet[0] & 0xf) * 4;
        for at in 1..header_len {
            let mut damaged = packet.clone();
            damaged[at] ^= 0x04;
            assert_eq!(reason(parse_v4(&damaged)), DropReason::BadHeaderChecksum, "byte {at}");
        }
    }
}

#[test]
fn ipv4_lengths_that_contradict_each_other_are_malformed() {
    let packet = testing::tcp(&FOUR, &Ip::default(), b"data");
    let change = |edit: &dyn Fn(&mut etherparse::Ipv4Header)| {
        let (mut header, payload) = etherparse::Ipv4Header::from_slice(&packet).unwrap();
        edit(&mut header);
        header.header_checksum = header.calc_header_checksum();
        [&header.to_bytes(), payload].concat()
    };
    for total_len in [0, 19, 20, 39, 45, 65_535] {
        let changed = change(&|header| header.total_len = total_len);
        assert_eq!(reason(parse_v4(&changed)), DropReason::Malformed, "total length {total_len}");
    }
    let mut short_header = packet;
    short_header[0] = 0x44;
    assert_eq!(reason(parse_v4(&short_header)), DropReason::Malformed);
}

#[test]
fn ipv4_options_are_ignored_unless_they_are_a_source_route_or_nonsense() {
    let malformed = Err(DropReason::Malformed);
    let route = Err(DropReason::SourceRoute);
    let cases: [(&str, &[u8], Result<(), DropReason>); 14] = [
        ("no operation", &[1, 1, 1, 1], Ok(())),
        ("end, then anything", &[0, 131, 0, 0], Ok(())),
        ("record route", &[7, 7, 4, 0, 0, 0, 0, 0], Ok(())),
        ("timestamp", &[68, 8, 5, 0, 0, 0, 0, 0], Ok(())),
        ("router alert", &[148, 4, 0, 0], Ok(())),
        ("unknown", &[200, 3, 1, 1], Ok(())),
        ("loose source route", &[131, 7, 4, 1, 2, 3, 4, 0], route),
        ("strict source route", &[1, 137, 7, 4, 1, 2, 3, 4], route),
        ("expired loose source route", &[131, 7, 8, 1, 2, 3, 4, 0], Ok(())),
        ("expired strict source route", &[137, 7, 8, 1, 2, 3, 4, 0], Ok(())),
        ("source route without a pointer", &[131, 2, 1, 1], malformed),
        ("source route whose pointer is in its header", &[131, 7, 3, 1, 2, 3, 4, 0], malformed),
        ("length 0", &[7, 0, 0, 0], malformed),
        ("beyond the header", &[7, 5, 4, 0], malformed),
    ];
    for (name, options, expected) in cases {
        let parsed = parse_v4(&v4(&with_options(options), 6, &tcp4()));
        let header_len = parsed.map(|parsed| usize::from(parsed.header_len)).map_err(|error| error.reason);
        assert_eq!(header_len, expected.map(|()| 20 + options.len()), "{name}");
    }
}

#[test]
fn extension_headers_are_skipped() {
    let options = |next| [next, 0, 1, 4, 0, 0, 0, 0];
    let long = |next: u8| [&[next, 2, 1, 20][..], &[0; 20]].concat();
    let routed = |next| [next, 2, 4, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2];
    let cases: [(&str, u8, Vec<u8>); 5] = [
        ("hop-by-hop", 0, options(6).to_vec()),
        ("destination options", 60, long(6)),
        ("routing, no segments left", 43, routed(6).to_vec()),
        ("three", 0, [&options(60)[..], &long(43), &routed(6)].concat()),
        ("eight", 60, [options(60).repeat(7), options(6).to_vec()].concat()),
    ];
    for (name, first, headers) in cases {
        let parsed = parse_v6(&v6(first, &[&headers[..], &tcp6()].concat())).unwrap();
        assert_eq!((usize::from(parsed.header_len), parsed.upper), (40 + headers.len(), TCP), "{name}");
        assert!(!parsed.fragment_header);
    }
}

#[test]
fn extension_headers_out_of_bounds_are_malformed() {
    let options = [60, 0, 1, 4, 0, 0, 0, 0];
    let cases: [(&str, u8, Vec<u8>); 4] = [
        ("nine of them", 60, [options.repeat(8), vec![6, 0, 1, 4, 0, 0, 0, 0], tcp6()].concat()),
        ("one longer than the packet", 60, vec![6, 1, 1, 4, 0, 0, 0, 0]),
        ("hop-by-hop in second place", 60, [&[0, 0, 1, 4, 0, 0, 0, 0, 6, 0, 1, 4, 0, 0, 0, 0][..], &tcp6()].concat()),
        ("no transport after them", 60, vec![6, 0, 1, 4, 0, 0, 0, 0]),
    ];
    for (name, first, payload) in cases {
        assert_eq!(reason(parse_v6(&v6(first, &payload))), DropReason::Malformed, "{name}");
    }
}

#[test]
fn a_routing_header_with_segments_left_is_refused_with_a_pointer_to_them() {
    let routing = [6, 0, 4, 1, 0, 0, 0, 0];
    let error = parse_v6(&v6(43, &[&routing[..], &tcp6()].concat())).unwrap_err();
    assert_eq!(error, ParseError { reason: DropReason::RoutingHeader, pointer: 43 });

    let options = [43, 0, 1, 4, 0, 0, 0, 0];
    let error = parse_v6(&v6(60, &[&options[..], &routing, &tcp6()].concat())).unwrap_err();
    assert_eq!(error, ParseError { reason: DropReason::RoutingHeader, pointer: 51 });
}

#[test]
fn other_transports_are_named() {
    for protocol in [1, 4, 41, 50, 51, 59, 132, 135, 253] {
        assert_eq!(parse_v6(&v6(protocol, &[0; 8])).unwrap().upper, Upper::Other(protocol));
    }
    for protocol in [2, 4, 41, 44, 50, 51, 58, 59, 132] {
        assert_eq!(parse_v4(&v4(&Ip::default(), protocol, &[0; 8])).unwrap().upper, Upper::Other(protocol));
    }
    assert_eq!(parse_v6(&v6(59, &[])).unwrap().upper, Upper::Other(59));
}

#[test]
fn an_atomic_fragment_is_whole() {
    let parsed = parse_v6(&v6(44, &[&fragment(6, 0, false)[..], &tcp6()].concat())).unwrap();
    assert_eq!((parsed.fragment, parsed.fragment_header, parsed.upper), (None, true, TCP));
    assert_eq!((parsed.identification, parsed.header_len), (0x1234_5678, 48));
}

#[test]
fn a_first_fragment_has_its_transport_and_a_later_one_is_a_tail() {
    let first = parse_v6(&v6(44, &[&fragment(6, 0, true)[..], &tcp6()].concat())).unwrap();
    assert_eq!((first.fragment, first.upper), (Some(Fragment { offset: 0, more: true }), TCP));
    let tail = parse_v6(&v6(44, &[&fragment(6, 1232, false)[..], b"rest"].concat())).unwrap();
    assert_eq!((tail.fragment, tail.upper), (Some(Fragment { offset: 1232, more: false }), Upper::Tail(6)));

    let at = |offset, more| Ip { fragment: Some(Fragment { offset, more }), ..Ip::default() };
    let first = parse_v4(&v4(&at(0, true), 6, &tcp4())).unwrap();
    assert_eq!(first.fragment, Some(Fragment { offset: 0, more: true }));
    assert!(matches!(first.upper, Upper::Tcp { .. }));
    let tail = parse_v4(&v4(&at(1480, true), 17, &[0; 16])).unwrap();
    assert_eq!((tail.fragment, tail.upper), (Some(Fragment { offset: 1480, more: true }), Upper::Tail(17)));
}

#[test]
fn a_first_fragment_of_udp_is_shorter_than_its_datagram() {
    let whole = testing::datagram(&SIX, &pattern(3000));
    let parsed = parse_v6(&v6(44, &[&fragment(17, 0, true)[..], &whole[..1232]].concat())).unwrap();
    assert!(matches!(parsed.upper, Upper::Udp { .. }));
    assert_eq!(reason(parse_v6(&v6(17, &whole[..1232]))), DropReason::Malformed);
}

#[test]
fn fragments_that_cannot_be_are_malformed() {
    let cases: [(&str, u8, u16, bool, Vec<u8>); 9] = [
        ("a TCP header in two", 6, 0, true, tcp6()[..16].to_vec()),
        ("TCP options in two", 6, 0, true, {
            let mut header = tcp6()[..24].to_vec();
            header[12] = 0x70;
            header
        }),
        ("a UDP header in two", 17, 0, true, Vec::new()),
        ("an ICMPv6 header in two", 58, 0, true, Vec::new()),
        ("a second fragment over TCP flags", 6, 8, false, pattern(40)),
        ("not last, and no multiple of 8", 17, 16, true, pattern(12)),
        ("no data", 17, 16, false, Vec::new()),
        ("beyond 65535 bytes", 17, 65_528, false, pattern(8)),
        ("UDP length below 8", 17, 0, true, vec![0, 1, 0, 2, 0, 7, 1, 1]),
    ];
    for (name, next, offset, more, data) in cases {
        let packet = v6(44, &[&fragment(next, offset, more)[..], &data].concat());
        assert_eq!(reason(parse_v6(&packet)), DropReason::Malformed, "IPv6: {name}");
        if next != 58 {
            let ip = Ip { fragment: Some(Fragment { offset, more }), ..Ip::default() };
            assert_eq!(reason(parse_v4(&v4(&ip, next, &data))), DropReason::Malformed, "IPv4: {name}");
        }
    }
}

#[test]
fn an_extension_header_after_a_fragment_header_is_an_unknown_transport() {
    for next in [0, 43, 44, 51, 60, 135, 139, 140] {
        for (offset, more) in [(0, false), (0, true), (16, false)] {
            let packet = v6(44, &[&fragment(next, offset, more)[..], &[6, 0, 1, 4, 0, 0, 0, 0], &tcp6()].concat());
            assert_eq!(parse_v6(&packet).unwrap().upper, Upper::Other(next), "{next} at {offset}");
        }
    }
    // ESP is a transport here (RFC 7915 §5.1.1).
    assert_eq!(parse_v6(&v6(44, &[&fragment(50, 16, false)[..], b"tail"].concat())).unwrap().upper, Upper::Other(50));
}

#[test]
fn a_udp_length_is_not_larger_than_the_payload() {
    // Smaller is what UDP options look like (RFC 9868).
    for (len, allowed) in [(0, false), (7, false), (8, true), (11, true), (12, true), (13, false), (65_535, false)] {
        let mut datagram = testing::datagram(&SIX, b"data");
        datagram[4..6].copy_from_slice(&u16::to_be_bytes(len));
        assert_eq!(parse_v6(&v6(17, &datagram)).is_ok(), allowed, "IPv6, length {len}");
        assert_eq!(parse_v4(&v4(&Ip::default(), 17, &datagram)).is_ok(), allowed, "IPv4, length {len}");
    }
}

#[test]
fn a_tcp_data_offset_lies_in_the_segment() {
    for (words, allowed) in [(0, false), (4, false), (5, true), (6, true), (7, false), (15, false)] {
        let mut segment = tcp6();
        segment[12] = words << 4;
        assert_eq!(parse_v6(&v6(6, &segment)).is_ok(), allowed, "IPv6, {words} words");
        assert_eq!(parse_v4(&v4(&Ip::default(), 6, &segment)).is_ok(), allowed, "IPv4, {words} words");
    }
}

#[test]
fn icmp_types_are_sorted_by_what_is_done_with_them() {
    for kind in 0..=255 {
        let message = [kind, 5, 0, 0, 0x12, 0x34, 0, 0];
        let expected = match kind {
            128 | 129 => Upper::Echo { identifier: 0x1234, reply: kind == 129 },
            1..=4 => Upper::IcmpError { kind, code: 5 },
            _ => Upper::OtherIcmp { kind, code: 5 },
        };
        assert_eq!(parse_v6(&v6(58, &message)).unwrap().upper, expected);
        let expected = match kind {
            0 | 8 => Upper::Echo { identifier: 0x1234, reply: kind == 0 },
            3 | 4 | 5 | 11 | 12 => Upper::IcmpError { kind, code: 5 },
            _ => Upper::OtherIcmp { kind, code: 5 },
        };
        assert_eq!(parse_v4(&v4(&Ip::default(), 1, &message)).unwrap().upper, expected);
    }
}

#[test]
fn an_embedded_packet_needs_its_ip_header_and_eight_bytes() {
    let routing = [6, 0, 4, 1, 0, 0, 0, 0];
    let six = [
        (v6(6, &tcp6()), 48),
        (v6(43, &[&routing[..], &tcp6()].concat()), 56),
        (v6(44, &[&fragment(6, 0, true)[..], &tcp6()].concat()), 56),
    ];
    for (packet, least) in six {
        for len in 0..=packet.len() {
            let parsed = parse_embedded_v6(&packet[..len]);
            if len < least {
                assert_eq!(parsed, Err(DropReason::BadEmbeddedPacket), "{len} bytes");
            } else {
                let parsed = parsed.unwrap();
                assert_eq!(usize::try_from(parsed.total_len), Ok(packet.len()));
                let flags = if len < least + 6 { 0 } else { 0x10 };
                assert_eq!(parsed.upper, Upper::Tcp { source_port: 40_000, destination_port: 443, flags });
            }
        }
    }
    // A source route in a quoted packet, and a checksum that a router forgot, are not our affair.
    let mut packet = v4(&with_options(&[131, 7, 4, 1, 2, 3, 4, 0]), 17, &testing::datagram(&FOUR, b"data"));
    packet[8] -= 1;
    for len in 0..=packet.len() {
        assert_eq!(parse_embedded_v4(&packet[..len]).is_ok(), len >= 36, "{len} bytes");
    }
}

#[test]
fn an_embedded_tail_may_be_cut_anywhere() {
    let six = v6(44, &[&fragment(6, 1232, false)[..], b"rest"].concat());
    let ip = Ip { fragment: Some(Fragment { offset: 1480, more: false }), ..Ip::default() };
    let four = v4(&ip, 17, b"rest");
    for cut in 0..=4 {
        assert_eq!(parse_embedded_v6(&six[..48 + cut]).unwrap().upper, Upper::Tail(6));
        assert_eq!(parse_embedded_v4(&four[..20 + cut]).unwrap().upper, Upper::Tail(17));
    }
}

#[test]
fn an_error_inside_an_error_is_refused() {
    for kind in 0..128 {
        let packet = v6(58, &[kind, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(parse_embedded_v6(&packet), Err(DropReason::BadEmbeddedPacket), "ICMPv6 type {kind}");
    }
    for kind in [3, 4, 5, 11, 12] {
        let packet = v4(&Ip::default(), 1, &[kind, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(parse_embedded_v4(&packet), Err(DropReason::BadEmbeddedPacket), "ICMP type {kind}");
    }
    assert!(parse_embedded_v4(&testing::echo(&FOUR, &Ip::default(), false, 9, b"")).is_ok());
    assert!(parse_embedded_v6(&testing::echo(&SIX, &Ip::default(), true, 9, b"")).is_ok());
}

#[test]
fn the_original_datagram_ends_where_its_length_attribute_says() {
    let (datagram, extension) = (pattern(136), [0x20, 0, 0, 0]);
    let body = [&datagram[..], &extension].concat();
    // (ICMPv6 type, second word, bytes of the original datagram)
    for (kind, rest, len) in
        [(1, 17 << 24, 136), (3, 16 << 24, 128), (1, 0, 140), (1, 18 << 24, 140), (3, 15 << 24, 140), (2, 1280, 140)]
    {
        let packet = testing::error(&back(&SIX), &Ip::default(), (kind, 0, rest), &body);
        assert_eq!(original_datagram(&packet, &parse_v6(&packet).unwrap()).len(), len, "ICMPv6 {kind} {rest:#x}");
    }
    for (kind, rest, len) in
        [(3, 34 << 16, 136), (11, 32 << 16, 128), (12, 33 << 16, 132), (3, 36 << 16, 140), (5, 34 << 16, 140)]
    {
        let packet = testing::error(&back(&FOUR), &Ip::default(), (kind, 0, rest), &body);
        assert_eq!(original_datagram(&packet, &parse_v4(&packet).unwrap()).len(), len, "ICMP {kind} {rest:#x}");
    }
}

proptest! {
    #[test]
    fn no_bytes_make_parsing_panic(
        mut bytes in proptest::collection::vec(any::<u8>(), 0..200),
        version in 0..3_u8,
        next in prop::sample::select(vec![0_u8, 1, 6, 17, 43, 44, 58, 60, 132]),
        len in 0..200_u16,
    ) {
        if let [first, _, a, b, c, d, six, _, _, nine, ..] = &mut bytes[..] {
            match version {
                4.. => {}
                0 => {}
                1 => { *first = 0x60; [*c, *d] = len.to_be_bytes(); *six = next; }
                _ => { *first = 0x40 | *first & 0xf; [*a, *b] = len.to_be_bytes(); *nine = next; }
            }
        }
        let _ = parse_v6(&bytes);
        let _ = parse_v4(&bytes);
        let _ = parse_embedded_v6(&bytes);
        let _ = parse_embedded_v4(&bytes);
    }

    #[test]
    fn what_is_parsed_lies_inside_the_packet(
        edits in proptest::collection::vec((0..80_usize, any::<u8>()), 0..4),
    ) {
        let mut packet = testing::udp(&SIX, &Ip::default(), &pattern(40));
        edits.iter().for_each(|(at, byte)| packet[*at] = *byte);
        if let Ok(parsed) = parse_v6(&packet) {
            prop_assert!(u32::from(parsed.header_len) <= parsed.total_len);
            prop_assert!(parsed.total_len as usize <= packet.len());
        }
    }
}
