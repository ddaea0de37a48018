//! Which policies can be used.

use std::collections::HashSet;
use std::net::Ipv4Addr;

use ipnet::Ipv6Net;
use pref64::{Pref64, special};

use super::{Limits, MappingBehavior, Policy, PoolRange, PoolRule, PortAssignment, StaticMapping};
use crate::deterministic::Deterministic;

/// Why a policy cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// Nothing could be translated.
    #[error("there is no translation prefix")]
    NoPrefix,
    /// A prefix contains another.
    #[error("the prefixes {0} and {1} overlap")]
    OverlappingPrefixes(Pref64, Pref64),
    /// Nothing could be translated.
    #[error("the pool has no address")]
    EmptyPool,
    /// A range ends before it starts.
    #[error("the pool range {}-{} ends before it starts", .0.first, .0.last)]
    BackwardRange(PoolRange),
    /// A pool address that packets cannot be sent from.
    #[error("the pool address {0} is not a unicast address that can be routed")]
    NotUnicast(Ipv4Addr),
    /// The same address and port twice.
    #[error("the pool ranges {}-{} and {}-{} overlap", .0.first, .0.last, .1.first, .1.last)]
    OverlappingPools(PoolRange, PoolRange),
    /// More addresses than the tables can name.
    #[error("the pool has {0} addresses; at most {max} are supported", max = Policy::MAX_POOL_ADDRESSES)]
    PoolTooLarge(u64),
    /// A rule names addresses that are not in the pool.
    #[error("the pool rule for {} names {}, which is not in the pool", .0.sources, .1)]
    RuleOutsidePool(PoolRule, Ipv4Addr),
    /// Ports that several subscribers share cannot belong to one of them.
    #[error(
        "address-and-port-dependent mapping shares ports between subscribers, so blocks and deterministic ranges do not go with it"
    )]
    OverlapNeedsSinglePorts,
    /// Deterministic assignment needs one range of ports on every address.
    #[error("deterministic ports need exactly one range of ports on {0}")]
    SeveralRanges(Ipv4Addr),
    /// Deterministic assignment has too few ports, or too many subscribers.
    #[error("{subscribers} subscribers in {sources} leave {ports} ports for each; at least 16 are needed")]
    TooManySubscribers {
        /// The sources of deterministic assignment.
        sources: Ipv6Net,
        /// How many subscribers they are.
        subscribers: u128,
        /// How many ports each would have.
        ports: u64,
    },
    /// A block size that is no power of two.
    #[error("translator.port-blocks.size is {0}; allowed is a power of two from 16 to 16384")]
    BlockSize(u16),
    /// A static mapping's address and port are not the translator's.
    #[error("the static mapping of {0}:{1} is outside of the pool")]
    StaticOutsidePool(Ipv4Addr, u16),
    /// Two static mappings contradict each other.
    #[error("two static mappings of one protocol share the host's or the pool's end {0}:{1}")]
    StaticTwice(Ipv4Addr, u16),
    /// An address that no error can be sent from.
    #[error("{0} cannot be the source of errors; allowed are unicast addresses that can be routed")]
    ErrorSource(Ipv4Addr),
    /// A value is outside its range.
    #[error("{key} is {value}; allowed is {allowed}")]
    OutOfRange {
        /// The key's name in the configuration.
        key: &'static str,
        /// What was given.
        value: u64,
        /// What is allowed.
        allowed: &'static str,
    },
}

impl Policy {
    /// Whether the policy can be used.
    ///
    /// # Errors
    /// The first rule it breaks.
    pub fn check(&self) -> Result<(), PolicyError> {
        self.check_prefixes()?;
        self.check_pool()?;
        self.check_pool_use()?;
        self.check_static_mappings()?;
        self.check_error_sources()?;
        self.check_numbers()
    }

    fn check_error_sources(&self) -> Result<(), PolicyError> {
        let mut sources = self.errors.source4.iter().chain(&self.errors.router_sources);
        sources
            .find(|source| !special::is_routable_unicast(**source))
            .map_or(Ok(()), |source| Err(PolicyError::ErrorSource(*source)))
    }

