//! RFC 6888: what subscribers may take, and what happens when they want more.

use std::net::{Ipv4Addr, Ipv6Addr};

use nat64_core::event::EventKind;
use nat64_core::policy::{Exclusion, Limits, PortAssignment, PortBlocks, Timers};
use nat64_core::{DropReason, Protocol, Verdict};

use crate::lab::*;
use crate::wire::{Icmp, V4, V6};

fn udp(source: Ipv6Addr, port: u16) -> V6 {
    V6::udp((source, port), service6(), b"x")
}

/// A host of the same /64 as [`CLIENT`].
const SIBLING: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 0x11);

#[test]
fn mappings_of_a_subscriber_are_limited_and_others_are_not_touched() {
    let mut lab = Lab::with(|policy| policy.limits.mappings_per_subscriber = Some(3));
    for port in 5000..5003 {
        lab.pass6(&udp(CLIENT, port));
    }
    let (_, message) = lab.send6(&udp(CLIENT, 6000)).error6(DropReason::SubscriberLimit);
    assert_eq!((message.kind, message.code), (1, 3));
    lab.send6(&V6::tcp((CLIENT, 1), service6(), SYN, b"")).error6(DropReason::SubscriberLimit);
    lab.send6(&V6::icmp(CLIENT, six(SERVER), &Icmp::echo(128, 1, 1, b""))).error6(DropReason::SubscriberLimit);
    lab.pass6(&udp(OTHER, 5000));
    lab.pass6(&udp(CLIENT, 5001));
}

#[test]
fn sessions_of_a_subscriber_are_limited_and_others_are_not_touched() {
    let mut lab = Lab::with(|policy| policy.limits.sessions_per_subscriber = Some(3));
    for service in 1..4 {
        lab.pass6(&V6::udp((CLIENT, PORT), (six(SERVER), service), b"x"));
    }
    lab.send6(&V6::udp((CLIENT, PORT), (six(SERVER), 9), b"x")).error6(DropReason::SubscriberLimit);
    lab.pass6(&udp(OTHER, PORT));
    lab.pass6(&V6::udp((CLIENT, PORT), (six(SERVER), 2), b"x"));
}

#[test]
fn a_subscriber_is_a_prefix_of_configurable_length() {
    for (length, together) in [(128, false), (64, true), (48, true)] {
        let mut lab = Lab::with(|policy| {
            policy.subscriber_length = length;
            policy.limits.mappings_per_subscriber = Some(1);
        });
        lab.pass6(&udp(CLIENT, 5000));
        let verdict = lab.send6(&udp(SIBLING, 5000)).verdict;
        assert_eq!(verdict == Verdict::Refused(DropReason::SubscriberLimit), together, "/{length}");
    }
}

#[test]
fn new_mappings_of_a_subscriber_are_limited_in_pace() {
    let mut lab = Lab::with(|policy| policy.limits.new_mappings_per_second = Some(5));
    lab.pass6(&udp(CLIENT, 4000));
    lab.pass_time(SECOND);
    let opened = (0..50).filter(|port| matches!(lab.send6(&udp(CLIENT, 5000 + port)).verdict, Verdict::Translated(_)));
    assert_eq!(opened.count(), 5);
    lab.pass6(&udp(OTHER, 5000));
    lab.pass_time(SECOND);
    lab.pass6(&udp(CLIENT, 7000));
}

#[test]
fn at_a_limit_what_exists_stays_and_an_event_tells() {
    let mut lab = Lab::with(|policy| (policy.limits.mappings, policy.limits.sessions) = (4, 4));
    for port in 5000..5004 {
        lab.pass6(&udp(CLIENT, port));
    }
    let before = lab.sessions();
    for port in 6000..6100 {
        lab.send6(&udp(OTHER, port)).error6(DropReason::TableFull);
    }
    assert_eq!(lab.sessions(), before);
    let refused = lab.worker.events.drain().filter(|event| event.kind == EventKind::Refused(DropReason::TableFull));
    assert_eq!(refused.count(), 100);
}

