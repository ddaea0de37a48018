//! RFC 7915 §4 and §4.1: IPv4 headers to IPv6 headers.

use std::net::Ipv4Addr;

use nat64_core::policy::FlowLabel;
use nat64_core::{DropReason, LinkMtus};

use crate::lab::*;
use crate::wire::{FRAGMENT, Fragment, ICMPV6, Icmp, TCP, UDP, V4, V6, pattern};

#[test]
fn every_field_of_the_ipv6_header_is_as_the_rfc_sets_it() {
    let mut lab = Lab::new();
    let port = lab.open_udp();
    let sent = server_udp(port, &pattern(100)).with(|header| {
        header.time_to_live = 33;
        header.dscp = 46.try_into().unwrap();
        header.ecn = 1.try_into().unwrap();
        header.dont_fragment = true;
        header.identification = 0xbeef;
    });
    let got = lab.pass4(&sent);
    assert_eq!(got.header.traffic_class, sent.tos());
    assert_eq!(got.header.flow_label.value(), 0);
    assert_eq!(usize::from(got.header.payload_length), sent.payload.len());
    assert_eq!(got.next(), UDP);
    assert_eq!(got.header.hop_limit, 32);
    assert_eq!((got.source(), got.destination()), (six(SERVER), CLIENT));
    assert_eq!(got.data(), pattern(100));
}

#[test]
fn icmp_becomes_icmpv6_and_tcp_stays_tcp() {
    let mut lab = Lab::new();
    let port = lab.open_tcp();
    assert_eq!(lab.pass4(&server_tcp(port, ACK)).next(), TCP);
    let identifier = lab.open_echo();
    assert_eq!(lab.pass4(&V4::icmp(SERVER, POOL, &Icmp::echo(0, identifier, 1, b"pong"))).next(), ICMPV6);
}

#[test]
fn the_tos_octet_can_be_ignored() {
    let mut lab = Lab::with(|policy| policy.header.copy_traffic_class = false);
    let port = lab.open_udp();
    let sent = server_udp(port, b"x").with(|header| header.dscp = 46.try_into().unwrap());
    assert_eq!(lab.pass4(&sent).header.traffic_class, 0);
}

#[test]
fn a_flow_label_is_set_only_where_policy_asks_and_is_one_for_a_flow() {
    let mut lab = Lab::with(|policy| policy.header.flow_label = FlowLabel::Hash);
    let port = lab.open_udp();
    let label = |lab: &mut Lab, packet: &V4| lab.pass4(packet).header.flow_label.value();
    let first = label(&mut lab, &server_udp(port, b"one"));
    assert_ne!(first, 0);
    assert_eq!(label(&mut lab, &server_udp(port, b"another")), first);
    let others = (1..50).map(|source| label(&mut lab, &V4::udp((SERVER, source), (POOL, port), b"x")));
    let others: std::collections::BTreeSet<u32> = others.collect();
    assert!(others.len() > 40, "{others:?}");
}

#[test]
fn a_ttl_that_runs_out_is_reported_and_the_packet_goes_no_further() {
    for ttl in [0, 1] {
        let mut lab = Lab::new();
        let port = lab.open_udp();
        let sent = server_udp(port, b"x").with(|header| header.time_to_live = ttl);
        let (error, message) = lab.send4(&sent).error4(DropReason::HopLimitExceeded);
        assert_eq!((error.source(), error.destination()), (POOL, SERVER));
        assert_eq!((message.kind, message.code, message.rest), (11, 0, 0));
        assert_eq!(message.body, sent.bytes(), "what was received, the TTL too");
    }
    let mut lab = Lab::new();
    let port = lab.open_udp();
    assert_eq!(lab.pass4(&server_udp(port, b"x").with(|header| header.time_to_live = 2)).header.hop_limit, 1);
}

#[test]
fn illegal_sources_are_dropped_silently() {
    for source in ["0.0.0.0", "0.1.2.3", "127.0.0.1", "169.254.1.1", "224.0.0.1", "240.0.0.1", "255.255.255.255"] {
        let mut lab = Lab::new();
        let port = lab.open_udp();
        let source: Ipv4Addr = source.parse().unwrap();
        lab.send4(&V4::udp((source, SERVICE), (POOL, port), b"x")).silent(DropReason::IllegalSource);
        assert_eq!(lab.sessions().len(), 1);
    }
}

