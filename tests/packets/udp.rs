//! RFC 6146 §3.5.1 and §3.5.3, RFC 4787, RFC 5508: UDP and ICMP query sessions, their mappings, filters and timers.

use crate::bench::POOL;
use crate::case::{ACK, Case, PATIENCE, PORT, SERVICE, SYN};
use crate::groups::{OTHERWISE, STANDARD, UNTOLD, waiting};
use crate::rows::rows;
use crate::support::eventually;
use crate::wire::{ICMP, Icmp, TCP, UDP, V4, V6};

#[test]
fn a_packet_from_inside_makes_a_mapping_and_a_session() {
    let Some(mut case) = STANDARD.case() else { return };
    let port = case.open_udp();
    let [mapping] = &case.mappings()[..] else { panic!("{:?}", case.mappings()) };
    assert_eq!((&mapping["internal"]["port"], &mapping["external"]["port"]), (&PORT.into(), &port.into()));
    let [session] = &case.sessions()[..] else { panic!("{:?}", case.sessions()) };
    assert_eq!(session["remote"]["address"], case.server().to_string());
    assert_eq!((&session["protocol"], &session["remote"]["port"]), (&"udp".into(), &SERVICE.into()));
}

#[test]
fn what_comes_back_goes_to_the_mapping_s_owner() {
    let Some(mut case) = STANDARD.case() else { return };
    let port = case.open_udp();
    let got = case.pass4(&case.server_udp(port, b"answer"));
    assert_eq!((got.source(), got.destination()), (case.service6().0, case.client()));
    assert_eq!((got.ports(), got.data()), ((SERVICE, PORT), &b"answer"[..]));
    assert_eq!(case.sessions().len(), 1);
}

#[test]
fn udp_mappings_are_endpoint_independent() {
    let Some(mut case) = STANDARD.case() else { return };
    let port = case.open_udp();
    for (remote, service) in [(case.server(), SERVICE + 1), (case.stranger(), SERVICE), (case.router4(), 1)] {
        let got = case.pass6(&V6::udp((case.client(), PORT), (case.six(remote), service), b"x"));
        assert_eq!((got.source(), got.ports()), (POOL, (port, service)));
    }
    assert_eq!((case.mappings().len(), case.sessions().len()), (1, 4));
}

#[test]
fn icmp_mappings_are_endpoint_independent() {
    let Some(mut case) = STANDARD.case() else { return };
    let identifier = case.open_echo();
    let elsewhere = V6::icmp(case.client(), case.six(case.stranger()), &Icmp::echo(128, PORT, 1, b""));
    assert_eq!(case.pass6(&elsewhere).read_icmp().identifier(), identifier);
    let neighbour = V6::icmp(case.other(), case.service6().0, &Icmp::echo(128, PORT, 1, b""));
    assert_ne!(case.pass6(&neighbour).read_icmp().identifier(), identifier);
}

#[test]
fn two_hosts_or_two_ports_never_share_a_mapping() {
    let Some(mut case) = STANDARD.case() else { return };
    let first = case.open_udp();
    let second = case.pass6(&V6::udp((case.other(), PORT), case.service6(), b"x")).ports().0;
    let third = case.pass6(&V6::udp((case.client(), PORT + 2), case.service6(), b"x")).ports().0;
    assert!(first != second && second != third && first != third, "{first} {second} {third}");
}

#[test]
fn filtering_is_endpoint_independent_by_default() {
    let Some(mut case) = STANDARD.case() else { return };
    let port = case.open_udp();
    let got = case.pass4(&V4::udp((case.stranger(), 9), (POOL, port), b"x"));
    let from = case.six(case.stranger());
    assert_eq!((got.source(), got.destination(), got.ports()), (from, case.client(), (9, PORT)));
    assert_eq!(case.sessions().len(), 2);
}

#[test]
fn a_query_from_outside_to_a_mapping_is_let_in_and_answered() {
    let Some(mut case) = STANDARD.case() else { return };
    let identifier = case.open_echo();
    let got = case.pass4(&V4::icmp(case.stranger(), POOL, &Icmp::echo(8, identifier, 1, b"x")));
    assert_eq!(got.read_icmp(), Icmp::echo(128, PORT, 1, b"x"));
    let answer = V6::icmp(case.client(), case.six(case.stranger()), &Icmp::echo(129, PORT, 1, b"x"));
    assert_eq!(case.pass6(&answer).read_icmp(), Icmp::echo(0, identifier, 1, b"x"));
}

#[test]
fn filtering_by_address_lets_in_any_port_of_who_was_sent_to() {
    let Some(mut case) = OTHERWISE.case() else { return };
    let port = case.open_udp();
    assert_eq!(case.pass4(&V4::udp((case.server(), 9), (POOL, port), b"x")).ports(), (9, PORT));
}

#[test]
fn filtering_by_address_refuses_others_until_they_are_sent_to() {
    let Some(mut case) = OTHERWISE.case() else { return };
    let port = case.open_udp();
    let sent = V4::udp((case.stranger(), SERVICE), (POOL, port), b"x");
    let (error, message) = case.refused4(&sent, "filtered");
    assert_eq!((error.destination(), message.kind, message.code), (case.stranger(), 3, 13));
    case.pass6(&V6::udp((case.client(), PORT), (case.six(case.stranger()), 7), b"x"));
    case.pass4(&sent);
    // Another mapping of the same host is another matter.
    let other = case.pass6(&V6::udp((case.client(), PORT + 2), case.service6(), b"x")).ports().0;
    case.refused4(&V4::udp((case.stranger(), SERVICE), (POOL, other), b"x"), "filtered");
}

