//! What a worker did with its queue, beside what the translator counts.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::latency::Histogram;

/// One worker's reads and writes since it started. Super-packets count as one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IoStats {
    /// Packets read.
    pub reads: u64,
    /// Bytes of these.
    pub read_bytes: u64,
    /// Reads that gave no usable packet.
    pub read_errors: u64,
    /// Packets written.
    pub writes: u64,
    /// Bytes of these.
    pub write_bytes: u64,
    /// Packets that could not be written and are lost.
    pub write_errors: u64,
    /// Writes that were tried a second time because the kernel was out of room.
    pub write_retries: u64,
    /// Packets whose segmentation or checksum was done here, because the kernel refused to.
    pub software_offloads: u64,
    /// Packets that were merged into the one before them, and are in `writes` as one with it.
    pub merged: u64,
    /// Events that found no room, in the worker's buffer or in the ring to the daemon.
    pub events_lost: u64,
    /// Packets that the translator could not hand out beside the one in the buffer.
    pub spill_lost: u64,
}

impl IoStats {
    /// The sums over several workers.
    #[must_use]
    pub fn total<'s>(workers: impl IntoIterator<Item = &'s Self>) -> Self {
        workers.into_iter().fold(Self::default(), |sum, one| Self {
            reads: sum.reads + one.reads,
            read_bytes: sum.read_bytes + one.read_bytes,
            read_errors: sum.read_errors + one.read_errors,
            writes: sum.writes + one.writes,
            write_bytes: sum.write_bytes + one.write_bytes,
            write_errors: sum.write_errors + one.write_errors,
            write_retries: sum.write_retries + one.write_retries,
            software_offloads: sum.software_offloads + one.software_offloads,
            merged: sum.merged + one.merged,
            events_lost: sum.events_lost + one.events_lost,
            spill_lost: sum.spill_lost + one.spill_lost,
        })
    }
}

/// A number with one writer and any readers: adding is a load and a store, no locked instruction.
#[derive(Debug, Default)]
pub(crate) struct Cell(AtomicU64);

impl Cell {
    pub(crate) fn add(&self, amount: u64) {
        self.set(self.value().wrapping_add(amount));
    }

    pub(crate) fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    pub(crate) fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The live form of [`IoStats`], and the worker's sign of life.
#[derive(Debug, Default)]
pub(crate) struct IoCounters {
    pub(crate) reads: Cell,
    pub(crate) read_bytes: Cell,
    pub(crate) read_errors: Cell,
    pub(crate) writes: Cell,
    pub(crate) write_bytes: Cell,
    pub(crate) write_errors: Cell,
    pub(crate) write_retries: Cell,
    pub(crate) software_offloads: Cell,
    pub(crate) merged: Cell,
    pub(crate) ring_lost: Cell,
    pub(crate) buffer_lost: Cell,
    pub(crate) spill_lost: Cell,
    /// Events of changes by the daemon that found no room in this worker's ring.
    pub(crate) foreign_lost: AtomicU64,
    /// How long packets stay, of one batch in [`SAMPLED`](crate::worker::SAMPLED).
    pub(crate) latency: Histogram,
    /// The worker's thread, by the kernel's number; zero before it runs.
    pub(crate) thread: Cell,
    /// Milliseconds of the clock when the worker last began its loop.
    pub(crate) heartbeat: Cell,
}

impl IoCounters {
    pub(crate) fn snapshot(&self) -> IoStats {
        IoStats {
            reads: self.reads.value(),
            read_bytes: self.read_bytes.value(),
            read_errors: self.read_errors.value(),
            writes: self.writes.value(),
            write_bytes: self.write_bytes.value(),
            write_errors: self.write_errors.value(),
            write_retries: self.write_retries.value(),
            software_offloads: self.software_offloads.value(),
            merged: self.merged.value(),
            events_lost: self.ring_lost.value() + self.buffer_lost.value() + self.foreign_lost.load(Ordering::Relaxed),
            spill_lost: self.spill_lost.value(),
        }
    }
}
