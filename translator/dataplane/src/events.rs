//! Events on their way from a worker to the daemon.

use std::sync::Arc;

use crossbeam_queue::ArrayQueue;
use nat64_core::Event;

/// The receiving end of one worker's bounded ring of events. Events that find it full are lost and counted in
/// [`IoStats::events_lost`](crate::IoStats::events_lost); packets never wait for it.
#[derive(Clone, Debug)]
pub struct Events {
    ring: Arc<ArrayQueue<Event>>,
}

impl Events {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { ring: Arc::new(ArrayQueue::new(capacity.max(1))) }
    }

    /// The oldest event that waits, if any. Never blocks.
    #[must_use]
    pub fn pop(&self) -> Option<Event> {
        self.ring.pop()
    }

    /// How many events wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ring.len()
    }

    /// Whether no event waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ring.is_empty()
    }

    /// Whether at least half of the ring is free.
    pub(crate) fn has_room(&self) -> bool {
        self.ring.len() <= self.ring.capacity() / 2
    }

    /// Adds the events and returns how many did not fit.
    pub(crate) fn push_all(&self, events: impl Iterator<Item = Event>) -> u64 {
        events.map(|event| u64::from(self.ring.push(event).is_err())).sum()
    }
}
