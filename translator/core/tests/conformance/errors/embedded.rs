//! The packet in error.

use std::net::{Ipv4Addr, Ipv6Addr};

use nat64_core::policy::StaticMapping;
use nat64_core::{DropReason, Protocol};

use crate::lab::*;
use crate::wire::{Fragment, ICMP, ICMPV6, Icmp, TCP, UDP, V4, V6, pattern, sum};

/// "Host unreachable" about `packet`, which the client had sent.
fn unreachable4(packet: &[u8]) -> V4 {
    V4::icmp(ROUTER4, POOL, &Icmp::error(3, 1, 0, packet))
}

/// "No route" about `packet`, which the server had sent.
fn unreachable6(packet: &[u8]) -> V6 {
    V6::icmp(ROUTER6, six(SERVER), &Icmp::error(1, 0, 0, packet))
}

/// One packet of each transport, as the client sends it.
fn from_client(data: &[u8]) -> [V6; 3] {
    let echo = Icmp::echo(128, PORT, 5, data);
    let [udp, tcp] = [V6::udp((CLIENT, PORT), service6(), data), V6::tcp((CLIENT, PORT), service6(), SYN, data)];
    [udp, tcp, V6::icmp(CLIENT, six(SERVER), &echo)]
}

/// One packet of each transport, as the server sends it to mappings that it opens first.
fn from_server(lab: &mut Lab, data: &[u8]) -> [V4; 3] {
    let (udp, tcp, echo) = (lab.open_udp(), lab.pass6(&client_tcp(SYN)).ports().0, lab.open_echo());
    let tcp = V4::tcp((SERVER, SERVICE), (POOL, tcp), SYN_ACK, data);
    [server_udp(udp, data), tcp, V4::icmp(SERVER, POOL, &Icmp::echo(0, echo, 5, data))]
        .map(|packet| packet.with(|header| header.dont_fragment = true))
}

#[test]
fn a_client_reads_in_an_error_the_packet_it_has_sent() {
    for data in [0, 1, 33, 200] {
        let mut lab = Lab::new();
        for sent in from_client(&pattern(data)) {
            let out = lab.pass6(&sent).with(|header| header.time_to_live = 17);
            let got = lab.pass4(&unreachable4(&out.bytes()));
            assert_eq!((got.source(), got.destination()), (six(ROUTER4), CLIENT));
            let message = got.read_icmp();
            assert_eq!((message.kind, message.code, message.rest), (1, 0, 0));
            // The hop limit of the packet inside is what it was when it came to the router: it is not decremented.
            assert_eq!(message.body, sent.with(|header| header.hop_limit = 17).bytes());
        }
    }
}

#[test]
fn a_server_reads_in_an_error_the_packet_it_has_sent() {
    for data in [0, 1, 33, 200] {
        let mut lab = Lab::new();
        for sent in from_server(&mut lab, &pattern(data)) {
            let delivered = lab.pass4(&sent).with(|header| header.hop_limit = 17);
            let got = lab.pass6(&unreachable6(&delivered.bytes()));
            assert_eq!((got.source(), got.destination()), (POOL, SERVER));
            assert_eq!((got.header.dont_fragment, got.header.more_fragments), (false, false));
            let message = got.read_icmp();
            assert_eq!((message.kind, message.code, message.rest), (3, 1, 0));
            let mut expected = sent.with(|header| header.time_to_live = 17).bytes();
            // What IPv6 did not carry cannot come back: DF is as translation sets it, the identification is zero.
            let inside = V4::read(&message.body);
            assert_eq!((inside.header.dont_fragment, inside.header.identification), (false, 0));
            expected[4..8].fill(0);
            expected[10..12].copy_from_slice(&inside.header.header_checksum.to_be_bytes());
            assert_eq!(message.body, expected);
        }
    }
}

