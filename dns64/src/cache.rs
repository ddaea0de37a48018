//! What upstreams said, kept as long as they allowed (RFC 1035 §7.4, RFC 2308).
//!
//! Nothing here knows a prefix: synthesis happens when an answer is read, so clients with different prefixes share one
//! entry. Memory is bounded by entries and by bytes; what was not used lately goes first.

use std::hash::BuildHasher;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use foldhash::quality::RandomState;
use hashbrown::HashTable;
use tokio::time::Instant;

use crate::config::Config;
use crate::stats::Stats;
use crate::wire::{Ask, Errors, Reply, ede, rcode};

/// Parts with a lock each, at most.
const MOST_SHARDS: usize = 16;

/// Entries that a part has at least, so that small bounds are not met by rounding.
const LEAST_PER_SHARD: usize = 64;

/// Answers of upstreams by question.
#[derive(Debug)]
pub(crate) struct Cache {
    shards: Box<[Mutex<Shard>]>,
    hasher: RandomState,
    max_ttl: u32,
    max_negative_ttl: u32,
    max_stale: Duration,
    prefetch: bool,
    stats: Arc<Stats>,
}

/// TTL of what has expired and is told nevertheless, in seconds (RFC 8767 §4).
const STALE_TTL: u32 = 30;

/// What lives shorter than this is not refreshed before it expires, in seconds.
const LEAST_PREFETCHED: u64 = 10;

/// A cached answer, and how old it is.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    pub(crate) reply: Arc<Reply>,
    /// Seconds since it was received.
    pub(crate) age: u32,
    /// Whether its time is over.
    pub(crate) is_stale: bool,
    /// How long it may be told without asking here again, in seconds: until the last tenth of its time, in which it is
    /// refreshed if somebody asks. Zero if it was not asked for before.
    pub(crate) left: u32,
}

impl Known {
    /// An answer that was just received.
    pub(crate) const fn fresh(reply: Arc<Reply>) -> Self {
        Self { reply, age: 0, is_stale: false, left: 0 }
    }

    /// The answer's bytes, with the TTLs that are left of it.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let age = self.age;
        if self.is_stale {
            self.reply.with_ttls(|_| STALE_TTL)
        } else {
            self.reply.with_ttls(|ttl| ttl.saturating_sub(age))
        }
    }

    /// How long absence still holds, in seconds.
    pub(crate) fn negative_ttl(&self) -> Option<u32> {
        let left = |ttl: u32| if self.is_stale { STALE_TTL } else { ttl.saturating_sub(self.age) };
        self.reply.negative_ttl.map(left)
    }

    /// The extended errors that belong to it.
    pub(crate) fn errors(&self) -> Errors {
        let stale = match self.reply.rcode {
            rcode::NAME_ERROR => ede::STALE_NAME_ERROR,
            _ => ede::STALE,
        };
        Errors::from(self.reply.ede).and(self.is_stale.then_some(stale))
    }
}

impl Cache {
    pub(crate) fn new(config: &Config, stats: Arc<Stats>) -> Self {
        let count = (config.cache_entries / LEAST_PER_SHARD).clamp(1, MOST_SHARDS);
        let shard = || Mutex::new(Shard::new(config.cache_entries / count, config.cache_bytes / count));
        Self {
            shards: (0..count).map(|_| shard()).collect(),
            hasher: RandomState::default(),
            max_ttl: seconds(config.max_ttl),
            max_negative_ttl: seconds(config.max_negative_ttl),
            max_stale: config.max_stale,
            prefetch: config.prefetch,
            stats,
        }
    }

    /// The answer to the question with this key, if it may still be used, and whether it is time to refresh it.
    pub(crate) fn get(&self, key: &[u8], now: Instant) -> Option<(Known, bool)> {
        let hash = self.hasher.hash_one(key);
        let (known, is_due) = self.shard(hash).get(hash, key, now)?;
        self.stats.cache_hits.increment();
        Some((known, is_due && self.prefetch))
    }

    /// The answer to the question with this key, if it may be used for want of a better one.
    pub(crate) fn stale(&self, key: &[u8], now: Instant) -> Option<Known> {
        let hash = self.hasher.hash_one(key);
        self.shard(hash).stale(hash, key, now, self.max_stale)
    }

    /// Keeps an answer for as long as it may be used.
    pub(crate) fn insert(&self, key: &[u8], reply: &Arc<Reply>, now: Instant) {
        let lifetime = reply.lifetime(self.max_ttl, self.max_negative_ttl);
        if lifetime == 0 {
            return;
        }
        let hash = self.hasher.hash_one(key);
        let expires = now + Duration::from_secs(lifetime.into());
        let slot =
            Slot { key: key.into(), hash, reply: Arc::clone(reply), received: now, expires, used: false, due: false };
        self.shard(hash).insert(slot, now, &self.stats);
    }

    /// Forgets all answers but those to questions that are to be kept; returns how many were forgotten.
    pub(crate) fn retain(&self, keep: impl Fn(&[u8]) -> bool) -> usize {
        let mut count = 0;
        for shard in &self.shards {
            let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            count += shard.retain(&keep, &self.stats);
        }
        count
    }

