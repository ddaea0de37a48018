use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use pref64::Pref64;

use super::{PAGES, ReplaceError};
use crate::event::{EndReason, EventKind};
use crate::packet::Protocol;
use crate::policy::{
    Draining, Exclusion, Filtering, Limits, MappingBehavior, Policy, PolicyError, PoolRange, PoolRule, PortAssignment,
    PortBlocks, StaticMapping,
};
use crate::testing::{
    CLIENT, Flags, Lab, OTHER, POOL, Payload, SERVER, destination6, icmp_type, packet4, packet6, policy, ports, prefix,
    six,
};
use crate::verdict::{DropReason, Verdict};
use crate::{SessionInfo, Timestamp};

const SECOND: Duration = Duration::from_secs(1);
const POOL2: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);

fn udp(from: u16, to: u16) -> Payload<'static> {
    Payload::Udp(from, to, b"")
}

fn pool(addresses: &[Ipv4Addr]) -> Vec<PoolRange> {
    addresses.iter().map(|address| PoolRange::address(*address)).collect()
}

fn source4(packet: &[u8]) -> Ipv4Addr {
    <[u8; 4]>::try_from(&packet[12..16]).unwrap().into()
}

/// Replaces the policy and lets everything come of it that does.
fn replace(lab: &mut Lab, policy: Policy) {
    lab.translator.replace(policy).unwrap();
    assert!(!lab.translator.is_settled());
    lab.pass_time(SECOND);
    assert!(lab.translator.is_settled());
}

/// Opens a UDP session and returns its pool address and port.
fn open(lab: &mut Lab, host: Ipv6Addr, port: u16) -> (Ipv4Addr, u16) {
    let out = lab.pass(&packet6(host, six(SERVER), udp(port, 53)));
    (source4(&out), ports(&out).0)
}

/// Sends an answer to a pool address and port and returns the verdict.
fn answer(lab: &mut Lab, (address, port): (Ipv4Addr, u16)) -> Verdict {
    lab.send(&packet4(SERVER, address, udp(53, port))).verdict
}

fn ended(lab: &mut Lab) -> Vec<EndReason> {
    let reason = |kind| if let EventKind::SessionEnded { reason, .. } = kind { Some(reason) } else { None };
    lab.worker.events.drain().filter_map(|event| reason(event.kind)).collect()
}

#[test]
fn a_session_goes_on_where_the_policy_still_allows_it() {
    let mut lab = Lab::new(policy());
    let external = open(&mut lab, CLIENT, 5000);
    let other: Pref64 = "2001:db8:65::/96".parse().unwrap();
    let changed = Policy {
        prefixes: vec![other, prefix()],
        pool: pool(&[Ipv4Addr::new(192, 0, 2, 0), POOL, POOL2]),
        limits: Limits { sessions: 10, ..Limits::default() },
        hairpinning: false,
        ..policy()
    };

    replace(&mut lab, changed);

    assert_eq!(open(&mut lab, CLIENT, 5000), external, "the same address and port as before");
    let back = lab.pass(&packet4(SERVER, external.0, udp(53, external.1)));
    assert_eq!((destination6(&back), &back[8..24]), (CLIENT, &six(SERVER).octets()[..]), "and the same prefix");
    assert_eq!(ended(&mut lab), []);
}

#[test]
fn a_policy_that_cannot_be_used_changes_nothing() {
    let mut lab = Lab::new(policy());
    let external = open(&mut lab, CLIENT, 5000);
    let blocks = PortAssignment::Blocks(PortBlocks { size: 64, per_subscriber: 2 });
    for (wrong, why) in [
        (Policy { pool: Vec::new(), ..policy() }, ReplaceError::Policy(PolicyError::EmptyPool)),
        (
            Policy { mapping: MappingBehavior::AddressAndPortDependent, ..policy() },
            ReplaceError::Fixed("translator.mapping"),
        ),
        (Policy { port_assignment: blocks, ..policy() }, ReplaceError::Fixed("translator.port-assignment")),
        (Policy { subscriber_length: 64, ..policy() }, ReplaceError::Fixed("translator.subscriber-length")),
        (Policy { filtering: Filtering::AddressDependent, ..policy() }, ReplaceError::Fixed("translator.filtering")),
    ] {
        assert_eq!(lab.translator.replace(wrong), Err(why));
    }
    assert!(lab.translator.is_settled() && lab.translator.policy() == policy());
    assert_eq!(open(&mut lab, CLIENT, 5000), external);
}

