//! Port overlapping (RFC 7857 §3): one pool port serves several hosts, as long as their destinations differ.
//!
//! A shard takes a port from the pool and then uses it for any number of mappings, each with one destination. The
//! port's slot names the shard; which mapping a packet from IPv4 belongs to is found by its source here.

use std::hash::Hash;
use std::net::Ipv4Addr;

use foldhash::quality::SeedableRandomState;
use hashbrown::HashMap;

use super::pool::{AddressIndex, External, Pool, Wish};
use super::shard::{INDEX_BITS, Keys};
use crate::packet::Protocol;
use crate::random::Random;

/// The destination that a mapping is for; [`EVERYWHERE`] for an endpoint-independent one.
pub(crate) type Scope = (Ipv4Addr, u16);

/// The scope of endpoint-independent mappings.
pub(crate) const EVERYWHERE: Scope = (Ipv4Addr::UNSPECIFIED, 0);

/// The mapping index in the slot of a port that several mappings share.
pub(crate) const SHARED: u32 = (1 << INDEX_BITS) - 1;

/// Random ports of the shard's own that are tried before another is taken from the pool.
const TRIES: usize = 32;

/// The shared ports of one shard.
#[derive(Debug)]
pub(crate) struct Overlap {
    mappings: Map<(Protocol, External, Scope), u32>,
    ports: Map<(Protocol, AddressIndex), Vec<u16>>,
    /// How many mappings a port has, and its place in `ports`.
    uses: Map<(Protocol, External), (u32, usize)>,
    /// How many ports are in use towards a destination.
    towards: Map<(Protocol, AddressIndex, Scope), usize>,
}

type Map<K, V> = HashMap<K, V, SeedableRandomState>;

impl Overlap {
    pub(crate) fn new(keys: &Keys) -> Self {
        Self { mappings: map(keys), ports: map(keys), uses: map(keys), towards: map(keys) }
    }

    /// The mapping that packets from `scope` to a shared port belong to.
    pub(crate) fn mapping(&self, protocol: Protocol, external: External, scope: Scope) -> Option<u32> {
        self.mappings.get(&(protocol, external, scope)).copied()
    }

    /// A port of `address` that is not in use towards `scope`. While the pool has plenty, a new random one, so that
    /// ports stay hard to guess; then one that the shard has already; then whatever is left.
    pub(crate) fn take(
        &mut self,
        pool: &Pool,
        (shard, address): (u32, AddressIndex),
        (wish, scope): (Wish, Scope),
        random: &mut Random,
    ) -> Option<External> {
        let protocol = wish.protocol;
        let plenty = pool.taken_of(address, protocol) * 2 < pool.ports_of(address);
        let new = |overlap: &mut Self, random: &mut Random| {
            let external = pool.take(address, super::allocation::ALL_PORTS, wish, random)?;
            overlap.add_port(protocol, external);
            pool.set_slot(protocol, external, (shard << INDEX_BITS | SHARED) + 1);
            Some(external)
        };
        if plenty {
            return new(self, random).or_else(|| self.reuse(protocol, address, scope, usize::MAX, random));
        }
        self.reuse(protocol, address, scope, TRIES, random)
            .or_else(|| new(self, random))
            .or_else(|| self.reuse(protocol, address, scope, usize::MAX, random))
    }

    fn reuse(
        &self,
        protocol: Protocol,
        address: AddressIndex,
        scope: Scope,
        tries: usize,
        random: &mut Random,
    ) -> Option<External> {
        let ports = self.ports.get(&(protocol, address))?;
        let towards = self.towards.get(&(protocol, address, scope)).copied().unwrap_or(0);
        if towards >= ports.len() {
            return None;
        }
        let start = random.below(u32::try_from(ports.len()).ok()?) as usize;
        let candidates =
            (0..ports.len().min(tries)).map(|offset| External { address, port: ports[(start + offset) % ports.len()] });
        candidates.into_iter().find(|external| !self.mappings.contains_key(&(protocol, *external, scope)))
    }

    /// Notes a mapping on a port that [`Overlap::take`] gave.
    pub(crate) fn insert(&mut self, protocol: Protocol, external: External, scope: Scope, mapping: u32) {
        self.mappings.insert((protocol, external, scope), mapping);
        *self.towards.entry((protocol, external.address, scope)).or_default() += 1;
        if let Some((uses, _)) = self.uses.get_mut(&(protocol, external)) {
            *uses += 1;
        }
    }

    /// Forgets a mapping, and gives the port back to the pool if it was the last one.
    pub(crate) fn remove(&mut self, pool: &Pool, protocol: Protocol, external: External, scope: Scope) {
        self.mappings.remove(&(protocol, external, scope));
        let destination = (protocol, external.address, scope);
        if let Some(towards) = self.towards.get_mut(&destination) {
            *towards -= 1;
            if *towards == 0 {
                self.towards.remove(&destination);
            }
        }
        let Some((uses, place)) = self.uses.get_mut(&(protocol, external)) else { return };
        *uses -= 1;
        if *uses == 0 {
            let place = *place;
            self.uses.remove(&(protocol, external));
            self.remove_port(protocol, external, place);
            pool.set_slot(protocol, external, 0);
            pool.release(protocol, external);
        }
    }

    fn add_port(&mut self, protocol: Protocol, external: External) {
        let ports = self.ports.entry((protocol, external.address)).or_default();
        self.uses.insert((protocol, external), (0, ports.len()));
        ports.push(external.port);
    }

    fn remove_port(&mut self, protocol: Protocol, external: External, place: usize) {
        let Some(ports) = self.ports.get_mut(&(protocol, external.address)) else { return };
        ports.swap_remove(place);
        if let Some(&moved) = ports.get(place)
            && let Some((_, its_place)) = self.uses.get_mut(&(protocol, External { port: moved, ..external }))
        {
            *its_place = place;
        }
    }
}

fn map<K: Eq + Hash, V>(keys: &Keys) -> Map<K, V> {
    HashMap::with_hasher(keys.state())
}
