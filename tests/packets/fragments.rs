//! RFC 6146 §3.4, RFC 7915 §4.1 and §5.1.1, RFC 5722: fragments.

use crate::bench::POOL;
use crate::case::{Case, HOPS, PORT, SERVICE, SYN, SYN_ACK};
use crate::groups::{STANDARD, waiting};
use crate::rows::rows;
use crate::whole::{whole4, whole6};
use crate::wire::{FRAGMENT, Fragment, Icmp, TCP, UDP, V4, V6, pattern};

const CUTS: [usize; 3] = [800, 1600, 2400];

rows! { arrive_from_ipv6:
    udp_fragments_from_ipv6_are_translated_in_order(UDP, [0, 1, 2, 3]);
    udp_fragments_from_ipv6_are_translated_in_reverse(UDP, [3, 2, 1, 0]);
    udp_fragments_from_ipv6_are_translated_when_the_first_comes_between(UDP, [2, 0, 3, 1]);
    tcp_fragments_from_ipv6_are_translated_in_order(TCP, [0, 1, 2, 3]);
    tcp_fragments_from_ipv6_are_translated_in_reverse(TCP, [3, 2, 1, 0]);
    tcp_fragments_from_ipv6_are_translated_when_the_first_comes_between(TCP, [2, 0, 3, 1]);
}

#[track_caller]
fn arrive_from_ipv6(protocol: u8, order: [usize; 4]) {
    let Some(mut case) = STANDARD.case() else { return };
    let sent = match protocol {
        UDP => case.client_udp(&pattern(3000)),
        _ => V6::tcp((case.client(), PORT), case.service6(), SYN, &pattern(3000)),
    };
    let fragments = sent.fragments(&CUTS, 0xabcd_ef01);
    order.iter().for_each(|place| case.send(&fragments[*place]));
    let got = [(); 4].map(|()| case.arrival4());
    case.quiet();
    for fragment in &got {
        assert_eq!((fragment.header.identification, fragment.header.dont_fragment), (0xef01, false));
        assert_eq!((fragment.protocol(), fragment.header.time_to_live), (protocol, 64 - HOPS));
    }
    assert_eq!(whole4(&got).data(), pattern(3000));
    assert_eq!(case.sessions().len(), 1);
}

rows! { arrive_from_ipv4:
    udp_fragments_from_ipv4_are_translated_in_order(UDP, [0, 1, 2, 3]);
    udp_fragments_from_ipv4_are_translated_in_reverse(UDP, [3, 2, 1, 0]);
    udp_fragments_from_ipv4_are_translated_when_the_first_comes_between(UDP, [2, 0, 3, 1]);
    tcp_fragments_from_ipv4_are_translated_in_order(TCP, [0, 1, 2, 3]);
    tcp_fragments_from_ipv4_are_translated_in_reverse(TCP, [3, 2, 1, 0]);
    tcp_fragments_from_ipv4_are_translated_when_the_first_comes_between(TCP, [2, 0, 3, 1]);
}

#[track_caller]
fn arrive_from_ipv4(protocol: u8, order: [usize; 4]) {
    let Some(mut case) = STANDARD.case() else { return };
    let sent = if protocol == UDP {
        let port = case.open_udp();
        case.server_udp(port, &pattern(3000))
    } else {
        let port = case.pass6(&case.client_tcp(SYN)).ports().0;
        V4::tcp((case.server(), SERVICE), (POOL, port), SYN_ACK, &pattern(3000))
    };
    let fragments = sent.fragments(&CUTS, 0xabcd);
    order.iter().for_each(|place| case.send(&fragments[*place]));
    let got = [(); 4].map(|()| case.arrival6());
    case.quiet();
    for fragment in &got {
        let header = fragment.fragment().unwrap();
        assert_eq!((header.identification, header.next), (0xabcd, protocol));
        assert_eq!(fragment.header.hop_limit, 64 - HOPS);
    }
    assert_eq!(whole6(&got).data(), pattern(3000));
}