#[test]
fn sessions_on_an_address_that_leaves_the_pool_end_and_others_stay() {
    let mut lab = Lab::new(Policy { pool: pool(&[POOL, POOL2]), ..policy() });
    let hosts: Vec<Ipv6Addr> = (1..=20_u16).map(|host| Ipv6Addr::from([0x2001, 0xdb8, 1, 0, 0, 0, 0, host])).collect();
    let externals: Vec<_> = hosts.iter().map(|host| open(&mut lab, *host, 4000)).collect();
    let stay = externals.iter().filter(|external| external.0 == POOL2).count();
    assert!((1..20).contains(&stay), "both addresses are in use");

    replace(&mut lab, Policy { pool: pool(&[POOL2]), ..policy() });

    for (host, external) in hosts.iter().zip(&externals) {
        if external.0 == POOL2 {
            assert_eq!(open(&mut lab, *host, 4000), *external);
        } else {
            assert_eq!(answer(&mut lab, *external), Verdict::Dropped(DropReason::NotOurPool));
            assert_eq!(open(&mut lab, *host, 4000).0, POOL2);
        }
    }
    assert_eq!(ended(&mut lab), vec![EndReason::Removed; 20 - stay]);
    assert_eq!(lab.translator.pool_addresses().len(), 1);
}

#[test]
fn an_address_that_comes_back_remembers_the_ports_that_rest() {
    let two = PoolRange { first_port: 4000, last_port: 4001, ..PoolRange::address(POOL) };
    let mut lab = Lab::new(Policy { pool: vec![two], ..policy() });
    open(&mut lab, CLIENT, 4000);
    open(&mut lab, CLIENT, 4001);
    replace(&mut lab, Policy { pool: pool(&[POOL2]), ..policy() });

    replace(&mut lab, Policy { pool: vec![two], ..policy() });

    let late = lab.send(&packet6(CLIENT, six(SERVER), udp(4000, 53)));
    assert_eq!(late.verdict, Verdict::Refused(DropReason::PoolExhausted), "they are not given to others at once");
    lab.pass_time(policy().timers.port_quarantine);
    assert_eq!(open(&mut lab, CLIENT, 4000).0, POOL);
}

#[test]
fn addresses_may_come_and_go_for_ever() {
    let mut lab = Lab::new(policy());
    let external = open(&mut lab, CLIENT, 5000);
    for round in 0..300_u16 {
        let [high, low] = round.to_be_bytes();
        replace(&mut lab, Policy { pool: pool(&[POOL, Ipv4Addr::new(198, 18, high, low)]), ..policy() });
    }
    assert!(lab.translator.terms().pool.places_in_all() < 10, "places are used again");
    assert_eq!(open(&mut lab, CLIENT, 5000), external);
}

#[test]
fn sessions_on_ports_that_leave_the_pool_end() {
    let mut lab = Lab::new(policy());
    let low = open(&mut lab, CLIENT, 2000);
    let narrow = PoolRange { first_port: 50_000, last_port: 50_010, ..PoolRange::address(POOL) };
    assert!(low.1 < 50_000 || low.1 > 50_010, "unlikely enough: {}", low.1);

    replace(&mut lab, Policy { pool: vec![narrow], ..policy() });

    assert_eq!(ended(&mut lab), [EndReason::Removed]);
    assert!((50_000..=50_010).contains(&open(&mut lab, CLIENT, 2000).1));
}

#[test]
fn sessions_under_a_prefix_that_is_gone_end_and_under_one_that_stays_go_on() {
    let other: Pref64 = "64:ff9b:1::/96".parse().unwrap();
    let mut lab = Lab::new(Policy { prefixes: vec![prefix(), other], ..policy() });
    open(&mut lab, CLIENT, 5000);
    let out = lab.pass(&packet6(OTHER, other.embed(SERVER), udp(6000, 53)));

    replace(&mut lab, Policy { prefixes: vec![other], ..policy() });

    let [session]: [SessionInfo; 1] = lab.sessions().try_into().unwrap();
    assert_eq!((session.internal.0, session.remote6), (OTHER, other.embed(SERVER)));
    let back = lab.pass(&packet4(SERVER, POOL, udp(53, ports(&out).0)));
    assert_eq!(&back[8..24], other.embed(SERVER).octets());
    let gone = lab.send(&packet6(CLIENT, six(SERVER), udp(5000, 53)));
    assert!(matches!(
        gone.verdict,
        Verdict::Refused(DropReason::NotOurPrefix) | Verdict::Dropped(DropReason::NotOurPrefix)
    ));
}