#[test]
fn filtering_by_address_holds_for_queries() {
    let Some(mut case) = OTHERWISE.case() else { return };
    let identifier = case.open_echo();
    let query = |source| V4::icmp(source, POOL, &Icmp::echo(8, identifier, 1, b"x"));
    case.pass4(&query(case.server()));
    let (_, message) = case.refused4(&query(case.stranger()), "filtered");
    assert_eq!((message.kind, message.code), (3, 13));
}

#[test]
fn a_udp_port_without_mapping_is_unreachable() {
    let Some(mut case) = STANDARD.case() else { return };
    let sent = case.server_udp(case.unmapped(UDP), b"x");
    let (error, message) = case.refused4(&sent, "no-mapping");
    assert_eq!((error.destination(), message.kind, message.code), (case.server(), 3, 3));
    assert_eq!(message.body, sent.with(|header| header.time_to_live = 63).bytes());
    assert_eq!((case.mappings().len(), case.sessions().len()), (0, 0));
}

rows! { is_host_unreachable:
    a_request_without_mapping_is_told_that_there_is_no_host(8);
    a_reply_without_mapping_is_told_that_there_is_no_host(0);
}

/// RFC 6146 §3.5.3.
#[track_caller]
fn is_host_unreachable(kind: u8) {
    let Some(mut case) = STANDARD.case() else { return };
    let sent = V4::icmp(case.server(), POOL, &Icmp::echo(kind, case.unmapped(ICMP), 1, b"x"));
    let (_, message) = case.refused4(&sent, "no-mapping");
    assert_eq!((message.kind, message.code), (3, 1));
}

#[test]
fn mappings_are_of_one_protocol() {
    let Some(mut case) = STANDARD.case() else { return };
    // TCP's ports are others': this one is nobody's.
    let taken = case.mapped(TCP);
    let mut ports =
        (0..).map(|step| case.pass6(&V6::udp((case.client(), PORT + step), case.service6(), b"x")).ports().0);
    let port = ports.find(|port| !taken.contains(port)).unwrap();
    case.silent(&case.server_tcp(port, ACK), "no-mapping");
    case.pass6(&case.client_tcp(SYN));
    assert!(case.mappings().len() >= 2);
}

rows! { every_identifier_can_be_mapped:
    identifier_0_can_be_mapped(0);
    identifier_1_can_be_mapped(1);
    identifier_1024_can_be_mapped(1024);
    identifier_65535_can_be_mapped(65_535);
}

#[track_caller]
fn every_identifier_can_be_mapped(identifier: u16) {
    let Some(mut case) = STANDARD.case() else { return };
    let request = V6::icmp(case.client(), case.service6().0, &Icmp::echo(128, identifier, 3, b"ping"));
    let mapped = case.pass6(&request).read_icmp().identifier();
    let reply = V4::icmp(case.server(), POOL, &Icmp::echo(0, mapped, 3, b"ping"));
    assert_eq!(case.pass4(&reply).read_icmp(), Icmp::echo(129, identifier, 3, b"ping"));
}

#[test]
fn a_udp_session_of_a_second_or_two_ends_with_its_mapping() {
    let Some(mut case) = waiting().case() else { return };
    let port = case.open_udp();
    forgotten(&case);
    assert_eq!(case.mappings().len(), 0);
    case.refused4(&case.server_udp(port, b"x"), "no-mapping");
}

#[test]
fn an_echo_session_of_a_second_ends() {
    let Some(mut case) = waiting().case() else { return };
    let identifier = case.open_echo();
    forgotten(&case);
    case.refused4(&V4::icmp(case.server(), POOL, &Icmp::echo(0, identifier, 1, b"x")), "no-mapping");
}

#[test]
fn packets_from_outside_keep_a_session_alive() {
    let Some(mut case) = waiting().case() else { return };
    let port = case.open_udp();
    let neighbour = V6::udp((case.other(), PORT), case.service6(), b"x");
    case.pass6(&neighbour);
    // Made later than the client's, the neighbour's is gone first.
    eventually("a session that nobody uses to end", PATIENCE, || {
        case.pass4(&case.server_udp(port, b"still here"));
        case.sessions().len() == 1
    });
    case.pass4(&case.server_udp(port, b"still here"));
}

#[test]
fn packets_from_outside_need_not_keep_a_session_alive() {
    let Some(mut case) = UNTOLD.case() else { return };
    let port = case.open_udp();
    eventually("the session to end", PATIENCE, || {
        case.send(&case.server_udp(port, b"still here"));
        case.sessions().is_empty()
    });
    case.settle();
    while case.arrived6().is_some() {}
    case.silent(&case.server_udp(port, b"x"), "no-mapping");
}

#[test]
fn a_mapping_goes_with_its_last_session_only() {
    let Some(mut case) = waiting().case() else { return };
    let port = case.open_udp();
    let elsewhere = V6::udp((case.client(), PORT), (case.six(case.stranger()), 7), b"x");
    eventually("the first session to end", PATIENCE, || {
        case.pass6(&elsewhere);
        case.sessions().len() == 1
    });
    assert_eq!(case.pass6(&case.client_udp(b"x")).ports().0, port);
}

#[track_caller]
fn forgotten(case: &Case) {
    eventually("the session to end", PATIENCE, || case.sessions().is_empty());
}
