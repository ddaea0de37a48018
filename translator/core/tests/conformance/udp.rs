//! RFC 6146 §3.5.1, RFC 4787: UDP sessions, their mappings, filters and timers.

use nat64_core::policy::{Filtering, StaticMapping, Timers};
use nat64_core::{DropReason, Protocol};

use crate::lab::*;
use crate::wire::{Icmp, V4, V6};

#[test]
fn a_packet_from_inside_makes_a_mapping_and_a_session_with_all_their_fields() {
    let mut lab = Lab::new();
    let port = lab.open_udp();
    let [mapping] = lab.mappings()[..] else { panic!("{:?}", lab.mappings()) };
    assert_eq!((mapping.protocol, mapping.sessions, mapping.fixed), (Protocol::Udp, 1, false));
    assert_eq!((mapping.internal, mapping.external), ((CLIENT, PORT), (POOL, port)));
    let [session] = lab.sessions()[..] else { panic!("{:?}", lab.sessions()) };
    assert_eq!((session.internal, session.external), ((CLIENT, PORT), (POOL, port)));
    assert_eq!((session.remote, session.remote6), ((SERVER, SERVICE), six(SERVER)));
    lab.lives_for(5 * MINUTE);
}

#[test]
fn mappings_are_endpoint_independent() {
    let mut lab = Lab::new();
    let port = lab.open_udp();
    for (remote, service) in [(SERVER, SERVICE + 1), (STRANGER, SERVICE), (ROUTER4, 1)] {
        let got = lab.pass6(&V6::udp((CLIENT, PORT), (six(remote), service), b"x"));
        assert_eq!((got.source(), got.ports()), (POOL, (port, service)));
    }
    assert_eq!((lab.mappings().len(), lab.sessions().len()), (1, 4));
}

#[test]
fn two_hosts_or_two_ports_never_share_a_mapping() {
    let mut lab = Lab::new();
    let mut ports = vec![lab.open_udp()];
    ports.push(lab.pass6(&V6::udp((OTHER, PORT), service6(), b"x")).ports().0);
    ports.push(lab.pass6(&V6::udp((CLIENT, PORT + 2), service6(), b"x")).ports().0);
    ports.sort_unstable();
    ports.dedup();
    assert_eq!(ports.len(), 3);
}

#[test]
fn what_comes_back_goes_to_the_mapping_s_owner() {
    let mut lab = Lab::new();
    let port = lab.open_udp();
    let got = lab.pass4(&server_udp(port, b"answer"));
    assert_eq!((got.source(), got.destination()), (six(SERVER), CLIENT));
    assert_eq!((got.ports(), got.data()), ((SERVICE, PORT), &b"answer"[..]));
    assert_eq!(lab.sessions().len(), 1);
}

#[test]
fn filtering_is_endpoint_independent_by_default_and_makes_a_session() {
    let mut lab = Lab::new();
    let port = lab.open_udp();
    let got = lab.pass4(&V4::udp((STRANGER, 9), (POOL, port), b"x"));
    assert_eq!((got.source(), got.destination(), got.ports()), (six(STRANGER), CLIENT, (9, PORT)));
    assert_eq!(lab.sessions().len(), 2);
}

#[test]
fn filtering_by_address_lets_in_any_port_of_who_was_sent_to_and_refuses_others() {
    let mut lab = Lab::with(|policy| policy.filtering = Filtering::AddressDependent);
    let port = lab.open_udp();
    lab.pass4(&V4::udp((SERVER, 9), (POOL, port), b"x"));
    let sent = V4::udp((STRANGER, SERVICE), (POOL, port), b"x");
    let (error, message) = lab.send4(&sent).error4(DropReason::Filtered);
    assert_eq!((error.destination(), message.kind, message.code), (STRANGER, 3, 13));
    lab.pass6(&V6::udp((CLIENT, PORT), (six(STRANGER), 7), b"x"));
    lab.pass4(&sent);
    // Another mapping of the same host is another matter.
    let other = lab.pass6(&V6::udp((CLIENT, PORT + 2), service6(), b"x")).ports().0;
    lab.send4(&V4::udp((STRANGER, SERVICE), (POOL, other), b"x")).error4(DropReason::Filtered);
}

#[test]
fn a_port_without_mapping_is_unreachable() {
    let mut lab = Lab::new();
    let port = lab.open_udp();
    let sent = server_udp(port ^ 2, b"x");
    let (error, message) = lab.send4(&sent).error4(DropReason::NoMapping);
    assert_eq!((error.source(), error.destination()), (POOL, SERVER));
    assert_eq!((message.kind, message.code, message.body), (3, 3, sent.bytes()));
    assert_eq!((lab.mappings().len(), lab.sessions().len()), (1, 1));
}

