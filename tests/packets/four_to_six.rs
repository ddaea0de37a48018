//! RFC 7915 §4 and §4.1: IPv4 headers to IPv6 headers.

use crate::bench::POOL;
use crate::case::{HOPS, SERVICE};
use crate::groups::{OTHERWISE, STANDARD};
use crate::rows::rows;
use crate::whole::whole6;
use crate::wire::{ICMPV6, Icmp, TCP, UDP, V4, pattern};

#[test]
fn every_field_of_the_ipv6_header_is_as_the_rfc_sets_it() {
    let Some(mut case) = STANDARD.case() else { return };
    let port = case.open_udp();
    let sent = case.server_udp(port, &pattern(100)).with(|header| {
        header.time_to_live = 33;
        header.dscp = 46.try_into().unwrap();
        header.ecn = 1.try_into().unwrap();
        header.identification = 0x1234;
    });
    let got = case.pass4(&sent);
    assert_eq!((got.header.traffic_class, got.header.flow_label.value()), (0xb9, 0));
    assert_eq!(usize::from(got.header.payload_length), sent.payload.len());
    assert_eq!((got.next(), got.header.hop_limit), (UDP, 33 - HOPS));
    assert_eq!((got.source(), got.destination()), (case.service6().0, case.client()));
    assert_eq!(got.data(), pattern(100));
}

#[test]
fn tcp_stays_tcp() {
    let Some(mut case) = STANDARD.case() else { return };
    let port = case.open_tcp();
    let sent = V4::tcp((case.server(), SERVICE), (POOL, port), 0x18, &pattern(77));
    let got = case.pass4(&sent);
    assert_eq!((got.next(), got.data()), (TCP, &pattern(77)[..]));
    // Sequence numbers, flags and window are the endpoints' own.
    assert_eq!(got.payload[4..16], sent.payload[4..16]);
}

#[test]
fn icmp_becomes_icmpv6() {
    let Some(mut case) = STANDARD.case() else { return };
    let identifier = case.open_echo();
    let got = case.pass4(&V4::icmp(case.server(), POOL, &Icmp::echo(0, identifier, 1, b"pong")));
    assert_eq!((got.next(), got.read_icmp().kind), (ICMPV6, 129));
}

#[test]
fn the_tos_octet_can_be_ignored() {
    let Some(mut case) = OTHERWISE.case() else { return };
    let port = case.open_udp();
    let sent = case.server_udp(port, b"x").with(|header| header.dscp = 46.try_into().unwrap());
    assert_eq!(case.pass4(&sent).header.traffic_class, 0);
}

#[test]
fn a_flow_label_is_one_for_a_flow_where_policy_asks_for_one() {
    let Some(mut case) = OTHERWISE.case() else { return };
    let port = case.open_udp();
    let labels = [(); 3].map(|()| case.pass4(&case.server_udp(port, b"x")).header.flow_label.value());
    assert_ne!(labels[0], 0);
    assert_eq!(labels, [labels[0]; 3]);
}

#[test]
fn a_ttl_that_runs_out_is_reported_and_the_packet_goes_no_further() {
    let Some(mut case) = STANDARD.case() else { return };
    let port = case.open_udp();
    let sent = case.server_udp(port, &pattern(30)).with(|header| header.time_to_live = 2);
    let (error, message) = case.refused4(&sent, "hop-limit-exceeded");
    assert_eq!(error.destination(), case.server());
    assert_eq!((message.kind, message.code, message.rest), (11, 0, 0));
    assert_eq!(message.body, sent.with(|header| header.time_to_live = 1).bytes());
}

#[test]
fn the_least_ttl_that_suffices_arrives_as_one() {
    let Some(mut case) = STANDARD.case() else { return };
    let port = case.open_udp();
    let sent = case.server_udp(port, b"x").with(|header| header.time_to_live = HOPS + 1);
    assert_eq!(case.pass4(&sent).header.hop_limit, 1);
}

rows! { options_are_ignored:
    options_that_do_nothing_are_ignored(&[1, 1, 1, 0]);
    a_recorded_route_is_ignored(&[7, 11, 12, 192, 0, 2, 1, 192, 0, 2, 2, 0]);
    a_full_set_of_options_is_ignored(&[1; 40]);
    an_unknown_option_is_ignored(&[0x9e, 6, 1, 2, 3, 4]);
    /// All addresses were visited: the pointer is behind the last.
    an_expired_source_route_is_ignored(&[131, 7, 8, 192, 0, 2, 1]);
}

#[track_caller]
fn options_are_ignored(options: &[u8]) {
    let Some(mut case) = STANDARD.case() else { return };
    let port = case.open_udp();
    let got = case.pass4(&case.server_udp(port, &pattern(30)).options(options));
    assert_eq!((got.next(), got.data(), got.header.payload_length), (UDP, &pattern(30)[..], 38));
}