#[test]
fn eight_bytes_of_transport_are_enough_from_ipv4() {
    let mut lab = Lab::new();
    for sent in from_client(&pattern(40)) {
        let out = lab.pass6(&sent).bytes();
        for len in [28, 29, 32, 36, 37, 38, 40, 48] {
            let message = lab.pass4(&unreachable4(&out[..len])).read_icmp();
            let inside = &message.body[..40 + len - 20];
            let expected = &sent.with_hop_limit(63)[..40 + len - 20];
            // A checksum that is not all there is not touched.
            let cut_checksum = sent.next() == TCP && len < 20 + 18;
            let known = if cut_checksum { expected.len().min(40 + 16) } else { expected.len() };
            assert_eq!(inside[..known], expected[..known], "{len} bytes of protocol {}", sent.next());
            assert_eq!(message.body.len(), inside.len());
        }
    }
}

#[test]
fn eight_bytes_of_transport_are_enough_from_ipv6() {
    let mut lab = Lab::new();
    for sent in from_server(&mut lab, &pattern(40)) {
        let delivered = lab.pass4(&sent).bytes();
        for len in [48, 49, 52, 56, 57, 58, 60, 68] {
            let message = lab.pass6(&unreachable6(&delivered[..len])).read_icmp();
            let known = if sent.protocol() == TCP && len < 40 + 18 { 16.min(len - 40) } else { len - 40 };
            assert_eq!(
                message.body[20..20 + known],
                sent.payload[..known],
                "{len} bytes of protocol {}",
                sent.protocol()
            );
            assert_eq!(message.body[2..4], sent.bytes()[2..4], "the length is what it was before the cut");
        }
    }
}

#[test]
fn less_than_eight_bytes_are_dropped_silently() {
    let mut lab = Lab::new();
    for sent in from_client(&pattern(40)) {
        let out = lab.pass6(&sent).bytes();
        for len in 0..28 {
            lab.send4(&unreachable4(&out[..len])).silent(DropReason::BadEmbeddedPacket);
        }
    }
    let mut lab = Lab::new();
    for sent in from_server(&mut lab, &pattern(40)) {
        let delivered = lab.pass4(&sent).bytes();
        for len in 0..48 {
            lab.send6(&unreachable6(&delivered[..len])).silent(DropReason::BadEmbeddedPacket);
        }
    }
}

#[test]
fn an_error_inside_an_error_is_dropped_silently() {
    let mut lab = Lab::new();
    let out = lab.pass6(&client_udp(b"x")).bytes();
    for kind in [3, 4, 5, 11, 12] {
        let inner = V4::icmp(POOL, SERVER, &Icmp::error(kind, 0, 0, &out)).bytes();
        lab.send4(&unreachable4(&inner)).silent(DropReason::BadEmbeddedPacket);
    }
    let port = lab.open_udp();
    let delivered = lab.pass4(&server_udp(port, b"x")).bytes();
    for kind in [1, 2, 3, 4, 100] {
        let inner = V6::icmp(six(SERVER), CLIENT, &Icmp::error(kind, 0, 0, &delivered)).bytes();
        lab.send6(&unreachable6(&inner)).silent(DropReason::BadEmbeddedPacket);
    }
}

#[test]
fn what_has_no_tuple_inside_is_dropped_silently() {
    let mut lab = Lab::new();
    lab.open_udp();
    for protocol in [2, 33, 47, 50, 58, 132] {
        let inner = V4::new(POOL, SERVER, protocol, &pattern(40)).bytes();
        lab.send4(&unreachable4(&inner)).silent(DropReason::BadEmbeddedPacket);
        let inner = V6::new(six(SERVER), CLIENT, if protocol == 58 { 1 } else { protocol }, &pattern(40)).bytes();
        lab.send6(&unreachable6(&inner)).silent(DropReason::BadEmbeddedPacket);
    }
    let timestamp = V4::icmp(POOL, SERVER, &Icmp::echo(13, 1, 1, &pattern(12))).bytes();
    lab.send4(&unreachable4(&timestamp)).silent(DropReason::BadEmbeddedPacket);
}