#[test]
fn the_timer_starts_again_with_every_packet_of_either_side() {
    let mut lab = Lab::new();
    let port = lab.open_udp();
    for _ in 0..5 {
        lab.pass_time(4 * MINUTE);
        lab.pass6(&client_udp(b"x"));
        lab.lives_for(5 * MINUTE);
        lab.pass_time(4 * MINUTE);
        lab.pass4(&server_udp(port, b"x"));
        lab.lives_for(5 * MINUTE);
    }
}

#[test]
fn packets_from_outside_need_not_keep_a_session_alive() {
    let mut lab = Lab::with(|policy| policy.inbound_refresh = false);
    let port = lab.open_udp();
    lab.pass_time(4 * MINUTE);
    lab.pass4(&server_udp(port, b"x"));
    lab.pass_time(MINUTE + SECOND);
    lab.is_empty();
}

#[test]
fn a_session_lives_at_least_two_minutes_and_five_by_default_and_then_goes_with_its_mapping() {
    assert!(Timers::default().udp >= 5 * MINUTE);
    let mut lab = Lab::new();
    let port = lab.open_udp();
    lab.pass_time(5 * MINUTE - SECOND);
    assert_eq!(lab.sessions().len(), 1);
    lab.pass_time(2 * SECOND);
    lab.is_empty();
    lab.send4(&server_udp(port, b"x")).error4(DropReason::NoMapping);
}

#[test]
fn the_lifetime_is_configurable() {
    for seconds in [1, 120, 3600] {
        let mut lab = Lab::with(|policy| policy.timers.udp = seconds * SECOND);
        lab.open_udp();
        lab.lives_for(seconds * SECOND);
        lab.pass_time(seconds * SECOND + SECOND);
        lab.is_empty();
    }
}

#[test]
fn a_mapping_goes_with_its_last_session_only() {
    let mut lab = Lab::new();
    let port = lab.open_udp();
    lab.pass_time(3 * MINUTE);
    lab.pass6(&V6::udp((CLIENT, PORT), (six(STRANGER), 7), b"x"));
    lab.pass_time(3 * MINUTE);
    assert_eq!((lab.sessions().len(), lab.mappings().len()), (1, 1));
    assert_eq!(lab.pass6(&client_udp(b"x")).ports().0, port);
}

#[test]
fn a_mapping_of_the_configuration_stays_and_works_both_ways() {
    let fixed = StaticMapping { protocol: Protocol::Udp, internal: (CLIENT, 53), external: (POOL, 5353) };
    let mut lab = Lab::with(|policy| policy.static_mappings = vec![fixed]);
    lab.pass_time(10 * MINUTE);
    let got = lab.pass4(&V4::udp((SERVER, 9), (POOL, 5353), b"x"));
    assert_eq!((got.destination(), got.ports()), (CLIENT, (9, 53)));
    let got = lab.pass6(&V6::udp((CLIENT, 53), (six(STRANGER), 7), b"x"));
    assert_eq!((got.source(), got.ports()), (POOL, (5353, 7)));
    lab.pass_time(10 * MINUTE);
    assert_eq!((lab.sessions().len(), lab.mappings().len()), (0, 1));
}

#[test]
fn mappings_and_filters_are_of_one_protocol() {
    let mut lab = Lab::new();
    let port = lab.open_udp();
    lab.send4(&server_tcp(port, ACK)).silent(DropReason::NoMapping);
    lab.send4(&V4::icmp(SERVER, POOL, &Icmp::echo(8, port, 1, b""))).error4(DropReason::NoMapping);
    let segment = lab.pass6(&client_tcp(SYN));
    assert_eq!(lab.mappings().len(), 2);
    assert_eq!(segment.source(), POOL);
}

#[test]
fn behaviour_does_not_change_with_time_or_load() {
    // RFC 4787 REQ-11: a thousand other mappings and an hour of traffic later the same mapping is used the same way.
    let mut lab = Lab::new();
    let port = lab.open_udp();
    for round in 0..15 {
        for source in 0..100 {
            lab.pass6(&V6::udp((OTHER, 2000 + round * 100 + source), service6(), b"x"));
        }
        lab.pass_time(4 * MINUTE);
        assert_eq!(lab.pass6(&V6::udp((CLIENT, PORT), (six(STRANGER), round + 1), b"x")).ports().0, port);
        assert_eq!(lab.pass4(&V4::udp((ROUTER4, round + 1), (POOL, port), b"x")).destination(), CLIENT);
    }
}

#[test]
fn packets_a_filter_refuses_refresh_nothing() {
    let mut lab = Lab::with(|policy| policy.filtering = Filtering::AddressDependent);
    let port = lab.open_udp();
    lab.pass_time(4 * MINUTE);
    lab.send4(&V4::udp((STRANGER, 9), (POOL, port), b"x")).error4(DropReason::Filtered);
    lab.lives_for(MINUTE);
    lab.pass_time(MINUTE + SECOND);
    lab.is_empty();
}
