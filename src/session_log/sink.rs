//! One log: a bounded queue, an encoder and a place to write to.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use tracing::{info, warn};

use super::encode::{Encoder, Frames};
use super::output::Output;
use super::record::{Kinds, Record};
use crate::config::SessionLogSettings;

/// Records that are encoded and written together at the most.
const BATCH: usize = 256;
/// How long a sink waits for records before it looks whether it is to stop.
const IDLE: Duration = Duration::from_millis(200);
/// How long a sink waits after a failed write; doubled up to the other.
const FIRST_RETRY: Duration = Duration::from_millis(100);
const LAST_RETRY: Duration = Duration::from_secs(5);

/// What a log has done since the start.
#[derive(Debug, Default)]
pub(crate) struct SinkStats {
    /// Where it writes to.
    pub(crate) target: String,
    delivered: AtomicU64,
    lost: AtomicU64,
    failing: AtomicBool,
}

impl SinkStats {
    /// Records handed to the file, or to the network.
    pub(crate) fn delivered(&self) -> u64 {
        self.delivered.load(Ordering::Relaxed)
    }

    /// Records that found the queue full, or were still undelivered at the end.
    pub(crate) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Whether the last write failed.
    pub(crate) fn is_failing(&self) -> bool {
        self.failing.load(Ordering::Relaxed)
    }
}

/// Where records go in, for all logs; they may change while the collector runs.
pub(super) type Inlets = Arc<Mutex<Vec<Inlet>>>;

/// Where records go in.
#[derive(Clone, Debug)]
pub(super) struct Inlet {
    kinds: Kinds,
    queue: SyncSender<Record>,
    stats: Arc<SinkStats>,
}

impl Inlet {
    /// Takes the record if the log wants it and has room. Never waits.
    pub(super) fn offer(&self, record: &Record) {
        if self.kinds.contains(record.event.kind) && self.queue.try_send(record.clone()).is_err() {
            self.stats.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn stats(&self) -> Arc<SinkStats> {
        Arc::clone(&self.stats)
    }
}

/// The thread behind the queue.
#[derive(Debug)]
pub(super) struct Sink {
    queue: Receiver<Record>,
    encoder: Encoder,
    output: Output,
    stats: Arc<SinkStats>,
    stopping: Arc<AtomicBool>,
}

impl Sink {
    pub(super) fn new(settings: &SessionLogSettings, stopping: Arc<AtomicBool>) -> (Self, Inlet) {
        let records = (settings.spool_bytes / size_of::<Record>()).max(BATCH);
        let (sender, queue) = sync_channel(records);
        let stats = Arc::new(SinkStats { target: settings.target.to_string(), ..SinkStats::default() });
        let sink = Self {
            queue,
            encoder: Encoder::new(settings.format, settings.target.framing(), settings.says),
            output: Output::new(settings.target.clone()),
            stats: Arc::clone(&stats),
            stopping,
        };
        (sink, Inlet { kinds: settings.kinds, queue: sender, stats })
    }

    /// Delivers what comes, until nobody is left to bring more.
    pub(super) fn run(mut self) {
        let mut batch = Vec::with_capacity(BATCH);
        let mut frames = Frames::default();
        loop {
            match self.queue.recv_timeout(IDLE) {
                Ok(record) => batch.push(record),
                Err(RecvTimeoutError::Timeout) => continue,
                Err(RecvTimeoutError::Disconnected) => return,
            }
            batch.extend(self.queue.try_iter().take(BATCH - 1));
            // Records that the code is not up to are lost, and those after them are not.
            if catch_unwind(AssertUnwindSafe(|| self.write(&batch, &mut frames))).is_err() {
                self.count_lost(batch.len());
            }
            batch.clear();
            frames.clear();
        }
    }

    fn write(&mut self, batch: &[Record], frames: &mut Frames) {
        #[cfg(test)]
        assert!(batch.iter().all(|record| record.event.internal.1 != super::tests::POISON), "for the test of panics");
        self.encoder.encode(batch, frames);
        self.deliver(frames, batch.len());
    }

    fn count_lost(&self, records: usize) {
        self.stats.lost.fetch_add(u64::try_from(records).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Writes the frames, as often as it takes. When the daemon stops, once more and no longer.
    fn deliver(&mut self, frames: &mut Frames, records: usize) {
        let records = u64::try_from(records).unwrap_or(u64::MAX);
        let mut pause = FIRST_RETRY;
        loop {
            let is_last = self.stopping.load(Ordering::Relaxed);
            match self.output.write(frames) {
                Ok(()) => {
                    self.note_success();
                    self.stats.delivered.fetch_add(records, Ordering::Relaxed);
                    return;
                }
                Err(error) => self.note_failure(&error),
            }
            if is_last {
                self.stats.lost.fetch_add(records, Ordering::Relaxed);
                return;
            }
            self.pause(pause);
            pause = (pause * 2).min(LAST_RETRY);
        }
    }

    /// Waits, but not beyond the order to stop.
    fn pause(&self, pause: Duration) {
        let end = Instant::now() + pause;
        while Instant::now() < end && !self.stopping.load(Ordering::Relaxed) {
            thread::park_timeout(IDLE.min(pause));
        }
    }

    fn note_failure(&self, error: &std::io::Error) {
        if !self.stats.failing.swap(true, Ordering::Relaxed) {
            warn!(to = self.stats.target, %error, "the session log cannot be written; records wait, as far as there is room");
        }
    }

    fn note_success(&self) {
        if self.stats.failing.swap(false, Ordering::Relaxed) {
            info!(to = self.stats.target, lost = self.stats.lost(), "the session log can be written again");
        }
    }
}