    fn check_prefixes(&self) -> Result<(), PolicyError> {
        if self.prefixes.is_empty() {
            return Err(PolicyError::NoPrefix);
        }
        for (index, one) in self.prefixes.iter().enumerate() {
            for other in &self.prefixes[index + 1..] {
                if one.net().contains(&other.net()) || other.net().contains(&one.net()) {
                    return Err(PolicyError::OverlappingPrefixes(*one, *other));
                }
            }
        }
        Ok(())
    }

    fn check_pool(&self) -> Result<(), PolicyError> {
        if self.pool.is_empty() {
            return Err(PolicyError::EmptyPool);
        }
        for (index, range) in self.pool.iter().enumerate() {
            if range.last < range.first || range.last_port < range.first_port {
                return Err(PolicyError::BackwardRange(*range));
            }
            for address in [range.first, range.last] {
                if !special::is_routable_unicast(address) {
                    return Err(PolicyError::NotUnicast(address));
                }
            }
            if let Some(other) = self.pool[index + 1..].iter().find(|other| range.overlaps(other)) {
                return Err(PolicyError::OverlappingPools(*range, *other));
            }
        }
        let addresses = self.pool.iter().map(PoolRange::addresses).sum();
        if addresses > Self::MAX_POOL_ADDRESSES { Err(PolicyError::PoolTooLarge(addresses)) } else { Ok(()) }
    }

    fn check_pool_use(&self) -> Result<(), PolicyError> {
        for rule in &self.pool_rules {
            let in_pool = |address| self.pool.iter().any(|range| (range.first..=range.last).contains(&address));
            for bits in rule.first.to_bits()..=rule.last.to_bits() {
                let address = Ipv4Addr::from_bits(bits);
                if !in_pool(address) {
                    return Err(PolicyError::RuleOutsidePool(*rule, address));
                }
            }
        }
        match self.port_assignment {
            PortAssignment::Blocks(_) | PortAssignment::Deterministic(_)
                if self.mapping == MappingBehavior::AddressAndPortDependent =>
            {
                Err(PolicyError::OverlapNeedsSinglePorts)
            }
            PortAssignment::Blocks(blocks)
                if !blocks.size.is_power_of_two() || !(16..=16_384).contains(&blocks.size) =>
            {
                Err(PolicyError::BlockSize(blocks.size))
            }
            PortAssignment::Blocks(blocks) => {
                in_range("translator.port-blocks.per-subscriber", blocks.per_subscriber.into(), 1, 64, "1 to 64")
            }
            PortAssignment::Deterministic(_) => Deterministic::new(self).map(|_| ()),
            PortAssignment::Single => Ok(()),
        }
    }

    fn check_static_mappings(&self) -> Result<(), PolicyError> {
        let (mut internals, mut externals) = (HashSet::new(), HashSet::new());
        for StaticMapping { protocol, internal, external } in &self.static_mappings {
            if !self.pool.iter().any(|range| range.has_port(external.0, external.1)) {
                return Err(PolicyError::StaticOutsidePool(external.0, external.1));
            }
            let is_new = internals.insert((*protocol, internal)) && externals.insert((*protocol, external));
            if !is_new {
                return Err(PolicyError::StaticTwice(external.0, external.1));
            }
        }
        Ok(())
    }