#[test]
fn options_are_ignored_and_the_packet_is_translated() {
    let options: [(&str, &[u8]); 6] = [
        ("no operation", &[1, 1, 1, 1]),
        ("end of options, and rubbish after it", &[0, 131, 7, 4]),
        ("record route", &[7, 7, 4, 0, 0, 0, 0]),
        ("timestamp", &[68, 12, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
        ("router alert", &[148, 4, 0, 0]),
        ("40 bytes of them", &[1; 40]),
    ];
    let mut lab = Lab::new();
    let port = lab.open_udp();
    for (name, options) in options {
        let got = lab.pass4(&server_udp(port, &pattern(33)).options(options));
        assert_eq!((got.next(), got.data()), (UDP, &pattern(33)[..]), "{name}");
        assert_eq!(got.payload.len(), 8 + 33, "{name}");
    }
}

#[test]
fn an_expired_source_route_is_ignored_and_an_unexpired_one_is_refused() {
    for (kind, name) in [(131, "loose"), (137, "strict")] {
        let mut lab = Lab::new();
        let port = lab.open_udp();
        let expired = server_udp(port, b"x").options(&[kind, 7, 8, 198, 51, 100, 1]);
        assert_eq!(lab.pass4(&expired).data(), b"x", "{name}");
        for (pointer, options) in
            [(4, vec![kind, 7, 4, 198, 51, 100, 1]), (8, vec![kind, 11, 8, 1, 2, 3, 4, 5, 6, 7, 8])]
        {
            let unexpired = server_udp(port, b"x").options(&options);
            let (error, message) = lab.send4(&unexpired).error4(DropReason::SourceRoute);
            assert_eq!((error.source(), error.destination()), (POOL, SERVER), "{name}, {pointer}");
            assert_eq!((message.kind, message.code), (3, 5), "{name}, {pointer}");
            assert_eq!(message.body, unexpired.bytes(), "{name}, {pointer}");
        }
    }
}

#[test]
fn a_source_route_from_or_to_where_nothing_is_translated_is_answered_by_nobody() {
    let mut lab = Lab::new();
    let route = [131, 7, 4, 198, 51, 100, 1];
    for (source, destination) in [(SERVER, STRANGER), (POOL, POOL), (Ipv4Addr::new(169, 254, 1, 1), POOL)] {
        let outcome = lab.send4(&V4::udp((source, SERVICE), (destination, PORT), b"x").options(&route));
        assert!(outcome.packets.is_empty(), "{source} to {destination}: {outcome:?}");
    }
}

#[test]
fn a_small_packet_gets_no_fragment_header_whether_df_is_set_or_not() {
    let mut lab = Lab::new();
    let port = lab.open_udp();
    for dont_fragment in [false, true] {
        for data in [0, 1, 500, 1280 - 48] {
            let sent = server_udp(port, &pattern(data)).with(|header| header.dont_fragment = dont_fragment);
            let got = lab.pass4(&sent);
            assert_eq!((got.next(), got.data().len()), (UDP, data));
        }
    }
}

#[test]
fn a_large_packet_with_df_is_passed_on_whole() {
    let mut lab = Lab::new();
    let port = lab.open_udp();
    let sent = server_udp(port, &pattern(1472)).with(|header| header.dont_fragment = true);
    let got = lab.pass4(&sent);
    assert_eq!((got.next(), got.bytes().len()), (UDP, 1520));
}

/// Checks that fragments are those of one UDP datagram, and puts its data together.
fn reassemble(fragments: &[V6], identification: u32, max: usize) -> V6 {
    let mut whole = V6::read(&fragments[0].bytes());
    whole.header.next_header = etherparse::IpNumber(UDP);
    whole.payload.clear();
    for (index, fragment) in fragments.iter().enumerate() {
        let header = fragment.fragment().unwrap();
        assert!(fragment.bytes().len() <= max, "{} bytes", fragment.bytes().len());
        assert_eq!((header.next, header.identification), (UDP, identification));
        assert_eq!((usize::from(header.offset), header.more), (whole.payload.len(), index + 1 < fragments.len()));
        assert_eq!((fragment.source(), fragment.destination()), (six(SERVER), CLIENT));
        whole.payload.extend(fragment.fragment_data());
    }
    whole
}

#[test]
fn a_large_packet_without_df_is_fragmented_to_1280_bytes() {
    let mut lab = Lab::new();
    let port = lab.open_udp();
    for data in [1280 - 48 + 1, 1472, 2464 - 8, 9000, 65_507] {
        let sent = server_udp(port, &pattern(data)).with(|header| header.identification = 0xabcd);
        let fragments = lab.send4(&sent).all6();
        let whole = reassemble(&fragments, 0xabcd, 1280);
        assert_eq!(fragments.len(), (data + 8).div_ceil(1232), "{data} bytes");
        assert_eq!(whole.data(), pattern(data));
    }
}

#[test]
fn what_may_be_fragmented_is_never_longer_than_the_next_link_whatever_is_configured() {
    let mut lab = Lab::with(|policy| policy.mtu.lowest_ipv6 = 9000);
    let port = lab.open_udp();
    for (link, longest) in [(None, 9000), (Some(1500), 1500), (Some(65_536), 9000)] {
        lab.translator.set_link_mtus(LinkMtus { ipv4: None, ipv6: link });
        let got = lab.send4(&server_udp(port, &pattern(8000))).all6();
        assert!(got.iter().all(|packet| packet.bytes().len() <= longest), "{link:?}");
        assert_eq!(got.len(), if longest == 1500 { 6 } else { 1 }, "{link:?}");
    }
}

#[test]
fn the_lowest_ipv6_mtu_is_configurable() {
    for (mtu, data, pieces) in [(1500, 1452, 1), (1500, 1453, 2), (9000, 8952, 1), (1400, 1400, 2)] {
        let mut lab = Lab::with(|policy| policy.mtu.lowest_ipv6 = mtu);
        let port = lab.open_udp();
        let got = lab.send4(&server_udp(port, &pattern(data))).all6();
        assert_eq!(got.len(), pieces, "{data} bytes in {mtu}");
        if pieces == 1 {
            assert_eq!(got[0].data(), pattern(data));
        } else {
            assert_eq!(reassemble(&got, 0, mtu.into()).data(), pattern(data));
        }
    }
}

#[test]
fn a_fragment_keeps_offset_flag_and_identification() {
    let mut lab = Lab::new();
    let port = lab.open_udp();
    let sent = server_udp(port, &pattern(2000)).fragments(&[1024], 0xfeed);
    for (index, sent) in sent.iter().enumerate() {
        let got = lab.pass4(sent);
        let header = Fragment { next: UDP, offset: sent.offset(), more: index == 0, identification: 0xfeed };
        assert_eq!(got.next(), FRAGMENT);
        assert_eq!(got.fragment(), Some(header));
        assert_eq!(usize::from(got.header.payload_length), sent.payload.len() + 8);
        assert_eq!(got.header.hop_limit, 63);
    }
}

#[test]
fn a_fragment_with_options_loses_them() {
    let mut lab = Lab::new();
    let port = lab.open_udp();
    let sent = server_udp(port, &pattern(600)).options(&[7, 7, 4, 0, 0, 0, 0]).fragments(&[304], 7);
    let got: Vec<V6> = sent.iter().map(|fragment| lab.pass4(fragment)).collect();
    assert_eq!(reassemble(&got, 7, 1280).data(), pattern(600));
}

#[test]
fn a_fragment_that_is_too_large_for_ipv6_is_fragmented_further() {
    let mut lab = Lab::new();
    let port = lab.open_udp();
    let mut got = Vec::new();
    for sent in server_udp(port, &pattern(4000)).fragments(&[1480, 2960], 99) {
        got.extend(lab.send4(&sent).all6());
    }
    assert_eq!(got.len(), 5);
    assert_eq!(reassemble(&got, 99, 1280).data(), pattern(4000));
}

#[test]
fn protocols_without_ports_are_refused_and_igmp_is_dropped_silently() {
    for protocol in [4, 33, 41, 47, 50, 51, 58, 132, 253] {
        let sent = V4::new(SERVER, POOL, protocol, &pattern(40));
        let (error, message) = Lab::new().send4(&sent).error4(DropReason::UnsupportedProtocol);
        assert_eq!((message.kind, message.code), (3, 2), "protocol {protocol}");
        assert_eq!((error.destination(), message.body), (SERVER, sent.bytes()));
    }
    let igmp = V4::new(SERVER, POOL, 2, &[0x11, 0, 0xee, 0xff, 0, 0, 0, 0]);
    Lab::new().send4(&igmp).silent(DropReason::UnsupportedProtocol);
}

#[test]
fn packets_of_a_flow_leave_in_the_order_they_came() {
    let mut lab = Lab::new();
    let port = lab.open_udp();
    let mut seen = Vec::new();
    for number in 0..200_u16 {
        let len = usize::from(number) * 37 % 3000 + 2;
        let data = [&number.to_be_bytes()[..], &pattern(len)].concat();
        let got = lab.send4(&server_udp(port, &data).with(|header| header.identification = number)).all6();
        let first = if got[0].next() == FRAGMENT { got[0].fragment_data() } else { &got[0].payload };
        seen.push(u16::from_be_bytes([first[8], first[9]]));
    }
    assert_eq!(seen, (0..200).collect::<Vec<u16>>());
}
