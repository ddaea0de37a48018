//! Fragments that are translated, one by one or put together.

use nat64_core::DropReason;

use crate::lab::*;
use crate::wire::{Icmp, TCP, UDP, V4, V6, pattern};

/// All orders of the numbers below `len`.
fn orders(len: usize) -> Vec<Vec<usize>> {
    let Some(last) = len.checked_sub(1) else { return vec![Vec::new()] };
    let insert = |order: &Vec<usize>| {
        let order = order.clone();
        (0..len).map(move |at| [&order[..at], &[last], &order[at..]].concat())
    };
    orders(last).iter().flat_map(insert).collect()
}

/// Puts IPv4 fragments of one datagram together.
fn whole4(fragments: &[V4]) -> V4 {
    let mut fragments = fragments.to_vec();
    fragments.sort_by_key(V4::offset);
    let mut whole = V4 { header: fragments[0].header.clone(), payload: Vec::new() };
    for (index, fragment) in fragments.iter().enumerate() {
        assert_eq!(usize::from(fragment.offset()), whole.payload.len());
        assert_eq!(fragment.header.more_fragments, index + 1 < fragments.len());
        assert_eq!(fragment.header.identification, whole.header.identification);
        assert!(!fragment.header.dont_fragment);
        whole.payload.extend(&fragment.payload);
    }
    whole
}

/// Puts IPv6 fragments of one datagram together.
fn whole6(fragments: &[V6]) -> V6 {
    let mut fragments = fragments.to_vec();
    fragments.sort_by_key(|fragment| fragment.fragment().unwrap().offset);
    let first = fragments[0].fragment().unwrap();
    let mut whole = V6::new(fragments[0].source(), fragments[0].destination(), first.next, &[]);
    for (index, fragment) in fragments.iter().enumerate() {
        let header = fragment.fragment().unwrap();
        assert_eq!(usize::from(header.offset), whole.payload.len());
        assert_eq!(header.more, index + 1 < fragments.len());
        assert_eq!((header.next, header.identification), (first.next, first.identification));
        whole.payload.extend(fragment.fragment_data());
    }
    whole
}

/// A TCP segment and a UDP datagram of the client's, with `data`.
fn from_client(data: &[u8]) -> [V6; 2] {
    [client_udp(data), V6::tcp((CLIENT, PORT), service6(), SYN, data)]
}

#[test]
fn fragments_from_ipv6_are_translated_in_every_order() {
    for packet in from_client(&pattern(3000)) {
        for order in orders(4) {
            let mut lab = Lab::new();
            let fragments = packet.fragments(&[800, 1600, 2400], 0xabcd_ef01);
            let got: Vec<V4> = order.iter().flat_map(|index| lab.send6(&fragments[*index]).all4()).collect();
            assert_eq!(got.len(), 4, "{order:?}");
            let whole = whole4(&got);
            assert_eq!((whole.header.identification, whole.data()), (0xef01, &pattern(3000)[..]), "{order:?}");
            assert_eq!(lab.sessions().len(), 1);
        }
    }
}

#[test]
fn fragments_from_ipv4_are_translated_in_every_order() {
    for order in orders(4) {
        let mut lab = Lab::new();
        let udp = server_udp(lab.open_udp(), &pattern(3000));
        let tcp = lab.pass6(&client_tcp(SYN)).ports().0;
        let tcp = V4::tcp((SERVER, SERVICE), (POOL, tcp), SYN_ACK, &pattern(3000));
        for packet in [udp, tcp] {
            let fragments = packet.fragments(&[800, 1600, 2400], 0xabcd);
            let got: Vec<V6> = order.iter().flat_map(|index| lab.send4(&fragments[*index]).all6()).collect();
            assert_eq!(got.len(), 4, "{order:?}");
            assert_eq!(whole6(&got).data(), pattern(3000), "{order:?}");
        }
    }
}

#[test]
fn a_first_fragment_goes_on_at_once_and_those_after_it_do_not_wait() {
    let mut lab = Lab::new();
    for (index, fragment) in client_udp(&pattern(3000)).fragments(&[1000, 2000], 5).iter().enumerate() {
        let got = lab.pass6(fragment);
        assert_eq!(usize::from(got.offset()), index * 1000);
    }
}

