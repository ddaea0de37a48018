//! Random policies, small enough that their limits are met.

use std::net::Ipv4Addr;
use std::time::Duration;

use nat64_core::policy::{
    Exclusion, Filtering, FlowLabel, MappingBehavior, PoolRange, PoolRule, Pooling, PortAssignment, PortBlocks,
    StaticMapping, UdpZeroChecksum,
};
use nat64_core::{LinkMtus, Policy, Protocol};
use pref64::WellKnownPolicy;

use super::scripts::{Entropy, HOSTS};
use crate::support::POOL;

pub(super) fn policy(entropy: &mut Entropy<'_>) -> Policy {
    let prefixes = match entropy.pick(4) {
        0 => vec!["2001:db8:64::/96"],
        1 => vec!["64:ff9b::/96", "2001:db8:6464::/48"],
        2 => vec!["2001:db8:1:6400::/56", "2001:db8:64::/96"],
        _ => vec!["2001:db8:122:344::/64"],
    };
    let prefixes = prefixes.into_iter().map(|prefix| prefix.parse().unwrap()).collect();
    let mut policy = Policy::new(prefixes, pool(entropy));
    policy.well_known = if entropy.chance(50) { WellKnownPolicy::AllowPrivate } else { WellKnownPolicy::Strict };
    policy.subscriber_length = [128, 64, 48][entropy.pick(3)];
    policy.filtering = if entropy.chance(40) { Filtering::AddressDependent } else { Filtering::EndpointIndependent };
    policy.hairpinning = entropy.chance(80);
    policy.reset_unknown_tcp = entropy.chance(70);
    if entropy.chance(30) {
        policy.timers.udp = Duration::from_secs(3);
        policy.timers.tcp_established = Duration::from_secs(20);
        policy.timers.tcp_transitory = Duration::from_secs(5);
        policy.timers.tcp_opening = Duration::from_secs(4);
        policy.timers.tcp_closing = Duration::from_secs(2);
        policy.timers.port_quarantine = Duration::from_secs([0, 1, 10][entropy.pick(3)]);
    }
    if entropy.chance(25) {
        policy.limits.sessions = 12;
        policy.limits.mappings = 8;
    }
    if entropy.chance(25) {
        policy.limits.sessions_per_subscriber = Some(5);
        policy.limits.mappings_per_subscriber = Some(3);
    }
    if entropy.chance(15) {
        policy.limits.new_mappings_per_second = Some(2);
    }
    policy.check_resets = entropy.chance(70);
    policy.inbound_refresh = entropy.chance(75);
    ports(entropy, &mut policy);
    if entropy.chance(25) {
        policy.exclusions = exclusions(entropy);
    }
    policy.mtu.lowest_ipv6 = [1280, 1500][entropy.pick(2)];
    policy.mtu.clamp_mss_to_ipv6_mtu = [None, Some(1280), Some(1400)][entropy.pick(3)];
    policy.header.copy_traffic_class = entropy.chance(70);
    policy.header.flow_label = if entropy.chance(30) { FlowLabel::Hash } else { FlowLabel::Zero };
    policy.header.name_routers = entropy.chance(30);
    policy.header.tos = [0, 0x48][entropy.pick(2)];
    policy.header.udp_zero_checksum =
        [UdpZeroChecksum::Compute, UdpZeroChecksum::Drop, UdpZeroChecksum::Forward][entropy.pick(3)];
    policy.errors.send = entropy.chance(85);
    policy.errors.source6 = entropy.chance(40).then(|| "2001:db8:ffff::1".parse().unwrap());
    policy.errors.source4 = entropy.chance(40).then_some(Ipv4Addr::new(203, 0, 113, 254));
    policy.static_mappings = statics(entropy, &policy);
    policy
}

/// MTUs of the next hops, which may not be known.
pub(super) fn links(entropy: &mut Entropy<'_>) -> LinkMtus {
    let mut mtu = || [None, Some(1280), Some(1400), Some(9001)][entropy.pick(4)];
    LinkMtus { ipv4: mtu(), ipv6: mtu() }
}

/// Who gets which ports, and how.
fn ports(entropy: &mut Entropy<'_>, policy: &mut Policy) {
    policy.pooling = if entropy.chance(50) { Pooling::Soft } else { Pooling::Paired };
    match entropy.pick(6) {
        0 => policy.mapping = MappingBehavior::AddressAndPortDependent,
        1 => policy.port_assignment = PortAssignment::Blocks(PortBlocks { size: 16, per_subscriber: 2 }),
        2 => {
            policy.subscriber_length = 64;
            policy.pool = vec![PoolRange {
                last: Ipv4Addr::from_bits(POOL.to_bits() + 1),
                first_port: 1000,
                last_port: 1299,
                ..PoolRange::address(POOL)
            }];
            policy.port_assignment = PortAssignment::Deterministic("2001:db8:a::/60".parse().unwrap());
        }
        3 => {
            let last = policy.pool[policy.pool.len() - 1].last;
            let rule = |sources: &str| PoolRule { sources: sources.parse().unwrap(), first: last, last };
            policy.pool_rules = vec![rule("2001:db8:a::/64"), rule("fd00::/8")];
        }
        _ => {}
    }
}

fn exclusions(entropy: &mut Entropy<'_>) -> Vec<Exclusion> {
    let silent = entropy.chance(40);
    let by_source = Exclusion { source: Some("2001:db8:a::2/128".parse().unwrap()), silent, ..Exclusion::default() };
    let by_port = Exclusion { ports: Some((53, 80)), protocol: Some(Protocol::Tcp), ..Exclusion::default() };
    let by_destination = Exclusion {
        destination: Some("203.0.113.0/24".parse().unwrap()),
        ports: Some((400, 4000)),
        silent,
        ..Exclusion::default()
    };
    [vec![by_source], vec![by_port, by_destination]][entropy.pick(2)].clone()
}

fn pool(entropy: &mut Entropy<'_>) -> Vec<PoolRange> {
    let range = |first_port, last_port| PoolRange { first_port, last_port, ..PoolRange::address(POOL) };
    match entropy.pick(4) {
        0 => vec![range(1000, 1100)],
        1 => vec![range(40_000, 40_007)],
        2 => vec![range(1020, 1027), range(2000, 2001)],
        _ => {
            let last = Ipv4Addr::from_bits(POOL.to_bits() + 1);
            vec![
                PoolRange { last, ..range(1021, 1030) },
                PoolRange {
                    first: Ipv4Addr::new(192, 0, 2, 9),
                    last: Ipv4Addr::new(192, 0, 2, 9),
                    ..range(5000, 5100)
                },
            ]
        }
    }
}

fn statics(entropy: &mut Entropy<'_>, policy: &Policy) -> Vec<StaticMapping> {
    if entropy.chance(60) {
        return Vec::new();
    }
    let range = policy.pool[0];
    let mapping = |protocol, host: usize, port| StaticMapping {
        protocol,
        internal: (HOSTS[host], 443),
        external: (range.first, port),
    };
    vec![mapping(Protocol::Tcp, 0, range.first_port), mapping(Protocol::Udp, 1, range.last_port)]
}
