//! The largest of many, in bounded memory.

use std::collections::HashMap;
use std::hash::Hash;

/// Keys that are kept at the most.
const MOST: usize = 8192;

/// What belongs to a key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Share {
    /// Bytes from inside to outside.
    pub(super) outbound: u64,
    /// Bytes from outside to inside.
    pub(super) inbound: u64,
    /// Sessions.
    pub(super) sessions: u64,
}

/// Sums by key: exact for up to [`MOST`] keys. Of more, the lighter half gives way, again and again, each time that the room is
/// used up (Misra and Gries, with the median for the least): whatever has more than two in [`MOST`] of all the weight is never
/// lost, whoever sends in which order.
#[derive(Debug)]
pub(super) struct Heavy<K> {
    sums: HashMap<K, (u64, Share)>,
}

impl<K: Copy + Eq + Hash + Ord> Heavy<K> {
    pub(super) fn new() -> Self {
        Self { sums: HashMap::new() }
    }

    /// Adds to what belongs to `key`.
    pub(super) fn add(&mut self, key: K, weight: u64, share: Share) {
        if self.sums.len() == MOST && !self.sums.contains_key(&key) {
            self.make_room();
        }
        let (heavy, sum) = self.sums.entry(key).or_default();
        *heavy += weight;
        sum.outbound += share.outbound;
        sum.inbound += share.inbound;
        sum.sessions += share.sessions;
    }

    /// The `most` heaviest, the heaviest first.
    pub(super) fn ranked(&self, most: usize) -> Vec<(K, Share)> {
        let mut all: Vec<(u64, K, Share)> =
            self.sums.iter().map(|(key, (weight, sum))| (*weight, *key, *sum)).collect();
        all.sort_unstable_by(|one, other| other.0.cmp(&one.0).then(one.1.cmp(&other.1)));
        all.into_iter().take(most).map(|(_, key, sum)| (key, sum)).collect()
    }

    #[cold]
    fn make_room(&mut self) {
        let mut weights: Vec<u64> = self.sums.values().map(|(weight, _)| *weight).collect();
        let middle = weights.len() / 2;
        let median = *weights.select_nth_unstable(middle).1;
        self.sums.retain(|_, (weight, _)| {
            *weight = weight.saturating_sub(median);
            *weight > 0
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Share = Share { outbound: 1, inbound: 2, sessions: 1 };

    #[test]
    fn few_are_counted_exactly_and_ranked() {
        let mut heavy = Heavy::new();
        for (key, weight) in [(7, 10), (8, 30), (7, 15), (9, 1)] {
            heavy.add(key, weight, ONE);
        }

        let ranked = heavy.ranked(2);

        assert_eq!(ranked, [(8, ONE), (7, Share { outbound: 2, inbound: 4, sessions: 2 })]);
    }

    #[test]
    fn a_heavy_one_is_found_among_a_million_light_ones_wherever_it_comes() {
        for heavy_at in [0, 500_000, 999_999] {
            let mut heavy = Heavy::new();
            let mut most = 0;
            for number in 0..1_000_000_u32 {
                heavy.add(number, 1, ONE);
                if number == heavy_at {
                    (0..10).for_each(|_| heavy.add(u32::MAX, 1000, ONE));
                }
                most = most.max(heavy.sums.len());
            }

            assert_eq!(heavy.ranked(1)[0].0, u32::MAX, "after {heavy_at}");
            assert!(most <= MOST, "{most}");
        }
    }
}
