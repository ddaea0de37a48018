//! One part of the cache.

use std::sync::Arc;
use std::time::Duration;

use hashbrown::HashTable;

use super::{Key, Known, key_of};
use crate::stats::Stats;
use crate::wire::{Extended, HEADER_LEN, Reply};

/// What lives shorter than this is not refreshed before it expires, in seconds.
const LEAST_PREFETCHED: u32 = 10;

/// One part of the cache: slots in a ring, found through a table of their indices.
///
/// When room is needed a hand goes around the ring (CLOCK): it takes what has expired or was not used since it last
/// came by.
#[derive(Debug)]
pub(super) struct Shard {
    pub(super) table: HashTable<u32>,
    pub(super) slots: Vec<Slot>,
    hand: usize,
    bytes: usize,
    max_entries: usize,
    max_bytes: usize,
}

/// One answer, in one piece of memory besides this. Times are milliseconds, as [`super::Cache`] counts them.
#[derive(Debug)]
pub(super) struct Slot {
    /// As it came, without OPT record; its question is most of the key.
    pub(super) message: Box<[u8]>,
    pub(super) hash: u64,
    pub(super) received: u64,
    /// In seconds.
    pub(super) lifetime: u32,
    pub(super) extended: Extended,
    /// The rest of the key.
    pub(super) flags: u8,
    pub(super) used: bool,
    /// Whether somebody was told to refresh it.
    pub(super) due: bool,
}

impl Slot {
    /// Memory held, in bytes, with its part of the table and what the allocator adds.
    pub(super) fn size(&self) -> usize {
        size_of::<Self>() + 2 * size_of::<u32>() + (self.message.len() + 8).next_multiple_of(16)
    }

    fn key(&self) -> Option<Key> {
        Some(key_of(Reply::question_of(&self.message)?, self.flags))
    }

    fn has_key(&self, key: &[u8]) -> bool {
        let Some((name, [fixed @ .., flags])) = key.split_at_checked(key.len().saturating_sub(5)) else { return false };
        let Some(rest) = self.message.get(HEADER_LEN..) else { return false };
        let Some((own_name, own_rest)) = rest.split_at_checked(name.len()) else { return false };
        // Length bytes are below 64 and have no case.
        self.flags == *flags && own_name.eq_ignore_ascii_case(name) && own_rest.starts_with(fixed)
    }

    const fn expires(&self) -> u64 {
        self.received + self.lifetime as u64 * 1000
    }

    fn known(&self, now: u64, is_stale: bool) -> Option<Known> {
        let reply = Arc::new(Reply::restore(&self.message, self.extended)?);
        let ending = self.expires() - u64::from(self.lifetime) * 100;
        let [age, left] = [now.saturating_sub(self.received), ending.saturating_sub(now)].map(whole_seconds);
        Some(Known { reply, age, is_stale, left })
    }

    /// Whether it is in the last tenth of its time, which it has not left.
    const fn is_ending(&self, now: u64) -> bool {
        self.lifetime >= LEAST_PREFETCHED && (self.expires() - now) <= self.lifetime as u64 * 100
    }
}

impl Shard {
    pub(super) fn new(max_entries: usize, max_bytes: usize) -> Self {
        Self { table: HashTable::new(), slots: Vec::new(), hand: 0, bytes: 0, max_entries, max_bytes }
    }

    pub(super) fn get(&mut self, hash: u64, key: &[u8], now: u64) -> Option<(Known, bool)> {
        let slot = self.find(hash, key)?;
        if slot.expires() <= now {
            return None;
        }
        slot.used = true;
        let is_due = !slot.due && slot.is_ending(now);
        slot.due |= is_due;
        Some((slot.known(now, false)?, is_due))
    }

    pub(super) fn stale(&mut self, hash: u64, key: &[u8], now: u64, most: Duration) -> Option<Known> {
        let slot = self.find(hash, key)?;
        slot.used = true;
        if u128::from(now) < u128::from(slot.expires()) + most.as_millis() { slot.known(now, true) } else { None }
    }

    fn find(&mut self, hash: u64, key: &[u8]) -> Option<&mut Slot> {
        let index = *self.table.find(hash, |&index| self.slots[at(index)].has_key(key))?;
        self.slots.get_mut(at(index))
    }

    pub(super) fn insert(&mut self, slot: Slot, key: &[u8], now: u64, stats: &Stats) {
        let size = slot.size();
        if let Some(&index) = self.table.find(slot.hash, |&index| self.slots[at(index)].has_key(key)) {
            self.remove(at(index), stats);
        }
        if size > self.max_bytes || self.max_entries == 0 {
            return;
        }
        while self.slots.len() >= self.max_entries || self.bytes + size > self.max_bytes {
            self.make_room(now, stats);
        }
        let Ok(index) = u32::try_from(self.slots.len()) else { return };
        self.bytes += size;
        stats.cache_bytes.add(size as u64);
        stats.cache_entries.increment();
        if self.slots.len() == self.slots.capacity() {
            // Doubling would hold twice what is used.
            self.slots.reserve_exact(self.slots.len() / 8 + 8);
        }
        let hash = slot.hash;
        self.slots.push(slot);
        let slots = &self.slots;
        self.table.insert_unique(hash, index, |&index| slots[at(index)].hash);
    }

    pub(super) fn retain(&mut self, keep: impl Fn(&[u8]) -> bool, stats: &Stats) -> usize {
        let mut count = 0;
        // From the end, since the last slot moves to where one was removed.
        for index in (0..self.slots.len()).rev() {
            if self.slots[index].key().is_none_or(|key| !keep(&key)) {
                self.remove(index, stats);
                count += 1;
            }
        }
        count
    }

    /// Makes all answers older, in milliseconds.
    pub(super) fn age(&mut self, by: u64) {
        for slot in &mut self.slots {
            slot.received = slot.received.saturating_sub(by);
        }
    }

    /// Removes one slot. Terminates within two rounds: the first clears every mark.
    fn make_room(&mut self, now: u64, stats: &Stats) {
        loop {
            self.hand %= self.slots.len();
            let slot = &mut self.slots[self.hand];
            let has_expired = slot.expires() <= now;
            if has_expired || !slot.used {
                if !has_expired {
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
            && let Ok(entry) = self.table.find_entry(self.slots[index].hash, |&one| at(one) == last)
            && let Ok(index) = u32::try_from(index)
        {
            *entry.into_mut() = index;
        }
        self.bytes -= slot.size();
        stats.cache_bytes.sub(slot.size() as u64);
        stats.cache_entries.sub(1);
    }

    fn unlink(&mut self, index: usize) {
        if let Ok(entry) = self.table.find_entry(self.slots[index].hash, |&one| at(one) == index) {
            entry.remove();
        }
    }
}

/// An index of a slot as the table holds it.
const fn at(index: u32) -> usize {
    index as usize
}

fn whole_seconds(milliseconds: u64) -> u32 {
    u32::try_from(milliseconds / 1000).unwrap_or(u32::MAX)
}
