//! Port overlapping (RFC 7857 §3): one pool port serves any number of hosts, as long as their destinations differ.
//!
//! The ports in use towards a destination are kept as bits, 64 ports a word, so that a free one is found as it is among
//! the ports of the pool. Which mapping a packet from IPv4 belongs to is found by its source. All shards share this: a
//! port that one of them uses towards one destination is free for all towards another.

use std::hash::BuildHasher;
use std::net::Ipv4Addr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crossbeam_utils::CachePadded;
use foldhash::quality::SeedableRandomState;
use hashbrown::HashMap;
use hashbrown::hash_map::Entry;

use super::pool::{AddressIndex, External, Pool, Wish, lowest};
use super::shard::Keys;
use super::table::{self, shrink_map};
use crate::packet::Protocol;
use crate::random::Random;

/// The destination that a mapping is for; [`EVERYWHERE`] for an endpoint-independent one.
pub(crate) type Scope = (Ipv4Addr, u16);

/// The scope of endpoint-independent mappings.
pub(crate) const EVERYWHERE: Scope = (Ipv4Addr::UNSPECIFIED, 0);

/// Parts with a lock of their own. A destination is in one of them.
const PARTS: usize = 16;

/// Words that are looked at for a free port. With one port in a hundred free, the chance to find none is below 10⁻⁷⁰.
const MOST_WORDS: u32 = 256;

/// A pool port towards a destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Claim {
    pub(crate) protocol: Protocol,
    pub(crate) external: External,
    pub(crate) scope: Scope,
}

/// The shared ports.
#[derive(Debug)]
pub(crate) struct Overlap {
    parts: Box<[CachePadded<Mutex<Part>>]>,
    hasher: SeedableRandomState,
}

#[derive(Debug)]
struct Part {
    /// The slots of mappings, as [`Pool::slot`] has them for ports that are not shared.
    owners: HashMap<Claim, u32, SeedableRandomState>,
    /// Ports that are in use or rest.
    taken: HashMap<Word, u64, SeedableRandomState>,
}

/// Where 64 ports towards a destination are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Word {
    protocol: Protocol,
    address: AddressIndex,
    scope: Scope,
    number: u16,
}

impl Overlap {
    pub(crate) fn new(keys: &Keys) -> Self {
        let part = |_| {
            let (owners, taken) = (HashMap::with_hasher(keys.state()), HashMap::with_hasher(keys.state()));
            CachePadded::new(Mutex::new(Part { owners, taken }))
        };
        Self { parts: (0..PARTS).map(part).collect(), hasher: keys.state() }
    }

    /// The slot of the mapping that packets from `claim.scope` to a shared port belong to.
    pub(crate) fn owner(&self, claim: &Claim) -> Option<u32> {
        self.part(claim.scope).owners.get(claim).copied()
    }

    /// Takes a port of `address` that is free towards `scope`: of the class and parity wished for if there is one.
    pub(crate) fn take(
        &self,
        pool: &Pool,
        address: AddressIndex,
        (wish, scope): (Wish, Scope),
        random: &mut Random,
    ) -> Option<External> {
        let Wish { protocol, .. } = wish;
        let mut part = self.part(scope);
        let mut words = 0;
        let external = pool.choose(address, super::allocation::ALL_PORTS, wish, random, |word, allowed| {
            words += 1;
            let place = Word { protocol, address, scope, number: word };
            // What is taken in the pool itself is a static mapping's.
            let free = allowed & !pool.taken_word(protocol, address, word);
            if words > MOST_WORDS { None } else { part.take_bit(place, free) }
        })?;
        pool.share(protocol, external);
        Some(external)
    }

    /// Takes this very port, unless it is taken towards its destination.
    pub(crate) fn take_exactly(&self, pool: &Pool, claim: &Claim) -> bool {
        let Claim { protocol, external: External { address, port }, scope } = *claim;
        let (number, bit) = (port / 64, 1 << (port % 64));
        let is_static = pool.taken_word(protocol, address, number) & bit != 0;
        let word = Word { protocol, address, scope, number };
        let taken = !is_static && self.part(scope).take_bit(word, bit).is_some();
        if taken {
            pool.share(protocol, claim.external);
        }
        taken
    }

    /// Notes whose a port is that [`Overlap::take`] gave.
    pub(crate) fn insert(&self, claim: Claim, slot: u32) {
        self.part(claim.scope).owners.insert(claim, slot);
    }

    /// Notes that a port is nobody's any more. It stays taken.
    pub(crate) fn remove(&self, claim: &Claim) {
        let owners = &mut self.part(claim.scope).owners;
        owners.remove(claim);
        shrink_map(owners);
    }

    /// Gives a port back.
    pub(crate) fn release(&self, pool: &Pool, claim: &Claim) {
        let Claim { protocol, external: External { address, port }, scope } = *claim;
        self.part(scope).release_bit(Word { protocol, address, scope, number: port / 64 }, 1 << (port % 64));
        pool.unshare(protocol, claim.external);
    }

    /// Bytes that `claims` ports in use and `taken` ports that are in use or rest take at the most.
    pub(crate) const fn bytes(claims: u64, taken: u64) -> u64 {
        let parts = PARTS as u64;
        table::bytes::<(Claim, u32)>(claims, parts) + table::bytes::<(Word, u64)>(taken, parts)
    }

    fn part(&self, scope: Scope) -> MutexGuard<'_, Part> {
        #[expect(clippy::cast_possible_truncation, reason = "only the low bits count")]
        let number = self.hasher.hash_one(scope) as usize % PARTS;
        self.parts[number].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Part {
    /// Takes the lowest port of a word that is not taken and is in `allowed`.
    fn take_bit(&mut self, word: Word, allowed: u64) -> Option<u16> {
        let taken = self.taken.get(&word).copied().unwrap_or(0);
        let (bit, port) = lowest(!taken & allowed)?;
        self.taken.insert(word, taken | bit);
        Some(port)
    }

    fn release_bit(&mut self, word: Word, bit: u64) {
        if let Entry::Occupied(mut taken) = self.taken.entry(word) {
            *taken.get_mut() &= !bit;
            if *taken.get() == 0 {
                taken.remove();
                shrink_map(&mut self.taken);
            }
        }
    }
}
