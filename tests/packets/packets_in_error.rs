//! RFC 7915 §4.3 and §5.3, RFC 5508: the packet inside an ICMP error.

use crate::bench::POOL;
use crate::case::{Case, PORT, SERVICE, SYN, SYN_ACK};
use crate::groups::STANDARD;
use crate::rows::rows;
use crate::wire::{Fragment, ICMP, ICMPV6, Icmp, TCP, UDP, V4, V6, pattern, sum};

/// "Host unreachable" about `packet`, which the client had sent.
fn unreachable4(case: &Case, packet: &[u8]) -> V4 {
    V4::icmp(case.router4(), POOL, &Icmp::error(3, 1, 0, packet))
}

/// "No route" about `packet`, which the server had sent.
fn unreachable6(case: &Case, packet: &[u8]) -> V6 {
    V6::icmp(case.router6(), case.service6().0, &Icmp::error(1, 0, 0, packet))
}

/// What the client sends by that protocol.
fn from_client(case: &Case, protocol: u8, data: &[u8]) -> V6 {
    match protocol {
        UDP => case.client_udp(data),
        TCP => V6::tcp((case.client(), PORT), case.service6(), SYN, data),
        _ => case.client_echo(data),
    }
}

/// What the server sends by that protocol to a mapping that is opened first.
fn from_server(case: &mut Case, protocol: u8, data: &[u8]) -> V4 {
    match protocol {
        UDP => {
            let port = case.open_udp();
            case.server_udp(port, data)
        }
        TCP => {
            let port = case.pass6(&case.client_tcp(SYN)).ports().0;
            V4::tcp((case.server(), SERVICE), (POOL, port), SYN_ACK, data)
        }
        _ => {
            let identifier = case.open_echo();
            V4::icmp(case.server(), POOL, &Icmp::echo(0, identifier, 5, data))
        }
    }
    .with(|header| header.dont_fragment = true)
}

rows! { the_client_reads_what_it_sent:
    a_client_reads_in_an_error_the_udp_datagram_it_has_sent(UDP);
    a_client_reads_in_an_error_the_tcp_segment_it_has_sent(TCP);
    a_client_reads_in_an_error_the_echo_it_has_sent(ICMP);
}

#[track_caller]
fn the_client_reads_what_it_sent(protocol: u8) {
    let Some(mut case) = STANDARD.case() else { return };
    for data in [0, 33, 200] {
        let sent = from_client(&case, protocol, &pattern(data));
        let out = case.pass6(&sent).with(|header| header.time_to_live = 17);
        let got = case.pass4(&unreachable4(&case, &out.bytes()));
        // The hop limit inside is not decremented.
        assert_eq!(got.read_icmp().body, sent.with(|header| header.hop_limit = 17).bytes());
    }
}

rows! { the_server_reads_what_it_sent:
    a_server_reads_in_an_error_the_udp_datagram_it_has_sent(UDP);
    a_server_reads_in_an_error_the_tcp_segment_it_has_sent(TCP);
    a_server_reads_in_an_error_the_echo_it_has_sent(ICMP);
}

#[track_caller]
fn the_server_reads_what_it_sent(protocol: u8) {
    let Some(mut case) = STANDARD.case() else { return };
    for data in [0, 33, 200] {
        let sent = from_server(&mut case, protocol, &pattern(data));
        let delivered = case.pass4(&sent).with(|header| header.hop_limit = 17);
        let got = case.pass6(&unreachable6(&case, &delivered.bytes()));
        assert_eq!(got.destination(), case.server());
        let inside = V4::read(&got.read_icmp().body);
        assert_eq!((inside.source(), inside.destination()), (case.server(), POOL));
        assert_eq!((inside.protocol(), inside.header.time_to_live), (protocol, 17));
        assert_eq!(inside.payload, sent.payload);
    }
}

rows! { eight_bytes_suffice_for_the_client:
    eight_bytes_of_a_udp_datagram_from_ipv4_are_enough(UDP);
    eight_bytes_of_a_tcp_segment_from_ipv4_are_enough(TCP);
    eight_bytes_of_an_echo_from_ipv4_are_enough(ICMP);
}

#[track_caller]
fn eight_bytes_suffice_for_the_client(protocol: u8) {
    let Some(mut case) = STANDARD.case() else { return };
    let sent = from_client(&case, protocol, &pattern(40));
    let out = case.pass6(&sent);
    let message = case.pass4(&unreachable4(&case, &out.bytes()[..28])).read_icmp();
    let expected = sent.with(|header| header.hop_limit = out.header.time_to_live).bytes();
    assert_eq!(message.body, expected[..48], "its length is that of the packet before it was cut");
}