#[test]
fn every_limit_has_its_reason_counter_and_event() {
    let one: fn(&mut Lab, u16) -> Outcome = |lab, number| lab.send6(&udp(CLIENT, 5000 + number));
    let destinations: fn(&mut Lab, u16) -> Outcome =
        |lab, number| lab.send6(&V6::udp((CLIENT, PORT), (six(SERVER), 5000 + number), b"x"));
    let fragments: fn(&mut Lab, u16) -> Outcome =
        |lab, number| lab.send6(&V6::udp((CLIENT, PORT), service6(), &[0; 2000]).fragments(&[1000], number.into())[1]);
    let syns: fn(&mut Lab, u16) -> Outcome =
        |lab, number| lab.send4(&V4::tcp((STRANGER, number), (POOL, 4242), SYN, b""));
    type Change = fn(&mut Limits);
    let limits: [(Change, _, _, bool); 8] = [
        (|limits| limits.mappings = 2, one, DropReason::TableFull, true),
        (|limits| limits.sessions = 2, destinations, DropReason::TableFull, true),
        (|limits| limits.mappings_per_subscriber = Some(2), one, DropReason::SubscriberLimit, true),
        (|limits| limits.sessions_per_subscriber = Some(2), destinations, DropReason::SubscriberLimit, true),
        (|limits| limits.new_mappings_per_second = Some(2), one, DropReason::SubscriberLimit, true),
        (|limits| limits.fragments = 8, fragments, DropReason::FragmentLimit, false),
        (|limits| limits.fragment_bytes = 2500, fragments, DropReason::FragmentLimit, false),
        (|limits| limits.stored_syns = 8, syns, DropReason::StoredSynLimit, false),
    ];
    for (limit, send, reason, answered) in limits {
        let mut lab = Lab::with(|policy| limit(&mut policy.limits));
        let outcome = (1..10).map(|number| send(&mut lab, number)).last().unwrap();
        if answered {
            let (_, message) = outcome.error6(reason);
            assert_eq!((message.kind, message.code), (1, 3), "address unreachable");
        } else {
            outcome.silent(reason);
        }
        let told = lab.worker.events.drain().filter(|event| event.kind == EventKind::Refused(reason)).count();
        assert!(
            told > 0 && told == usize::try_from(lab.worker.counters.dropped(reason)).unwrap(),
            "{reason:?}: {told}"
        );
    }
}

#[test]
fn who_sends_from_outside_cannot_use_up_what_those_inside_need() {
    for per_subscriber in [None, Some(100)] {
        let mut lab = Lab::with(|policy| {
            policy.limits.sessions = if per_subscriber.is_none() { 100 } else { 1000 };
            policy.limits.sessions_per_subscriber = per_subscriber;
        });
        let port = lab.open_udp();
        let opened = (1..1000).filter(|from| {
            let sent = V4::udp((STRANGER, *from), (POOL, port), b"x");
            matches!(lab.send4(&sent).verdict, Verdict::Translated(_))
        });
        assert_eq!(opened.count(), 74);
        let own = (1..1000).filter(|to| {
            let sent = V6::udp((CLIENT, PORT), (six(STRANGER), 2000 + to), b"x");
            matches!(lab.send6(&sent).verdict, Verdict::Translated(_))
        });
        assert_eq!(own.count(), 25);
        lab.pass4(&server_udp(port, b"what exists is not touched"));
    }
}

#[test]
fn a_port_rests_two_minutes_before_it_is_given_out_again() {
    assert!(Timers::default().port_quarantine >= 2 * MINUTE);
    let mut lab = Lab::with(|policy| policy.pool[0].first_port = u16::MAX);
    lab.pass6(&udp(CLIENT, 5000));
    lab.pass_time(5 * MINUTE + SECOND);
    lab.is_empty();
    lab.send6(&udp(OTHER, 5000)).error6(DropReason::PoolExhausted);
    lab.pass_time(2 * MINUTE - 2 * SECOND);
    lab.send6(&udp(OTHER, 5000)).error6(DropReason::PoolExhausted);
    lab.pass_time(3 * SECOND);
    lab.pass6(&udp(OTHER, 5000));
}

#[test]
fn how_long_a_port_rests_is_configurable() {
    for seconds in [0, 10] {
        let mut lab = Lab::with(|policy| {
            policy.pool[0].first_port = u16::MAX;
            policy.timers.port_quarantine = seconds * SECOND;
        });
        lab.pass6(&udp(CLIENT, 5000));
        lab.pass_time(5 * MINUTE + SECOND + seconds * SECOND);
        lab.pass6(&udp(OTHER, 5000));
    }
}