#[test]
fn options_inside_are_skipped() {
    let mut lab = Lab::new();
    for sent in from_client(&pattern(20)) {
        let out = lab.pass6(&sent);
        for options in [&[7, 7, 4, 0, 0, 0, 0, 0][..], &[131, 7, 4, 1, 2, 3, 4, 0], &[1; 40]] {
            let message = lab.pass4(&unreachable4(&out.clone().options(options).bytes())).read_icmp();
            assert_eq!(message.body, sent.with_hop_limit(63));
        }
    }
}

#[test]
fn extension_headers_inside_are_skipped() {
    let mut lab = Lab::new();
    for sent in from_server(&mut lab, &pattern(20)) {
        let delivered = lab.pass4(&sent);
        let routed = [&[0, 0, 0, 0, 0, 0][..], &CLIENT.octets()].concat();
        let extended = [
            delivered.clone().extended(0, &[1, 4, 0, 0, 0, 0]),
            delivered.clone().extended(43, &routed).extended(60, &[1, 4, 0, 0, 0, 0]),
        ];
        for delivered in extended {
            let message = lab.pass6(&unreachable6(&delivered.bytes())).read_icmp();
            let inside = V4::read(&message.body);
            assert_eq!((inside.payload.as_slice(), inside.protocol()), (&sent.payload[..], sent.protocol()));
        }
    }
}

#[test]
fn an_error_about_a_first_fragment_from_ipv4_names_the_fragment() {
    let mut lab = Lab::new();
    let fragments = client_udp(&pattern(2000)).fragments(&[1232], 0x77);
    let out = lab.pass6(&fragments[0]);
    let got = lab.pass4(&unreachable4(&out.bytes()[..200])).read_icmp();
    let inside = Fragment::read(&got.body[40..48]);
    assert_eq!(inside, Fragment { next: UDP, offset: 0, more: true, identification: 0x77 });
    assert_eq!(got.body[48..52], fragments[0].fragment_data()[..4], "the client's own ports");
    assert_eq!(got.body[4..6], fragments[0].bytes()[4..6], "and the fragment's length");
    let tail = lab.pass6(&fragments[1]);
    lab.send4(&unreachable4(&tail.bytes()[..200])).silent(DropReason::BadEmbeddedPacket);
}

#[test]
fn an_error_about_a_first_fragment_from_ipv6_names_the_fragment() {
    let mut lab = Lab::new();
    let port = lab.open_udp();
    let fragments = server_udp(port, &pattern(2000)).fragments(&[1024], 0x77);
    let delivered = lab.pass4(&fragments[0]);
    let got = lab.pass6(&unreachable6(&delivered.bytes())).read_icmp();
    let (inside, _) = etherparse::Ipv4Header::from_slice(&got.body).unwrap();
    assert_eq!((inside.identification, inside.more_fragments, inside.fragment_offset.value()), (0x77, true, 0));
    assert_eq!(inside.total_len, 20 + 1024);
    assert_eq!(got.body[20..24], fragments[0].payload[..4]);
}

#[test]
fn a_udp_datagram_without_checksum_inside_stays_without() {
    let mut lab = Lab::new();
    let mut out = lab.pass6(&client_udp(&pattern(20)));
    out.payload[6..8].fill(0);
    let inside = lab.pass4(&unreachable4(&out.bytes())).read_icmp().body;
    assert_eq!(inside[46..48], [0, 0]);
    assert_eq!(inside[40..44], client_udp(b"").payload[..4]);
}

#[test]
fn a_wrong_checksum_inside_is_neither_noticed_nor_repaired() {
    let mut lab = Lab::new();
    let sent = client_udp(&pattern(20));
    let mut out = lab.pass6(&sent);
    out.payload[6] ^= 0x10;
    let inside = V6::read(&lab.pass4(&unreachable4(&out.bytes())).read_icmp().body);
    assert_ne!(inside.transport_sum(), 0xffff);
    assert_eq!(inside.payload[8..], sent.payload[8..]);
}