rows! { eight_bytes_suffice_for_the_server:
    eight_bytes_of_a_udp_datagram_from_ipv6_are_enough(UDP);
    eight_bytes_of_a_tcp_segment_from_ipv6_are_enough(TCP);
    eight_bytes_of_an_echo_from_ipv6_are_enough(ICMP);
}

#[track_caller]
fn eight_bytes_suffice_for_the_server(protocol: u8) {
    let Some(mut case) = STANDARD.case() else { return };
    let sent = from_server(&mut case, protocol, &pattern(40));
    let delivered = case.pass4(&sent).bytes();
    let message = case.pass6(&unreachable6(&case, &delivered[..48])).read_icmp();
    assert_eq!(message.body[20..], sent.payload[..8]);
    assert_eq!(message.body[2..4], sent.bytes()[2..4], "its length is that of the packet before it was cut");
}

rows! { too_little_is_dropped:
    seven_bytes_of_a_udp_datagram_are_not_enough(UDP);
    seven_bytes_of_a_tcp_segment_are_not_enough(TCP);
    seven_bytes_of_an_echo_are_not_enough(ICMP);
}

#[track_caller]
fn too_little_is_dropped(protocol: u8) {
    let Some(mut case) = STANDARD.case() else { return };
    let out = case.pass6(&from_client(&case, protocol, &pattern(40))).bytes();
    for len in [0, 10, 20, 27] {
        case.silent(&unreachable4(&case, &out[..len]), "bad-embedded-packet");
    }
    let sent = from_server(&mut case, protocol, &pattern(40));
    let delivered = case.pass4(&sent).bytes();
    for len in [0, 20, 40, 47] {
        case.silent(&unreachable6(&case, &delivered[..len]), "bad-embedded-packet");
    }
}

#[test]
fn an_error_inside_an_error_from_ipv4_is_dropped_silently() {
    let Some(mut case) = STANDARD.case() else { return };
    let out = case.pass6(&case.client_udp(b"x")).bytes();
    for kind in [3, 4, 5, 11, 12] {
        let inner = V4::icmp(POOL, case.server(), &Icmp::error(kind, 0, 0, &out)).bytes();
        case.silent(&unreachable4(&case, &inner), "bad-embedded-packet");
    }
}

#[test]
fn an_error_inside_an_error_from_ipv6_is_dropped_silently() {
    let Some(mut case) = STANDARD.case() else { return };
    let port = case.open_udp();
    let delivered = case.pass4(&case.server_udp(port, b"x")).bytes();
    for kind in [1, 2, 3, 4, 100] {
        let inner = V6::icmp(case.service6().0, case.client(), &Icmp::error(kind, 0, 0, &delivered)).bytes();
        case.silent(&unreachable6(&case, &inner), "bad-embedded-packet");
    }
}

#[test]
fn a_transport_without_ports_inside_is_dropped_silently() {
    let Some(mut case) = STANDARD.case() else { return };
    let inner = V4::new(POOL, case.server(), 132, &pattern(40)).bytes();
    case.silent(&unreachable4(&case, &inner), "bad-embedded-packet");
    let inner = V6::new(case.service6().0, case.client(), 132, &pattern(40)).bytes();
    case.silent(&unreachable6(&case, &inner), "bad-embedded-packet");
}

#[test]
fn options_inside_are_skipped() {
    let Some(mut case) = STANDARD.case() else { return };
    let sent = case.client_udp(&pattern(20));
    let out = case.pass6(&sent);
    for options in [&[7, 7, 4, 0, 0, 0, 0, 0][..], &[131, 7, 4, 1, 2, 3, 4, 0], &[1; 40]] {
        let message = case.pass4(&unreachable4(&case, &out.clone().options(options).bytes())).read_icmp();
        assert_eq!(message.body, sent.clone().with(|header| header.hop_limit = out.header.time_to_live).bytes());
    }
}

