//! Hash tables that give memory back when they have been much larger.

use std::collections::VecDeque;
use std::hash::{BuildHasher, Hash};

use hashbrown::{HashMap, HashTable};

/// Entries below which memory is not worth the work.
const LEAST: usize = 1024;
/// A table with room for this many times its entries is made smaller.
const LOOSE: usize = 3;

/// Whether a table is too large for its entries. It is made smaller, but keeps room for between one and two times as
/// many, so that it neither grows nor is loose again before many have come or gone.
const fn is_loose(len: usize, capacity: usize) -> bool {
    capacity > LEAST && len < capacity / LOOSE
}

pub(crate) fn shrink<T>(table: &mut HashTable<T>, hash_of: impl Fn(&T) -> u64) {
    if is_loose(table.len(), table.capacity()) {
        table.shrink_to(table.len(), hash_of);
    }
}

pub(crate) fn shrink_map<K: Eq + Hash, V, S: BuildHasher>(map: &mut HashMap<K, V, S>) {
    if is_loose(map.len(), map.capacity()) {
        map.shrink_to(map.len());
    }
}

pub(crate) fn shrink_queue<T>(queue: &mut VecDeque<T>) {
    if is_loose(queue.len(), queue.capacity()) {
        queue.shrink_to(queue.len());
    }
}

/// Bytes that `tables` tables (or queues) with `entries` of `T` between them take at the most, while one of them is made
/// larger or smaller.
pub(crate) const fn bytes<T>(entries: u64, tables: u64) -> u64 {
    // Tables have room for three times their entries at the most. The one that is made smaller has a second memory beside
    // the first, with room for twice its entries, which are two thirds of all at the most: it had twice as much room as
    // there ever were entries. A bucket of eight is always left free.
    const BUCKETS: u64 = 5;
    let bucket = size_of::<T>() as u64 + 1;
    (entries * BUCKETS + tables * 4 * LEAST as u64) * bucket
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_that_was_large_is_made_smaller_in_steps() {
        let hash_of = |value: &u32| u64::from(*value).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut table = HashTable::new();
        for value in 0..100_000 {
            table.insert_unique(hash_of(&value), value, hash_of);
        }
        let (large, mut steps) = (table.capacity(), 0);
        for value in 0..100_000 {
            table.find_entry(hash_of(&value), |other| *other == value).unwrap().remove();
            let before = table.capacity();
            shrink(&mut table, hash_of);
            steps += u32::from(table.capacity() != before);
            assert!(table.capacity() <= (LOOSE * (table.len() + 1)).max(2 * LEAST));
            assert!((value + 1..100_000).step_by(997).all(|rest| table.find(hash_of(&rest), |o| *o == rest).is_some()));
        }
        assert!(large > 100_000 && table.capacity() <= 2 * LEAST && (4..12).contains(&steps), "{steps} steps");
    }

    #[test]
    fn small_tables_stay_as_they_are() {
        let mut map: HashMap<u32, u32, foldhash::fast::RandomState> = (0..800).map(|value| (value, value)).collect();
        let capacity = map.capacity();
        map.clear();
        shrink_map(&mut map);
        assert_eq!(map.capacity(), capacity);
    }
}
