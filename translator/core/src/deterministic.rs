//! Ports that follow from the subscriber's prefix (RFC 7422): no log is needed to say who had one.
//!
//! Subscribers are numbered by their prefix. The pool's addresses, in ascending order, take equally many of them each;
//! on an address, each has an equal range of consecutive ports, in the order of their numbers.

use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::Ipv6Net;

use crate::policy::{Policy, PolicyError, PoolRange, PortAssignment};

/// Ports of a subscriber at the least.
const LEAST: u64 = 16;

/// The arithmetic between subscribers and ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Deterministic {
    sources: Ipv6Net,
    subscriber_length: u8,
    /// The pool, ascending, with the number of addresses before each range.
    pool: Vec<(u128, PoolRange)>,
    /// Subscribers on an address.
    per_address: u128,
    /// Ports of a subscriber.
    ports: u16,
}

/// The ports of one subscriber.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// The subscriber.
    pub subscriber: Ipv6Net,
    /// The pool address that it has ports of.
    pub address: Ipv4Addr,
    /// Its first port.
    pub first_port: u16,
    /// Its last port.
    pub last_port: u16,
}

impl Policy {
    /// The ports of the subscriber that `source` belongs to (RFC 7422 §2); nothing where ports are not assigned by
    /// arithmetic or the source has none. The policy must have passed [`Policy::check`].
    #[must_use]
    pub fn share_of(&self, source: Ipv6Addr) -> Option<Share> {
        Deterministic::new(self).ok()?.share_of(source)
    }

    /// The ports of the subscriber that has this port, now and at any other time under this policy; nothing where ports are
    /// not assigned by arithmetic or nobody can have it.
    #[must_use]
    pub fn share_with(&self, address: Ipv4Addr, port: u16) -> Option<Share> {
        let arithmetic = Deterministic::new(self).ok()?;
        arithmetic.share_of(arithmetic.subscriber_of(address, port)?.network())
    }
}

impl Deterministic {
    /// The arithmetic of a policy that asks for it; for others it has no subscribers.
    pub(crate) fn new(policy: &Policy) -> Result<Self, PolicyError> {
        let PortAssignment::Deterministic(sources) = policy.port_assignment else {
            return Err(PolicyError::EmptyPool);
        };
        let mut ranges = policy.pool.clone();
        ranges.sort_unstable_by_key(|range| range.first);
        if let Some(pair) = ranges.windows(2).find(|pair| pair[1].first <= pair[0].last) {
            return Err(PolicyError::SeveralRanges(pair[1].first));
        }
        let mut addresses = 0;
        let mut pool = Vec::with_capacity(ranges.len());
        for range in ranges {
            pool.push((addresses, range));
            addresses += u128::from(range.addresses());
        }
        let width = |range: &PoolRange| u64::from(range.last_port - range.first_port) + 1;
        let narrowest = policy.pool.iter().map(width).min().unwrap_or(0);
        let bits = u32::from(policy.subscriber_length.saturating_sub(sources.prefix_len()));
        let subscribers = 1_u128.checked_shl(bits).unwrap_or(u128::MAX);
        let per_address = subscribers.div_ceil(addresses.max(1));
        let ports = u64::try_from(u128::from(narrowest) / per_address).unwrap_or(0);
        if ports < LEAST {
            return Err(PolicyError::TooManySubscribers { sources, subscribers, ports });
        }
        let ports = u16::try_from(ports).unwrap_or(u16::MAX);
        Ok(Self { sources, subscriber_length: policy.subscriber_length, pool, per_address, ports })
    }

