//! RFC 6146 §3.5.1.1, §3.5.2.3 and §3.5.3, RFC 4787 REQ-2 to REQ-4, RFC 6056: which address and port a mapping is given.

use std::collections::{BTreeMap, HashSet};
use std::net::{Ipv4Addr, Ipv6Addr};

use nat64_core::policy::{MappingBehavior, PoolRange, Pooling, PortAssignment, PortBlocks, StaticMapping};
use nat64_core::{DropReason, Policy, Protocol, Verdict};

use crate::lab::*;
use crate::wire::{Icmp, V4, V6};

/// What a host sends to the server from a port or with an identifier.
fn packet(protocol: Protocol, source: Ipv6Addr, port: u16) -> V6 {
    match protocol {
        Protocol::Udp => V6::udp((source, port), service6(), b"x"),
        Protocol::Tcp => V6::tcp((source, port), service6(), SYN, b""),
        Protocol::Icmp => V6::icmp(source, six(SERVER), &Icmp::echo(128, port, 1, b"x")),
    }
}

/// The pool address and port that a packet was sent from.
fn external(protocol: Protocol, sent: &V4) -> (Ipv4Addr, u16) {
    match protocol {
        Protocol::Icmp => (sent.source(), sent.read_icmp().identifier()),
        Protocol::Udp | Protocol::Tcp => (sent.source(), sent.ports().0),
    }
}

/// Opens a mapping, and returns what it was given.
fn open(lab: &mut Lab, protocol: Protocol, source: Ipv6Addr, port: u16) -> (Ipv4Addr, u16) {
    external(protocol, &lab.pass6(&packet(protocol, source, port)))
}

fn pool_of(addresses: u8) -> PoolRange {
    PoolRange { last: Ipv4Addr::new(192, 0, 2, addresses), ..PoolRange::address(POOL) }
}

fn host(number: u16) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, 3, number, 0, 0, 0, 1)
}

#[test]
fn all_mappings_of_a_host_have_one_address_whatever_the_protocol() {
    let mut lab = Lab::with(|policy| policy.pool = vec![pool_of(16)]);
    let mut of_hosts = HashSet::new();
    for number in 0..32 {
        let addresses: HashSet<_> = (2000..2040)
            .flat_map(|port| Protocol::ALL.map(|protocol| (protocol, port)))
            .map(|(protocol, port)| open(&mut lab, protocol, host(number), port).0)
            .collect();
        assert_eq!(addresses.len(), 1, "{addresses:?}");
        of_hosts.extend(addresses);
    }
    assert!(of_hosts.len() > 8, "hosts are spread over the pool: {of_hosts:?}");
}

#[test]
fn a_host_whose_address_has_no_port_left_is_refused_or_given_another_as_policy_says() {
    let few = PoolRange { first_port: 2000, last_port: 2003, ..pool_of(2) };
    for (pooling, allowed) in [(Pooling::Paired, 4), (Pooling::Soft, 8)] {
        let mut lab = Lab::with(|policy| (policy.pool, policy.pooling) = (vec![few], pooling));
        for port in 0..allowed {
            open(&mut lab, Protocol::Udp, CLIENT, 5000 + port);
        }
        lab.send6(&packet(Protocol::Udp, CLIENT, 6000)).error6(DropReason::PoolExhausted);
    }
}

#[test]
fn the_well_known_range_and_the_rest_are_kept_apart() {
    let mut lab = Lab::new();
    for protocol in [Protocol::Udp, Protocol::Tcp] {
        for port in [1, 53, 500, 1023] {
            for number in 0..20 {
                assert!(open(&mut lab, protocol, host(number), port).1 < 1024, "{protocol:?} {port}");
            }
        }
        for port in [1024, 5000, 65_535] {
            for number in 0..20 {
                assert!(open(&mut lab, protocol, host(number), port).1 >= 1024, "{protocol:?} {port}");
            }
        }
    }
}

#[test]
fn where_its_range_is_full_a_mapping_is_given_a_port_of_the_other() {
    let high = PoolRange { first_port: 2000, last_port: 2100, ..PoolRange::address(POOL) };
    let mut lab = Lab::with(|policy| policy.pool = vec![high]);
    assert!((2000..=2100).contains(&open(&mut lab, Protocol::Udp, CLIENT, 53).1));
    let low = PoolRange { first_port: 500, last_port: 600, ..PoolRange::address(POOL) };
    let mut lab = Lab::with(|policy| policy.pool = vec![low]);
    assert!((500..=600).contains(&open(&mut lab, Protocol::Tcp, CLIENT, 5000).1));
}

#[test]
fn udp_ports_keep_their_parity() {
    let mut lab = Lab::new();
    for port in (40..140).chain(40_000..40_400) {
        assert_eq!(open(&mut lab, Protocol::Udp, CLIENT, port).1 % 2, port % 2, "{port}");
    }
}