#[test]
fn a_first_fragment_goes_on_at_once_and_those_after_it_do_not_wait() {
    let Some(mut case) = STANDARD.case() else { return };
    for (place, fragment) in case.client_udp(&pattern(3000)).fragments(&[1000, 2000], 5).iter().enumerate() {
        let got = case.pass6(fragment);
        assert_eq!((usize::from(got.offset()), got.header.more_fragments), (place * 1000, place < 2));
        assert_eq!(usize::from(got.header.total_len), 20 + fragment.payload.len() - 8);
    }
}

#[test]
fn a_fragment_that_is_too_large_for_ipv6_is_fragmented_further() {
    let Some(mut case) = STANDARD.case() else { return };
    let port = case.open_udp();
    let fragments = case.server_udp(port, &pattern(3000)).fragments(&[1480], 0x77);
    fragments.iter().for_each(|fragment| case.send(fragment));
    let got = case.fragments6();
    assert!(got.len() > 2 && got.iter().all(|fragment| fragment.bytes().len() <= 1280), "{got:?}");
    assert!(got.iter().all(|fragment| fragment.fragment().unwrap().identification == 0x77));
    assert_eq!(whole6(&got).data(), pattern(3000));
}

#[test]
fn a_fragment_with_options_loses_them() {
    let Some(mut case) = STANDARD.case() else { return };
    let port = case.open_udp();
    let sent = case.server_udp(port, &pattern(1000));
    let with_options = sent.fragments(&[504], 9).into_iter().map(|fragment| fragment.options(&[1; 8]));
    let got: Vec<V6> = with_options.map(|fragment| case.pass4(&fragment)).collect();
    assert_eq!(whole6(&got).data(), pattern(1000));
}

#[test]
fn headers_before_a_fragment_header_are_not_counted() {
    let Some(mut case) = STANDARD.case() else { return };
    let padding = [1, 4, 0, 0, 0, 0];
    let fragments = case.client_udp(&pattern(1500)).fragments(&[800], 5);
    let extended = fragments.into_iter().map(|fragment| fragment.extended(60, &padding).extended(0, &padding));
    let got: Vec<V4> = extended.map(|fragment| case.pass6(&fragment)).collect();
    assert_eq!(whole4(&got).data(), pattern(1500));
}

rows! { an_atomic_fragment_is_whole:
    /// RFC 6946. DF stays clear whatever the size (RFC 7915 §5.1.1).
    a_small_atomic_fragment_is_translated_as_a_whole_packet_that_may_be_fragmented(50);
    a_large_atomic_fragment_is_translated_as_a_whole_packet_that_may_be_fragmented(1400);
}

#[track_caller]
fn an_atomic_fragment_is_whole(data: usize) {
    let Some(mut case) = STANDARD.case() else { return };
    let got = case.pass6(&case.client_udp(&pattern(data)).atomic(0xaaaa_bbbb));
    assert_eq!((got.header.dont_fragment, got.header.more_fragments, got.offset()), (false, false, 0));
    assert_eq!((got.header.identification, got.data()), (0xbbbb, &pattern(data)[..]));
}

rows! { is_refused_behind_a_fragment_header:
    hop_by_hop_options_behind_a_fragment_header_are_refused(0);
    a_routing_header_behind_a_fragment_header_is_refused(43);
    an_authentication_header_behind_a_fragment_header_is_refused(51);
    destination_options_behind_a_fragment_header_are_refused(60);
}

#[track_caller]
fn is_refused_behind_a_fragment_header(next: u8) {
    let Some(mut case) = STANDARD.case() else { return };
    let header = Fragment { next, offset: 0, more: true, identification: 1 };
    let payload = [&header.bytes()[..], &[UDP, 0, 1, 4, 0, 0, 0, 0], &case.client_udp(&[0; 16]).payload].concat();
    case.refused6(&V6::new(case.client(), case.service6().0, FRAGMENT, &payload), "unsupported-protocol");
    assert_eq!(case.sessions().len(), 0);
}

rows! { tiny_fragments_arrive:
    tiny_fragments_of_udp_are_translated(UDP, 8);
    /// The TCP header is in the first, then 8 bytes in each.
    tiny_fragments_of_tcp_are_translated(TCP, 24);
}

