//! The terms that packets are translated under: a policy and what follows from it, as one value that is replaced whole.

use std::net::Ipv6Addr;

use hashbrown::{HashMap, HashSet};
use pref64::Pref64;

use crate::established;
use crate::packet::Protocol;
use crate::policy::{Policy, StaticMapping};
use crate::prefixes::Prefixes;
use crate::session::{AddressIndex, Allocation, External, Lifetimes, Pool};

/// A policy and what follows from it.
#[derive(Clone, Debug)]
pub(crate) struct Terms {
    pub(crate) policy: Policy,
    pub(crate) prefixes: Prefixes,
    pub(crate) pool: Pool,
    pub(crate) allocation: Allocation,
    pub(crate) lifetimes: Lifetimes,
    pub(crate) statics: Statics,
    draining: HashSet<AddressIndex, foldhash::fast::FixedState>,
    /// The prefix of all packets, if they may go the short way.
    pub(crate) vouched: Option<(u8, Pref64)>,
}

/// Whether no batch works under earlier terms, and no session refers to what is not in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Settled(pub(crate) bool);

/// Where the policy's static mappings are.
#[derive(Clone, Debug, Default)]
pub(crate) struct Statics {
    by_internal: HashMap<(Protocol, Ipv6Addr, u16), External, foldhash::fast::FixedState>,
    external: HashSet<(Protocol, External), foldhash::fast::FixedState>,
}

impl Terms {
    /// The terms of a checked policy, which take the place of `before`. Nothing if addresses or prefixes are too many
    /// together with those of which something is left; what is not in force in `before` is left if it is not settled.
    pub(crate) fn new(policy: Policy, before: Option<(&Self, Settled)>) -> Option<Self> {
        let (pool, prefixes) = match before {
            Some((before, settled)) => (
                Pool::after(&before.pool, settled, &policy.pool)?,
                Prefixes::after(&before.prefixes, settled, &policy.prefixes)?,
            ),
            None => (Pool::new(&policy.pool), Prefixes::after(&Prefixes::default(), Settled(true), &policy.prefixes)?),
        };
        let vouched = prefixes.iter().next().filter(|_| established::sessions_vouch(&policy));
        Some(Self {
            allocation: Allocation::new(&policy, &pool),
            lifetimes: Lifetimes::new(&policy.timers),
            statics: Statics::new(&policy, &pool),
            draining: policy.draining.addresses.iter().filter_map(|address| pool.index_of(*address)).collect(),
            vouched,
            prefixes,
            pool,
            policy,
        })
    }

    /// These terms, for batches that may meet sessions that were opened under `next`: they know the addresses and prefixes
    /// of both. Nothing if they do anyway.
    pub(crate) fn aware_of(&self, next: &Self) -> Option<Self> {
        if self.pool.knows(&next.pool) && self.prefixes.know(&next.prefixes) {
            return None;
        }
        Some(Self {
            pool: self.pool.aware_of(&next.pool),
            prefixes: self.prefixes.aware_of(&next.prefixes),
            ..self.clone()
        })
    }

    /// Whether a pool address takes no new sessions.
    pub(crate) fn drain(&self, address: AddressIndex) -> bool {
        self.policy.draining.everything || (!self.draining.is_empty() && self.draining.contains(&address))
    }
}

impl Statics {
    fn new(policy: &Policy, pool: &Pool) -> Self {
        let mut statics = Self::default();
        for mapping in &policy.static_mappings {
            let StaticMapping { protocol, internal, external } = *mapping;
            if let Some(address) = pool.index_of(external.0) {
                let external = External { address, port: external.1 };
                statics.by_internal.insert((protocol, internal.0, internal.1), external);
                statics.external.insert((protocol, external));
            }
        }
        statics
    }

    /// Whether a pool address and port belong to a static mapping.
    #[inline]
    pub(crate) fn have_external(&self, protocol: Protocol, external: External) -> bool {
        !self.external.is_empty() && self.external.contains(&(protocol, external))
    }

    /// The pool address and port that a static mapping gives to a host's.
    pub(crate) fn external_of(&self, protocol: Protocol, (address, port): (Ipv6Addr, u16)) -> Option<External> {
        self.by_internal.get(&(protocol, address, port)).copied()
    }
}
