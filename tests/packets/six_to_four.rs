//! RFC 7915 §5 and §5.1: IPv6 headers to IPv4 headers.

use std::collections::HashSet;

use crate::bench::POOL;
use crate::case::{Case, HOPS, SYN};
use crate::groups::{OTHERWISE, STANDARD};
use crate::rows::rows;
use crate::wire::{ICMP, Icmp, TCP, UDP, V6, pattern};

const PADDING: [u8; 6] = [1, 4, 0, 0, 0, 0];

#[test]
fn every_field_of_the_ipv4_header_is_as_the_rfc_sets_it() {
    let Some(mut case) = STANDARD.case() else { return };
    let sent = case.client_udp(&pattern(100)).with(|header| {
        header.hop_limit = 33;
        header.traffic_class = 0xb9;
        header.flow_label = 0xabcde.try_into().unwrap();
    });
    let got = case.pass6(&sent);
    assert_eq!(got.tos(), 0xb9);
    assert_eq!((got.header.ihl(), usize::from(got.header.total_len)), (5, 20 + sent.payload.len()));
    assert_eq!((got.header.more_fragments, got.offset()), (false, 0));
    assert_eq!(got.header.time_to_live, 33 - HOPS);
    assert_eq!(got.protocol(), UDP);
    assert_eq!((got.source(), got.destination()), (POOL, case.server()));
    assert_eq!(got.data(), pattern(100));
}

#[test]
fn tcp_stays_tcp() {
    let Some(mut case) = STANDARD.case() else { return };
    let got = case.pass6(&case.client_tcp(SYN));
    assert_eq!((got.protocol(), got.data()), (TCP, &[][..]));
}

#[test]
fn icmpv6_becomes_icmp() {
    let Some(mut case) = STANDARD.case() else { return };
    let got = case.pass6(&case.client_echo(b"ping"));
    assert_eq!((got.protocol(), got.read_icmp().kind), (ICMP, 8));
}

#[test]
fn the_traffic_class_can_be_ignored() {
    let Some(mut case) = OTHERWISE.case() else { return };
    assert_eq!(case.pass6(&case.client_udp(b"x").with(|header| header.traffic_class = 0xb9)).tos(), 0);
}

rows! { df_is:
    df_is_clear_in_a_small_packet(28, false);
    df_is_clear_in_a_packet_of_1260_bytes(1260, false);
    df_is_set_in_a_packet_of_1261_bytes(1261, true);
    df_is_set_in_a_packet_of_1500_bytes(1500, true);
    df_is_set_in_a_jumbo_frame(8980, true);
}

#[track_caller]
fn df_is(total: usize, set: bool) {
    let Some(mut case) = STANDARD.case() else { return };
    let got = case.pass6(&case.client_udp(&pattern(total - 28)));
    assert_eq!((usize::from(got.header.total_len), got.header.dont_fragment), (total, set));
}

#[test]
fn identifications_neither_repeat_nor_follow_each_other() {
    let Some(mut case) = STANDARD.case() else { return };
    let ids: Vec<u16> = (0..100).map(|_| case.pass6(&case.client_udp(b"x")).header.identification).collect();
    assert_eq!(ids.iter().collect::<HashSet<_>>().len(), ids.len(), "{ids:?}");
    let steps: HashSet<u16> = ids.windows(2).map(|pair| pair[1].wrapping_sub(pair[0])).collect();
    assert!(steps.len() > 10, "{ids:?}");
}

#[test]
fn a_hop_limit_that_runs_out_is_reported_and_leaves_no_state() {
    let Some(mut case) = STANDARD.case() else { return };
    // The kernel leaves 1 of it.
    let sent = case.client_udp(b"x").with(|header| header.hop_limit = 2);
    let (error, message) = case.refused6(&sent, "hop-limit-exceeded");
    assert_eq!(error.destination(), case.client());
    assert_eq!((message.kind, message.code, message.rest), (3, 0, 0));
    assert_eq!(message.body, sent.with(|header| header.hop_limit = 1).bytes());
    assert_eq!(case.sessions().len(), 0);
}

#[test]
fn the_least_hop_limit_that_suffices_arrives_as_one() {
    let Some(mut case) = STANDARD.case() else { return };
    let sent = case.client_udp(b"x").with(|header| header.hop_limit = HOPS + 1);
    assert_eq!(case.pass6(&sent).header.time_to_live, 1);
}