#[test]
fn tiny_fragments_are_translated() {
    for packet in from_client(&pattern(100)) {
        let mut lab = Lab::new();
        // The transport header in the first, then 8 bytes in each.
        let header = if packet.next() == TCP { 24 } else { 8 };
        let cuts: Vec<usize> = (header..packet.payload.len()).step_by(8).collect();
        let fragments = packet.fragments(&cuts, 9);
        let got: Vec<V4> = fragments.iter().rev().flat_map(|fragment| lab.send6(fragment).all4()).collect();
        assert_eq!(got.len(), fragments.len());
        assert_eq!(whole4(&got).data(), pattern(100));
    }
}

#[test]
fn a_transport_header_in_two_fragments_is_dropped_silently() {
    // RFC 6146 §3.4 lets a NAT64 ask for the whole header in the first fragment, which RFC 1858 advises.
    let mut lab = Lab::new();
    let [first, second] = &V6::tcp((CLIENT, PORT), service6(), SYN, &pattern(50)).fragments(&[16], 1)[..] else {
        panic!()
    };
    lab.send6(first).silent(DropReason::Malformed);
    let outcome = lab.send6(second);
    assert!(outcome.packets.is_empty(), "{outcome:?}");
    lab.pass_time(3 * SECOND);
    lab.is_empty();
}

#[test]
fn a_second_fragment_cannot_overwrite_tcp_flags() {
    // RFC 1858 §3.2 and RFC 3128 §2.
    let mut lab = Lab::new();
    for fragment in V6::tcp((CLIENT, PORT), service6(), SYN, &pattern(50)).fragments(&[8, 24], 1) {
        let outcome = lab.send6(&fragment);
        assert!(outcome.packets.is_empty(), "{outcome:?}");
    }
}

#[test]
fn datagrams_that_come_interleaved_are_kept_apart() {
    let mut lab = Lab::new();
    let of_client = client_udp(&pattern(2000)).fragments(&[1000], 7);
    let same_identification = V6::udp((OTHER, PORT), service6(), &pattern(1900)).fragments(&[1000], 7);
    let another = client_udp(&pattern(1800)).fragments(&[1000], 8);
    let elsewhere = V6::udp((CLIENT, PORT), (six(STRANGER), 9), &pattern(1700)).fragments(&[1000], 7);
    let all = [of_client, same_identification, another, elsewhere];
    let mut got = vec![Vec::new(); 4];
    for index in [1, 0] {
        for (datagram, fragments) in all.iter().enumerate() {
            got[datagram].extend(lab.send6(&fragments[index]).all4());
        }
    }
    for (got, len) in got.iter().zip([2000, 1900, 1800, 1700]) {
        assert_eq!(whole4(got).data(), pattern(len));
    }
}

#[test]
fn a_duplicate_is_not_delivered_twice_and_does_no_harm() {
    for order in [&[0, 0, 1][..], &[1, 1, 0], &[1, 1, 1, 0]] {
        let mut lab = Lab::new();
        let fragments = client_udp(&pattern(2000)).fragments(&[1000], 7);
        let got: Vec<V4> = order.iter().flat_map(|index: &usize| lab.send6(&fragments[*index]).all4()).collect();
        assert_eq!(whole4(&got).data(), pattern(2000), "{order:?}");
    }
}

#[test]
fn an_identification_may_come_again_when_its_datagram_is_complete() {
    let mut lab = Lab::new();
    for len in [2000, 1500, 2500] {
        let fragments = client_udp(&pattern(len)).fragments(&[1000], 7);
        let got: Vec<V4> = fragments.iter().flat_map(|fragment| lab.send6(fragment).all4()).collect();
        assert_eq!(whole4(&got).data(), pattern(len));
    }
}

#[test]
fn overlapping_fragments_condemn_their_datagram() {
    let packet = client_udp(&pattern(2000));
    let piece = |start: usize, end: usize| {
        let mut fragments = packet.fragments(&[start], 7);
        let mut fragment = fragments.remove(1);
        fragment.payload.truncate(8 + end - start);
        if end < packet.payload.len() {
            fragment.payload[3] |= 1;
        }
        fragment
    };
    let first = packet.fragments(&[1000], 7)[0].clone();
    for other in [piece(992, 2008), piece(500 / 8 * 8, 1000), piece(8, 2008)] {
        let mut lab = Lab::new();
        lab.pass6(&first);
        lab.send6(&other).silent(DropReason::FragmentOverlap);
        // What comes later of the same datagram is dropped too (RFC 5722).
        lab.send6(&piece(1000, 2008)).silent(DropReason::FragmentOverlap);
    }
    // Those that wait for the first are dropped when another overlaps them.
    let mut lab = Lab::new();
    lab.send6(&piece(1000, 2008)).held();
    lab.send6(&piece(1496, 2008)).silent(DropReason::FragmentOverlap);
    let outcome = lab.send6(&first);
    assert!(outcome.packets.is_empty(), "{outcome:?}");
}

