//! RFC 7915 §5 and §5.1: IPv6 headers to IPv4 headers.

use std::collections::HashSet;
use std::net::Ipv6Addr;

use nat64_core::DropReason;

use crate::lab::*;
use crate::wire::{FRAGMENT, Fragment, ICMP, Icmp, TCP, UDP, V6, pattern};

#[test]
fn every_field_of_the_ipv4_header_is_as_the_rfc_sets_it() {
    let mut lab = Lab::new();
    let sent = client_udp(&pattern(100)).with(|header| {
        header.hop_limit = 33;
        header.traffic_class = 0xb9;
        header.flow_label = 0xabcde.try_into().unwrap();
    });
    let got = lab.pass6(&sent);
    assert_eq!(got.tos(), 0xb9);
    assert_eq!((got.header.ihl(), usize::from(got.header.total_len)), (5, 20 + sent.payload.len()));
    assert_eq!((got.header.more_fragments, got.offset()), (false, 0));
    assert_eq!(got.header.time_to_live, 32);
    assert_eq!(got.protocol(), UDP);
    assert_eq!((got.source(), got.destination()), (POOL, SERVER));
    assert_eq!(got.data(), pattern(100));
}

#[test]
fn icmpv6_becomes_icmp_and_tcp_stays_tcp() {
    let mut lab = Lab::new();
    assert_eq!(lab.pass6(&client_tcp(SYN)).protocol(), TCP);
    assert_eq!(lab.pass6(&V6::icmp(CLIENT, six(SERVER), &Icmp::echo(128, 1, 1, b""))).protocol(), ICMP);
}

#[test]
fn the_traffic_class_can_be_ignored() {
    let mut lab = Lab::with(|policy| policy.header.copy_traffic_class = false);
    assert_eq!(lab.pass6(&client_udp(b"x").with(|header| header.traffic_class = 0xb9)).tos(), 0);
}

#[test]
fn the_tos_octet_can_be_set_to_a_value_inside_and_outside() {
    let mut lab = Lab::with(|policy| {
        policy.header.copy_traffic_class = false;
        policy.header.tos = 0x48;
    });
    let got = lab.pass6(&client_udp(b"x").with(|header| header.traffic_class = 0xb9));
    assert_eq!(got.tos(), 0x48);
    let delivered = lab.pass4(&server_udp(got.ports().0, b"x"));
    assert_eq!(delivered.header.traffic_class, 0, "RFC 7915 §4.1 has zero for the other way");
    let got = lab.pass6(&V6::icmp(ROUTER6, six(SERVER), &Icmp::error(1, 0, 0, &delivered.bytes())));
    assert_eq!((got.tos(), got.read_icmp().body[1]), (0x48, 0x48));
}

#[test]
fn df_is_clear_up_to_1260_bytes_and_set_above() {
    let mut lab = Lab::new();
    for (total, dont_fragment) in [(28, false), (1259, false), (1260, false), (1261, true), (1500, true), (9000, true)]
    {
        let got = lab.pass6(&client_udp(&pattern(total - 28)));
        assert_eq!(usize::from(got.header.total_len), total);
        assert_eq!(got.header.dont_fragment, dont_fragment, "{total} bytes");
    }
}

#[test]
fn identifications_neither_repeat_nor_follow_each_other() {
    let mut lab = Lab::new();
    let ids: Vec<u16> = (0..60_000).map(|_| lab.pass6(&client_udp(b"x")).header.identification).collect();
    assert_eq!(ids.iter().collect::<HashSet<_>>().len(), ids.len());
    let steps: HashSet<u16> = ids.windows(2).map(|pair| pair[1].wrapping_sub(pair[0])).collect();
    assert!(steps.len() > 1000, "{} steps", steps.len());
}