#[test]
fn sessions_that_an_exclusion_or_a_rule_forbids_end() {
    let mut lab = Lab::new(Policy { pool: pool(&[POOL, POOL2]), ..policy() });
    let external = open(&mut lab, CLIENT, 5000);
    lab.pass(&packet6(CLIENT, six(SERVER), udp(5001, 123)));
    let exclusion = Exclusion { protocol: Some(Protocol::Udp), ports: Some((123, 123)), ..Exclusion::default() };
    let only_dns = Policy { pool: pool(&[POOL, POOL2]), exclusions: vec![exclusion], ..policy() };

    replace(&mut lab, only_dns.clone());
    let [session]: [SessionInfo; 1] = lab.sessions().try_into().unwrap();
    assert_eq!(session.internal.1, 5000);

    let elsewhere = if external.0 == POOL { POOL2 } else { POOL };
    let rule = PoolRule { sources: "2001:db8:1::/48".parse().unwrap(), first: elsewhere, last: elsewhere };
    replace(&mut lab, Policy { pool_rules: vec![rule], ..only_dns });
    assert_eq!(lab.sessions(), []);
    assert_eq!([open(&mut lab, CLIENT, 5000).0, open(&mut lab, CLIENT, 5002).0], [elsewhere; 2]);
}

#[test]
fn a_subscriber_of_several_hosts_is_paired_anew_when_its_rule_changes() {
    let pools: Vec<Ipv4Addr> = (1..=8).map(|last| Ipv4Addr::new(192, 0, 2, last)).collect();
    let wide = Policy { pool: pool(&pools), subscriber_length: 64, ..policy() };
    let mut lab = Lab::new(wide.clone());
    let (address, _) = open(&mut lab, CLIENT, 5000);
    let others: Vec<Ipv4Addr> = pools.into_iter().filter(|other| *other != address).collect();
    let sources = "2001:db8:1::/48".parse().unwrap();
    let rules = others.iter().map(|other| PoolRule { sources, first: *other, last: *other }).collect();

    lab.translator.replace(Policy { pool_rules: rules, ..wide }).unwrap();
    let during = open(&mut lab, CLIENT, 5001).0;
    lab.pass_time(SECOND);

    let after: std::collections::HashSet<Ipv4Addr> = (6000..6020).map(|port| open(&mut lab, CLIENT, port).0).collect();
    assert!(after.len() == 1 && !after.contains(&address) && during != address, "{after:?}");
}

#[test]
fn shorter_lifetimes_count_for_what_is_silent_and_longer_ones_from_the_next_packet() {
    let mut lab = Lab::new(policy());
    open(&mut lab, CLIENT, 5000);
    let mut hasty = policy();
    hasty.timers.udp = 10 * SECOND;
    replace(&mut lab, hasty);
    lab.pass_time(8 * SECOND);
    assert_eq!(lab.sessions().len(), 1);
    lab.pass_time(3 * SECOND);
    assert_eq!(lab.sessions(), []);

    open(&mut lab, CLIENT, 5000);
    replace(&mut lab, policy());
    open(&mut lab, CLIENT, 5000);
    lab.pass_time(100 * SECOND);
    assert_eq!(lab.sessions().len(), 1);
}

fn fixed(internal: (Ipv6Addr, u16), port: u16) -> StaticMapping {
    StaticMapping { protocol: Protocol::Tcp, internal, external: (POOL, port) }
}

fn with_static(mapping: StaticMapping) -> Policy {
    Policy { static_mappings: vec![mapping], ..policy() }
}

#[test]
fn a_static_mapping_comes_and_goes_and_its_connections_go_on() {
    let mut lab = Lab::new(policy());
    replace(&mut lab, with_static(fixed((CLIENT, 443), 443)));
    lab.pass(&packet4(SERVER, POOL, Payload::Tcp(6000, 443, Flags::Syn)));
    lab.pass(&packet6(CLIENT, six(SERVER), Payload::Tcp(443, 6000, Flags::SynAck)));

    replace(&mut lab, policy());

    assert_eq!((lab.sessions().len(), lab.mappings()), (1, 1));
    lab.pass(&packet4(SERVER, POOL, Payload::Tcp(6000, 443, Flags::Ack)));
    lab.pass(&packet6(CLIENT, six(SERVER), Payload::Tcp(443, 6000, Flags::Rst)));
    lab.pass_time(300 * SECOND);
    assert_eq!((lab.sessions().len(), lab.mappings()), (0, 0), "it goes with its last connection");
    assert_eq!(lab.translator.usage().pool_ports_taken, [0; 3]);
}