#[test]
fn extension_headers_inside_are_skipped() {
    let Some(mut case) = STANDARD.case() else { return };
    let port = case.open_udp();
    let sent = case.server_udp(port, &pattern(20));
    let delivered = case.pass4(&sent);
    let routed = [&[0, 0, 0, 0, 0, 0][..], &case.client().octets()].concat();
    let padded = delivered.clone().extended(0, &[1, 4, 0, 0, 0, 0]);
    let both = delivered.extended(43, &routed).extended(60, &[1, 4, 0, 0, 0, 0]);
    for delivered in [padded, both] {
        let message = case.pass6(&unreachable6(&case, &delivered.bytes())).read_icmp();
        let inside = V4::read(&message.body);
        assert_eq!((inside.protocol(), &inside.payload), (UDP, &sent.payload));
    }
}

#[test]
fn an_error_about_a_first_fragment_from_ipv4_names_the_fragment() {
    let Some(mut case) = STANDARD.case() else { return };
    let fragments = case.client_udp(&pattern(2000)).fragments(&[1232], 0x77);
    let out = case.pass6(&fragments[0]);
    let body = case.pass4(&unreachable4(&case, &out.bytes()[..200])).read_icmp().body;
    assert_eq!(Fragment::read(&body[40..48]), Fragment { next: UDP, offset: 0, more: true, identification: 0x77 });
    assert_eq!(body[48..52], fragments[0].fragment_data()[..4], "the client's own ports");
    assert_eq!(body[4..6], fragments[0].bytes()[4..6], "and the fragment's length");
    // Of another fragment, nothing says whose it was.
    let tail = case.pass6(&fragments[1]);
    case.silent(&unreachable4(&case, &tail.bytes()[..200]), "bad-embedded-packet");
}

#[test]
fn an_error_about_a_first_fragment_from_ipv6_names_the_fragment() {
    let Some(mut case) = STANDARD.case() else { return };
    let port = case.open_udp();
    let fragments = case.server_udp(port, &pattern(1600)).fragments(&[1024], 0x77);
    let delivered = case.pass4(&fragments[0]);
    let body = case.pass6(&unreachable6(&case, &delivered.bytes()[..400])).read_icmp().body;
    let (inside, _) = etherparse::Ipv4Header::from_slice(&body).unwrap();
    assert_eq!((inside.identification, inside.more_fragments, inside.fragment_offset.value()), (0x77, true, 0));
    assert_eq!(inside.total_len, 20 + 1024);
    assert_eq!(body[20..24], fragments[0].payload[..4]);
}

#[test]
fn a_udp_datagram_without_checksum_inside_stays_without() {
    let Some(mut case) = STANDARD.case() else { return };
    let mut out = case.pass6(&case.client_udp(&pattern(20)));
    out.payload[6..8].fill(0);
    let body = case.pass4(&unreachable4(&case, &out.bytes())).read_icmp().body;
    assert_eq!((&body[40..44], &body[46..48]), (&case.client_udp(b"").payload[..4], &[0, 0][..]));
}

#[test]
fn a_wrong_checksum_inside_is_neither_noticed_nor_repaired() {
    let Some(mut case) = STANDARD.case() else { return };
    let sent = case.client_udp(&pattern(20));
    let mut out = case.pass6(&sent);
    out.payload[6] ^= 0x10;
    let inside = V6::read(&case.pass4(&unreachable4(&case, &out.bytes())).read_icmp().body);
    let mut expected = sent;
    expected.payload[6] ^= 0x10;
    assert_ne!(inside.transport_sum(), 0xffff);
    assert_eq!(inside.payload[8..], expected.payload[8..]);
}

#[test]
fn a_wrong_checksum_of_the_error_stays_wrong_from_ipv4() {
    let Some(mut case) = STANDARD.case() else { return };
    let out = case.pass6(&case.client_udp(b"x")).bytes();
    let mut error = unreachable4(&case, &out);
    error.payload[2] ^= 0x10;
    assert_ne!(case.pass4(&error).transport_sum(), 0xffff);
}

#[test]
fn a_wrong_checksum_of_the_error_stays_wrong_from_ipv6() {
    let Some(mut case) = STANDARD.case() else { return };
    let port = case.open_udp();
    let delivered = case.pass4(&case.server_udp(port, b"x")).bytes();
    let mut error = unreachable6(&case, &delivered);
    error.payload[2] ^= 0x10;
    assert_ne!(sum(&[&case.pass6(&error).payload]), 0xffff);
}

