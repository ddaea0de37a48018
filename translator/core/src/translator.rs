//! A packet's way through the translator.

use crate::packet::PacketBuf;
use crate::policy::Policy;
use crate::time::Timestamp;
use crate::verdict::{DropReason, Verdict};
use crate::worker::Worker;

/// The translator. Shared by all workers; every method takes `&self`.
#[derive(Debug)]
pub struct Translator {
    _policy: Policy,
}

impl Translator {
    /// A translator with no state yet. `seed` must be unpredictable: ports, identifications and hashes depend on it.
    #[must_use]
    pub fn new(policy: Policy, _seed: u64) -> Self {
        Self { _policy: policy }
    }

    /// Starts a batch: one reading of the clock and one policy for all its packets.
    pub fn batch<'t>(&'t self, now: Timestamp, worker: &'t mut Worker) -> Batch<'t> {
        Batch { _translator: self, _now: now, worker }
    }

    /// Does what timers are due at `now`: sessions, fragments, stored SYNs and rested ports expire; packets this causes are in
    /// `worker.spill` and are to be written. Any worker may call it; to be called every 100 ms or so by one of them, it
    /// does a bounded amount of work and returns whether more is due at once.
    pub fn expire(&self, _now: Timestamp, _worker: &mut Worker) -> bool {
        false
    }
}

/// Packets that are translated under one policy and one reading of the clock.
#[derive(Debug)]
pub struct Batch<'t> {
    _translator: &'t Translator,
    _now: Timestamp,
    worker: &'t mut Worker,
}

impl Batch<'_> {
    /// Translates one packet where it stands. See [`Verdict`] for what to do then.
    pub fn translate(&mut self, _packet: &mut PacketBuf<'_>) -> Verdict {
        Verdict::Dropped(DropReason::NotIp)
    }

    /// The worker, whose spill is to be drained after each packet.
    pub fn worker(&mut self) -> &mut Worker {
        self.worker
    }
}
