//! How connections open, from either side and from both.

use nat64_core::policy::{Filtering, PoolRange, StaticMapping};
use nat64_core::{DropReason, Protocol};

use crate::lab::*;
use crate::wire::{Icmp, V4, V6};

/// A SYN from a stranger to a pool port.
fn stranger_syn(port: u16) -> V4 {
    V4::tcp((STRANGER, 9), (POOL, port), SYN, b"")
}

/// Asserts that what was sent is one "port unreachable" about `syn`.
fn assert_port_unreachable(sent: &[Vec<u8>], syn: &V4) {
    let [error] = sent else { panic!("{sent:?}") };
    let error = V4::read(error);
    assert_eq!((error.source(), error.destination()), (syn.destination(), syn.source()));
    assert_eq!(error.read_icmp(), Icmp::error(3, 3, 0, &syn.bytes()));
}

#[test]
fn a_syn_from_inside_makes_a_mapping_and_a_session_in_v6_init() {
    let mut lab = Lab::new();
    let got = lab.pass6(&client_tcp(SYN));
    let [session] = lab.sessions()[..] else { panic!("{:?}", lab.sessions()) };
    assert_eq!((session.internal, session.external), ((CLIENT, PORT), (POOL, got.ports().0)));
    assert_eq!((session.remote, session.remote6), ((SERVER, SERVICE), six(SERVER)));
    assert_eq!(lab.state(), "V6_INIT");
    lab.lives_for(4 * MINUTE);
}

#[test]
fn a_connection_from_inside_opens_carries_data_and_closes() {
    let mut lab = Lab::new();
    let port = lab.open_tcp();
    let got = lab.pass6(&V6::tcp((CLIENT, PORT), service6(), ACK | 8, b"GET"));
    assert_eq!((got.data(), got.ports()), (&b"GET"[..], (port, SERVICE)));
    let got = lab.pass4(&V4::tcp((SERVER, SERVICE), (POOL, port), ACK | 8, b"200"));
    assert_eq!((got.data(), got.destination()), (&b"200"[..], CLIENT));
    lab.pass4(&server_tcp(port, FIN_ACK));
    lab.pass6(&client_tcp(FIN_ACK));
    lab.pass4(&server_tcp(port, ACK));
    assert_eq!(lab.state(), "V6_FIN_V4_FIN_RCV");
}

#[test]
fn mappings_are_endpoint_independent() {
    let mut lab = Lab::new();
    let port = lab.open_tcp();
    for (remote, service) in [(SERVER, SERVICE + 1), (STRANGER, SERVICE)] {
        assert_eq!(lab.pass6(&V6::tcp((CLIENT, PORT), (six(remote), service), SYN, b"")).ports(), (port, service));
    }
    assert_eq!((lab.mappings().len(), lab.sessions().len()), (1, 3));
}

#[test]
fn simultaneous_open_with_a_session_from_inside_works() {
    let mut lab = Lab::new();
    let port = lab.pass6(&client_tcp(SYN)).ports().0;
    let got = lab.pass4(&server_tcp(port, SYN));
    assert_eq!((got.destination(), got.payload[13]), (CLIENT, SYN));
    assert_eq!(lab.state(), "ESTABLISHED");
    lab.pass6(&client_tcp(SYN_ACK));
    lab.pass4(&server_tcp(port, SYN_ACK));
    assert_eq!(lab.state(), "ESTABLISHED");
}

#[test]
fn a_connection_from_outside_to_a_mapping_opens_at_once() {
    let mut lab = Lab::new();
    let port = lab.open_tcp();
    let got = lab.pass4(&stranger_syn(port));
    assert_eq!((got.source(), got.destination(), got.ports()), (six(STRANGER), CLIENT, (9, PORT)));
    let session = *lab.sessions().iter().find(|session| session.remote.0 == STRANGER).unwrap();
    assert_eq!((session.state, session.remote6), ("V4_INIT", six(STRANGER)));
    assert!(session.expires_in >= 4 * MINUTE);
    lab.pass6(&V6::tcp((CLIENT, PORT), (six(STRANGER), 9), SYN_ACK, b""));
    assert!(lab.sessions().iter().all(|session| session.state == "ESTABLISHED"));
}

