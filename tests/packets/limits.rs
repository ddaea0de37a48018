//! RFC 6888, RFC 6146 §5.3: what subscribers and all together may take, and what the configuration gives and forbids.

use std::net::Ipv4Addr;

use crate::bench::POOL;
use crate::case::{Case, PATIENCE, PORT, SERVICE, SYN};
use crate::groups::{CONFIGURED, CROWDED, MAPPED, PACED, QUOTAS};
use crate::rows::rows;
use crate::support::eventually;
use crate::wire::{Icmp, TCP, UDP, V4, V6, pattern};

fn udp(case: &Case, host: u16, port: u16) -> V6 {
    V6::udp((case.host6(host), port), case.service6(), b"x")
}

#[test]
fn mappings_of_a_subscriber_are_limited_and_others_are_not_touched() {
    let Some(mut case) = QUOTAS.case() else { return };
    // Three hosts of one subnet are one subscriber here.
    for host in 1..=3 {
        case.pass6(&udp(&case, host, 5000));
    }
    let (error, message) = case.refused6(&udp(&case, 4, 5000), "subscriber-limit");
    assert_eq!((error.destination(), message.kind, message.code), (case.host6(4), 1, 3));
    // Whatever the protocol.
    case.refused6(&V6::tcp((case.host6(1), 1), case.service6(), SYN, b""), "subscriber-limit");
    case.refused6(&V6::icmp(case.host6(1), case.service6().0, &Icmp::echo(128, 1, 1, b"")), "subscriber-limit");
    // What exists lives on, and so do others.
    case.pass6(&udp(&case, 2, 5000));
    case.pass6(&V6::udp((case.host_at(0xd, 1), PORT), case.service6(), b"x"));
}

#[test]
fn sessions_of_a_subscriber_are_limited_and_others_are_not_touched() {
    let Some(mut case) = QUOTAS.case() else { return };
    let to = |case: &Case, service| V6::udp((case.client(), PORT), (case.service6().0, service), b"x");
    for service in 1..=8 {
        case.pass6(&to(&case, service));
    }
    let (_, message) = case.refused6(&to(&case, 9), "subscriber-limit");
    assert_eq!((message.kind, message.code), (1, 3));
    case.pass6(&to(&case, 2));
    case.pass6(&V6::udp((case.host_at(0xd, 1), PORT), case.service6(), b"x"));
}

#[test]
fn sessions_that_outside_makes_leave_a_quarter_to_inside() {
    let Some(mut case) = QUOTAS.case() else { return };
    let port = case.open_udp();
    for service in 1..=5 {
        case.pass4(&V4::udp((case.stranger(), service), (POOL, port), b"x"));
    }
    case.not_delivered(&V4::udp((case.stranger(), 6), (POOL, port), b"x"), "subscriber-limit");
    case.pass4(&V4::udp((case.stranger(), 1), (POOL, port), b"x"));
    for service in 1..=2 {
        case.pass6(&V6::udp((case.client(), PORT), (case.service6().0, service), b"x"));
    }
    assert_eq!(case.sessions().len(), 8);
}

#[test]
fn new_mappings_of_a_subscriber_are_limited_in_pace() {
    let Some(mut case) = PACED.case() else { return };
    (0..200).for_each(|port| case.send(&udp(&case, 1, 5000 + port)));
    case.settle();
    let refused = std::iter::from_fn(|| case.arrived6()).count();
    let opened = case.mappings().len();
    assert!(opened >= 5 && refused >= 100 && opened + refused == 200, "{opened} opened, {refused} refused");
    case.forget_arrivals();
    case.pass6(&udp(&case, 2, 5000));
}

#[test]
fn stored_syns_are_limited() {
    let Some(mut case) = QUOTAS.case() else { return };
    let port = case.unmapped(TCP);
    let syn = |from| V4::tcp((from, 9), (POOL, port), SYN, b"");
    case.held(&syn(case.server()));
    case.held(&syn(case.stranger()));
    case.silent(&syn(case.router4()), "stored-syn-limit");
}

#[test]
fn fragments_that_wait_are_limited() {
    let Some(mut case) = QUOTAS.case() else { return };
    let tail = |case: &Case, site| {
        V6::udp((case.host_at(site, 1), PORT), case.service6(), &pattern(1200)).fragments(&[1000], 7)[1].clone()
    };
    let dropped = |case: &Case| case.drops().get("fragment-limit").copied().unwrap_or(0);
    let before = dropped(&case);
    (0x100..0x140).for_each(|site| case.send(&tail(&case, site)));
    case.quiet();
    eventually("all of 64 but 8 to be dropped", PATIENCE, || dropped(&case) >= before + 56);
    // Whole packets are not hindered.
    case.pass6(&udp(&case, 1, 5000));
}