#[track_caller]
fn tiny_fragments_arrive(protocol: u8, first: usize) {
    let Some(mut case) = STANDARD.case() else { return };
    let sent = match protocol {
        UDP => case.client_udp(&pattern(100)),
        _ => V6::tcp((case.client(), PORT), case.service6(), SYN, &pattern(100)),
    };
    let cuts: Vec<usize> = (first..sent.payload.len()).step_by(8).collect();
    let fragments = sent.fragments(&cuts, 9);
    fragments.iter().rev().for_each(|fragment| case.send(fragment));
    let got: Vec<V4> = fragments.iter().map(|_| case.arrival4()).collect();
    case.quiet();
    assert_eq!(whole4(&got).data(), pattern(100));
}

rows! { a_split_header_is_dropped:
    /// RFC 6146 §3.4 lets a NAT64 ask for the whole header in the first fragment, which RFC 1858 advises.
    a_tcp_header_in_two_fragments_is_dropped_silently(16);
    /// RFC 3128: the second fragment would bring the flags.
    a_second_fragment_cannot_overwrite_tcp_flags(8);
}

#[track_caller]
fn a_split_header_is_dropped(cut: usize) {
    let Some(mut case) = STANDARD.case() else { return };
    let fragments = V6::tcp((case.client(), PORT), case.service6(), SYN, &pattern(50)).fragments(&[cut], 1);
    case.silent(&fragments[0], "malformed");
    case.swallowed(&fragments[1]);
    assert_eq!(case.sessions().len(), 0);
}

#[test]
fn datagrams_that_come_interleaved_are_kept_apart() {
    let Some(mut case) = STANDARD.case() else { return };
    let of = |host, port, data| V6::udp((host, PORT), (case.service6().0, port), &pattern(data));
    let datagrams = [
        of(case.client(), SERVICE, 2000).fragments(&[1000], 7),
        // The same identification from another host, another one from the same host.
        of(case.other(), SERVICE, 1900).fragments(&[1000], 7),
        of(case.client(), SERVICE, 1800).fragments(&[1000], 8),
    ];
    for place in [1, 0] {
        datagrams.iter().for_each(|fragments| case.send(&fragments[place]));
    }
    let mut got: Vec<V4> = (0..6).map(|_| case.arrival4()).collect();
    case.quiet();
    got.sort_by_key(|fragment| fragment.header.more_fragments);
    let mut lengths: Vec<usize> = got[..3].iter().map(|last| 1000 + last.payload.len() - 8).collect();
    lengths.sort_unstable();
    assert_eq!(lengths, [1800, 1900, 2000]);
    assert_eq!(got[3..].iter().map(V4::ports).collect::<std::collections::HashSet<_>>().len(), 2, "two mappings");
}

rows! { duplicates_do_no_harm:
    a_first_fragment_twice_is_delivered_once([0, 0, 1]);
    a_last_fragment_twice_is_delivered_once([1, 1, 0]);
}

#[track_caller]
fn duplicates_do_no_harm(order: [usize; 3]) {
    let Some(mut case) = STANDARD.case() else { return };
    let fragments = case.client_udp(&pattern(2000)).fragments(&[1000], 7);
    order.iter().for_each(|place| case.send(&fragments[*place]));
    let got = [case.arrival4(), case.arrival4()];
    case.quiet();
    assert_eq!(whole4(&got).data(), pattern(2000));
}

/// The piece of a datagram's payload from `start` to `end`.
fn piece(packet: &V6, start: usize, end: usize) -> V6 {
    let more = end < packet.payload.len();
    let header = Fragment { next: packet.next(), offset: u16::try_from(start).unwrap(), more, identification: 7 };
    let payload = [&header.bytes()[..], &packet.payload[start..end]].concat();
    V6::new(packet.source(), packet.destination(), FRAGMENT, &payload)
}

rows! { an_overlap_condemns:
    a_fragment_that_overlaps_the_end_of_another_condemns_its_datagram(992, 2008);
    a_fragment_inside_another_condemns_its_datagram(496, 1000);
    a_fragment_that_covers_all_but_ports_condemns_its_datagram(8, 2008);
}

#[track_caller]
fn an_overlap_condemns(start: usize, end: usize) {
    let Some(mut case) = STANDARD.case() else { return };
    let packet = case.client_udp(&pattern(2000));
    case.pass6(&piece(&packet, 0, 1000));
    case.silent(&piece(&packet, start, end), "fragment-overlap");
    // What comes later of it is dropped too (RFC 5722 §4).
    case.silent(&piece(&packet, 1000, 2008), "fragment-overlap");
}