#[test]
fn a_static_mapping_without_connections_goes_at_once() {
    let mut lab = Lab::new(with_static(fixed((CLIENT, 443), 443)));
    replace(&mut lab, policy());
    assert_eq!((lab.mappings(), lab.translator.usage().pool_ports_taken), (0, [0; 3]));
}

#[test]
fn a_static_mapping_takes_a_port_that_another_host_has() {
    let only = PoolRange { first_port: 5000, last_port: 5001, ..PoolRange::address(POOL) };
    let narrow = Policy { pool: vec![only], ..policy() };
    let mut lab = Lab::new(narrow.clone());
    lab.pass(&packet6(OTHER, six(SERVER), Payload::Tcp(5000, 80, Flags::Syn)));
    lab.pass(&packet6(OTHER, six(SERVER), Payload::Tcp(5001, 80, Flags::Syn)));

    replace(&mut lab, Policy { static_mappings: vec![fixed((CLIENT, 80), 5000)], ..narrow.clone() });

    assert_eq!(ended(&mut lab), [EndReason::Removed]);
    for _ in 0..3 {
        let syn = lab.pass(&packet4(SERVER, POOL, Payload::Tcp(6000, 5000, Flags::Syn)));
        assert_eq!((destination6(&syn), ports(&syn)), (CLIENT, (6000, 80)));
        lab.pass_time(200 * SECOND);
    }
    replace(&mut lab, narrow);
    lab.pass_time(500 * SECOND);
    assert_eq!(lab.translator.usage().pool_ports_taken, [0; 3]);
}

#[test]
fn a_static_mapping_takes_over_a_host_port_that_has_another() {
    let mut lab = Lab::new(policy());
    let syn = lab.pass(&packet6(CLIENT, six(SERVER), Payload::Tcp(443, 80, Flags::Syn)));
    let before = ports(&syn).0;

    replace(&mut lab, with_static(fixed((CLIENT, 443), 443)));

    let again = lab.pass(&packet6(CLIENT, six(SERVER), Payload::Tcp(443, 80, Flags::Syn)));
    assert_eq!(ports(&again).0, 443);
    let old = lab.send(&packet4(SERVER, POOL, Payload::Tcp(80, before, Flags::SynAck)));
    assert_eq!(old.verdict, Verdict::Dropped(DropReason::NoMapping));
    assert_eq!((lab.sessions().len(), lab.mappings()), (1, 1));
}

#[test]
fn a_static_mapping_in_a_block_leaves_the_block_its_count() {
    let assignment = PortAssignment::Blocks(PortBlocks { size: 16, per_subscriber: 1 });
    let few = PoolRange { first_port: 1024, last_port: 1039, ..PoolRange::address(POOL) };
    let blocks = Policy { pool: vec![few], port_assignment: assignment, ..policy() };
    let mut lab = Lab::new(blocks.clone());
    (0..16).for_each(|port| drop(lab.pass(&packet6(OTHER, six(SERVER), Payload::Tcp(3000 + port, 80, Flags::Syn)))));

    replace(&mut lab, Policy { static_mappings: vec![fixed((CLIENT, 80), 1030)], ..blocks.clone() });
    lab.pass_time(1000 * SECOND);
    replace(&mut lab, blocks);
    lab.pass_time(1000 * SECOND);

    assert_eq!((lab.mappings(), lab.translator.usage().pool_ports_taken), (0, [0; 3]));
    lab.pass(&packet6(CLIENT, six(SERVER), Payload::Tcp(1, 80, Flags::Syn)));
}

#[test]
fn a_drained_translator_takes_no_new_sessions_and_keeps_those_it_has() {
    let mut lab = Lab::new(policy());
    let external = open(&mut lab, CLIENT, 5000);
    let everything = Draining { everything: true, addresses: Vec::new() };
    replace(&mut lab, Policy { draining: everything, ..policy() });

    for (new, what) in [(udp(6000, 53), "another mapping"), (udp(5000, 54), "another session of a mapping")] {
        let outcome = lab.send(&packet6(CLIENT, six(SERVER), new));
        assert_eq!(outcome.verdict, Verdict::Refused(DropReason::Draining), "{what}");
        assert_eq!(icmp_type(&outcome.packet), (1, 3));
    }
    let outside = lab.send(&packet4(Ipv4Addr::new(203, 0, 113, 9), POOL, udp(1, external.1)));
    assert_eq!(outside.verdict, Verdict::Dropped(DropReason::Draining));
    assert_eq!(open(&mut lab, CLIENT, 5000), external);

    replace(&mut lab, policy());
    open(&mut lab, CLIENT, 6000);
}