#[test]
fn a_wrong_checksum_of_the_error_stays_wrong() {
    let mut lab = Lab::new();
    let out = lab.pass6(&client_udp(b"x")).bytes();
    let mut error = unreachable4(&out);
    error.payload[2] ^= 0x10;
    assert_ne!(lab.pass4(&error).transport_sum(), 0xffff);
    let port = lab.open_udp();
    let delivered = lab.pass4(&server_udp(port, b"x")).bytes();
    let mut error = unreachable6(&delivered);
    error.payload[2] ^= 0x10;
    let got = lab.pass6(&error);
    assert_ne!(sum(&[&got.payload]), 0xffff);
}

#[test]
fn an_error_is_cut_to_576_bytes_in_ipv4_and_1280_in_ipv6() {
    let mut lab = Lab::new();
    let out = lab.pass6(&client_udp(&pattern(1400))).bytes();
    let got = lab.pass4(&unreachable4(&out));
    got.read_icmp();
    assert_eq!(got.bytes().len(), 1280);
    let port = lab.open_udp();
    let delivered = lab.pass4(&server_udp(port, &pattern(1180))).bytes();
    let got = lab.pass6(&unreachable6(&delivered));
    got.read_icmp();
    assert_eq!(got.bytes().len(), 576);
}

#[test]
fn an_error_behind_extension_headers_or_options_is_translated() {
    let mut lab = Lab::new();
    let out = lab.pass6(&client_udp(b"x")).bytes();
    let got = lab.pass4(&unreachable4(&out).options(&[7, 7, 4, 0, 0, 0, 0]));
    assert_eq!((got.next(), got.read_icmp().kind), (ICMPV6, 1));
    let port = lab.open_udp();
    let delivered = lab.pass4(&server_udp(port, b"x")).bytes();
    let got = lab.pass6(&unreachable6(&delivered).extended(60, &[1, 4, 0, 0, 0, 0]));
    assert_eq!((got.protocol(), got.read_icmp().kind), (ICMP, 3));
}

#[test]
fn the_traffic_class_is_copied_inside_and_outside() {
    let mut lab = Lab::new();
    let out = lab.pass6(&client_udp(b"x").with(|header| header.traffic_class = 0x88)).bytes();
    let got = lab.pass4(&unreachable4(&out).with(|header| header.dscp = 48.try_into().unwrap()));
    assert_eq!(got.header.traffic_class, 0xc0);
    assert_eq!(V6::read(&got.read_icmp().body).header.traffic_class, 0x88);
}

#[test]
fn an_error_without_mapping_is_dropped_silently() {
    let mut lab = Lab::new();
    let strange = V4::udp((POOL, 4242), (SERVER, SERVICE), b"x").bytes();
    lab.send4(&unreachable4(&strange)).silent(DropReason::NoMapping);
    let strange = V6::udp(service6(), (CLIENT, 4242), b"x").bytes();
    lab.send6(&unreachable6(&strange)).silent(DropReason::NoMapping);
    let not_ours = V4::udp((STRANGER, 4242), (SERVER, SERVICE), b"x").bytes();
    lab.send4(&unreachable4(&not_ours)).silent(DropReason::BadEmbeddedPacket);
    let not_ours = V6::udp((OTHER, SERVICE), (CLIENT, 4242), b"x").bytes();
    lab.send6(&unreachable6(&not_ours)).silent(DropReason::BadEmbeddedPacket);
}

#[test]
fn an_error_neither_refreshes_nor_ends_anything() {
    let mut lab = Lab::new();
    let out = lab.pass6(&client_udp(b"x")).bytes();
    lab.pass_time(MINUTE);
    let (sessions, left) = (lab.sessions(), lab.lifetime());
    for (kind, code) in [(3, 0), (3, 1), (3, 2), (3, 3), (3, 4), (3, 13), (11, 0), (12, 0)] {
        lab.pass4(&V4::icmp(ROUTER4, POOL, &Icmp::error(kind, code, 0, &out)));
        assert_eq!(lab.sessions(), sessions);
    }
    assert_eq!(lab.lifetime(), left);
    let port = lab.sessions()[0].external.1;
    lab.pass_time(MINUTE);
    let delivered = V6::udp(service6(), (CLIENT, PORT), b"x").bytes();
    for (kind, code) in [(1, 0), (1, 4), (2, 0), (3, 0), (4, 0)] {
        lab.pass6(&V6::icmp(CLIENT, six(SERVER), &Icmp::error(kind, code, 1400 * u32::from(kind == 2), &delivered)));
    }
    assert_eq!(lab.lifetime(), left - MINUTE);
    lab.pass4(&server_udp(port, b"still there"));
}

