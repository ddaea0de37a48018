//! RFC 6146 §3.8, RFC 4787 REQ-9, RFC 5382 REQ-8, RFC 5508 REQ-7: hosts that reach each other by pool addresses.

use nat64_core::policy::{Filtering, StaticMapping};
use nat64_core::{DropReason, Protocol, Verdict};

use crate::lab::*;
use crate::wire::{Fragment, Icmp, UDP, V6, pattern};

/// Sends what must be turned round, and returns what the other host gets.
#[track_caller]
fn turn(lab: &mut Lab, packet: &V6) -> V6 {
    let outcome = lab.send6(packet);
    assert_eq!(outcome.verdict, Verdict::Hairpinned, "{outcome:?}");
    V6::read(outcome.only())
}

/// The pool port of [`OTHER`]'s UDP port 7000.
fn served(lab: &mut Lab) -> u16 {
    lab.pass6(&V6::udp((OTHER, 7000), service6(), b"x")).ports().0
}

#[test]
fn udp_is_turned_round_and_comes_from_the_sender_s_pool_address_and_port() {
    let mut lab = Lab::new();
    let port = served(&mut lab);
    let own = lab.open_udp();
    let got = turn(&mut lab, &V6::udp((CLIENT, PORT), (six(POOL), port), &pattern(33)));
    assert_eq!((got.source(), got.destination(), got.ports()), (six(POOL), OTHER, (own, 7000)));
    assert_eq!((got.data(), got.header.hop_limit), (&pattern(33)[..], 62));
    let back = turn(&mut lab, &V6::udp((OTHER, 7000), (six(POOL), own), &pattern(34)));
    assert_eq!((back.source(), back.destination(), back.ports()), (six(POOL), CLIENT, (port, PORT)));
    assert_eq!(back.data(), pattern(34));
    assert_eq!(lab.sessions().len(), 4, "a session of each end with the other");
}

#[test]
fn tcp_is_turned_round_from_syn_to_established() {
    let mut lab = Lab::new();
    let port = lab.pass6(&V6::tcp((OTHER, 80), service6(), SYN, b"")).ports().0;
    let segment = |flags| V6::tcp((CLIENT, PORT), (six(POOL), port), flags, b"");
    let syn = turn(&mut lab, &segment(SYN));
    assert_eq!((syn.source(), syn.destination(), syn.ports().1), (six(POOL), OTHER, 80));
    let answer = V6::tcp((OTHER, 80), (six(POOL), syn.ports().0), SYN_ACK, b"");
    let got = turn(&mut lab, &answer);
    assert_eq!((got.destination(), got.ports(), got.payload[13]), (CLIENT, (port, PORT), SYN_ACK));
    turn(&mut lab, &segment(ACK));
    let states: Vec<_> = lab.sessions().iter().filter(|session| session.remote.0 == POOL).map(|s| s.state).collect();
    assert_eq!(states, ["ESTABLISHED"; 2]);
}

#[test]
fn tcp_to_a_configured_mapping_is_turned_round() {
    let fixed = StaticMapping { protocol: Protocol::Tcp, internal: (OTHER, 80), external: (POOL, 8080) };
    let mut lab = Lab::with(|policy| policy.static_mappings = vec![fixed]);
    let got = turn(&mut lab, &V6::tcp((CLIENT, PORT), (six(POOL), 8080), SYN, b""));
    assert_eq!((got.destination(), got.ports().1), (OTHER, 80));
}

#[test]
fn an_echo_to_a_mapping_is_turned_round() {
    let fixed = StaticMapping { protocol: Protocol::Icmp, internal: (OTHER, 9), external: (POOL, PORT) };
    let mut lab = Lab::with(|policy| policy.static_mappings = vec![fixed]);
    // A query has one identifier for both ends; the mapping is found where it is the same on the way out.
    let ask = V6::icmp(OTHER, six(POOL), &Icmp::echo(128, 9, 1, b"ping"));
    let got = turn(&mut lab, &ask);
    assert_eq!((got.source(), got.destination()), (six(POOL), OTHER));
    assert_eq!(got.read_icmp(), Icmp::echo(128, 9, 1, b"ping"));
}

#[test]
fn a_host_reaches_itself() {
    let mut lab = Lab::new();
    let port = lab.open_udp();
    let got = turn(&mut lab, &V6::udp((CLIENT, PORT), (six(POOL), port), b"x"));
    assert_eq!((got.source(), got.destination(), got.ports()), (six(POOL), CLIENT, (port, PORT)));
}

