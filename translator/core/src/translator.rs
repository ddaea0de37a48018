//! A packet's way through the translator.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use crossbeam_utils::CachePadded;
use parking_lot::{Mutex, MutexGuard};

use crate::established;
use crate::fragment::{Admission, Arrival, Fragments};
use crate::identification::IdentificationSpace;
use crate::links::{LinkMtus, Links};
use crate::packet::{PacketBuf, Protocol, tcp_flags};
use crate::policy::{Policy, PolicyError, StaticMapping};
use crate::random::Random;
use crate::refuse::{self, Stop};
use crate::rewrite;
use crate::session::{
    Allocation, Claim, Context, External, Keys, Lifetimes, Overlap, Pool, Rules, SHARED, Shard, StoredSyns, Tick,
    Totals, Trigger, subscriber_prefix,
};
use crate::time::Timestamp;
use crate::verdict::{Direction, DropReason, Verdict};
use crate::worker::Worker;

/// How many parts the state has. Two workers meet in one with a chance of one in this many.
pub(crate) const SHARDS: usize = 16;

/// The translator. Shared by all workers; every method takes `&self`.
#[derive(Debug)]
pub struct Translator {
    pub(crate) policy: Policy,
    pub(crate) pool: Pool,
    pub(crate) allocation: Allocation,
    pub(crate) totals: Totals,
    pub(crate) lifetimes: Lifetimes,
    /// Whether packets of sessions may go the short way.
    pub(crate) sessions_vouch: bool,
    pub(crate) fragments: Fragments,
    pub(crate) stored_syns: StoredSyns,
    pub(crate) overlap: Overlap,
    pub(crate) links: Links,
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
        let pool = Pool::new(&policy.pool);
        let translator = Self {
            allocation: Allocation::new(&policy, &pool),
            fragments: Fragments::new(policy.subscriber_length),
            lifetimes: Lifetimes::new(&policy.timers),
            sessions_vouch: established::sessions_vouch(&policy),
            subscriber_mask: subscriber_prefix(policy.subscriber_length, Ipv6Addr::from_bits(u128::MAX)),
            pool,
            policy,
            totals: Totals::default(),
            stored_syns: StoredSyns::default(),
            overlap: Overlap::new(&keys),
            links: Links::default(),
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
        for mapping in &self.policy.static_mappings {
            let StaticMapping { protocol, internal, external } = *mapping;
            let Some(address) = self.pool.index_of(external.0) else { continue };
            let external = External { address, port: external.1 };
            if self.pool.take_exactly(protocol, external) {
                self.shard_of(internal.0).add_static(&mut batch.context(), protocol, internal, external);
            }
        }
    }

    /// The policy in force.
    #[must_use]
    pub const fn policy(&self) -> &Policy {
        &self.policy
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

    /// Whether an IPv6 packet of `len` bytes is none that has to be fragmented where IPv4 allowed it.
    #[inline]
    pub(crate) fn fits_ipv6(&self, len: usize) -> bool {
        /// What every IPv6 link takes (RFC 8200 §5).
        const ALWAYS: usize = 1280;
        len <= ALWAYS || len <= self.lowest_ipv6_mtu().into()
    }

    /// The smallest MTU behind this translator: as policy says, but no greater than that of the next link.
    pub(crate) fn lowest_ipv6_mtu(&self) -> u16 {
        let next = self.link_mtus().ipv6.and_then(|mtu| u16::try_from(mtu).ok());
        self.policy.mtu.lowest_ipv6.min(next.unwrap_or(u16::MAX))
    }

    /// Starts a batch: one reading of the clock and one policy for all its packets.
    pub fn batch<'t>(&'t self, now: Timestamp, worker: &'t mut Worker) -> Batch<'t> {
        worker.identifications.draw_from(&self.identifications);
        Batch { translator: self, now, tick: Tick::at(now), worker }
    }

    /// Does what timers are due at `now`: sessions, fragments, stored SYNs and resting ports expire. Packets that this
    /// causes are in `worker.spill` and are to be written. Any worker may call it, a few times a second; it does a
    /// bounded amount of work and returns whether more is due at once.
    pub fn expire(&self, now: Timestamp, worker: &mut Worker) -> bool {
        crate::expiry::expire(&mut self.batch(now, worker))
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
        protocol: Protocol,
        external: External,
        remote: (Ipv4Addr, u16),
    ) -> Option<(MutexGuard<'_, Shard>, u32)> {
        let mut slot = self.pool.slot(protocol, external);
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
    pub(crate) translator: &'t Translator,
    pub(crate) now: Timestamp,
    pub(crate) tick: Tick,
    pub(crate) worker: &'t mut Worker,
}

/// What a way through the translator ends with when the packet was not dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Passed {
    /// The buffer holds a packet to write.
    Translated,
    /// The buffer holds a packet for a host behind this translator.
    Hairpinned,
    /// The packet was kept, or what came of it is in the spill.
    Held,
    /// The packet was dropped and the buffer holds the answer.
    Refused(DropReason),
}

impl Batch<'_> {
    /// Translates one packet where it stands. See [`Verdict`] for what to do then.
    pub fn translate(&mut self, packet: &mut PacketBuf<'_>) -> Verdict {
        match packet.bytes().first().map(|byte| byte >> 4) {
            Some(6) if self.established_six_to_four(packet).is_some() => Verdict::Translated(Direction::SixToFour),
            Some(4) if self.established_four_to_six(packet).is_some() => Verdict::Translated(Direction::FourToSix),
            Some(6) => match self.six_to_four(packet) {
                Ok(passed) => self.passed(passed, Direction::SixToFour),
                Err(stop) => self.stopped(packet, stop, Direction::SixToFour),
            },
            Some(4) => match self.four_to_six(packet, false) {
                Ok(passed) => self.passed(passed, Direction::FourToSix),
                Err(stop) => self.stopped(packet, stop, Direction::FourToSix),
            },
            _ => self.dropped(DropReason::NotIp),
        }
    }