#[test]
fn a_last_fragment_that_contradicts_the_length_condemns_its_datagram() {
    let mut lab = Lab::new();
    let long = client_udp(&pattern(2000)).fragments(&[800, 1600], 7);
    let short = client_udp(&pattern(1200)).fragments(&[1104], 7);
    lab.pass6(&long[0]);
    lab.pass6(&long[2]);
    lab.send6(&short[1]).silent(DropReason::FragmentOverlap);
}

#[test]
fn an_echo_in_fragments_is_put_together_and_translated() {
    let request = V6::icmp(CLIENT, six(SERVER), &Icmp::echo(128, PORT, 5, &pattern(3000)));
    for order in orders(3) {
        let mut lab = Lab::new();
        let fragments = request.fragments(&[1200, 2400], 0x1234_5678);
        let mut got = Vec::new();
        for index in &order {
            got.extend(lab.send6(&fragments[*index]).all4());
        }
        let [whole] = got.as_slice() else { panic!("{got:?}") };
        assert_eq!((whole.header.identification, whole.header.dont_fragment), (0x5678, false));
        let identifier = whole.read_icmp().identifier();
        assert_eq!(whole.read_icmp(), Icmp::echo(8, identifier, 5, &pattern(3000)));
        let reply = V4::icmp(SERVER, POOL, &Icmp::echo(0, identifier, 5, &pattern(3000)));
        let fragments = reply.fragments(&[1480, 2960], 0x4321);
        let mut got = Vec::new();
        for index in &order {
            got.extend(lab.send4(&fragments[*index]).all6());
        }
        let whole = whole6(&got);
        assert!(got.iter().all(|fragment| fragment.bytes().len() <= 1280));
        assert_eq!(got[0].fragment().unwrap().identification, 0x4321);
        assert_eq!(whole.read_icmp(), Icmp::echo(129, PORT, 5, &pattern(3000)), "{order:?}");
    }
}

#[test]
fn congestion_that_a_fragment_has_met_is_not_lost_when_it_is_put_together() {
    // RFC 3168 §5.3; one whose sender does not take part stays as it is.
    for (class, expected) in [(0x02, 0x03), (0x01, 0x03), (0xb8, 0xb8), (0x03, 0x03)] {
        let mut lab = Lab::new();
        let request = V6::icmp(CLIENT, six(SERVER), &Icmp::echo(128, PORT, 5, &pattern(2000)));
        let mut fragments = request.fragments(&[800, 1600], 1);
        fragments.iter_mut().for_each(|fragment| fragment.header.traffic_class = class);
        fragments[1].header.traffic_class |= 3;
        let got: Vec<V4> = fragments.iter().flat_map(|fragment| lab.send6(fragment).all4()).collect();
        assert_eq!((got.len(), got[0].tos()), (1, expected), "{class:#x}");
        let reply = V4::icmp(SERVER, POOL, &Icmp::echo(0, got[0].read_icmp().identifier(), 5, &pattern(800)));
        let mut fragments = reply.fragments(&[400], 1);
        fragments.iter_mut().for_each(|fragment| fragment.header.ecn = (class & 3).try_into().unwrap());
        fragments[1].header.ecn = 3.try_into().unwrap();
        let got: Vec<V6> = fragments.iter().flat_map(|fragment| lab.send4(fragment).all6()).collect();
        assert_eq!((got.len(), got[0].header.traffic_class), (1, expected & 3), "{class:#x}");
    }
}

#[test]
fn udp_without_checksum_in_fragments_is_put_together_and_given_one() {
    for order in orders(3) {
        let mut lab = Lab::new();
        let mut datagram = server_udp(lab.open_udp(), &pattern(4000));
        datagram.payload[6..8].fill(0);
        let fragments = datagram.fragments(&[1480, 2960], 0x4321);
        let got: Vec<V6> = order.iter().flat_map(|index| lab.send4(&fragments[*index]).all6()).collect();
        let whole = whole6(&got);
        assert_eq!((whole.next(), whole.data()), (UDP, &pattern(4000)[..]), "{order:?}");
        assert_eq!(got[0].fragment().unwrap().identification, 0x4321);
    }
}

