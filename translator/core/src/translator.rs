//! The translator: the state that all workers share, and the batches that they take packets through it in.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use arc_swap::{ArcSwap, Guard};
use crossbeam_utils::CachePadded;
use parking_lot::{Mutex, MutexGuard};
use pref64::Pref64;

use crate::closing::RecentlyReset;
use crate::fragment::Fragments;
use crate::identification::IdentificationSpace;
use crate::links::{LinkMtus, Links};
use crate::packet::{PacketBuf, Protocol};
use crate::pass::Pass;
use crate::policy::{Policy, PolicyError};
use crate::random::Random;
use crate::session::{
    Claim, External, Keys, Overlap, Pool, SHARED, Shard, StoredSyns, Tick, Totals, subscriber_prefix,
};
use crate::sweep::{self, Sweep};
use crate::terms::Terms;
use crate::time::Timestamp;
use crate::verdict::Verdict;
use crate::worker::Worker;

/// How many parts the state has. Two workers meet in one with a chance of one in this many.
pub(crate) const SHARDS: usize = 16;

/// The translator. Shared by all workers; every method takes `&self`.
#[derive(Debug)]
pub struct Translator {
    terms: ArcSwap<Terms>,
    pub(crate) sweep: Mutex<Option<Sweep>>,
    pub(crate) totals: Totals,
    pub(crate) fragments: Fragments,
    pub(crate) stored_syns: StoredSyns,
    pub(crate) overlap: Overlap,
    pub(crate) links: Links,
    pub(crate) recently_reset: RecentlyReset,
    shards: Box<[CachePadded<Mutex<Shard>>]>,
    keys: Keys,
    /// The bits of an address that name its subscriber.
    subscriber_mask: u128,
    /// How often timers were run, which says whose turn it is.
    pub(crate) expiry_turn: AtomicUsize,
    /// A secret for flow labels.
    pub(crate) flow_seed: u64,
    identifications: Arc<IdentificationSpace>,
}

impl Translator {
    /// A translator with no state yet. `seed` must be unpredictable: ports, identifications and hashes depend on it.
    ///
    /// # Errors
    /// When the policy cannot be used; see [`Policy::check`].
    pub fn new(policy: Policy, seed: u64) -> Result<Self, PolicyError> {
        policy.check()?;
        let mut random = Random::new(seed, 0);
        let keys = Keys::new(&mut random);
        let shard = |number| CachePadded::new(Mutex::new(Shard::new(number, keys.clone(), seed)));
        let subscriber_length = policy.subscriber_length;
        let terms = Terms::new(policy, None).ok_or(PolicyError::NoPrefix)?;
        let translator = Self {
            fragments: Fragments::new(subscriber_length),
            subscriber_mask: subscriber_prefix(subscriber_length, Ipv6Addr::from_bits(u128::MAX)),
            terms: ArcSwap::from_pointee(terms),
            sweep: Mutex::new(None),
            totals: Totals::default(),
            stored_syns: StoredSyns::default(),
            overlap: Overlap::new(&keys),
            links: Links::default(),
            recently_reset: RecentlyReset::default(),
            shards: (0..).take(SHARDS).map(shard).collect(),
            keys,
            expiry_turn: AtomicUsize::new(0),
            flow_seed: random.next_u64(),
            identifications: Arc::new(IdentificationSpace::new(random.next_u64())),
        };
        translator.add_static_mappings();
        Ok(translator)
    }

    fn add_static_mappings(&self) {
        let mut worker = Worker::new();
        let mut batch = self.batch(Timestamp::ZERO, &mut worker);
        let mut pass = batch.pass();
        for mapping in &pass.terms.policy.static_mappings {
            sweep::adopt(&mut pass, mapping);
        }
    }

    /// The policy in force, or the next one if that waits for batches to end.
    #[must_use]
    pub fn policy(&self) -> Policy {
        let sweep = self.sweep.lock();
        let next = sweep.as_ref().and_then(Sweep::next);
        next.map_or_else(|| self.terms().policy.clone(), |terms| terms.policy.clone())
    }