#[test]
fn a_connection_from_outside_to_a_configured_mapping_opens_at_once() {
    let fixed = StaticMapping { protocol: Protocol::Tcp, internal: (CLIENT, 80), external: (POOL, 8080) };
    let mut lab = Lab::with(|policy| policy.static_mappings = vec![fixed]);
    assert_eq!(lab.pass4(&stranger_syn(8080)).ports(), (9, 80));
    assert_eq!(lab.pass6(&V6::tcp((CLIENT, 80), (six(STRANGER), 9), SYN_ACK, b"")).ports(), (8080, 9));
    assert_eq!(lab.state(), "ESTABLISHED");
}

#[test]
fn a_syn_to_nobody_is_kept_for_six_seconds_and_then_answered() {
    let mut lab = Lab::new();
    let syn = stranger_syn(4242);
    lab.send4(&syn).held();
    assert_eq!(lab.mappings(), Vec::new(), "it makes no mapping");
    assert_eq!(lab.pass_time(6 * SECOND), Vec::<Vec<u8>>::new());
    assert_port_unreachable(&lab.pass_time(SECOND), &syn);
    assert_eq!(lab.pass_time(MINUTE), Vec::<Vec<u8>>::new(), "once");
}

#[test]
fn a_syn_to_nobody_that_is_sent_again_is_answered_once() {
    let mut lab = Lab::new();
    let syn = stranger_syn(4242);
    for _ in 0..3 {
        lab.send4(&syn).held();
        assert_eq!(lab.pass_time(SECOND), Vec::<Vec<u8>>::new());
    }
    assert_port_unreachable(&lab.pass_time(MINUTE), &syn);
}

#[test]
fn a_syn_that_meets_one_from_inside_in_time_is_never_answered() {
    // A pool of one port: the client's mapping is the one that the stranger's SYN was for.
    let only = PoolRange { first_port: 5000, last_port: 5000, ..PoolRange::address(POOL) };
    let mut lab = Lab::with(|policy| policy.pool = vec![only]);
    lab.send4(&stranger_syn(5000)).held();
    lab.pass_time(5 * SECOND);
    let got = lab.pass6(&V6::tcp((CLIENT, PORT), (six(STRANGER), 9), SYN, b""));
    assert_eq!(got.ports(), (5000, 9));
    assert_eq!(lab.state(), "ESTABLISHED");
    assert_eq!(lab.pass_time(MINUTE), Vec::<Vec<u8>>::new());
    lab.pass4(&V4::tcp((STRANGER, 9), (POOL, 5000), SYN_ACK, b""));
}

#[test]
fn a_kept_syn_that_is_sent_again_and_let_in_is_never_answered() {
    // The pool's only port is nobody's when the SYN comes, and has a mapping when it comes again.
    let only = PoolRange { first_port: 5000, last_port: 5000, ..PoolRange::address(POOL) };
    let mut lab = Lab::with(|policy| policy.pool = vec![only]);
    lab.send4(&stranger_syn(5000)).held();
    lab.pass_time(SECOND);
    lab.open_tcp();
    lab.pass4(&stranger_syn(5000));
    lab.pass6(&V6::tcp((CLIENT, PORT), (six(STRANGER), 9), SYN_ACK, b""));
    assert_eq!(lab.pass_time(MINUTE), Vec::<Vec<u8>>::new());
    assert!(lab.sessions().iter().all(|session| session.state == "ESTABLISHED"));
}