#[test]
fn any_router_may_be_the_source_of_an_error() {
    let mut lab = Lab::with(|policy| policy.filtering = nat64_core::policy::Filtering::AddressDependent);
    let out = lab.pass6(&client_udp(b"x")).bytes();
    let private = ["10.1.2.3", "192.168.0.1", "100.64.0.1"];
    // "The illegal source address will be translated for the purpose of trouble shooting" (RFC 7915 §4.1).
    let illegal = ["0.0.0.0", "127.0.0.1", "169.254.1.1", "224.0.0.1", "240.0.0.1", "255.255.255.255"];
    let odd = private.iter().chain(&illegal).map(|address| address.parse().unwrap());
    for router in odd.chain([SERVER, STRANGER]) {
        let got = lab.pass4(&V4::icmp(router, POOL, &Icmp::error(11, 0, 0, &out)));
        assert_eq!((got.source(), got.destination()), (six(router), CLIENT));
    }
}

#[test]
fn even_an_illegal_source_of_an_error_is_translated_for_trouble_shooting() {
    // RFC 7915 §4.1.
    let mut lab = Lab::new();
    let out = lab.pass6(&client_udp(b"x")).bytes();
    for source in ["0.0.0.0", "0.1.2.3", "127.0.0.1", "169.254.1.1", "224.0.0.1", "240.0.0.1", "255.255.255.255"] {
        let source: Ipv4Addr = source.parse().unwrap();
        let error = V4::icmp(source, POOL, &Icmp::error(11, 0, 0, &out));
        let got = lab.pass4(&error);
        assert_eq!((got.source(), got.destination(), got.read_icmp().kind), (six(source), CLIENT, 3), "{source}");
        lab.send4(&error.with(|header| header.time_to_live = 1)).silent(DropReason::HopLimitExceeded);
        // Of anything else it makes a packet that is dropped, an echo too.
        let port = lab.open_udp();
        lab.send4(&V4::udp((source, SERVICE), (POOL, port), b"x")).silent(DropReason::IllegalSource);
        lab.send4(&V4::icmp(source, POOL, &Icmp::echo(8, port, 1, b"x"))).silent(DropReason::IllegalSource);
    }
    lab.send4(&V4::icmp(POOL, POOL, &Icmp::error(11, 0, 0, &out))).silent(DropReason::Loop);
}

#[test]
fn an_error_about_a_configured_mapping_needs_no_session() {
    let fixed = |protocol| StaticMapping { protocol, internal: (CLIENT, 80), external: (POOL, 8080) };
    let mut lab = Lab::with(|policy| policy.static_mappings = Protocol::ALL.map(fixed).to_vec());
    let sent = |protocol: u8| [&[0x1f, 0x90][..], &SERVICE.to_be_bytes(), &[0, 20, protocol, 0]].concat();
    for protocol in [UDP, TCP] {
        let message = lab.pass4(&unreachable4(&V4::new(POOL, SERVER, protocol, &sent(protocol)).bytes())).read_icmp();
        let inside = V6::read(&message.body);
        assert_eq!((inside.source(), inside.destination(), inside.ports()), (CLIENT, six(SERVER), (80, SERVICE)));
        let delivered = [&SERVICE.to_be_bytes()[..], &[0, 80], &[0, 20, 9, 9]].concat();
        let got = lab.pass6(&unreachable6(&V6::new(six(SERVER), CLIENT, protocol, &delivered).bytes()));
        let (inside, ports) = (V4::read(&got.read_icmp().body), V4::read(&got.read_icmp().body).ports());
        assert_eq!((inside.source(), inside.destination(), ports), (SERVER, POOL, (SERVICE, 8080)));
    }
    lab.send4(&unreachable4(&V4::icmp(POOL, SERVER, &Icmp::echo(8, 8080, 1, b"")).bytes()));
    let lab_sessions = lab.sessions();
    assert_eq!(lab_sessions, Vec::new(), "an error opens none");
}