#[test]
fn an_address_and_port_are_never_in_use_twice_in_one_protocol_and_all_are_used() {
    let mut lab = Lab::new();
    for protocol in Protocol::ALL {
        let mut seen = HashSet::new();
        for number in 0..64_512_u32 {
            let (number, port) = (u16::try_from(number / 1000).unwrap(), u16::try_from(1024 + number % 1000).unwrap());
            let given = open(&mut lab, protocol, host(number), port);
            assert!(seen.insert(given), "{given:?} twice");
        }
        assert_eq!(seen.len(), 64_512, "more than 95 % of 65,535 ports before the first refusal");
    }
}

#[test]
fn one_port_may_serve_all_protocols() {
    let only = PoolRange { first_port: 5000, last_port: 5000, ..PoolRange::address(POOL) };
    let mut lab = Lab::with(|policy| policy.pool = vec![only]);
    for protocol in Protocol::ALL {
        assert_eq!(open(&mut lab, protocol, CLIENT, 4000), (POOL, 5000));
    }
    assert_eq!(lab.mappings().len(), 3);
}

#[test]
fn without_a_free_port_the_packet_is_dropped_and_its_sender_told_and_nothing_else_happens() {
    let few = PoolRange { first_port: 2000, last_port: 2003, ..PoolRange::address(POOL) };
    for protocol in Protocol::ALL {
        let mut lab = Lab::with(|policy| policy.pool = vec![few]);
        let given: BTreeMap<u16, u16> =
            (5000..5004).map(|port| (port, open(&mut lab, protocol, CLIENT, port).1)).collect();
        let before = lab.mappings();
        let late = packet(protocol, OTHER, 6000);
        let (error, message) = lab.send6(&late).error6(DropReason::PoolExhausted);
        assert_eq!((error.destination(), message.kind, message.code), (OTHER, 1, 3), "address unreachable");
        assert_eq!(lab.mappings(), before);
        for (port, external) in given {
            assert_eq!(open(&mut lab, protocol, CLIENT, port).1, external);
        }
    }
}

#[test]
fn ports_are_hard_to_guess() {
    for protocol in Protocol::ALL {
        let mut lab = Lab::new();
        let ports: Vec<u16> = (0..400).map(|number| open(&mut lab, protocol, host(number), 5000).1).collect();
        let steps: HashSet<u16> = ports.windows(2).map(|pair| pair[1].wrapping_sub(pair[0])).collect();
        assert!(steps.len() > 380, "{} different steps", steps.len());
        let quarters: HashSet<u16> = ports.iter().map(|port| port / 16_384).collect();
        assert_eq!(quarters.len(), 4, "they come from all of the range");
    }
}

#[test]
fn ports_are_hard_to_guess_inside_blocks_and_ranges_too() {
    let blocks = PortAssignment::Blocks(PortBlocks { size: 512, per_subscriber: 1 });
    let range = PortAssignment::Deterministic("2001:db8:3::/57".parse().unwrap());
    for assignment in [blocks, range] {
        let mut lab = Lab::with(|policy| {
            policy.port_assignment = assignment;
            policy.subscriber_length = 64;
        });
        let ports: Vec<u16> = (0..200).map(|port| open(&mut lab, Protocol::Tcp, host(7), 5000 + port).1).collect();
        let (least, most) = (ports.iter().min().unwrap(), ports.iter().max().unwrap());
        assert!((400..512).contains(&(most - least)), "{least} to {most}: one block, nearly all of it");
        let steps: HashSet<u16> = ports.windows(2).map(|pair| pair[1].wrapping_sub(pair[0])).collect();
        assert!(steps.len() > 130, "{assignment:?}: {} different steps", steps.len());
    }
}

#[test]
fn a_port_is_shared_only_where_policy_asks_and_then_towards_different_destinations() {
    // RFC 7857 §3: port overlapping.
    let few = PoolRange { first_port: 5000, last_port: 5127, ..PoolRange::address(POOL) };
    let mut lab = Lab::with(|policy| {
        policy.pool = vec![few];
        policy.mapping = MappingBehavior::AddressAndPortDependent;
    });
    let mut owners: BTreeMap<u16, HashSet<u16>> = BTreeMap::new();
    for number in 0..1000 {
        let sent = V6::udp((host(number), 4000), (six(SERVER), 80 + number), b"x");
        let (port, _) = lab.pass6(&sent).ports();
        owners.entry(port).or_default().insert(number);
        let back = lab.pass4(&V4::udp((SERVER, 80 + number), (POOL, port), b"x"));
        assert_eq!(back.destination(), host(number));
    }
    assert!(owners.len() <= 128 && owners.values().any(|hosts| hosts.len() > 1), "{owners:?}");
    // Towards one destination every host has a port of its own.
    let mut seen = HashSet::new();
    for number in 0..50 {
        let sent = V6::udp((host(number), 4001), (six(STRANGER), 80), b"x");
        assert!(seen.insert(lab.pass6(&sent).ports().0), "host {number}");
    }
}

