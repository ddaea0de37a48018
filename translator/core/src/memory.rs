//! How much memory a policy lets the translator take.

use crate::closing::RecentlyReset;
use crate::fragment::Fragments;
use crate::packet::Protocol;
use crate::policy::{Filtering, MappingBehavior, Policy, PoolRange, PortAssignment};
use crate::session::{Overlap, Pool, Shard, StoredSyns};
use crate::translator::SHARDS;
use crate::worker::Worker;

/// What the allocator adds to a piece of memory, with rounding.
pub(crate) const ALLOCATION: usize = 32;

/// Bytes of memory that the translator takes at the most, by what takes them. They follow from the policy and the sizes
/// of the tables' entries; tables count as they are while they grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryBound {
    /// Sessions, with their table and what filters keep of them.
    pub sessions: u64,
    /// Mappings and subscribers, with their tables, and what shared ports and blocks of ports need.
    pub mappings: u64,
    /// The state of every port of the pool, and the list of those that rest.
    pub ports: u64,
    /// Fragments that wait.
    pub fragments: u64,
    /// SYNs that wait.
    pub stored_syns: u64,
    /// What workers have each for themselves, and what they remember together of connections that were reset.
    pub workers: u64,
}

impl MemoryBound {
    /// All of them.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.sessions + self.mappings + self.ports + self.fragments + self.stored_syns + self.workers
    }
}

impl Policy {
    /// How much memory a translator with this policy and as many workers takes at the most. Memory that a worker reads
    /// packets into is its owner's.
    #[must_use]
    pub fn memory_bound(&self, workers: u32) -> MemoryBound {
        // Workers that open something at the same moment may exceed a limit by one each.
        let count = |limit: u32| u64::from(limit) + u64::from(workers);
        let shared = self.mapping == MappingBehavior::AddressAndPortDependent;
        let width = |range: &PoolRange| range.addresses() * (u64::from(range.last_port - range.first_port) + 1);
        let ports = self.pool.iter().map(width).sum::<u64>() * Protocol::ALL.len() as u64;
        let at_most_ports = |number: u64| if shared { number } else { number.min(ports) };
        let mappings = at_most_ports(count(self.limits.mappings)).max(self.static_mappings.len() as u64);
        let resting = at_most_ports(count(self.limits.resting_ports));
        let resting = if self.timers.port_quarantine.is_zero() { 0 } else { resting };
        let filtered = self.filtering == Filtering::AddressDependent;
        let addresses = self.pool.iter().map(PoolRange::addresses).sum();
        let blocks = match self.port_assignment {
            PortAssignment::Blocks(blocks) => addresses * (65_536 / u64::from(blocks.size.max(1))),
            PortAssignment::Single | PortAssignment::Deterministic(_) => 0,
        };
        let shards = SHARDS as u64;
        let overlap = if shared { Overlap::bytes(mappings, mappings + resting) } else { 0 };
        MemoryBound {
            sessions: Shard::session_bytes(count(self.limits.sessions), filtered, shards),
            mappings: Shard::mapping_bytes(mappings, blocks, shards) + overlap,
            ports: Pool::bytes(addresses, self.pool.len() as u64) + Shard::resting_bytes(resting, shards),
            fragments: u64::from(self.limits.fragment_bytes) + Fragments::bytes(&self.limits),
            stored_syns: StoredSyns::bytes(self.limits.stored_syns.into()),
            workers: Worker::BYTES * u64::from(workers) + RecentlyReset::BYTES,
        }
    }
}
