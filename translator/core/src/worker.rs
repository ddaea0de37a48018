//! What one worker thread brings to the translator.

use std::sync::Arc;

use crate::event::{Event, EventBuffer};
use crate::identification::Identifications;
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
    /// For events that anybody can cause.
    pub(crate) reports: ErrorBudget,
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
            reports: ErrorBudget::default(),
            identifications: Identifications::default(),
        }
    }
}

impl Default for Worker {
    fn default() -> Self {
        Self::new()
    }
}