#[test]
fn an_error_about_another_destination_finds_the_endpoint_independent_mapping() {
    let mut lab = Lab::new();
    let out = lab.pass6(&client_udp(b"x"));
    let elsewhere = V4::udp((POOL, out.ports().0), (STRANGER, 9), b"x").bytes();
    let inside = V6::read(&lab.pass4(&unreachable4(&elsewhere)).read_icmp().body);
    assert_eq!((inside.source(), inside.destination(), inside.ports()), (CLIENT, six(STRANGER), (PORT, 9)));
    assert_eq!(lab.sessions().len(), 1);
}

#[test]
fn an_error_of_the_client_itself_comes_from_its_mapping_and_a_router_s_from_the_configured_address() {
    let own = Ipv4Addr::new(192, 0, 2, 99);
    for (source, sender, expected) in
        [(None, ROUTER6, POOL), (None, CLIENT, POOL), (Some(own), ROUTER6, own), (Some(own), CLIENT, POOL)]
    {
        let mut lab = Lab::with(|policy| policy.errors.source4 = source);
        let port = lab.open_udp();
        let delivered = lab.pass4(&server_udp(port, b"x")).bytes();
        let got = lab.pass6(&V6::icmp(sender, six(SERVER), &Icmp::error(3, 0, 0, &delivered)));
        assert_eq!((got.source(), got.destination()), (expected, SERVER), "{source:?} {sender}");
    }
}

#[test]
fn errors_of_routers_come_from_a_pool_of_addresses_at_random() {
    // RFC 6791 §5.
    let sources = [Ipv4Addr::new(192, 0, 2, 97), Ipv4Addr::new(192, 0, 2, 98), Ipv4Addr::new(192, 0, 2, 99)];
    let mut lab = Lab::with(|policy| policy.errors.router_sources = sources.to_vec());
    let port = lab.open_udp();
    let delivered = lab.pass4(&server_udp(port, b"x")).bytes();
    let error = |sender| V6::icmp(sender, six(SERVER), &Icmp::error(3, 0, 0, &delivered));
    let got: Vec<Ipv4Addr> = (0..300).map(|_| lab.pass6(&error(ROUTER6)).source()).collect();
    for source in sources {
        let times = got.iter().filter(|one| **one == source).count();
        assert!((50..200).contains(&times), "{source} {times} times of 300");
    }
    assert!(got.windows(6).any(|six| six[..3] != six[3..]), "not one after the other");
    assert_eq!(lab.pass6(&error(CLIENT)).source(), POOL, "the host has an address of its own");
}

#[test]
fn every_prefix_length_is_used_inside_errors_too() {
    for prefix in
        ["2001:db8::/32", "2001:db8:100::/40", "2001:db8:122::/48", "2001:db8:122:300::/56", "2001:db8:122:344::/64"]
    {
        let prefix: pref64::Pref64 = prefix.parse().unwrap();
        let mut lab = Lab::with(|policy| policy.prefixes = vec![prefix]);
        let client = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 7);
        let sent = V6::udp((client, PORT), (prefix.embed(SERVER), SERVICE), &pattern(30));
        let out = lab.pass6(&sent);
        let got = lab.pass4(&unreachable4(&out.bytes()));
        assert_eq!((got.source(), got.destination()), (prefix.embed(ROUTER4), client));
        assert_eq!(got.read_icmp().body, sent.with_hop_limit(63));
    }
}

impl V6 {
    /// The packet's bytes as routers have made them.
    fn with_hop_limit(&self, hop_limit: u8) -> Vec<u8> {
        self.clone().with(|header| header.hop_limit = hop_limit).bytes()
    }
}