rows! { headers_are_skipped:
    a_hop_by_hop_header_is_skipped(|_, packet| packet.extended(0, &PADDING));
    destination_options_are_skipped(|_, packet| packet.extended(60, &[1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]));
    a_routing_header_without_segments_left_is_skipped(|case, packet| packet.extended(43, &routing(case, 0)));
    all_skippable_headers_at_once_are_skipped(|case, packet| {
        packet.extended(60, &PADDING).extended(43, &routing(case, 0)).extended(60, &PADDING).extended(0, &PADDING)
    });
}

#[track_caller]
fn headers_are_skipped(extend: fn(&Case, V6) -> V6) {
    let Some(mut case) = STANDARD.case() else { return };
    for sent in [case.client_udp(&pattern(50)), case.client_tcp(SYN), case.client_echo(&pattern(33))] {
        let got = case.pass6(&extend(&case, sent.clone()));
        assert_eq!((got.header.ihl(), usize::from(got.header.total_len)), (5, 20 + sent.payload.len()));
        if got.protocol() == ICMP {
            assert_eq!(got.read_icmp().body, pattern(33));
        } else {
            assert_eq!((got.protocol(), got.data()), (sent.next(), sent.data()));
        }
    }
}

#[test]
fn a_routing_header_with_segments_left_is_answered_with_a_pointer_to_them() {
    let Some(mut case) = STANDARD.case() else { return };
    let direct = case.client_udp(b"x").extended(43, &routing(&case, 1));
    let behind = case.client_udp(b"x").extended(43, &routing(&case, 2)).extended(60, &PADDING).extended(0, &PADDING);
    for (sent, pointer) in [(direct, 40 + 3), (behind, 40 + 8 + 8 + 3)] {
        let (error, message) = case.refused6(&sent, "routing-header");
        assert_eq!((message.kind, message.code, message.rest), (4, 0, pointer));
        assert_eq!(error.destination(), case.client());
        assert_eq!(message.body, sent.with(|header| header.hop_limit = 63).bytes());
    }
    assert_eq!(case.sessions().len(), 0);
}

/// A Routing header of type 0 (RFC 8200 §4.4) to the server.
fn routing(case: &Case, segments_left: u8) -> Vec<u8> {
    [&[0, segments_left, 0, 0, 0, 0][..], &case.service6().0.octets()].concat()
}

rows! { is_refused_with_port_unreachable:
    an_authentication_header_is_no_transport(51);
    esp_is_refused(50);
    sctp_is_refused(132);
    dccp_is_refused(33);
    gre_is_refused(47);
    ipv6_in_ipv6_is_refused(41);
    icmp_of_the_other_version_is_refused(1);
    an_unknown_transport_is_refused(253);
    a_packet_without_transport_is_refused(59);
}

/// RFC 6146 §3.4 as against RFC 7915 §5.1: what is no TCP, UDP or ICMP is not translated, as there is nothing to share a
/// pool address by.
#[track_caller]
fn is_refused_with_port_unreachable(next: u8) {
    let Some(mut case) = STANDARD.case() else { return };
    let sent = V6::new(case.client(), case.service6().0, next, &[UDP, 4, 0, 0].repeat(6));
    let (error, message) = case.refused6(&sent, "unsupported-protocol");
    assert_eq!((message.kind, message.code, message.rest), (1, 4, 0));
    assert_eq!(error.destination(), case.client());
    assert_eq!(message.body, sent.with(|header| header.hop_limit = 63).bytes());
}

#[test]
fn an_informational_message_that_is_no_echo_is_dropped_silently() {
    let Some(mut case) = STANDARD.case() else { return };
    // Listener and neighbour discovery, and what nobody knows. The last two have a single hop's errors as numbers.
    for kind in [130, 131, 132, 133, 134, 135, 136, 137, 138, 139, 140, 143, 150, 200, 255] {
        let message = Icmp::echo(kind, 1, 1, &pattern(24));
        let sent = V6::icmp(case.client(), case.service6().0, &message);
        case.silent(&sent, "untranslatable-icmp");
    }
    assert_eq!(case.sessions().len(), 0);
}

#[test]
fn packets_of_a_flow_leave_in_the_order_they_came() {
    let Some(mut case) = STANDARD.case() else { return };
    for number in 0..50_u16 {
        case.send(&case.client_udp(&number.to_be_bytes()));
    }
    let numbers = (0..50).map(|_| case.arrival4().data().to_vec()).map(|data| u16::from_be_bytes([data[0], data[1]]));
    assert_eq!(numbers.collect::<Vec<_>>(), (0..50).collect::<Vec<u16>>());
    case.quiet();
}