#[test]
fn what_one_host_sends_to_one_destination_takes_nothing_from_others_elsewhere() {
    let pool = PoolRange { first_port: 2000, last_port: 2999, ..PoolRange::address(POOL) };
    let mut lab = Lab::with(|policy| {
        policy.pool = vec![pool];
        policy.mapping = MappingBehavior::AddressAndPortDependent;
    });
    let mut live = HashSet::new();
    for number in 0..40 {
        // Each host fills the pool towards a destination of its own.
        for port in 0..1000 {
            let sent = V6::udp((host(number), 4000 + port), (six(SERVER), 80 + number), b"x");
            let external = lab.pass6(&sent).ports().0;
            assert!(live.insert((external, 80 + number)), "a live tuple is never used twice");
        }
        let late = V6::udp((host(number), 9999), (six(SERVER), 80 + number), b"x");
        lab.send6(&late).error6(DropReason::PoolExhausted);
    }
    assert_eq!(lab.mappings().len(), 40_000);
}

#[test]
fn one_address_carries_over_60_000_sessions_to_each_of_several_destinations() {
    let mut lab = Lab::with(|policy| policy.mapping = MappingBehavior::AddressAndPortDependent);
    for destination in [SERVER, STRANGER, ROUTER4] {
        for number in 0..63_000_u16 {
            let sent = V6::tcp((host(number / 500), 1024 + number % 500), (six(destination), 443), SYN, b"");
            let outcome = lab.send6(&sent);
            assert!(matches!(outcome.verdict, Verdict::Translated(_)), "{number} to {destination}: {outcome:?}");
        }
    }
    assert_eq!(lab.translator.usage().sessions[0], 189_000);
}

/// Lets hosts take turns in opening mappings, and returns how many there are before the first one is refused.
fn first_refusal(change: impl FnOnce(&mut Policy), hosts: u16) -> (u32, u64) {
    let mut lab = Lab::with(change);
    for port in 2000..60_000 {
        for number in 0..hosts {
            let verdict = lab.send6(&packet(Protocol::Udp, host(number), port)).verdict;
            if verdict == Verdict::Refused(DropReason::PoolExhausted) {
                return (lab.translator.usage().mappings[1], lab.translator.usage().pool_ports);
            }
            assert!(matches!(verdict, Verdict::Translated(_)), "{verdict:?}");
        }
    }
    panic!("never refused")
}

#[test]
fn a_pool_is_used_to_95_percent_before_the_first_refusal_however_ports_are_assigned() {
    let pool = |addresses| PoolRange { first_port: 1024, last_port: 5119, ..pool_of(addresses) };
    let blocks = |size, per_subscriber| PortAssignment::Blocks(PortBlocks { size, per_subscriber });
    let sources = "2001:db8:3::/56".parse().unwrap();
    let shapes: [(u8, u16, PortAssignment); 6] = [
        (1, 50, PortAssignment::Single),
        (16, 640, PortAssignment::Single),
        (1, 64, blocks(64, 4)),
        (16, 512, blocks(64, 8)),
        (16, 1024, blocks(64, 1)),
        (4, 256, PortAssignment::Deterministic(sources)),
    ];
    for (addresses, hosts, assignment) in shapes {
        let (mapped, ports) = first_refusal(
            |policy| {
                policy.pool = vec![pool(addresses)];
                policy.port_assignment = assignment;
                policy.subscriber_length = 64;
            },
            hosts,
        );
        let percent = u64::from(mapped) * 100 / ports;
        assert!(percent >= 95, "{assignment:?}, {addresses} addresses, {hosts} hosts: {percent} %");
    }
}

#[test]
fn static_mappings_take_nothing_from_a_subscriber_s_blocks_but_their_ports() {
    let fixed = |port| StaticMapping { protocol: Protocol::Udp, internal: (OTHER, port), external: (POOL, port) };
    let mut lab = Lab::with(|policy| {
        policy.pool = vec![PoolRange { first_port: 1024, last_port: 1055, ..PoolRange::address(POOL) }];
        policy.port_assignment = PortAssignment::Blocks(PortBlocks { size: 16, per_subscriber: 1 });
        policy.static_mappings = (1024..1040).map(fixed).collect();
    });
    let given: HashSet<_> = (0..16).map(|port| open(&mut lab, Protocol::Udp, CLIENT, 5000 + port).1).collect();
    assert_eq!(given, (1040..1056).collect());
}

#[test]
fn a_pool_may_be_of_any_addresses_and_ranges_of_ports() {
    let ranges = [
        ("192.0.2.1", 1000, 1009),
        ("192.0.2.1", 3000, 3009),
        ("198.51.100.7", 2000, 2009),
        ("203.0.113.200", 65_000, 65_009),
    ];
    let pool: Vec<PoolRange> = ranges
        .iter()
        .map(|&(address, first_port, last_port)| PoolRange {
            first_port,
            last_port,
            ..PoolRange::address(address.parse().unwrap())
        })
        .collect();
    let mut lab = Lab::with(|policy| (policy.pool, policy.pooling) = (pool.clone(), Pooling::Soft));
    let given: HashSet<_> = (0..40).map(|port| open(&mut lab, Protocol::Tcp, CLIENT, 5000 + port)).collect();
    assert_eq!(given.len(), 40);
    assert!(given.iter().all(|(address, port)| pool.iter().any(|range| range.has_port(*address, *port))));
}