    fn shard(&self, hash: u64) -> impl std::ops::DerefMut<Target = Shard> {
        // The table inside uses the low and the very highest bits.
        let index = usize::try_from(hash >> 32).unwrap_or_default() % self.shards.len();
        self.shards[index].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One part of the cache: slots in a ring, found through a table of their indices.
///
/// When room is needed a hand goes around the ring (CLOCK): it takes what has expired or was not used since it last
/// came by.
#[derive(Debug)]
struct Shard {
    table: HashTable<usize>,
    slots: Vec<Slot>,
    hand: usize,
    bytes: usize,
    max_entries: usize,
    max_bytes: usize,
}

#[derive(Debug)]
struct Slot {
    key: Box<[u8]>,
    hash: u64,
    reply: Arc<Reply>,
    received: Instant,
    expires: Instant,
    used: bool,
    /// Whether somebody was told to refresh it.
    due: bool,
}

impl Slot {
    /// Memory held, in bytes, with its part of the table.
    fn size(&self) -> usize {
        size_of::<Self>() + 2 * size_of::<usize>() + self.key.len() + self.reply.size()
    }

    fn known(&self, now: Instant, is_stale: bool) -> Known {
        let age = seconds(now.saturating_duration_since(self.received));
        let ending = self.expires - (self.expires - self.received) / 10;
        let left = seconds(ending.saturating_duration_since(now));
        Known { reply: Arc::clone(&self.reply), age, is_stale, left }
    }

    /// Whether it is in the last tenth of its time.
    fn is_ending(&self, now: Instant) -> bool {
        let lifetime = self.expires - self.received;
        lifetime.as_secs() >= LEAST_PREFETCHED && (self.expires - now) * 10 <= lifetime
    }
}

impl Shard {
    fn new(max_entries: usize, max_bytes: usize) -> Self {
        Self { table: HashTable::new(), slots: Vec::new(), hand: 0, bytes: 0, max_entries, max_bytes }
    }

    fn get(&mut self, hash: u64, key: &[u8], now: Instant) -> Option<(Known, bool)> {
        let index = *self.table.find(hash, |&index| *self.slots[index].key == *key)?;
        let slot = &mut self.slots[index];
        if slot.expires <= now {
            return None;
        }
        slot.used = true;
        let is_due = !slot.due && slot.is_ending(now);
        slot.due |= is_due;
        Some((slot.known(now, false), is_due))
    }

    fn stale(&mut self, hash: u64, key: &[u8], now: Instant, most: Duration) -> Option<Known> {
        let index = *self.table.find(hash, |&index| *self.slots[index].key == *key)?;
        let slot = &mut self.slots[index];
        slot.used = true;
        (now < slot.expires + most).then(|| slot.known(now, true))
    }

    fn insert(&mut self, slot: Slot, now: Instant, stats: &Stats) {
        let size = slot.size();
        if let Some(&index) = self.table.find(slot.hash, |&index| self.slots[index].key == slot.key) {
            self.remove(index, stats);
        }
        if size > self.max_bytes || self.max_entries == 0 {
            return;
        }
        while self.slots.len() >= self.max_entries || self.bytes + size > self.max_bytes {
            self.make_room(now, stats);
        }
        self.bytes += size;
        stats.cache_bytes.add(size as u64);
        stats.cache_entries.increment();
        let (index, hash) = (self.slots.len(), slot.hash);
        self.slots.push(slot);
        let slots = &self.slots;
        self.table.insert_unique(hash, index, |&index| slots[index].hash);
    }

    fn retain(&mut self, keep: impl Fn(&[u8]) -> bool, stats: &Stats) -> usize {
        let mut count = 0;
        // From the end, since the last slot moves to where one was removed.
        for index in (0..self.slots.len()).rev() {
            if !keep(&self.slots[index].key) {
                self.remove(index, stats);
                count += 1;
            }
        }
        count
    }

    /// Removes one slot. Terminates within two rounds: the first clears every mark.
    fn make_room(&mut self, now: Instant, stats: &Stats) {
        loop {
            self.hand %= self.slots.len();
            let slot = &mut self.slots[self.hand];
            if slot.expires <= now || !slot.used {
                if slot.expires > now {
                    stats.cache_evictions.increment();
                }
                self.remove(self.hand, stats);
                // The youngest slot has moved here; it is not its turn.
                self.hand += 1;
                return;
            }
            slot.used = false;
            self.hand += 1;
        }
    }

    fn remove(&mut self, index: usize, stats: &Stats) {
        self.unlink(index);
        let last = self.slots.len() - 1;
        let slot = self.slots.swap_remove(index);
        if index != last
            && let Ok(entry) = self.table.find_entry(self.slots[index].hash, |&at| at == last)
        {
            *entry.into_mut() = index;
        }
        self.bytes -= slot.size();
        stats.cache_bytes.sub(slot.size() as u64);
        stats.cache_entries.sub(1);
    }

    fn unlink(&mut self, index: usize) {
        if let Ok(entry) = self.table.find_entry(self.slots[index].hash, |&at| at == index) {
            entry.remove();
        }
    }
}

/// What tells entries apart: the name in lower case, type, class, and the flags that change what upstreams say.
pub(crate) fn key(ask: &Ask) -> Box<[u8]> {
    let question = ask.question.bytes();
    let name_len = question.len() - 4;
    let mut key = Vec::with_capacity(question.len() + 1);
    key.extend_from_slice(question);
    key[..name_len].make_ascii_lowercase();
    key.push(u8::from(ask.recursion) | u8::from(ask.checking_disabled) << 1 | u8::from(ask.dnssec) << 2);
    key.into()
}

fn seconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_secs()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