    /// The translation prefix that sessions and events name by this number, if there is or was one.
    #[must_use]
    pub fn prefix(&self, number: u8) -> Option<Pref64> {
        self.terms().prefixes.get(number)
    }

    pub(crate) fn terms(&self) -> Guard<Arc<Terms>> {
        self.terms.load()
    }

    pub(crate) fn swap_terms(&self, terms: Arc<Terms>) -> Arc<Terms> {
        self.terms.swap(terms)
    }

    /// The MTUs that translated Packet Too Big and Fragmentation Needed do not exceed (RFC 7915 §4.2, §5.2).
    #[must_use]
    pub fn link_mtus(&self) -> LinkMtus {
        self.links.mtus()
    }

    /// Sets them, at any time. None are known at the start.
    pub fn set_link_mtus(&self, mtus: LinkMtus) {
        self.links.set(mtus);
    }

    /// Starts a batch: one reading of the clock and one policy for all its packets.
    pub fn batch<'t>(&'t self, now: Timestamp, worker: &'t mut Worker) -> Batch<'t> {
        worker.identifications.draw_from(&self.identifications);
        Batch { translator: self, terms: self.terms(), now, tick: Tick::at(now), worker }
    }

    /// Does what timers are due at `now`: sessions, fragments, stored SYNs and resting ports expire. Packets that this
    /// causes are in `worker.spill` and are to be written. Any worker may call it, a few times a second; it does a
    /// bounded amount of work and returns whether more is due at once.
    pub fn expire(&self, now: Timestamp, worker: &mut Worker) -> bool {
        crate::expiry::expire(&mut self.batch(now, worker).pass())
    }

    pub(crate) fn shard_count(&self) -> usize {
        self.shards.len()
    }

    #[inline(always)]
    pub(crate) fn shard(&self, number: usize) -> MutexGuard<'_, Shard> {
        // A panic under the lock is contained by the caller of this crate; the tables are usable after it.
        self.shards[number].lock()
    }

    /// The shard of a host behind the translator.
    #[inline(always)]
    pub(crate) fn shard_of(&self, host: Ipv6Addr) -> MutexGuard<'_, Shard> {
        let hash = self.keys.subscriber(host.to_bits() & self.subscriber_mask);
        #[expect(clippy::cast_possible_truncation, reason = "only the low bits count")]
        self.shard(hash as usize % SHARDS)
    }

    /// The shard and the mapping that a pool address and port belong to, for packets from `remote`.
    #[inline(always)]
    pub(crate) fn owner_of(
        &self,
        pool: &Pool,
        protocol: Protocol,
        external: External,
        remote: (Ipv4Addr, u16),
    ) -> Option<(MutexGuard<'_, Shard>, u32)> {
        let mut slot = pool.slot(protocol, external);
        if slot & SHARED != 0 {
            slot = self.overlap.owner(&Claim { protocol, external, scope: remote })?;
        }
        let (shard, mapping) = crate::session::slot_owner(slot)?;
        Some((self.shard(shard as usize), mapping))
    }
}

/// Packets that are translated under one policy and one reading of the clock.
#[derive(Debug)]
pub struct Batch<'t> {
    translator: &'t Translator,
    terms: Guard<Arc<Terms>>,
    now: Timestamp,
    tick: Tick,
    worker: &'t mut Worker,
}

impl Batch<'_> {
    /// Translates one packet where it stands. See [`Verdict`] for what to do then.
    pub fn translate(&mut self, packet: &mut PacketBuf<'_>) -> Verdict {
        self.pass().translate(packet)
    }

    /// The worker, whose spill is to be drained after each packet.
    pub const fn worker(&mut self) -> &mut Worker {
        self.worker
    }

    #[inline(always)]
    pub(crate) fn pass(&mut self) -> Pass<'_> {
        Pass {
            translator: self.translator,
            terms: &self.terms,
            now: self.now,
            tick: self.tick,
            worker: &mut *self.worker,
        }
    }
}

#[cfg(test)]
mod policy_tests;
#[cfg(test)]
mod tests;