    /// The ports of the subscriber that `source` belongs to; nothing if it is not among the sources.
    pub(crate) fn share_of(&self, source: Ipv6Addr) -> Option<Share> {
        if !self.sources.contains(&source) {
            return None;
        }
        let number = (source.to_bits() ^ self.sources.network().to_bits()).unbounded_shr(self.host_bits());
        let (nth_address, nth_share) = (number / self.per_address, number % self.per_address);
        let (before, range) = self.pool.iter().rev().find(|(before, _)| *before <= nth_address)?;
        let offset = u32::try_from(nth_address - before).ok()?;
        let first_port = range.first_port.checked_add(u16::try_from(nth_share * u128::from(self.ports)).ok()?)?;
        let address = Ipv4Addr::from_bits(range.first.to_bits().checked_add(offset)?);
        let subscriber = Ipv6Net::new(source, self.subscriber_length).ok()?.trunc();
        Some(Share { subscriber, address, first_port, last_port: first_port + (self.ports - 1) })
    }

    /// The subscriber that has this port; nothing if nobody can have it.
    pub(crate) fn subscriber_of(&self, address: Ipv4Addr, port: u16) -> Option<Ipv6Net> {
        let (before, range) = self.pool.iter().find(|(_, range)| range.has_port(address, port))?;
        let nth_address = before + u128::from(address.to_bits() - range.first.to_bits());
        let nth_share = u128::from((port - range.first_port) / self.ports);
        if nth_share >= self.per_address {
            return None;
        }
        let number = (nth_address * self.per_address + nth_share).checked_shl(self.host_bits())?;
        let network = Ipv6Addr::from_bits(self.sources.network().to_bits() | number);
        let subscriber = Ipv6Net::new(network, self.subscriber_length).ok()?;
        self.sources.contains(&subscriber).then_some(subscriber)
    }

    fn host_bits(&self) -> u32 {
        128 - u32::from(self.subscriber_length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arithmetic(sources: &str, length: u8, last: [u8; 4], ports: (u16, u16)) -> Result<Deterministic, PolicyError> {
        let range =
            PoolRange { first: [192, 0, 2, 1].into(), last: last.into(), first_port: ports.0, last_port: ports.1 };
        let policy = Policy {
            port_assignment: PortAssignment::Deterministic(sources.parse().unwrap()),
            subscriber_length: length,
            ..Policy::new(vec![pref64::Pref64::WELL_KNOWN], vec![range])
        };
        Deterministic::new(&policy)
    }

    #[test]
    fn every_port_leads_back_to_its_subscriber() {
        let arithmetic = arithmetic("2001:db8:1::/48", 56, [192, 0, 2, 4], (1024, 65_535)).unwrap();
        assert_eq!((arithmetic.per_address, arithmetic.ports), (64, 1008));
        let mut seen = std::collections::HashSet::new();
        for number in 0..256_u128 {
            let source = Ipv6Addr::from_bits("2001:db8:1::".parse::<Ipv6Addr>().unwrap().to_bits() | number << 72 | 5);
            let share = arithmetic.share_of(source).unwrap();
            assert!(share.subscriber.contains(&source) && share.subscriber.prefix_len() == 56);
            assert!(seen.insert((share.address, share.first_port)), "{share:?}");
            for port in [share.first_port, share.first_port + 500, share.last_port] {
                let subscriber = arithmetic.subscriber_of(share.address, port).unwrap();
                assert!(subscriber.contains(&source) && subscriber.prefix_len() == 56, "{subscriber}");
            }
        }
    }

    #[test]
    fn who_is_not_among_the_sources_has_no_ports_and_spare_ports_have_no_owner() {
        let arithmetic = arithmetic("2001:db8:1::/48", 56, [192, 0, 2, 4], (1024, 65_535)).unwrap();
        assert_eq!(arithmetic.share_of("2001:db8:2::1".parse().unwrap()), None);
        assert_eq!(arithmetic.subscriber_of([192, 0, 2, 1].into(), 80), None);
        assert_eq!(arithmetic.subscriber_of([192, 0, 2, 9].into(), 2000), None);
    }

    #[test]
    fn too_many_subscribers_are_refused_with_the_numbers() {
        let error = arithmetic("2001:db8:1::/48", 64, [192, 0, 2, 4], (1024, 65_535)).unwrap_err();
        assert!(matches!(error, PolicyError::TooManySubscribers { subscribers: 65_536, ports: 3, .. }), "{error}");
    }
}