#[test]
fn fragments_from_ipv4_must_not_overlap_either() {
    let Some(mut case) = STANDARD.case() else { return };
    let port = case.open_udp();
    let packet = case.server_udp(port, &pattern(1200));
    case.pass4(&packet.fragments(&[800], 5)[0]);
    case.silent(&packet.fragments(&[792], 5)[1], "fragment-overlap");
    case.silent(&packet.fragments(&[800], 5)[1], "fragment-overlap");
}

#[test]
fn a_last_fragment_that_contradicts_the_length_condemns_its_datagram() {
    let Some(mut case) = STANDARD.case() else { return };
    let long = case.client_udp(&pattern(2000)).fragments(&[800, 1600], 7);
    let short = case.client_udp(&pattern(1200)).fragments(&[1104], 7);
    case.pass6(&long[0]);
    case.pass6(&long[2]);
    case.silent(&short[1], "fragment-overlap");
}

rows! { an_echo_is_put_together:
    an_echo_in_fragments_in_order_is_put_together([0, 1, 2]);
    an_echo_in_fragments_in_reverse_is_put_together([2, 1, 0]);
}

/// The ICMPv6 checksum covers the length, which no fragment tells (RFC 7915 §4.2).
#[track_caller]
fn an_echo_is_put_together(order: [usize; 3]) {
    let Some(mut case) = STANDARD.case() else { return };
    let request = case.client_echo(&pattern(3000)).fragments(&[1200, 2400], 0x1234_5678);
    send_in(&mut case, &request, order);
    let whole = case.arrival4();
    assert_eq!((whole.header.identification, whole.header.dont_fragment), (0x5678, false));
    let identifier = whole.read_icmp().identifier();
    assert_eq!(whole.read_icmp(), Icmp::echo(8, identifier, 1, &pattern(3000)));
    let reply = V4::icmp(case.server(), POOL, &Icmp::echo(0, identifier, 1, &pattern(3000)));
    send_in(&mut case, &reply.fragments(&[1480, 2960], 0x4321), order);
    let got = case.fragments6();
    assert!(got.iter().all(|fragment| fragment.bytes().len() <= 1280));
    assert_eq!(got[0].fragment().unwrap().identification, 0x4321);
    assert_eq!(whole6(&got).read_icmp(), Icmp::echo(129, PORT, 1, &pattern(3000)));
}

/// Sends fragments, of which all but the last must be kept.
#[track_caller]
fn send_in(case: &mut Case, fragments: &[impl crate::case::Packet], order: [usize; 3]) {
    case.held(&fragments[order[0]]);
    case.held(&fragments[order[1]]);
    case.send(&fragments[order[2]]);
}

#[test]
fn an_error_in_fragments_is_put_together_and_translated() {
    let Some(mut case) = STANDARD.case() else { return };
    let sent = case.client_udp(&pattern(400));
    let out = case.pass6(&sent);
    let error = V4::icmp(case.router4(), POOL, &Icmp::error(3, 1, 0, &out.bytes()));
    let fragments = error.fragments(&[200], 1);
    case.held(&fragments[1]);
    let message = case.pass4(&fragments[0]).read_icmp();
    assert_eq!((message.kind, message.code), (1, 0));
    assert_eq!(message.body, sent.with(|header| header.hop_limit = out.header.time_to_live).bytes());
}

#[test]
fn fragments_that_wait_too_long_for_the_first_are_forgotten() {
    let Some(mut case) = waiting().case() else { return };
    let fragments = case.client_udp(&pattern(2000)).fragments(&[1000], 7);
    let before = case.drops();
    case.held(&fragments[1]);
    case.dropped_since(&before, "fragment-timeout");
    assert!(case.pass6(&fragments[0]).header.more_fragments, "alone");
}

#[test]
fn fragments_to_nobody_make_no_state() {
    let Some(mut case) = STANDARD.case() else { return };
    let fragments = case.server_udp(case.unmapped(UDP), &pattern(1600)).fragments(&[1000], 1);
    case.refused4(&fragments[0], "no-mapping");
    case.swallowed(&fragments[1]);
    assert_eq!(case.mappings().len(), 0);
}
