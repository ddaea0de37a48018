//! RFC 6146 §3.5.3, RFC 5508: echo sessions.

use nat64_core::policy::{Filtering, StaticMapping, Timers};
use nat64_core::{DropReason, Protocol};

use crate::lab::*;
use crate::wire::{Icmp, V4, V6};

fn ask(identifier: u16) -> V6 {
    V6::icmp(CLIENT, six(SERVER), &Icmp::echo(128, identifier, 3, b"ping"))
}

fn reply(identifier: u16) -> V4 {
    V4::icmp(SERVER, POOL, &Icmp::echo(0, identifier, 3, b"ping"))
}

#[test]
fn a_request_makes_a_mapping_of_its_identifier_and_the_reply_comes_back() {
    let mut lab = Lab::new();
    let out = lab.pass6(&ask(77));
    assert_eq!((out.source(), out.destination()), (POOL, SERVER));
    let message = out.read_icmp();
    let identifier = message.identifier();
    assert_eq!(message, Icmp::echo(8, identifier, 3, b"ping"));
    let back = lab.pass4(&reply(identifier));
    assert_eq!((back.source(), back.destination()), (six(SERVER), CLIENT));
    assert_eq!(back.read_icmp(), Icmp::echo(129, 77, 3, b"ping"));
    let [mapping] = lab.mappings()[..] else { panic!("{:?}", lab.mappings()) };
    assert_eq!((mapping.internal, mapping.external), ((CLIENT, 77), (POOL, identifier)));
    let [session] = lab.sessions()[..] else { panic!("{:?}", lab.sessions()) };
    assert_eq!((session.remote.0, session.remote6, session.protocol), (SERVER, six(SERVER), Protocol::Icmp));
}

#[test]
fn an_identifier_is_mapped_the_same_for_every_destination_and_differently_for_every_host() {
    let mut lab = Lab::new();
    let first = lab.pass6(&ask(77)).read_icmp().identifier();
    let elsewhere = V6::icmp(CLIENT, six(STRANGER), &Icmp::echo(128, 77, 1, b""));
    assert_eq!(lab.pass6(&elsewhere).read_icmp().identifier(), first);
    assert_eq!((lab.mappings().len(), lab.sessions().len()), (1, 2));
    let neighbour = V6::icmp(OTHER, six(SERVER), &Icmp::echo(128, 77, 1, b""));
    assert_ne!(lab.pass6(&neighbour).read_icmp().identifier(), first);
}

#[test]
fn every_identifier_can_be_mapped() {
    let mut lab = Lab::new();
    for identifier in [0, 1, 1023, 1024, 0x8000, 0xffff] {
        let mapped = lab.pass6(&ask(identifier)).read_icmp().identifier();
        assert_eq!(lab.pass4(&reply(mapped)).read_icmp().identifier(), identifier);
    }
}

#[test]
fn a_session_lives_sixty_seconds_after_its_last_packet() {
    assert_eq!(Timers::default().icmp, MINUTE);
    let mut lab = Lab::new();
    let identifier = lab.pass6(&ask(77)).read_icmp().identifier();
    lab.lives_for(MINUTE);
    lab.pass_time(50 * SECOND);
    lab.pass4(&reply(identifier));
    lab.lives_for(MINUTE);
    lab.pass_time(50 * SECOND);
    lab.pass6(&ask(77));
    lab.lives_for(MINUTE);
    lab.pass_time(MINUTE - SECOND);
    assert_eq!(lab.sessions().len(), 1);
    lab.pass_time(2 * SECOND);
    lab.is_empty();
}

#[test]
fn the_lifetime_is_configurable() {
    for seconds in [1, 300] {
        let mut lab = Lab::with(|policy| policy.timers.icmp = seconds * SECOND);
        lab.pass6(&ask(1));
        lab.lives_for(seconds * SECOND);
    }
}

#[test]
fn a_query_from_outside_without_mapping_is_told_that_there_is_no_host() {
    for kind in [0, 8] {
        let mut lab = Lab::new();
        let sent = V4::icmp(SERVER, POOL, &Icmp::echo(kind, 4242, 1, b"x"));
        let (error, message) = lab.send4(&sent).error4(DropReason::NoMapping);
        assert_eq!((error.destination(), message), (SERVER, Icmp::error(3, 1, 0, &sent.bytes())));
        lab.is_empty();
    }
}

#[test]
fn a_query_from_outside_to_a_mapping_is_let_in_unless_a_filter_refuses_it() {
    let query = |source, identifier| V4::icmp(source, POOL, &Icmp::echo(8, identifier, 1, b"x"));
    let mut lab = Lab::new();
    let identifier = lab.pass6(&ask(77)).read_icmp().identifier();
    let got = lab.pass4(&query(STRANGER, identifier));
    assert_eq!((got.source(), got.destination()), (six(STRANGER), CLIENT));
    assert_eq!(got.read_icmp(), Icmp::echo(128, 77, 1, b"x"));
    assert_eq!(lab.sessions().len(), 2);
    let answer = V6::icmp(CLIENT, six(STRANGER), &Icmp::echo(129, 77, 1, b"x"));
    assert_eq!(lab.pass6(&answer).read_icmp(), Icmp::echo(0, identifier, 1, b"x"));

    let mut lab = Lab::with(|policy| policy.filtering = Filtering::AddressDependent);
    let identifier = lab.pass6(&ask(77)).read_icmp().identifier();
    lab.pass4(&query(SERVER, identifier));
    let (_, message) = lab.send4(&query(STRANGER, identifier)).error4(DropReason::Filtered);
    assert_eq!((message.kind, message.code), (3, 13));
}

#[test]
fn a_configured_mapping_answers_pings_from_outside() {
    let fixed = StaticMapping { protocol: Protocol::Icmp, internal: (CLIENT, 5), external: (POOL, 500) };
    let mut lab = Lab::with(|policy| policy.static_mappings = vec![fixed]);
    let got = lab.pass4(&V4::icmp(SERVER, POOL, &Icmp::echo(8, 500, 1, b"x")));
    assert_eq!(got.read_icmp().identifier(), 5);
    assert_eq!(lab.pass6(&V6::icmp(CLIENT, six(SERVER), &Icmp::echo(129, 5, 1, b"x"))).read_icmp().identifier(), 500);
}

#[test]
fn a_reply_makes_a_mapping_as_a_request_does() {
    // RFC 6146 §3.5.3 speaks of informational messages with an identifier, whichever of the two they are.
    let mut lab = Lab::new();
    let out = lab.pass6(&V6::icmp(CLIENT, six(SERVER), &Icmp::echo(129, 77, 1, b"x")));
    let identifier = out.read_icmp().identifier();
    assert_eq!(out.read_icmp(), Icmp::echo(0, identifier, 1, b"x"));
    lab.lives_for(MINUTE);
    assert_eq!(lab.pass4(&reply(identifier)).read_icmp(), Icmp::echo(129, 77, 3, b"ping"));
}