#[test]
fn an_error_is_no_longer_than_1280_bytes_in_ipv6() {
    let Some(mut case) = STANDARD.case() else { return };
    let sent = case.client_udp(&pattern(1400));
    let out = case.pass6(&sent);
    let got = case.pass4(&unreachable4(&case, &out.bytes()));
    let expected = sent.with(|header| header.hop_limit = out.header.time_to_live).bytes();
    assert_eq!((got.bytes().len(), got.read_icmp().body), (1280, expected[..1232].to_vec()));
}

#[test]
fn an_error_is_no_longer_than_576_bytes_in_ipv4() {
    let Some(mut case) = STANDARD.case() else { return };
    let port = case.open_udp();
    let sent = case.server_udp(port, &pattern(1180));
    let delivered = case.pass4(&sent).bytes();
    let got = case.pass6(&unreachable6(&case, &delivered));
    assert_eq!(got.bytes().len(), 576);
    assert_eq!(got.read_icmp().body[20..], sent.payload[..528]);
}

#[test]
fn an_error_behind_options_is_translated() {
    let Some(mut case) = STANDARD.case() else { return };
    let out = case.pass6(&case.client_udp(b"x")).bytes();
    let got = case.pass4(&unreachable4(&case, &out).options(&[1, 1, 1, 0]));
    assert_eq!((got.next(), got.read_icmp().kind), (ICMPV6, 1));
}

#[test]
fn an_error_behind_extension_headers_is_translated() {
    let Some(mut case) = STANDARD.case() else { return };
    let port = case.open_udp();
    let delivered = case.pass4(&case.server_udp(port, b"x")).bytes();
    let got = case.pass6(&unreachable6(&case, &delivered).extended(60, &[1, 4, 0, 0, 0, 0]));
    assert_eq!((got.protocol(), got.read_icmp().kind), (ICMP, 3));
}

#[test]
fn the_traffic_class_is_copied_inside_and_outside() {
    let Some(mut case) = STANDARD.case() else { return };
    let out = case.pass6(&case.client_udp(b"x").with(|header| header.traffic_class = 0x88)).bytes();
    let got = case.pass4(&unreachable4(&case, &out).with(|header| header.dscp = 48.try_into().unwrap()));
    assert_eq!(got.header.traffic_class, 0xc0);
    assert_eq!(V6::read(&got.read_icmp().body).header.traffic_class, 0x88);
}

#[test]
fn an_error_about_nothing_that_was_sent_is_dropped_silently() {
    let Some(mut case) = STANDARD.case() else { return };
    let strange = V4::udp((POOL, case.unmapped(UDP)), (case.server(), SERVICE), b"x").bytes();
    case.silent(&unreachable4(&case, &strange), "no-mapping");
    let strange = V6::udp(case.service6(), (case.client(), 4242), b"x").bytes();
    case.silent(&unreachable6(&case, &strange), "no-mapping");
}

#[test]
fn an_error_about_somebody_else_s_packet_is_dropped_silently() {
    let Some(mut case) = STANDARD.case() else { return };
    let not_ours = V4::udp((case.stranger(), 4242), (case.server(), SERVICE), b"x").bytes();
    case.silent(&unreachable4(&case, &not_ours), "bad-embedded-packet");
    let not_ours = V6::udp((case.other(), SERVICE), (case.client(), 4242), b"x").bytes();
    case.silent(&unreachable6(&case, &not_ours), "bad-embedded-packet");
}

#[test]
fn an_error_ends_no_session() {
    let Some(mut case) = STANDARD.case() else { return };
    let out = case.pass6(&case.client_udp(b"x")).bytes();
    for (kind, code) in [(3, 0), (3, 1), (3, 2), (3, 3), (3, 4), (3, 13), (11, 0), (12, 0)] {
        case.pass4(&V4::icmp(case.router4(), POOL, &Icmp::error(kind, code, 0, &out)));
    }
    assert_eq!(case.sessions().len(), 1);
    let port = V4::read(&out).ports().0;
    case.pass4(&case.server_udp(port, b"still there"));
}

#[test]
fn an_error_ends_no_tcp_connection() {
    let Some(mut case) = STANDARD.case() else { return };
    let port = case.open_tcp();
    let out = V4::tcp((POOL, port), (case.server(), SERVICE), 0x18, b"data").bytes();
    for (kind, code) in [(3, 0), (3, 1), (3, 2), (3, 3), (11, 0)] {
        case.pass4(&V4::icmp(case.router4(), POOL, &Icmp::error(kind, code, 0, &out)));
    }
    assert_eq!(case.state(), "ESTABLISHED");
}
