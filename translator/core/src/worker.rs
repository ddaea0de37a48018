//! What one worker thread brings to the translator.

use std::sync::Arc;

use crate::event::{Event, EventBuffer};
use crate::packet::Offload;
use crate::refuse::ErrorBudget;
use crate::spill::Spill;
use crate::stats::Counters;

/// State of one worker: its counters, and what the translator hands back beside verdicts.
#[derive(Debug)]
pub struct Worker {
    /// Written by this worker, read by anyone.
    pub counters: Arc<Counters>,
    /// Events since the last drain. Drain after each batch.
    pub events: EventBuffer,
    /// Packets to write beside the one in the buffer. Drain after each packet.
    pub spill: Spill,
    pub(crate) errors: ErrorBudget,
    pub(crate) identifications: Identifications,
}

impl Worker {
    /// Events that a worker keeps between two drains.
    pub const EVENTS: usize = 4096;

    /// Bytes of memory that a worker takes.
    pub(crate) const BYTES: u64 = (size_of::<Self>()
        + size_of::<Counters>()
        + Self::EVENTS * size_of::<Event>()
        + Spill::CAPACITY
        + Spill::PACKETS * size_of::<(usize, Offload)>()
        // What fragments of one datagram are put together in.
        + 4 * 65_536) as u64;

    /// A worker with room for [`Worker::EVENTS`] events.
    #[must_use]
    pub fn new() -> Self {
        Self {
            counters: Arc::default(),
            events: EventBuffer::new(Self::EVENTS),
            spill: Spill::new(),
            errors: ErrorBudget::default(),
            identifications: Identifications::default(),
        }
    }
}

impl Default for Worker {
    fn default() -> Self {
        Self::new()
    }
}

/// IPv4 identifications: each of the 65,536 once before any comes again, in an order that outsiders cannot follow
/// (RFC 6864 §4.3, RFC 7739 §5.3). A walk over all 16-bit numbers by a secret odd step, scrambled by a secret.
#[derive(Debug, Default)]
pub(crate) struct Identifications {
    state: u16,
    step: u16,
    scramble: u16,
}

impl Identifications {
    pub(crate) const fn is_seeded(&self) -> bool {
        self.step != 0
    }

    pub(crate) fn seed(&mut self, secret: u64) {
        let [a, b, c, d, e, f, ..] = secret.to_be_bytes();
        self.state = u16::from_be_bytes([a, b]);
        self.step = u16::from_be_bytes([c, d]) | 1;
        self.scramble = u16::from_be_bytes([e, f]);
    }

    #[inline]
    pub(crate) const fn next(&mut self) -> u16 {
        self.state = self.state.wrapping_add(self.step);
        // An odd multiple and a shifted exclusive or are both permutations of the 16-bit numbers.
        let mixed = (self.state ^ self.scramble).wrapping_mul(0x9e37);
        (mixed ^ mixed >> 7).wrapping_mul(self.scramble | 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_identification_comes_once_before_any_comes_again() {
        let mut identifications = Identifications::default();
        identifications.seed(0x0123_4567_89ab_cdef);
        let mut seen = vec![false; 65_536];
        for _ in 0..65_536 {
            let next = usize::from(identifications.next());
            assert!(!std::mem::replace(&mut seen[next], true), "{next} came twice");
        }
    }
}