#[test]
fn a_short_udp_datagram_without_checksum_in_fragments_comes_out_whole() {
    let mut lab = Lab::new();
    let mut datagram = server_udp(lab.open_udp(), &pattern(100));
    datagram.payload[6..8].fill(0);
    let fragments = datagram.fragments(&[56], 1);
    lab.send4(&fragments[0]).held();
    let got = lab.send4(&fragments[1]).all6();
    assert_eq!((got.len(), got[0].data()), (1, &pattern(100)[..]));
}

#[test]
fn an_error_in_fragments_is_put_together_and_translated() {
    let mut lab = Lab::new();
    let sent = client_udp(&pattern(400));
    let out = lab.pass6(&sent).bytes();
    let error4 = V4::icmp(ROUTER4, POOL, &Icmp::error(3, 1, 0, &out));
    let delivered = lab.pass4(&server_udp(V4::read(&out).ports().0, &pattern(400))).bytes();
    let error6 = V6::icmp(ROUTER6, six(SERVER), &Icmp::error(1, 4, 0, &delivered));
    for order in orders(3) {
        let fragments = error4.fragments(&[8, 200], 1);
        let got: Vec<V6> = order.iter().flat_map(|index| lab.send4(&fragments[*index]).all6()).collect();
        let [whole] = got.as_slice() else { panic!("{got:?}") };
        assert_eq!((whole.source(), whole.destination()), (six(ROUTER4), CLIENT));
        let message = whole.read_icmp();
        assert_eq!((message.kind, message.code), (1, 0));
        assert_eq!(message.body, sent.clone().with(|header| header.hop_limit = 63).bytes());
        let fragments = error6.fragments(&[8, 200], 0x0001_0203);
        let got: Vec<V4> = order.iter().flat_map(|index| lab.send6(&fragments[*index]).all4()).collect();
        let [whole] = got.as_slice() else { panic!("{got:?}") };
        assert_eq!((whole.source(), whole.header.identification), (POOL, 0x0203));
        assert_eq!((whole.read_icmp().kind, whole.read_icmp().code), (3, 3));
    }
}

#[test]
fn fragments_of_what_is_longer_than_any_packet_are_dropped() {
    // 65528 bytes of data, and a header: the "ping of death". IPv6 has no counterpart that IPv4 could carry either.
    let mut lab = Lab::new();
    let identifier = lab.open_echo();
    let echo = Icmp::echo(0, identifier, 1, &pattern(65_520));
    let cuts: Vec<usize> = (1..32).map(|index| index * 2048).collect();
    let parts = V4::icmp(SERVER, POOL, &Icmp::echo(0, identifier, 1, b"")).with(|header| header.identification = 5);
    let whole = V4 { header: parts.header, payload: echo.bytes(0) };
    for fragment in whole.fragments(&cuts, 5) {
        assert!(lab.send4(&fragment).packets.is_empty());
    }
    assert_eq!(lab.worker.counters.dropped(DropReason::Malformed), 32);
    let echo = V6::icmp(CLIENT, six(SERVER), &Icmp::echo(128, PORT, 1, &pattern(65_520)));
    for fragment in echo.fragments(&cuts, 5) {
        assert!(lab.send6(&fragment).packets.is_empty());
    }
    assert_eq!(lab.worker.counters.dropped(DropReason::TooBig), 32);
}

#[test]
fn what_the_first_fragment_names_as_next_header_holds_for_all() {
    // RFC 8200 §4.5: "Only the value from the Offset zero fragment packet is used for reassembly."
    for order in [[0, 1], [1, 0]] {
        let mut lab = Lab::new();
        let mut fragments = client_udp(&pattern(1000)).fragments(&[504], 7);
        fragments[1].payload[0] = TCP;
        let got: Vec<V4> = order.iter().flat_map(|index| lab.send6(&fragments[*index]).all4()).collect();
        assert!(got.iter().all(|fragment| fragment.protocol() == UDP), "{got:?}");
        assert_eq!(whole4(&got).data(), pattern(1000));
    }
}

#[test]
fn fragments_to_nobody_make_no_state() {
    let mut lab = Lab::new();
    for fragment in server_udp(4242, &pattern(2000)).fragments(&[1000], 1) {
        let outcome = lab.send4(&fragment);
        assert!(outcome.all4().iter().all(|error| error.read_icmp().kind == 3));
    }
    lab.is_empty();
}