#[test]
fn a_syn_that_a_filter_refuses_is_kept_too() {
    let mut lab = Lab::with(|policy| policy.filtering = Filtering::AddressDependent);
    let port = lab.open_tcp();
    let syn = stranger_syn(port);
    lab.send4(&syn).held();
    assert_eq!(lab.pass_time(6 * SECOND), Vec::<Vec<u8>>::new());
    assert_port_unreachable(&lab.pass_time(SECOND), &syn);
    // Simultaneous open through the filter.
    lab.send4(&syn).held();
    lab.pass6(&V6::tcp((CLIENT, PORT), (six(STRANGER), 9), SYN, b""));
    assert!(lab.sessions().iter().all(|session| session.state == "ESTABLISHED"));
    assert_eq!(lab.pass_time(MINUTE), Vec::<Vec<u8>>::new());
}

#[test]
fn a_filter_by_address_lets_in_connections_of_who_was_sent_to() {
    let mut lab = Lab::with(|policy| policy.filtering = Filtering::AddressDependent);
    let port = lab.open_tcp();
    lab.pass4(&V4::tcp((SERVER, 9999), (POOL, port), SYN, b""));
    lab.send4(&V4::tcp((STRANGER, 9), (POOL, port), ACK, b"")).error4(DropReason::Filtered);
}

#[test]
fn unasked_connections_can_be_dropped_silently() {
    let mut lab = Lab::with(|policy| policy.limits.stored_syns = 0);
    lab.send4(&stranger_syn(4242)).silent(DropReason::StoredSynLimit);
    let mut lab = Lab::with(|policy| policy.errors.send = false);
    lab.send4(&stranger_syn(4242)).held();
    assert_eq!(lab.pass_time(MINUTE), Vec::<Vec<u8>>::new());
    let mut lab = Lab::with(|policy| policy.inbound_tcp = false);
    let port = lab.open_tcp();
    for port in [port, 4242] {
        lab.send4(&stranger_syn(port)).silent(DropReason::AdministrativelyProhibited);
    }
    assert_eq!((lab.sessions().len(), lab.pass_time(MINUTE)), (1, Vec::<Vec<u8>>::new()));
    // What somebody inside has asked for comes in.
    lab.pass6(&V6::tcp((CLIENT, PORT), (six(STRANGER), 9), SYN, b""));
    lab.pass4(&stranger_syn(port));
}

#[test]
fn kept_syns_are_bounded() {
    let mut lab = Lab::with(|policy| policy.limits.stored_syns = 16);
    let verdicts = (0..200_u8).map(|host| {
        let syn = V4::tcp((std::net::Ipv4Addr::new(203, 0, 113, host), 9), (POOL, 4242), SYN, b"");
        lab.send4(&syn).verdict
    });
    assert_eq!(verdicts.filter(|verdict| *verdict == nat64_core::Verdict::Held).count(), 16);
    assert_eq!(lab.pass_time(MINUTE).len(), 16);
    lab.send4(&stranger_syn(4242)).held();
}

#[test]
fn how_long_a_syn_is_kept_is_configurable() {
    let mut lab = Lab::with(|policy| policy.timers.tcp_incoming_syn = SECOND);
    lab.send4(&stranger_syn(4242)).held();
    assert_eq!(lab.pass_time(2 * SECOND).len(), 1);
}

#[test]
fn a_syn_with_data_is_forwarded_with_it() {
    // RFC 7413; RFC 5382 REQ-2 asks for all valid sequences.
    let mut lab = Lab::new();
    let got = lab.pass6(&V6::tcp((CLIENT, PORT), service6(), SYN, b"early"));
    assert_eq!(got.data(), b"early");
}

#[test]
fn a_syn_with_rst_opens_nothing() {
    let mut lab = Lab::new();
    lab.send6(&client_tcp(SYN | RST)).silent(DropReason::NoSession);
    lab.send4(&server_tcp(4242, SYN | RST)).silent(DropReason::NoMapping);
    lab.is_empty();
}