#[test]
fn the_tables_are_limited_and_nobody_is_put_out_of_them() {
    let Some(mut case) = CROWDED.case() else { return };
    for host in 1..=4 {
        case.pass6(&udp(&case, host, 5000));
    }
    let (_, message) = case.refused6(&udp(&case, 5, 5000), "table-full");
    assert_eq!((message.kind, message.code), (1, 3));
    for host in 1..=4 {
        case.pass6(&udp(&case, host, 5000));
    }
    let another = V6::udp((case.host6(1), 5000), (case.service6().0, 9), b"x");
    case.refused6(&another, "table-full");
    assert_eq!(case.sessions().len(), 4);
}

rows! { a_configured_mapping_works_both_ways:
    a_configured_udp_mapping_works_both_ways(UDP, 5353, 53);
    the_first_port_of_a_configured_range_works_both_ways(TCP, 8000, 80);
    the_last_port_of_a_configured_range_works_both_ways(TCP, 8003, 83);
}

#[track_caller]
fn a_configured_mapping_works_both_ways(protocol: u8, external: u16, internal: u16) {
    let Some(mut case) = CONFIGURED.case_of(MAPPED) else { return };
    let (from, to) = ((case.server(), 9), (POOL, external));
    let got = case.pass4(&match protocol {
        UDP => V4::udp(from, to, b"x"),
        _ => V4::tcp(from, to, SYN, b""),
    });
    assert_eq!((got.destination(), got.ports()), (case.client(), (9, internal)));
    let (from, to) = ((case.client(), internal), (case.six(case.router4()), 7));
    let got = case.pass6(&match protocol {
        UDP => V6::udp(from, to, b"x"),
        _ => V6::tcp(from, to, SYN, b""),
    });
    assert_eq!((got.source(), got.ports()), (POOL, (external, 7)));
}

#[test]
fn a_configured_icmp_mapping_answers_pings_from_outside() {
    let Some(mut case) = CONFIGURED.case_of(MAPPED) else { return };
    let got = case.pass4(&V4::icmp(case.server(), POOL, &Icmp::echo(8, 500, 1, b"x")));
    assert_eq!((got.destination(), got.read_icmp().identifier()), (case.client(), 5));
    let reply = V6::icmp(case.client(), case.service6().0, &Icmp::echo(129, 5, 1, b"x"));
    assert_eq!(case.pass6(&reply).read_icmp(), Icmp::echo(0, 500, 1, b"x"));
}

#[test]
fn a_port_beside_a_configured_range_is_nobody_s() {
    let Some(mut case) = CONFIGURED.case() else { return };
    let mapped = case.mapped(UDP);
    let beside = [5352, 5354].into_iter().find(|port| !mapped.contains(port)).unwrap();
    case.refused4(&V4::udp((case.server(), 9), (POOL, beside), b"x"), "no-mapping");
}

#[test]
fn a_configured_port_is_given_to_nobody_else() {
    let Some(mut case) = CONFIGURED.case() else { return };
    for host in 1..=40 {
        assert_ne!(case.pass6(&udp(&case, host, 5353)).ports().0, 5353);
    }
}

#[test]
fn an_excluded_port_is_refused() {
    let Some(mut case) = CONFIGURED.case() else { return };
    let to = |service| (case.service6().0, service);
    let [mail, web] = [25, 80].map(|service| V6::tcp((case.client(), PORT), to(service), SYN, b""));
    let (error, message) = case.refused6(&mail, "administratively-prohibited");
    assert_eq!((error.destination(), message.kind, message.code), (case.client(), 1, 1));
    assert_eq!(case.mappings().len(), 0);
    assert_eq!(case.pass6(&web).ports().1, 80);
    // Of TCP only.
    let datagram = V6::udp((case.client(), PORT), (case.service6().0, 25), b"x");
    assert_eq!(case.pass6(&datagram).ports().1, 25);
}

#[test]
fn an_excluded_destination_can_be_dropped_silently() {
    let Some(mut case) = CONFIGURED.case() else { return };
    let sent = V6::udp((case.client(), PORT), (case.six(case.stranger()), SERVICE), b"x");
    case.silent(&sent, "administratively-prohibited");
    assert_eq!(case.mappings().len(), 0);
    let beside: Ipv4Addr = case.server();
    assert_eq!(case.pass6(&V6::udp((case.client(), PORT), (case.six(beside), SERVICE), b"x")).destination(), beside);
}

#[test]
fn an_excluded_source_is_refused() {
    let Some(mut case) = CONFIGURED.case() else { return };
    let sent = V6::udp((case.host_at(0xd, 1), PORT), case.service6(), b"x");
    let (error, message) = case.refused6(&sent, "administratively-prohibited");
    assert_eq!((error.destination(), message.kind, message.code), (case.host_at(0xd, 1), 1, 1));
}
