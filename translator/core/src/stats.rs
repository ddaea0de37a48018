//! Counters: one set per worker, written by it alone and read by anyone.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::event::Traffic;
use crate::packet::Protocol;
use crate::verdict::{Direction, DropReason};

/// A counter with one writer: adding is a load and a store, no locked instruction.
#[derive(Debug, Default)]
struct Counter(AtomicU64);

impl Counter {
    fn add(&self, amount: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(amount), Ordering::Relaxed);
    }

    fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What one worker has done since it started.
#[derive(Debug)]
pub struct Counters {
    /// By direction and protocol: packets and bytes, as received.
    translated: [[(Counter, Counter); Protocol::ALL.len()]; 2],
    hairpinned: Counter,
    held: Counter,
    refused: Counter,
    drops: [Counter; DropReason::ALL.len()],
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            translated: Default::default(),
            hairpinned: Counter::default(),
            held: Counter::default(),
            refused: Counter::default(),
            drops: std::array::from_fn(|_| Counter::default()),
        }
    }
}

impl Counters {
    pub(crate) fn count_translated(&self, direction: Direction, protocol: Protocol, segments: u64, bytes: u64) {
        let (packets, total) = &self.translated[direction as usize][protocol as usize];
        packets.add(segments);
        total.add(bytes);
    }

    pub(crate) fn count_hairpinned(&self) {
        self.hairpinned.add(1);
    }

    pub(crate) fn count_held(&self) {
        self.held.add(1);
    }

    pub(crate) fn count_drop(&self, reason: DropReason) {
        self.drops[reason as usize].add(1);
    }

    pub(crate) fn count_refused(&self) {
        self.refused.add(1);
    }

    /// Packets translated, a super-packet counted as its segments, and their bytes as received.
    #[must_use]
    pub fn translated(&self, direction: Direction, protocol: Protocol) -> Traffic {
        let (packets, bytes) = &self.translated[direction as usize][protocol as usize];
        Traffic { packets: packets.value(), bytes: bytes.value() }
    }

    /// Packets translated twice, between two hosts behind this translator.
    #[must_use]
    pub fn hairpinned(&self) -> u64 {
        self.hairpinned.value()
    }

    /// Packets kept for later: fragments and stored SYNs.
    #[must_use]
    pub fn held(&self) -> u64 {
        self.held.value()
    }

    /// ICMP errors and resets of our own, sent in answer to a packet that was dropped.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused.value()
    }

    /// Packets that went no further for `reason`, whether or not their sender was told.
    #[must_use]
    pub fn dropped(&self, reason: DropReason) -> u64 {
        self.drops[reason as usize].value()
    }
}