#[test]
fn a_drained_address_is_left_for_others_by_new_mappings() {
    let two = Policy { pool: pool(&[POOL, POOL2]), ..policy() };
    let mut lab = Lab::new(two.clone());
    let (address, port) = open(&mut lab, CLIENT, 5000);
    let other = if address == POOL { POOL2 } else { POOL };

    replace(&mut lab, Policy { draining: Draining { everything: false, addresses: vec![address] }, ..two.clone() });

    assert_eq!([6000, 6001, 6002].map(|port| open(&mut lab, CLIENT, port).0), [other; 3], "paired anew");
    assert_eq!(open(&mut lab, CLIENT, 5000), (address, port), "what is there goes on");
    let more = lab.send(&packet6(CLIENT, six(SERVER), udp(5000, 54)));
    assert_eq!(more.verdict, Verdict::Refused(DropReason::Draining));
    let both = Draining { everything: false, addresses: vec![POOL, POOL2] };
    replace(&mut lab, Policy { draining: both, ..two });
    let none = lab.send(&packet6(OTHER, six(SERVER), udp(1, 54)));
    assert_eq!(none.verdict, Verdict::Refused(DropReason::Draining));
}

#[test]
fn nothing_is_ended_while_a_batch_works_under_the_policy_before() {
    let mut lab = Lab::new(policy());
    let mut slow = crate::Worker::new();
    let batch = lab.translator.batch(Timestamp::ZERO, &mut slow);
    lab.translator.replace(Policy { pool: pool(&[POOL2]), ..policy() }).unwrap();
    for _ in 0..10 {
        lab.translator.expire(lab.now, &mut lab.worker);
    }
    assert!(!lab.translator.is_settled());
    drop(batch);
    lab.pass_time(SECOND);
    assert!(lab.translator.is_settled());
}

#[test]
fn a_second_policy_may_come_while_the_first_is_swept_in() {
    let mut lab = Lab::new(policy());
    let hosts: Vec<Ipv6Addr> = (0..5000_u16).map(|host| Ipv6Addr::from([0x2001, 0xdb8, 1, 0, 0, 0, 0, host])).collect();
    let externals: Vec<_> = hosts.iter().map(|host| open(&mut lab, *host, 4000)).collect();
    lab.translator.replace(Policy { pool: pool(&[POOL2]), ..policy() }).unwrap();
    lab.translator.expire(lab.now, &mut lab.worker);
    lab.translator.expire(lab.now, &mut lab.worker);

    replace(&mut lab, policy());

    let alive = lab.sessions().len();
    let same = hosts.iter().zip(&externals).filter(|(host, external)| open(&mut lab, **host, 4000) == **external);
    assert!(same.count() >= alive && alive > 0, "{alive} were not come to yet");
}

#[test]
fn many_sessions_are_looked_through_a_bounded_number_at_a_time() {
    let mut lab = Lab::new(policy());
    for host in 0..20_000_u16 {
        open(&mut lab, Ipv6Addr::from([0x2001, 0xdb8, 1, 0, 0, 0, 0, host]), 4000);
        lab.worker.events.drain().for_each(drop);
    }
    lab.translator.replace(Policy { pool: pool(&[POOL2]), ..policy() }).unwrap();
    let (mut calls, mut most, mut before) = (0, 0, lab.sessions().len());
    while !lab.translator.is_settled() {
        lab.translator.expire(lab.now, &mut lab.worker);
        let now = lab.sessions().len();
        (calls, most, before) = (calls + 1, most.max(before - now), now);
        assert_eq!(lab.worker.events.lost(), 0);
        lab.worker.events.drain().for_each(drop);
    }
    assert_eq!(before, 0);
    assert!(most <= PAGES * 512 && calls >= 20, "{most} in one of {calls} calls");
}

#[test]
fn hairpinned_sessions_outlive_a_change_too() {
    let mut lab = Lab::new(policy());
    let (address, port) = open(&mut lab, CLIENT, 5000);
    let out = lab.pass(&packet6(OTHER, six(address), udp(7000, port)));
    assert_eq!(destination6(&out), CLIENT);
    replace(&mut lab, Policy { pool: pool(&[POOL, POOL2]), ..policy() });
    let back = lab.pass(&packet6(CLIENT, six(address), udp(5000, ports(&out).0)));
    assert_eq!(destination6(&back), OTHER);
}