    fn check_numbers(&self) -> Result<(), PolicyError> {
        let timers = &self.timers;
        for (key, value) in [
            ("translator.timers.udp", timers.udp),
            ("translator.timers.tcp-established", timers.tcp_established),
            ("translator.timers.tcp-opening", timers.tcp_opening),
            ("translator.timers.tcp-closing", timers.tcp_closing),
            ("translator.timers.tcp-transitory", timers.tcp_transitory),
            ("translator.timers.tcp-incoming-syn", timers.tcp_incoming_syn),
            ("translator.timers.icmp", timers.icmp),
            ("translator.timers.fragment", timers.fragment),
        ] {
            in_range(key, value.as_secs(), 1, 30 * 86_400, "1s to 30d")?;
        }
        in_range("translator.timers.port-quarantine", timers.port_quarantine.as_secs(), 0, 3600, "0s to 1h")?;
        in_range("translator.subscriber-prefix-length", self.subscriber_length.into(), 48, 128, "48 to 128")?;
        in_range("translator.mtu.lowest-ipv6", self.mtu.lowest_ipv6.into(), 1280, 65_535, "1280 to 65535")?;
        let most = Limits::MOST;
        in_range("translator.limits.sessions", self.limits.sessions.into(), 1, most, "1 to 50000000")?;
        in_range("translator.limits.mappings", self.limits.mappings.into(), 1, most, "1 to 50000000")?;
        for (key, limit) in [
            ("translator.limits.sessions-per-subscriber", self.limits.sessions_per_subscriber),
            ("translator.limits.mappings-per-subscriber", self.limits.mappings_per_subscriber),
            ("translator.limits.new-mappings-per-second", self.limits.new_mappings_per_second),
        ] {
            in_range(key, limit.unwrap_or(1).into(), 1, most, "1 to 50000000, or none")?;
        }
        Ok(())
    }
}

fn in_range(key: &'static str, value: u64, least: u64, most: u64, allowed: &'static str) -> Result<(), PolicyError> {
    if (least..=most).contains(&value) { Ok(()) } else { Err(PolicyError::OutOfRange { key, value, allowed }) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{PortBlocks, Timers};

    fn policy() -> Policy {
        let address = PoolRange::address(Ipv4Addr::new(192, 0, 2, 1));
        Policy::new(vec![Pref64::WELL_KNOWN], vec![address])
    }

    #[test]
    fn the_defaults_can_be_used() {
        assert_eq!(policy().check(), Ok(()));
    }

    #[test]
    fn what_cannot_be_used_says_which_rule_it_breaks() {
        let blocks = |size| PortAssignment::Blocks(PortBlocks { size, per_subscriber: 1 });
        let overlap = Policy { mapping: MappingBehavior::AddressAndPortDependent, ..policy() };
        assert_eq!(Policy { prefixes: Vec::new(), ..policy() }.check(), Err(PolicyError::NoPrefix));
        assert_eq!(Policy { pool: Vec::new(), ..policy() }.check(), Err(PolicyError::EmptyPool));
        assert_eq!(Policy { port_assignment: blocks(100), ..policy() }.check(), Err(PolicyError::BlockSize(100)));
        assert_eq!(
            Policy { port_assignment: blocks(64), ..overlap }.check(),
            Err(PolicyError::OverlapNeedsSinglePorts)
        );
        let twice = Policy { pool: [policy().pool, policy().pool].concat(), ..policy() };
        assert!(matches!(twice.check(), Err(PolicyError::OverlappingPools(..))));
        let multicast = Policy { pool: vec![PoolRange::address(Ipv4Addr::new(224, 0, 0, 1))], ..policy() };
        assert!(matches!(multicast.check(), Err(PolicyError::NotUnicast(_))));
        let nothing = Limits { mappings_per_subscriber: Some(0), ..Limits::default() };
        assert!(matches!(Policy { limits: nothing, ..policy() }.check(), Err(PolicyError::OutOfRange { .. })));
        let fixed = |port| StaticMapping {
            protocol: crate::Protocol::Udp,
            internal: ("2001:db8::1".parse().unwrap(), 53),
            external: (Ipv4Addr::new(192, 0, 2, 1), port),
        };
        let twice = Policy { static_mappings: vec![fixed(53), fixed(54)], ..policy() };
        assert_eq!(twice.check(), Err(PolicyError::StaticTwice(Ipv4Addr::new(192, 0, 2, 1), 54)));
        let hasty = Timers { udp: std::time::Duration::from_millis(999), ..Timers::default() };
        assert!(matches!(Policy { timers: hasty, ..policy() }.check(), Err(PolicyError::OutOfRange { .. })));
    }
}