#[test]
fn how_many_ports_rest_is_configurable() {
    let mut lab = Lab::with(|policy| {
        policy.pool[0].first_port = u16::MAX;
        policy.limits.resting_ports = 0;
    });
    lab.pass6(&udp(CLIENT, 5000));
    lab.pass_time(5 * MINUTE + SECOND);
    lab.pass6(&udp(OTHER, 5000));
}

#[test]
fn a_port_of_a_connection_that_was_closed_by_both_sides_need_not_rest() {
    let mut lab = Lab::with(|policy| policy.pool[0].first_port = u16::MAX);
    let port = lab.open_tcp();
    lab.pass6(&client_tcp(FIN_ACK));
    lab.pass4(&server_tcp(port, FIN_ACK));
    lab.pass_time(4 * MINUTE + SECOND);
    lab.is_empty();
    lab.pass6(&V6::tcp((OTHER, 5000), service6(), SYN, b""));
}

#[test]
fn destinations_and_ports_can_be_excluded() {
    let exclusions = vec![
        Exclusion {
            destination: Some("198.51.100.0/24".parse().unwrap()),
            ports: Some((1, 100)),
            ..Exclusion::default()
        },
        Exclusion { destination: Some("203.0.113.99/32".parse().unwrap()), silent: true, ..Exclusion::default() },
    ];
    let mut lab = Lab::with(|policy| policy.exclusions = exclusions);
    let (_, message) =
        lab.send6(&V6::udp((CLIENT, PORT), (six(SERVER), 53), b"x")).error6(DropReason::AdministrativelyProhibited);
    assert_eq!((message.kind, message.code), (1, 1));
    lab.send6(&V6::tcp((CLIENT, PORT), (six(STRANGER), 80), SYN, b"")).silent(DropReason::AdministrativelyProhibited);
    lab.is_empty();
    lab.pass6(&V6::udp((CLIENT, PORT), (six(SERVER), 101), b"x"));
    lab.pass6(&V6::udp((CLIENT, PORT), (six(Ipv4Addr::new(203, 0, 113, 98)), 53), b"x"));
}

#[test]
fn with_blocks_one_event_stands_for_all_ports_of_a_block() {
    let blocks = PortBlocks { size: 64, per_subscriber: 2 };
    let mut lab = Lab::with(|policy| policy.port_assignment = PortAssignment::Blocks(blocks));
    for port in 5000..5064 {
        lab.pass6(&udp(CLIENT, port));
    }
    let allocated: Vec<_> = lab
        .worker
        .events
        .drain()
        .filter_map(|event| {
            let EventKind::BlockAllocated { last_port } = event.kind else { return None };
            Some((event.external.1, last_port))
        })
        .collect();
    let [(first, last)] = allocated[..] else { panic!("{allocated:?}") };
    assert_eq!(last - first, 63);
    assert!(lab.mappings().iter().all(|mapping| (first..=last).contains(&mapping.external.1)));
    for port in 6000..6064 {
        lab.pass6(&udp(CLIENT, port));
    }
    lab.send6(&udp(CLIENT, 7000)).error6(DropReason::PoolExhausted);
}

#[test]
fn deterministic_ports_need_no_log() {
    let sources = "2001:db8:1::/56".parse().unwrap();
    let given = |seed: u16| {
        let mut lab = Lab::with(|policy| {
            policy.subscriber_length = 64;
            policy.port_assignment = PortAssignment::Deterministic(sources);
        });
        let ports: Vec<u16> = (0..50).map(|port| lab.pass6(&udp(CLIENT, 5000 + seed + port)).ports().0).collect();
        (*ports.iter().min().unwrap(), *ports.iter().max().unwrap())
    };
    // 256 subscribers of one address have about 255 ports each, always the same ones.
    let ((least, most), (other_least, other_most)) = (given(0), given(1000));
    assert!(most - least < 256 && other_most.max(most) - other_least.min(least) < 256);
}

#[test]
fn counters_say_how_much_is_in_use() {
    let mut lab = Lab::new();
    lab.open_tcp();
    lab.open_udp();
    lab.open_echo();
    let usage = lab.translator.usage();
    assert_eq!((usage.mappings, usage.sessions), ([1; 3], [1; 3]));
    assert_eq!((usage.pool_ports, usage.pool_ports_taken), (65_535, [1; 3]));
    assert_eq!(Protocol::ALL.map(Protocol::name), ["tcp", "udp", "icmp"]);
}