#[test]
fn an_error_about_what_was_turned_round_is_turned_round_too() {
    let mut lab = Lab::new();
    let port = served(&mut lab);
    let own = lab.open_udp();
    let sent = V6::udp((CLIENT, PORT), (six(POOL), port), &pattern(50));
    let delivered = turn(&mut lab, &sent);
    for sender in [OTHER, ROUTER6] {
        let error = V6::icmp(sender, delivered.source(), &Icmp::error(1, 4, 0, &delivered.bytes()));
        let got = turn(&mut lab, &error);
        assert_eq!((got.source(), got.destination()), (six(POOL), CLIENT), "the sender of the packet inside");
        let message = got.read_icmp();
        assert_eq!((message.kind, message.code), (1, 4));
        let inside = V6::read(&message.body);
        assert_eq!((inside.source(), inside.destination()), (CLIENT, six(POOL)));
        assert_eq!((inside.ports(), &inside.payload[8..]), ((PORT, port), &pattern(50)[..]));
    }
    assert_eq!(lab.sessions().len(), 4);
    assert_ne!(own, port);
}

#[test]
fn a_packet_too_big_about_what_was_turned_round_keeps_its_mtu() {
    let mut lab = Lab::new();
    let port = served(&mut lab);
    let delivered = turn(&mut lab, &V6::udp((CLIENT, PORT), (six(POOL), port), &pattern(1400)));
    let error = V6::icmp(ROUTER6, delivered.source(), &Icmp::error(2, 0, 1400, &delivered.bytes()[..200]));
    let message = turn(&mut lab, &error).read_icmp();
    assert_eq!((message.kind, message.rest), (2, 1400));
}

#[test]
fn an_unknown_port_is_reported_to_the_sender_in_its_own_terms() {
    let mut lab = Lab::new();
    let sent = V6::udp((CLIENT, PORT), (six(POOL), 9), b"x");
    let (error, message) = lab.send6(&sent).error6(DropReason::NoMapping);
    assert_eq!((error.source(), error.destination()), (six(POOL), CLIENT));
    assert_eq!((message.kind, message.code), (1, 4));
    let inside = V6::read(&message.body);
    assert_eq!((inside.source(), inside.ports(), inside.destination()), (CLIENT, (PORT, 9), six(POOL)));
}

#[test]
fn filters_hold_for_neighbours_too() {
    let mut lab = Lab::with(|policy| policy.filtering = Filtering::AddressDependent);
    let port = served(&mut lab);
    let sent = V6::udp((CLIENT, PORT), (six(POOL), port), b"x");
    let (_, message) = lab.send6(&sent).error6(DropReason::Filtered);
    assert_eq!((message.kind, message.code), (1, 1));
    let own = lab.mappings().iter().find(|mapping| mapping.internal == (CLIENT, PORT)).unwrap().external.1;
    lab.send6(&V6::udp((OTHER, 7000), (six(POOL), own), b"x"));
    turn(&mut lab, &sent);
}

#[test]
fn fragments_are_turned_round_in_any_order() {
    let mut lab = Lab::new();
    let port = served(&mut lab);
    let sent = V6::udp((CLIENT, PORT), (six(POOL), port), &pattern(2000)).fragments(&[1000], 0x1234);
    lab.send6(&sent[1]).held();
    let got = lab.send6(&sent[0]).all6();
    let [first, second] = got.as_slice() else { panic!("{got:?}") };
    assert_eq!(first.fragment(), Some(Fragment { next: UDP, offset: 0, more: true, identification: 0x1234 }));
    assert_eq!(second.fragment(), Some(Fragment { next: UDP, offset: 1000, more: false, identification: 0x1234 }));
    let data = [first.fragment_data(), second.fragment_data()].concat();
    assert_eq!(V6::new(six(POOL), OTHER, UDP, &data).data(), pattern(2000));
}

#[test]
fn a_hop_limit_that_runs_out_on_the_way_round_is_reported_to_the_sender() {
    let mut lab = Lab::new();
    let port = served(&mut lab);
    let sent = V6::udp((CLIENT, PORT), (six(POOL), port), b"x");
    for hop_limit in [1, 2] {
        let (error, message) =
            lab.send6(&sent.clone().with(|header| header.hop_limit = hop_limit)).error6(DropReason::HopLimitExceeded);
        assert_eq!((error.destination(), message.kind, message.code), (CLIENT, 3, 0));
    }
    assert_eq!(turn(&mut lab, &sent.with(|header| header.hop_limit = 3)).header.hop_limit, 1);
}

#[test]
fn hairpinning_can_be_switched_off() {
    let mut lab = Lab::with(|policy| policy.hairpinning = false);
    let port = served(&mut lab);
    let outcome = lab.send6(&V6::udp((CLIENT, PORT), (six(POOL), port), b"x"));
    assert!(!matches!(outcome.verdict, Verdict::Hairpinned | Verdict::Translated(_)), "{outcome:?}");
}