#[test]
fn a_hop_limit_that_runs_out_is_reported_and_leaves_no_state() {
    for hop_limit in [0, 1] {
        let mut lab = Lab::new();
        let sent = client_udp(b"x").with(|header| header.hop_limit = hop_limit);
        let (error, message) = lab.send6(&sent).error6(DropReason::HopLimitExceeded);
        assert_eq!((error.source(), error.destination()), (six(SERVER), CLIENT));
        assert_eq!((message.kind, message.code, message.rest), (3, 0, 0));
        assert_eq!(message.body, sent.bytes(), "what was received, the hop limit too");
        lab.is_empty();
    }
    assert_eq!(Lab::new().pass6(&client_udp(b"x").with(|header| header.hop_limit = 2)).header.time_to_live, 1);
}

#[test]
fn illegal_sources_are_dropped_silently() {
    for source in ["::", "::1", "::192.0.2.33", "::ffff:192.0.2.33", "fe80::1", "ff02::1", "ff0e::1"] {
        let mut lab = Lab::new();
        let source: Ipv6Addr = source.parse().unwrap();
        lab.send6(&V6::udp((source, PORT), service6(), b"x")).silent(DropReason::IllegalSource);
        lab.is_empty();
    }
}

#[test]
fn extension_headers_are_skipped() {
    let hop_by_hop = |packet: V6| packet.extended(0, &[5, 2, 0, 0, 1, 0]);
    let options = |packet: V6| packet.extended(60, &[1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    let routed = |packet: V6| packet.extended(43, &[&[0, 0, 0, 0, 0, 0][..], &CLIENT.octets()].concat());
    let cases: [(&str, V6); 5] = [
        ("hop-by-hop", hop_by_hop(client_udp(&pattern(50)))),
        ("destination options", options(client_udp(&pattern(50)))),
        ("routing without segments left", routed(client_udp(&pattern(50)))),
        ("all of them", hop_by_hop(options(routed(client_udp(&pattern(50)))))),
        ("options twice, round routing", options(routed(options(client_udp(&pattern(50)))))),
    ];
    for (name, sent) in cases {
        let got = Lab::new().pass6(&sent);
        assert_eq!((got.protocol(), got.data()), (UDP, &pattern(50)[..]), "{name}");
        assert_eq!((got.header.ihl(), usize::from(got.header.total_len)), (5, 78), "{name}");
    }
}

#[test]
fn an_echo_behind_extension_headers_gets_a_right_checksum() {
    let echo = V6::icmp(CLIENT, six(SERVER), &Icmp::echo(128, 7, 9, &pattern(33)));
    let got = Lab::new().pass6(&echo.extended(60, &[1, 4, 0, 0, 0, 0]).extended(0, &[1, 4, 0, 0, 0, 0])).read_icmp();
    assert_eq!((got.kind, got.rest & 0xffff, got.body), (8, 9, pattern(33)));
}

#[test]
fn a_routing_header_with_segments_left_is_answered_with_a_pointer_to_them() {
    let routing = |left| [&[0, left, 0, 0, 0, 0][..], &six(SERVER).octets()].concat();
    let direct = client_udp(b"x").extended(43, &routing(1));
    let behind =
        client_udp(b"x").extended(43, &routing(2)).extended(60, &[1, 4, 0, 0, 0, 0]).extended(0, &[1, 12].repeat(7));
    for (sent, pointer) in [(direct, 43), (behind, 40 + 16 + 8 + 3)] {
        let mut lab = Lab::new();
        let (error, message) = lab.send6(&sent).error6(DropReason::RoutingHeader);
        assert_eq!((message.kind, message.code, message.rest), (4, 0, pointer));
        assert_eq!((error.destination(), message.body), (CLIENT, sent.bytes()));
        lab.is_empty();
    }
}

#[test]
fn a_fragment_is_given_identification_and_flags_of_its_header() {
    let mut lab = Lab::new();
    for (index, sent) in client_udp(&pattern(2000)).fragments(&[1232], 0x1234_5678).iter().enumerate() {
        let got = lab.pass6(sent);
        assert_eq!(got.header.identification, 0x5678);
        assert_eq!((got.header.dont_fragment, got.header.more_fragments), (false, index == 0));
        assert_eq!(got.offset(), sent.fragment().unwrap().offset);
        assert_eq!(usize::from(got.header.total_len), 20 + sent.payload.len() - 8);
        assert_eq!((got.protocol(), got.header.time_to_live), (UDP, 63));
    }
}

#[test]
fn headers_before_a_fragment_header_are_not_counted() {
    let mut lab = Lab::new();
    let mut whole = Vec::new();
    for sent in client_udp(&pattern(1500)).fragments(&[800], 5) {
        let got = lab.pass6(&sent.extended(60, &[1, 4, 0, 0, 0, 0]).extended(0, &[1, 4, 0, 0, 0, 0]));
        assert_eq!(usize::from(got.offset()), whole.len());
        whole.extend(got.payload);
    }
    assert_eq!(whole.len(), 1508);
}

#[test]
fn an_atomic_fragment_is_translated_as_a_whole_packet_that_may_be_fragmented() {
    for data in [50, 1400] {
        let got = Lab::new().pass6(&client_udp(&pattern(data)).atomic(0xaaaa_bbbb));
        assert_eq!((got.header.dont_fragment, got.header.more_fragments, got.offset()), (false, false, 0));
        assert_eq!((got.header.identification, got.data()), (0xbbbb, &pattern(data)[..]));
    }
    let echo = V6::icmp(CLIENT, six(SERVER), &Icmp::echo(128, 1, 1, b"x")).atomic(7);
    assert_eq!(Lab::new().pass6(&echo).read_icmp().body, b"x");
}

#[test]
fn an_extension_header_behind_a_fragment_header_is_dropped_in_any_fragment() {
    for next in [0, 43, 44, 51, 60, 135, 139, 140] {
        for (offset, more) in [(0, false), (0, true), (16, false)] {
            let header = Fragment { next, offset, more, identification: 1 };
            let payload = [&header.bytes()[..], &[UDP, 0, 1, 4, 0, 0, 0, 0], &client_udp(&[0; 16]).payload].concat();
            let mut lab = Lab::new();
            let outcome = lab.send6(&V6::new(CLIENT, six(SERVER), FRAGMENT, &payload));
            outcome.error6(DropReason::UnsupportedProtocol);
            lab.is_empty();
        }
    }
}

#[test]
fn other_transports_are_refused_with_port_unreachable() {
    for next in [1, 4, 33, 41, 47, 50, 51, 59, 132, 253] {
        let mut lab = Lab::new();
        let sent = V6::new(CLIENT, six(SERVER), next, &pattern(40));
        let (error, message) = lab.send6(&sent).error6(DropReason::UnsupportedProtocol);
        assert_eq!((message.kind, message.code), (1, 4), "next header {next}");
        assert_eq!((error.destination(), message.body), (CLIENT, sent.bytes()));
        lab.is_empty();
    }
}

#[test]
fn a_packet_too_long_for_ipv4_is_answered_with_what_fits() {
    for data in [65_507 + 1, 65_527] {
        let mut lab = Lab::new();
        let sent = client_udp(&pattern(data));
        let (_, message) = lab.send6(&sent).error6(DropReason::TooBig);
        assert_eq!((message.kind, message.code, message.rest), (2, 0, 65_535 + 20));
        lab.is_empty();
    }
    assert_eq!(Lab::new().pass6(&client_udp(&pattern(65_507))).header.total_len, 65_535);
}

#[test]
fn packets_of_a_flow_leave_in_the_order_they_came() {
    let mut lab = Lab::new();
    let seen = (0..200_u16).map(|number| {
        let got = lab.pass6(&client_udp(&number.to_be_bytes()));
        u16::from_be_bytes([got.payload[8], got.payload[9]])
    });
    assert_eq!(seen.collect::<Vec<_>>(), (0..200).collect::<Vec<u16>>());
}
