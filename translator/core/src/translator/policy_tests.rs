//! What an operator can choose, through the whole translator.

use std::collections::HashSet;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use crate::Policy;
use crate::event::EventKind;
use crate::packet::Protocol;
use crate::policy::{Exclusion, MappingBehavior, PoolRange, PoolRule, Pooling, PortAssignment, PortBlocks};
use crate::testing::*;
use crate::verdict::{DropReason, Verdict};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

fn udp<'p>(from: u16, to: u16) -> Payload<'p> {
    Payload::Udp(from, to, b"hello")
}

/// A pool from 192.0.2.1 on.
fn pool(addresses: u8, ports: (u16, u16)) -> PoolRange {
    PoolRange {
        last: Ipv4Addr::new(192, 0, 2, addresses),
        first_port: ports.0,
        last_port: ports.1,
        ..PoolRange::address(POOL)
    }
}

fn host(subnet: u16, number: u16) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, 1, subnet, 0, 0, 0, number)
}

/// Opens UDP mappings from consecutive ports until one is refused, and returns how many there are.
fn fill(lab: &mut Lab, source: Ipv6Addr) -> usize {
    let open =
        |port: &u16| matches!(lab.send(&packet6(source, six(SERVER), udp(*port, 53))).verdict, Verdict::Translated(_));
    (10_000..60_000).take_while(open).count()
}

#[test]
fn a_paired_subscriber_is_refused_when_its_address_is_full_and_a_soft_one_moves_on() {
    let two = Policy { pool: vec![pool(2, (2000, 2099))], ..policy() };
    let mut paired = Lab::new(two.clone());
    assert_eq!(fill(&mut paired, CLIENT), 100);
    assert_eq!(fill(&mut paired, OTHER), 100, "another subscriber has the other address");
    let mut soft = Lab::new(Policy { pooling: Pooling::Soft, ..two });
    assert_eq!(fill(&mut soft, CLIENT), 200);
}

#[test]
fn pool_rules_give_the_most_specific_source_its_own_addresses() {
    let rule = |sources: &str, last: u8| PoolRule {
        sources: sources.parse().unwrap(),
        first: Ipv4Addr::new(192, 0, 2, last),
        last: Ipv4Addr::new(192, 0, 2, last),
    };
    let pool_rules = vec![rule("2001:db8:1::/48", 2), rule("2001:db8:1:7::/64", 3)];
    let mut lab = Lab::new(Policy { pool: vec![pool(3, (1, 65_535))], pool_rules, ..policy() });
    for (source, last) in [(OTHER, 1), (host(1, 1), 2), (host(2, 1), 2), (host(7, 1), 3)] {
        let out = lab.pass(&packet6(source, six(SERVER), udp(5000, 53)));
        assert_eq!(out[12..16], [192, 0, 2, last], "{source}");
    }
}

#[test]
fn exclusions_refuse_what_matches_in_full_and_nothing_else() {
    let refuse = |destination: &str, ports, silent| Exclusion {
        destination: Some(destination.parse().unwrap()),
        ports,
        silent,
        ..Exclusion::default()
    };
    let guest = Exclusion { source: Some("2001:db8:2::/48".parse().unwrap()), ..Exclusion::default() };
    let mail = Exclusion { protocol: Some(Protocol::Tcp), ..refuse("0.0.0.0/0", Some((25, 25)), false) };
    let secret = refuse("203.0.113.0/24", None, true);
    let mut lab = Lab::new(Policy { exclusions: vec![guest, mail, secret], ..policy() });
    let refused = Verdict::Refused(DropReason::AdministrativelyProhibited);
    let outcome = lab.send(&packet6(CLIENT, six(SERVER), Payload::Tcp(5000, 25, Flags::Syn)));
    assert_eq!((outcome.verdict, icmp_type(&outcome.packet)), (refused, (1, 1)));
    assert_eq!(lab.send(&packet6(OTHER, six(SERVER), udp(5000, 53))).verdict, refused);
    let silent = lab.send(&packet6(CLIENT, six(Ipv4Addr::new(203, 0, 113, 9)), Payload::EchoRequest(1)));
    assert_eq!(silent.verdict, Verdict::Dropped(DropReason::AdministrativelyProhibited));
    lab.pass(&packet6(CLIENT, six(SERVER), udp(5000, 25)));
    lab.pass(&packet6(CLIENT, six(SERVER), Payload::Tcp(5000, 26, Flags::Syn)));
    assert_eq!(lab.mappings(), 2);
}

