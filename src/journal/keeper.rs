//! The thread that writes down which sessions begin and end.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nat64_core::event::EventKind;
use nat64_core::{Event, SavedSession, Translator};
use tracing::{info, warn};

use super::file::{JournalError, Writer};
use super::write_all;
use crate::privileges;

/// Events that wait to be written.
const QUEUE: usize = 64 << 10;
/// How long what was written down may be in this process alone.
const PAUSE: Duration = Duration::from_millis(200);
/// Records beyond twice the sessions after which a new file is begun.
const SLACK: u64 = 100_000;
/// How long to wait after a failure.
const RETRY: Duration = Duration::from_secs(5);

/// Where events go in.
#[derive(Clone, Debug)]
pub(crate) struct Inlet {
    queue: SyncSender<Event>,
    missed: Arc<AtomicBool>,
}

impl Inlet {
    /// Takes an event of a session. Never waits: what finds no room makes the keeper begin anew.
    pub(crate) fn offer(&self, event: &Event) {
        let is_of_session = matches!(event.kind, EventKind::SessionCreated | EventKind::SessionEnded { .. });
        if is_of_session && self.queue.try_send(*event).is_err() {
            self.missed();
        }
    }

    /// Notes that an event was missed.
    pub(super) fn missed(&self) {
        self.missed.store(true, Ordering::Relaxed);
    }
}

/// The running thread. It ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Keeper {
    inlet: Inlet,
    stopping: Arc<AtomicBool>,
    failures: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Keeper {
    /// Begins a file at `path` with the sessions that there are, and goes on with what [`Inlet::offer`] tells.
    ///
    /// # Errors
    /// The thread cannot be made.
    pub(crate) fn start(path: PathBuf, translator: Arc<Translator>) -> std::io::Result<Self> {
        let (queue, events) = sync_channel(QUEUE);
        let inlet = Inlet { queue, missed: Arc::default() };
        let (stopping, failures) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let work = Work {
            path,
            translator,
            events,
            missed: Arc::clone(&inlet.missed),
            stopping: Arc::clone(&stopping),
            failures: Arc::clone(&failures),
        };
        let thread = thread::Builder::new().name("nat64-journal".to_owned()).spawn(move || {
            privileges::give_up_all();
            work.run();
        })?;
        Ok(Self { inlet, stopping, failures, thread: Some(thread) })
    }

    /// Where events go in.
    pub(crate) fn inlet(&self) -> Inlet {
        self.inlet.clone()
    }

    /// How often the file could not be written.
    pub(crate) fn failures(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.failures)
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // A panic has been said on standard error.
            let _ = thread.join();
        }
    }
}

struct Work {
    path: PathBuf,
    translator: Arc<Translator>,
    events: Receiver<Event>,
    missed: Arc<AtomicBool>,
    stopping: Arc<AtomicBool>,
    failures: Arc<AtomicU64>,
}

impl Work {
    fn run(self) {
        let mut is_failing = false;
        while !self.stopping.load(Ordering::Relaxed) {
            match catch_unwind(AssertUnwindSafe(|| self.keep(&mut is_failing))) {
                Ok(Ok(())) => {}
                // It was told already.
                Err(_panic) => {
                    self.failures.fetch_add(1, Ordering::Relaxed);
                    self.drain_for(RETRY);
                }
                Ok(Err(error)) => {
                    self.failures.fetch_add(1, Ordering::Relaxed);
                    if !is_failing {
                        warn!(%error, "sessions are not kept for the case of a crash; trying again");
                    }
                    is_failing = true;
                    self.drain_for(RETRY);
                }
            }
        }
    }

    /// Keeps one file until there is reason for another.
    fn keep(&self, is_failing: &mut bool) -> Result<(), JournalError> {
        // What is missed from here on is known to be missing.
        self.missed.store(false, Ordering::Relaxed);
        let mut writer = Writer::create(&self.path, false)?;
        let sessions = write_all(&mut writer, &self.translator)?;
        writer.publish(&self.path)?;
        if std::mem::take(is_failing) {
            info!("sessions are kept again");
        }
        let (mut records, mut flushed) = (0_u64, Instant::now());
        let most = 2 * sessions + SLACK;
        while records < most && !self.missed.load(Ordering::Relaxed) && !self.stopping.load(Ordering::Relaxed) {
            match self.events.recv_timeout(PAUSE) {
                Ok(event) => {
                    self.write(&mut writer, &event)?;
                    records += 1;
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            }
            if flushed.elapsed() >= PAUSE {
                writer.flush()?;
                flushed = Instant::now();
            }
        }
        writer.flush()
    }

    fn write(&self, writer: &mut Writer, event: &Event) -> Result<(), JournalError> {
        let Some(prefix) = self.translator.prefix(event.prefix) else { return Ok(()) };
        let is_shared = self.translator.shares_ports();
        match (SavedSession::of_event(event, prefix, is_shared), event.kind) {
            (Some(session), EventKind::SessionCreated) => writer.begun(&session),
            (Some(session), _) => writer.ended(&session),
            (None, _) => Ok(()),
        }
    }

    /// Lets events go by for a while.
    fn drain_for(&self, time: Duration) {
        let end = Instant::now() + time;
        while let Some(left) = end.checked_duration_since(Instant::now())
            && !self.stopping.load(Ordering::Relaxed)
        {
            let _ = self.events.recv_timeout(left.min(PAUSE));
        }
    }
}