#[test]
fn an_unexpired_source_route_is_refused() {
    let Some(mut case) = STANDARD.case() else { return };
    let port = case.open_udp();
    let sent = case.server_udp(port, &pattern(30)).options(&[131, 7, 4, 192, 0, 2, 1]);
    let (error, message) = case.refused4(&sent, "source-route");
    assert_eq!(error.destination(), case.server());
    assert_eq!((message.kind, message.code, message.rest), (3, 5, 0));
    // The kernel counts its hop down and leaves the rest.
    assert_eq!(message.body, sent.with(|header| header.time_to_live = 63).bytes());
}

rows! { a_whole_packet_stays_whole:
    a_small_packet_with_df_gets_no_fragment_header(100, true);
    a_small_packet_without_df_gets_no_fragment_header(100, false);
    a_packet_of_1280_bytes_in_ipv6_without_df_gets_no_fragment_header(1260, false);
    a_large_packet_with_df_is_passed_on_whole(1500, true);
    a_jumbo_frame_with_df_is_passed_on_whole(8980, true);
}

#[track_caller]
fn a_whole_packet_stays_whole(total: usize, dont_fragment: bool) {
    let Some(mut case) = STANDARD.case() else { return };
    let port = case.open_udp();
    let sent = case.server_udp(port, &pattern(total - 28)).with(|header| header.dont_fragment = dont_fragment);
    let got = case.pass4(&sent);
    assert_eq!((got.next(), got.data()), (UDP, &pattern(total - 28)[..]));
}

rows! { is_fragmented:
    a_packet_of_1281_bytes_in_ipv6_without_df_is_fragmented(1261, 1280);
    a_packet_of_1500_bytes_without_df_is_fragmented(1500, 1280);
    a_jumbo_frame_without_df_is_fragmented(8980, 1280);
}

#[track_caller]
fn is_fragmented(total: usize, lowest_ipv6_mtu: usize) {
    let Some(mut case) = STANDARD.case() else { return };
    let port = case.open_udp();
    let sent = case.server_udp(port, &pattern(total - 28)).with(|header| header.identification = 0x4321);
    case.send(&sent);
    let fragments = case.fragments6();
    for got in &fragments {
        assert!(got.bytes().len() <= lowest_ipv6_mtu, "{got:?}");
        assert_eq!((got.fragment().unwrap().identification, got.fragment().unwrap().next), (0x4321, UDP));
    }
    assert_eq!(fragments.len(), (total - 20).div_ceil(1232), "no more than it takes");
    assert_eq!(whole6(&fragments).data(), pattern(total - 28));
}

#[test]
fn the_lowest_ipv6_mtu_is_configurable() {
    let Some(mut case) = OTHERWISE.case() else { return };
    let port = case.open_udp();
    // 1420 bytes of IPv6 are the limit there.
    let got = case.pass4(&case.server_udp(port, &pattern(1400 - 28)));
    assert_eq!((got.next(), got.data()), (UDP, &pattern(1400 - 28)[..]));
    case.send(&case.server_udp(port, &pattern(1401 - 28)));
    let fragments = case.fragments6();
    assert!(fragments.iter().all(|got| got.bytes().len() <= 1420));
    assert_eq!((fragments.len(), whole6(&fragments).data()), (2, &pattern(1401 - 28)[..]));
}

rows! { is_refused_with_protocol_unreachable:
    sctp_is_refused(132);
    esp_is_refused(50);
    an_authentication_header_is_refused(51);
    gre_is_refused(47);
    ipv6_in_ipv4_is_refused(41);
    icmp_of_the_other_version_is_refused(58);
    an_unknown_transport_is_refused(253);
}

/// RFC 6146 §3.4.
#[track_caller]
fn is_refused_with_protocol_unreachable(protocol: u8) {
    let Some(mut case) = STANDARD.case() else { return };
    let sent = V4::new(case.server(), POOL, protocol, &pattern(40));
    let (error, message) = case.refused4(&sent, "unsupported-protocol");
    assert_eq!((message.kind, message.code, message.rest), (3, 2, 0));
    assert_eq!(error.destination(), case.server());
    assert_eq!(message.body, sent.with(|header| header.time_to_live = 63).bytes());
}

#[test]
fn igmp_is_dropped_silently() {
    let Some(mut case) = STANDARD.case() else { return };
    case.silent(&V4::new(case.server(), POOL, 2, &[0x16, 0, 0, 0, 224, 0, 0, 9]), "unsupported-protocol");
}

#[test]
fn a_query_that_is_no_echo_is_dropped_silently() {
    let Some(mut case) = STANDARD.case() else { return };
    let identifier = case.open_echo();
    let single_hop = [9, 10];
    let obsolete = [13, 14, 15, 16, 17, 18];
    let unknown = [1, 2, 7, 19, 42, 43, 253, 255];
    for kind in [&single_hop[..], &obsolete, &unknown].concat() {
        let sent = V4::icmp(case.server(), POOL, &Icmp::echo(kind, identifier, 1, &pattern(12)));
        case.silent(&sent, "untranslatable-icmp");
    }
}