#[test]
fn a_subscriber_opens_no_more_mappings_in_a_second_than_it_may() {
    let mut limited = policy();
    limited.limits.new_mappings_per_second = Some(10);
    limited.subscriber_length = 64;
    let mut lab = Lab::new(limited);
    lab.pass(&packet6(host(1, 1), six(SERVER), udp(4000, 53)));
    assert_eq!(fill(&mut lab, host(1, 1)), 9, "its first mapping counts, too");
    assert_eq!(fill(&mut lab, host(1, 2)), 0, "the same subscriber");
    lab.pass(&packet6(host(2, 1), six(SERVER), udp(4000, 53)));
    lab.pass(&packet6(host(1, 1), six(SERVER), udp(4000, 54)));
    lab.pass_time(SECOND);
    assert_eq!(fill(&mut lab, host(1, 3)), 10);
}

#[test]
fn blocks_hold_all_ports_of_a_subscriber_and_go_back_when_these_have_rested() {
    let blocks = PortBlocks { size: 64, per_subscriber: 2 };
    let assignment = PortAssignment::Blocks(blocks);
    let mut lab = Lab::new(Policy { pool: vec![pool(1, (1024, 2047))], port_assignment: assignment, ..policy() });
    assert_eq!(fill(&mut lab, CLIENT), 128);
    let taken: HashSet<u16> = lab.sessions().iter().map(|session| session.external.1 / 64).collect();
    assert_eq!(taken.len(), 2);
    lab.pass(&packet6(CLIENT, six(SERVER), Payload::Tcp(5000, 80, Flags::Syn)));
    let tcp = lab.sessions().iter().find(|session| session.protocol == Protocol::Tcp).unwrap().external.1;
    assert!(taken.contains(&(tcp / 64)), "blocks are of all protocols");
    assert!(fill(&mut lab, OTHER) == 128, "others have blocks of their own");
    let told: Vec<_> = lab.worker.events.drain().map(|event| event.kind).collect();
    let allocated = told.iter().filter(|kind| matches!(kind, EventKind::BlockAllocated { .. })).count();
    assert_eq!(allocated, 4);
    lab.pass_time(5 * MINUTE + SECOND);
    assert_eq!(lab.mappings(), 0);
    lab.pass_time(2 * MINUTE + SECOND);
    let released: Vec<_> =
        lab.worker.events.drain().filter(|event| matches!(event.kind, EventKind::BlockReleased { .. })).collect();
    assert_eq!(released.len(), 4);
    assert_eq!(fill(&mut lab, host(1, 1)), 128);
}

#[test]
fn deterministic_ports_follow_from_the_subscriber_alone() {
    let assignment = PortAssignment::Deterministic("2001:db8:1::/48".parse().unwrap());
    let deterministic =
        Policy { pool: vec![pool(4, (1024, 65_535))], port_assignment: assignment, subscriber_length: 56, ..policy() };
    for _ in 0..2 {
        let mut lab = Lab::new(deterministic.clone());
        for subnet in [0, 0x100, 0x4200, 0xff00] {
            let source = host(subnet, 9);
            lab.pass(&packet6(source, six(SERVER), udp(5000, 53)));
            let session = *lab.sessions().iter().find(|session| session.internal.0 == source).unwrap();
            let owner = lab.translator.subscriber_of(session.external.0, session.external.1).unwrap();
            assert!(owner.contains(&source), "{owner} {source}");
        }
        assert_eq!(fill(&mut lab, host(0x100, 1)), 1008 - 1);
        let stranger = lab.send(&packet6(OTHER, six(SERVER), udp(5000, 53)));
        assert_eq!(stranger.verdict, Verdict::Refused(DropReason::AdministrativelyProhibited));
    }
}

#[test]
fn packets_from_outside_keep_a_session_alive_only_where_policy_says_so() {
    for (inbound_refresh, left) in [(true, 1), (false, 0)] {
        let mut lab = Lab::new(Policy { inbound_refresh, ..policy() });
        let (port, _) = ports(&lab.pass(&packet6(CLIENT, six(SERVER), udp(5000, 53))));
        lab.pass_time(4 * MINUTE);
        lab.pass(&packet4(SERVER, POOL, udp(53, port)));
        lab.pass_time(2 * MINUTE);
        assert_eq!(lab.sessions().len(), left);
    }
}

#[test]
fn opening_closing_and_reset_connections_have_timers_of_their_own() {
    let mut timed = policy();
    timed.timers.tcp_opening = 10 * SECOND;
    timed.timers.tcp_closing = 20 * SECOND;
    timed.timers.tcp_transitory = 30 * SECOND;
    let mut lab = Lab::new(timed);
    let (port, _) = ports(&lab.pass(&packet6(CLIENT, six(SERVER), Payload::Tcp(5000, 80, Flags::Syn))));
    let expires = |lab: &Lab| lab.sessions()[0].expires_in.as_secs();
    assert_eq!(expires(&lab), 10);
    lab.pass(&packet4(SERVER, POOL, Payload::Tcp(80, port, Flags::SynAck)));
    lab.pass(&packet4(SERVER, POOL, Payload::Tcp(80, port, Flags::Rst)));
    assert_eq!(expires(&lab), 30);
    lab.pass(&packet6(CLIENT, six(SERVER), Payload::Tcp(5000, 80, Flags::Ack)));
    lab.pass(&packet6(CLIENT, six(SERVER), Payload::Tcp(5000, 80, Flags::FinAck)));
    lab.pass(&packet4(SERVER, POOL, Payload::Tcp(80, port, Flags::FinAck)));
    assert_eq!((lab.state(), expires(&lab)), ("V6_FIN_V4_FIN_RCV", 20));
}

