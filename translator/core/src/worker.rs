//! What one worker thread brings to the translator.

use std::sync::Arc;

use crate::event::EventBuffer;
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
}

impl Worker {
    /// Events that a worker keeps between two drains.
    pub const EVENTS: usize = 4096;

    /// A worker with room for [`Worker::EVENTS`] events.
    #[must_use]
    pub fn new() -> Self {
        Self { counters: Arc::default(), events: EventBuffer::new(Self::EVENTS), spill: Spill::new() }
    }
}

impl Default for Worker {
    fn default() -> Self {
        Self::new()
    }
}