    /// The worker, whose spill is to be drained after each packet.
    pub const fn worker(&mut self) -> &mut Worker {
        self.worker
    }

    /// What a packet's effect on its session depends on.
    #[inline(always)]
    pub(crate) const fn rules(&self) -> Rules<'_> {
        Rules { policy: &self.translator.policy, lifetimes: &self.translator.lifetimes, tick: self.tick }
    }

    /// What the session tables need of this batch.
    #[inline]
    pub(crate) fn context(&mut self) -> Context<'_> {
        Context {
            policy: &self.translator.policy,
            pool: &self.translator.pool,
            allocation: &self.translator.allocation,
            totals: &self.translator.totals,
            stored_syns: &self.translator.stored_syns,
            overlap: &self.translator.overlap,
            now: self.now,
            tick: self.tick,
            events: &mut self.worker.events,
        }
    }

    fn passed(&self, passed: Passed, direction: Direction) -> Verdict {
        match passed {
            Passed::Translated => Verdict::Translated(direction),
            Passed::Hairpinned => {
                self.worker.counters.count_hairpinned();
                Verdict::Hairpinned
            }
            Passed::Held => {
                self.worker.counters.count_held();
                Verdict::Held
            }
            Passed::Refused(reason) => {
                self.worker.counters.count_drop(reason);
                self.worker.counters.count_refused();
                Verdict::Refused(reason)
            }
        }
    }

    fn dropped(&self, reason: DropReason) -> Verdict {
        self.worker.counters.count_drop(reason);
        Verdict::Dropped(reason)
    }

    #[cold]
    fn stopped(&mut self, packet: &mut PacketBuf<'_>, stop: Stop, direction: Direction) -> Verdict {
        let verdict = self.dropped(stop.reason);
        if !stop.silent && self.answer(packet, stop, direction) {
            self.worker.counters.count_refused();
            return Verdict::Refused(stop.reason);
        }
        verdict
    }

    /// Replaces a dropped packet by the answer to its sender. Returns whether there is one.
    pub(crate) fn answer(&mut self, packet: &mut PacketBuf<'_>, stop: Stop, direction: Direction) -> bool {
        let policy = &self.translator.policy;
        let Worker { errors, identifications, counters, .. } = &mut *self.worker;
        let budget = || {
            let allowed = errors.take(self.now, policy.errors.rate);
            if !allowed {
                counters.count_drop(DropReason::ErrorRateLimit);
            }
            allowed
        };
        match direction {
            Direction::SixToFour => refuse::answer_v6(policy, packet, stop, budget),
            Direction::FourToSix => refuse::answer_v4(policy, packet, stop, identifications.next(), budget),
        }
    }

    /// Shows a fragment to the others of its datagram. Those that are dropped with it are counted, it itself is not.
    pub(crate) fn admit(&mut self, arrival: &Arrival<'_>) -> Result<Admission, DropReason> {
        let Translator { fragments, policy, .. } = self.translator;
        fragments.admit(arrival, self.now, policy.timers.fragment, &policy.limits).map_err(|rejection| {
            self.count_lost(rejection.reason, rejection.lost);
            if rejection.reason == DropReason::FragmentLimit {
                self.tell_of_fragment_limit(&arrival.key);
            }
            rejection.reason
        })
    }

    /// Counts fragments that were held for a packet, if that is dropped.
    pub(crate) fn count_if_lost(&self, passed: &Result<Passed, Stop>, held: usize) {
        if let Err(stop) = passed {
            self.count_lost(stop.reason, held);
        }
    }

    pub(crate) fn count_lost(&self, reason: DropReason, packets: usize) {
        (0..packets).for_each(|_| self.worker.counters.count_drop(reason));
    }

    pub(crate) fn count_error(&self, packet: &PacketBuf<'_>, direction: Direction) {
        let bytes = u64::try_from(packet.len()).unwrap_or(u64::MAX);
        self.worker.counters.count_translated(direction, Protocol::Icmp, 1, bytes);
    }

    /// Lowers the MSS of a SYN, if policy asks for it.
    #[inline]
    pub(crate) fn clamp_mss(&self, packet: &mut PacketBuf<'_>, transport: u16, trigger: Trigger) {
        /// Bytes of the IPv6 and TCP headers (RFC 6691 §2).
        const HEADERS: u16 = 60;
        if let (Some(mtu), Trigger::Tcp(tcp)) = (self.translator.policy.mtu.clamp_mss_to_ipv6_mtu, trigger)
            && tcp.flags & tcp_flags::SYN != 0
        {
            rewrite::clamp_mss(packet, transport.into(), mtu.saturating_sub(HEADERS));
        }
    }
}

#[cfg(test)]
mod policy_tests;
#[cfg(test)]
mod tests;
