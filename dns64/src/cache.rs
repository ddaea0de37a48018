//! What upstreams said, kept as long as they allowed (RFC 1035 §7.4, RFC 2308).
//!
//! Nothing here knows a prefix: synthesis happens when an answer is read, so clients with different prefixes share one
//! entry. Memory is bounded by entries and by bytes; what was not used lately goes first.

mod shard;

use std::hash::BuildHasher;
use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use foldhash::quality::RandomState;
use tokio::time::Instant;

use self::shard::{Shard, Slot};
use crate::config::Config;
use crate::stats::Stats;
use crate::wire::{Ask, Errors, Reply, ede, rcode};

/// Parts with a lock each, at most.
const MOST_SHARDS: usize = 16;

/// Entries that a part has at least, so that small bounds are not met by rounding.
const LEAST_PER_SHARD: usize = 64;

/// The longest key in bytes: a name, type and class, and the flags.
const LONGEST_KEY: usize = 255 + 4 + 1;

/// The time of the cache's making, in milliseconds: what is kept can be made older than that.
const EPOCH: u64 = 1 << 40;

/// Answers of upstreams by question.
#[derive(Debug)]
pub(crate) struct Cache {
    shards: Box<[Mutex<Shard>]>,
    hasher: RandomState,
    max_ttl: u32,
    max_negative_ttl: u32,
    max_stale: Duration,
    prefetch: bool,
    /// What slots count time from.
    start: Instant,
    stats: Arc<Stats>,
}

/// TTL of what has expired and is told nevertheless, in seconds (RFC 8767 §4).
const STALE_TTL: u32 = 30;

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
            start: Instant::now(),
            stats,
        }
    }

    /// The answer to the question with this key, if it may still be used, and whether it is time to refresh it.
    pub(crate) fn get(&self, key: &[u8], now: Instant) -> Option<(Known, bool)> {
        let hash = self.hasher.hash_one(key);
        let (known, is_due) = self.shard(hash).get(hash, key, self.time(now))?;
        self.stats.cache_hits.increment();
        Some((known, is_due && self.prefetch))
    }

    /// The answer to the question with this key, if it may be used for want of a better one.
    pub(crate) fn stale(&self, key: &[u8], now: Instant) -> Option<Known> {
        let hash = self.hasher.hash_one(key);
        self.shard(hash).stale(hash, key, self.time(now), self.max_stale)
    }

    /// Keeps an answer for as long as it may be used.
    pub(crate) fn insert(&self, key: &[u8], reply: &Arc<Reply>, now: Instant) {
        let lifetime = reply.lifetime(self.max_ttl, self.max_negative_ttl);
        if lifetime == 0 {
            return;
        }
        let (hash, now) = (self.hasher.hash_one(key), self.time(now));
        let slot = Slot {
            message: reply.message().into(),
            extended: reply.extended(),
            flags: key.last().copied().unwrap_or_default(),
            hash,
            received: now,
            lifetime,
            used: false,
            due: false,
        };
        self.shard(hash).insert(slot, key, now, &self.stats);
    }

    /// Milliseconds since [`EPOCH`] milliseconds before the cache was made.
    fn time(&self, now: Instant) -> u64 {
        EPOCH + u64::try_from(now.saturating_duration_since(self.start).as_millis()).unwrap_or(EPOCH)
    }

    /// Makes all answers older.
    pub(crate) fn age(&self, by: Duration) {
        let by = u64::try_from(by.as_millis()).unwrap_or(EPOCH);
        for shard in &self.shards {
            shard.lock().unwrap_or_else(PoisonError::into_inner).age(by);
        }
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

/// What tells entries apart: the name in lower case, type, class, and the flags that change what upstreams say.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Key {
    bytes: [u8; LONGEST_KEY],
    len: usize,
}

impl Deref for Key {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

pub(crate) fn key(ask: &Ask) -> Key {
    let flags = u8::from(ask.recursion) | u8::from(ask.checking_disabled) << 1 | u8::from(ask.dnssec) << 2;
    key_of(ask.question.bytes(), flags)
}

fn key_of(question: &[u8], flags: u8) -> Key {
    let len = question.len() + 1;
    let mut bytes = [0; LONGEST_KEY];
    bytes[..question.len()].copy_from_slice(question);
    bytes[..question.len() - 4].make_ascii_lowercase();
    bytes[question.len()] = flags;
    Key { bytes, len }
}

fn seconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_secs()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