#[test]
fn no_more_ports_rest_than_policy_lets() {
    let mut few = policy();
    few.limits.resting_ports = 3;
    let mut lab = Lab::new(few);
    for port in 5000..5010 {
        lab.pass(&packet6(CLIENT, six(SERVER), udp(port, 53)));
    }
    lab.pass_time(5 * MINUTE + SECOND);
    assert_eq!((lab.mappings(), lab.translator.usage().pool_ports_taken[1]), (0, 3));
    lab.pass_time(2 * MINUTE + SECOND);
    assert_eq!(lab.translator.usage().pool_ports_taken[1], 0);
}

#[test]
fn nearly_all_of_a_pool_can_be_used_before_the_first_refusal() {
    let mut lab = Lab::new(policy());
    assert_eq!(fill(&mut lab, CLIENT), 50_000);
    let (used, all) = (lab.translator.usage().pool_ports_taken[1], lab.translator.usage().pool_ports);
    assert_eq!((used, all), (50_000, 65_535));
    let mut more = 0;
    while matches!(lab.send(&packet6(OTHER, six(SERVER), udp(10_000 + more, 53))).verdict, Verdict::Translated(_)) {
        more += 1;
    }
    assert_eq!(u64::from(more) + used, all, "not a single port is left");
}

#[test]
fn one_port_serves_different_destinations_where_policy_says_so() {
    let overlapping =
        Policy { mapping: MappingBehavior::AddressAndPortDependent, pool: vec![pool(1, (2000, 2009))], ..policy() };
    let mut lab = Lab::new(overlapping);
    let servers: Vec<Ipv4Addr> = (1..=20).map(|last| Ipv4Addr::new(203, 0, 113, last)).collect();
    let mut seen = HashSet::new();
    for &server in &servers {
        for number in 0..10 {
            let out = lab.pass(&packet6(host(number, 1), six(server), udp(5000, 53)));
            let (port, _) = ports(&out);
            assert!((2000..2010).contains(&port));
            assert!(seen.insert((server, port)), "a live tuple is never used twice");
            let back = lab.pass(&packet4(server, POOL, udp(53, port)));
            assert_eq!((destination6(&back), ports(&back)), (host(number, 1), (53, 5000)));
        }
        let late = lab.send(&packet6(host(99, 1), six(server), udp(5000, 53)));
        assert_eq!(late.verdict, Verdict::Refused(DropReason::PoolExhausted));
    }
    assert_eq!(lab.mappings(), 200);
    let stranger = packet4(SERVER, POOL, udp(53, 2000));
    assert_eq!(lab.send(&stranger).verdict, Verdict::Refused(DropReason::NoMapping));
    lab.pass_time(5 * MINUTE + SECOND);
    assert_eq!((lab.mappings(), lab.translator.usage().pool_ports_taken), (0, [0, 10, 0]));
    let early = lab.send(&packet6(host(99, 1), six(servers[0]), udp(5000, 53)));
    assert_eq!(early.verdict, Verdict::Refused(DropReason::PoolExhausted), "ports rest towards their destination");
    lab.pass(&packet6(CLIENT, six(SERVER), udp(5000, 53)));
    lab.pass_time(8 * MINUTE);
    assert_eq!(lab.translator.usage().pool_ports_taken, [0; 3]);
}

#[test]
fn a_reset_from_nowhere_is_forwarded_and_changes_nothing_unless_policy_trusts_it() {
    for (check_resets, state) in [(true, "ESTABLISHED"), (false, "TRANS")] {
        let mut lab = Lab::new(Policy { check_resets, ..policy() });
        let (port, _) = ports(&lab.pass(&packet6(CLIENT, six(SERVER), Payload::Tcp(5000, 80, Flags::Syn))));
        lab.pass(&packet4(SERVER, POOL, Payload::Tcp(80, port, Flags::SynAck)));
        // The client acknowledges 2000; a reset with sequence number 1000 is near that, a guess is not.
        lab.pass(&packet6(CLIENT, six(SERVER), Payload::Tcp(5000, 80, Flags::Ack)));
        let mut guess = packet4(SERVER, POOL, Payload::Tcp(80, port, Flags::Rst));
        guess[24..28].copy_from_slice(&0x8000_0000_u32.to_be_bytes());
        lab.pass(&guess);
        assert_eq!(lab.state(), state);
        lab.pass(&packet4(SERVER, POOL, Payload::Tcp(80, port, Flags::Rst)));
        assert_eq!(lab.state(), "TRANS");
    }
}
