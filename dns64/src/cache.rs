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
use crate::wire::{Ask, Reply};

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
    stats: Arc<Stats>,
}

/// A cached answer, and how old it is.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    pub(crate) reply: Arc<Reply>,
    /// Seconds since it was received.
    pub(crate) age: u32,
}

impl Known {
    /// An answer that was just received.
    pub(crate) const fn fresh(reply: Arc<Reply>) -> Self {
        Self { reply, age: 0 }
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
            stats,
        }
    }

    /// The answer to a question, if it may still be used.
    pub(crate) fn get(&self, ask: &Ask, now: Instant) -> Option<Known> {
        let key = key(ask);
        let hash = self.hasher.hash_one(&*key);
        let known = self.shard(hash).get(hash, &key, now)?;
        self.stats.cache_hits.increment();
        Some(known)
    }

    /// Keeps an answer for as long as it may be used.
    pub(crate) fn insert(&self, ask: &Ask, reply: &Arc<Reply>, now: Instant) {
        let lifetime = reply.lifetime(self.max_ttl, self.max_negative_ttl);
        if lifetime == 0 {
            return;
        }
        let key = key(ask);
        let hash = self.hasher.hash_one(&*key);
        let expires = now + Duration::from_secs(lifetime.into());
        let slot = Slot { key, hash, reply: Arc::clone(reply), received: now, expires, used: false };
        self.shard(hash).insert(slot, now, &self.stats);
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
}

impl Slot {
    /// Memory held, in bytes, with its part of the table.
    fn size(&self) -> usize {
        size_of::<Self>() + 2 * size_of::<usize>() + self.key.len() + self.reply.size()
    }
}

impl Shard {
    fn new(max_entries: usize, max_bytes: usize) -> Self {
        Self { table: HashTable::new(), slots: Vec::new(), hand: 0, bytes: 0, max_entries, max_bytes }
    }

    fn get(&mut self, hash: u64, key: &[u8], now: Instant) -> Option<Known> {
        let index = *self.table.find(hash, |&index| *self.slots[index].key == *key)?;
        let slot = &mut self.slots[index];
        if slot.expires <= now {
            return None;
        }
        slot.used = true;
        Some(Known { reply: Arc::clone(&slot.reply), age: seconds(now.saturating_duration_since(slot.received)) })
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

    /// Removes one slot. Terminates within two rounds: the first clears every mark.
    fn make_room(&mut self, now: Instant, stats: &Stats) {
        loop {
            self.hand %= self.slots.len();
            let slot = &mut self.slots[self.hand];
            if slot.expires <= now || !slot.used {
                if slot.expires > now {
                    stats.cache_evictions.increment();
                }
                return self.remove(self.hand, stats);
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
fn key(ask: &Ask) -> Box<[u8]> {
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
