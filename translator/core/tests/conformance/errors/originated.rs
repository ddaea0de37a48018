//! RFC 7915 §4.4 and §5.4: errors of the translator's own.

use std::net::{Ipv4Addr, Ipv6Addr};

use nat64_core::{DropReason, Verdict};

use crate::lab::*;
use crate::wire::{Icmp, V4, V6, pattern};

fn dying6() -> V6 {
    client_udp(b"x").with(|header| header.hop_limit = 1)
}

fn dying4() -> V4 {
    server_udp(9, b"x").with(|header| header.time_to_live = 1)
}

#[test]
fn an_error_has_the_hop_limit_of_a_new_packet_and_quotes_what_it_is_about() {
    let (error, message) = Lab::new().send6(&dying6()).error6(DropReason::HopLimitExceeded);
    assert_eq!((error.header.hop_limit, message.body), (64, dying6().bytes()));
    let (error, message) = Lab::new().send4(&dying4()).error4(DropReason::HopLimitExceeded);
    assert_eq!((error.header.time_to_live, message.body), (64, dying4().bytes()));
    assert!(!error.header.dont_fragment);
}

#[test]
fn an_error_is_no_longer_than_1280_bytes_in_ipv6_and_576_in_ipv4() {
    let long = client_udp(&pattern(3000)).with(|header| header.hop_limit = 1);
    let (error, message) = Lab::new().send6(&long).error6(DropReason::HopLimitExceeded);
    assert_eq!((error.bytes().len(), &message.body[..]), (1280, &long.bytes()[..1232]));
    let long = server_udp(9, &pattern(3000)).with(|header| header.time_to_live = 1);
    let (error, message) = Lab::new().send4(&long).error4(DropReason::HopLimitExceeded);
    assert_eq!((error.bytes().len(), &message.body[..]), (576, &long.bytes()[..548]));
}

#[test]
fn whether_errors_are_sent_is_configurable() {
    let mut lab = Lab::with(|policy| policy.errors.send = false);
    lab.send6(&dying6()).silent(DropReason::HopLimitExceeded);
    lab.send4(&dying4()).silent(DropReason::HopLimitExceeded);
}

#[test]
fn errors_are_limited_in_rate() {
    let mut lab = Lab::with(|policy| policy.errors.rate = 5);
    for round in 0..3 {
        let told = (0..20).filter(|_| matches!(lab.send6(&dying6()).verdict, Verdict::Refused(_))).count();
        assert_eq!(told, 5, "second {round}");
        assert_eq!(lab.send4(&dying4()).verdict, Verdict::Dropped(DropReason::HopLimitExceeded));
        lab.pass_time(SECOND);
    }
    assert!(lab.worker.counters.dropped(DropReason::ErrorRateLimit) >= 45);
}

#[test]
fn a_segment_that_is_not_to_be_answered_takes_nothing_of_what_may_be_sent() {
    let mut lab = Lab::with(|policy| policy.errors.rate = 1);
    for _ in 0..10 {
        lab.send6(&client_tcp(RST)).silent(DropReason::NoSession);
    }
    assert_eq!(lab.send6(&client_tcp(ACK)).verdict, Verdict::Refused(DropReason::NoSession));
    lab.send6(&client_tcp(ACK)).silent(DropReason::NoSession);
    assert_eq!(lab.worker.counters.dropped(DropReason::ErrorRateLimit), 1);
}

#[test]
fn the_source_of_errors_is_configurable() {
    let own6 = Ipv6Addr::new(0x2001, 0xdb8, 0xff, 0, 0, 0, 0, 0x64);
    let own4 = Ipv4Addr::new(192, 0, 2, 99);
    let mut lab = Lab::with(|policy| {
        policy.errors.source6 = Some(own6);
        policy.errors.source4 = Some(own4);
    });
    assert_eq!(lab.send6(&dying6()).error6(DropReason::HopLimitExceeded).0.source(), own6);
    assert_eq!(lab.send4(&dying4()).error4(DropReason::HopLimitExceeded).0.source(), own4);
    let mut lab = Lab::new();
    assert_eq!(lab.send6(&dying6()).error6(DropReason::HopLimitExceeded).0.source(), six(SERVER));
    assert_eq!(lab.send4(&dying4()).error4(DropReason::HopLimitExceeded).0.source(), POOL);
}

#[test]
fn nobody_is_told_about_an_error() {
    let mut lab = Lab::new();
    let out = lab.pass6(&client_udp(b"x")).bytes();
    for kind in [3, 4, 5, 11, 12] {
        let error = V4::icmp(ROUTER4, POOL, &Icmp::error(kind, 0, 0, &out)).with(|header| header.time_to_live = 1);
        assert!(lab.send4(&error).packets.is_empty(), "type {kind}");
    }
    let delivered = V6::udp(service6(), (CLIENT, PORT), b"x").bytes();
    for kind in [1, 2, 3, 4, 127] {
        let error =
            V6::icmp(ROUTER6, six(SERVER), &Icmp::error(kind, 0, 0, &delivered)).with(|header| header.hop_limit = 1);
        assert!(lab.send6(&error).packets.is_empty(), "type {kind}");
    }
}

#[test]
fn an_echo_whose_hop_limit_runs_out_is_answered_since_traceroute_lives_on_it() {
    let echo = V6::icmp(CLIENT, six(SERVER), &Icmp::echo(128, 1, 1, b"x")).with(|header| header.hop_limit = 1);
    assert_eq!(Lab::new().send6(&echo).error6(DropReason::HopLimitExceeded).1.kind, 3);
    let echo = V4::icmp(SERVER, POOL, &Icmp::echo(8, 1, 1, b"x")).with(|header| header.time_to_live = 1);
    assert_eq!(Lab::new().send4(&echo).error4(DropReason::HopLimitExceeded).1.kind, 11);
}

#[test]
fn nobody_is_told_about_later_fragments_of_a_datagram() {
    let tail = server_udp(9, &pattern(2000)).fragments(&[1024], 7)[1].clone();
    Lab::new().send4(&tail.with(|header| header.time_to_live = 1)).silent(DropReason::HopLimitExceeded);
}

#[test]
fn what_no_other_rule_names_is_administratively_prohibited() {
    for (destination, reason) in [
        (six(Ipv4Addr::LOCALHOST), DropReason::IllegalDestination),
        (six(Ipv4Addr::new(224, 0, 0, 5)), DropReason::IllegalDestination),
        (OTHER, DropReason::NotOurPrefix),
    ] {
        let mut lab = Lab::new();
        let (error, message) = lab.send6(&V6::udp((CLIENT, PORT), (destination, SERVICE), b"x")).error6(reason);
        assert_eq!((error.destination(), message.kind, message.code), (CLIENT, 1, 1), "{destination}");
        lab.is_empty();
    }
}

#[test]
fn errors_of_our_own_have_identifications_of_their_own() {
    let mut lab = Lab::new();
    let mut id = || lab.send4(&dying4()).error4(DropReason::HopLimitExceeded).0.header.identification;
    let [a, b, c] = [id(), id(), id()];
    assert!(a != b && b != c && a != c, "{a} {b} {c}");
}
