//! The workers together, as their owner sees them.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossbeam_utils::CachePadded;
use nat64_core::{Counters, Ended, Event, SessionInfo, Tell, Timestamp, Translator, Worker as State};
use rustix::event::{EventfdFlags, eventfd};
use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities};

use crate::clock::Clock;
use crate::device::{Device, DeviceInfo};
use crate::events::Events;
use crate::foreign::Foreign;
use crate::latency::Latency;
use crate::outbox::{Merging, Outbox};
use crate::port::Port;
use crate::queue::Queue;
use crate::stats::{IoCounters, IoStats};
use crate::supervise::supervise;
use crate::tap::{TapFilter, TapReader, Taps, TooManyTaps};
use crate::timer::Timer;
use crate::worker::{BusyPoll, Engine, Worker, WorkerFailure};

/// Called from the thread of a worker, when it fails or goes on after a panic. It must not block.
pub type OnFailure = Arc<dyn Fn(WorkerFailure) + Send + Sync>;

/// What the workers need beside a device and a translator.
#[derive(Clone)]
pub struct DataplaneConfig {
    /// The clock, made together with the translator.
    pub clock: Clock,
    /// Events that wait for the daemon, per worker.
    pub event_capacity: usize,
    /// For how long after a packet a worker looks for the next before it sleeps.
    pub busy_poll: Duration,
    /// Told of a worker that stops without being asked to: a packet path that is broken in part or whole.
    pub on_failure: OnFailure,
    /// Told of a worker that panicked and goes on with the next packet. Panics that come too often are failures.
    pub on_panic: OnFailure,
}

impl DataplaneConfig {
    /// Events that wait for the daemon, per worker, unless told otherwise.
    pub const EVENT_CAPACITY: usize = 16 * 1024;

    /// The usual configuration.
    #[must_use]
    pub fn new(clock: Clock, on_failure: impl Fn(WorkerFailure) + Send + Sync + 'static) -> Self {
        let on_failure = Arc::new(on_failure);
        let on_panic = Arc::new(|_| {});
        Self { clock, event_capacity: Self::EVENT_CAPACITY, busy_poll: Duration::ZERO, on_failure, on_panic }
    }
}

impl fmt::Debug for DataplaneConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DataplaneConfig").field("event_capacity", &self.event_capacity).finish_non_exhaustive()
    }
}

/// Why the workers could not be started. None of them runs then.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The means to stop or wake them could not be made.
    #[error("cannot make an eventfd")]
    Eventfd(#[source] io::Error),
    /// A thread could not be made.
    #[error("cannot start the thread of worker {worker}")]
    Thread {
        /// The worker's number, from 0.
        worker: usize,
        /// The kernel's answer.
        source: io::Error,
    },
}

/// The running packet path. Dropping it stops the workers and removes the device.
#[derive(Debug)]
pub struct Dataplane {
    device: DeviceInfo,
    workers: Workers,
    translator: Arc<Translator>,
    /// What changes of the state by the daemon need, one at a time.
    changes: Mutex<State>,
}

impl Dataplane {
    /// Bytes of memory that a worker takes beside what its [`State`] does: what it reads packets into, keeps them and cuts
    /// them to size in, and its ring of events with the usual capacity.
    pub const WORKER_BYTES: usize = Outbox::BYTES
        + Port::<Device>::BYTES
        + DataplaneConfig::EVENT_CAPACITY * (size_of::<Event>() + size_of::<usize>());

    /// Bytes of memory that it takes beside its workers.
    pub const OWN_BYTES: usize = Foreign::BYTES;

    /// Starts one worker on each of the device's queues, in the calling thread's network namespace.
    ///
    /// # Errors
    /// See [`StartError`].
    pub fn start(device: Device, translator: Arc<Translator>, config: &DataplaneConfig) -> Result<Self, StartError> {
        let (device, queues) = device.into_parts();
        let merging = Merging { tcp: device.offloads.tso, udp: device.offloads.uso };
        let workers = Workers::start(queues, Arc::clone(&translator), merging, config)?;
        Ok(Self { device, workers, translator, changes: Mutex::new(State::new()) })
    }

    /// The device.
    #[must_use]
    pub const fn device(&self) -> &DeviceInfo {
        &self.device
    }

    /// The clock that events and sessions are dated by.
    #[must_use]
    pub const fn clock(&self) -> Clock {
        self.workers.clock
    }

    /// The translator's counters, by worker.
    #[must_use]
    pub fn counters(&self) -> Vec<Arc<Counters>> {
        self.workers.handles.iter().map(|worker| Arc::clone(&worker.counters)).collect()
    }

    /// Reads and writes, by worker.
    #[must_use]
    pub fn io_stats(&self) -> Vec<IoStats> {
        let mut stats: Vec<IoStats> = self.workers.handles.iter().map(|worker| worker.io.snapshot()).collect();
        if let Some(first) = stats.first_mut() {
            first.spill_lost += self.workers.shared.foreign.lost();
        }
        stats
    }

    /// How long packets stayed, by worker: from when the first of a batch was read until the last was written, of one batch in
    /// 16.
    #[must_use]
    pub fn latencies(&self) -> Vec<Latency> {
        self.workers.handles.iter().map(|worker| worker.io.latency.snapshot()).collect()
    }

    /// The workers' threads, by the kernel's numbers.
    #[must_use]
    pub fn threads(&self) -> Vec<u64> {
        self.workers.handles.iter().map(|worker| worker.io.thread.value()).collect()
    }

    /// The receiving ends of the workers' events, by worker.
    #[must_use]
    pub fn events(&self) -> Vec<Events> {
        self.workers.handles.iter().map(|worker| worker.events.clone()).collect()
    }

    /// Shows packets to a reader, the first `snap` bytes of each (2048 at the most), until the reader is dropped. Packets do not
    /// wait for it.
    ///
    /// # Errors
    /// There are as many readers as there may be.
    pub fn tap(&self, filter: TapFilter, snap: usize) -> Result<TapReader, TooManyTaps> {
        self.workers.shared.taps.open(filter, snap)
    }

    /// Ends the sessions that `wanted` says yes to, and returns what came of it. With `reset`, the ends of TCP connections are
    /// told by a reset as far as they can be. Workers go on meanwhile; so that their logs keep up, this waits where many have
    /// ended, which is why it must not be called where nothing may block.
    pub fn end_sessions(&self, wanted: &mut dyn FnMut(&SessionInfo) -> bool, reset: bool) -> Ended {
        let mut state = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        let foreign = &self.workers.shared.foreign;
        let mut all = Ended::default();
        for shard in 0..self.translator.shards() {
            let mut page = Some(0);
            while let Some(number) = page {
                let now = self.clock().now();
                let mut push = |packet: &[u8]| foreign.push(packet);
                let tell = reset.then_some(&mut push as Tell<'_>);
                let (ended, next) = self.translator.end_sessions((shard, number), now, &mut state, wanted, tell);
                all.add(&ended);
                page = next;
                self.hand_over(&mut state);
            }
        }
        all
    }

    /// Hands events over as one of the workers would, when its ring has room; if it never has, they are lost and counted. As
    /// much patience is had with packets that wait for a worker.
    fn hand_over(&self, state: &mut State) {
        const PAUSE: Duration = Duration::from_millis(1);
        const PATIENCE: u32 = 500;
        let Some(worker) = self.workers.handles.first() else { return };
        let foreign = &self.workers.shared.foreign;
        foreign.wake();
        for _ in 0..PATIENCE {
            if worker.events.has_room() && foreign.has_room() {
                break;
            }
            thread::sleep(PAUSE);
        }
        let lost = worker.events.push_all(state.events.drain());
        worker.io.foreign_lost.fetch_add(lost, Ordering::Relaxed);
    }

    /// When each worker last began its loop, by worker. A healthy one does at least every second or so.
    #[must_use]
    pub fn heartbeats(&self) -> Vec<Timestamp> {
        self.workers.handles.iter().map(|worker| Timestamp::from_millis(worker.io.heartbeat.value())).collect()
    }

    /// Stops the workers, waits for them, and removes the device.
    pub fn stop(self) {
        drop(self);
    }
}

/// What workers share with each other and with their owner.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) timer: CachePadded<Timer>,
    pub(crate) taps: Arc<Taps>,
    pub(crate) foreign: Foreign,
    stopping: AtomicBool,
    stop_signal: OwnedFd,
}

impl Shared {
    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// Readable as soon as the workers are to stop.
    pub(crate) fn stop_signal(&self) -> BorrowedFd<'_> {
        self.stop_signal.as_fd()
    }

    fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
        // An eventfd that nobody reads takes 2^64 - 2 of these.
        let _ = rustix::io::write(&self.stop_signal, &1_u64.to_ne_bytes());
    }
}

/// All workers, over any kind of queue and engine.
#[derive(Debug)]
pub(crate) struct Workers {
    pub(crate) clock: Clock,
    pub(crate) handles: Vec<Handle>,
    merging: Merging,
    pub(crate) shared: Arc<Shared>,
}

/// What the owner keeps of one worker.
#[derive(Debug)]
pub(crate) struct Handle {
    pub(crate) counters: Arc<Counters>,
    pub(crate) io: Arc<CachePadded<IoCounters>>,
    pub(crate) events: Events,
    thread: Option<JoinHandle<()>>,
}

impl Workers {
    pub(crate) fn start<Q: Queue, E: Engine>(
        queues: Vec<Q>,
        engine: Arc<E>,
        merging: Merging,
        config: &DataplaneConfig,
    ) -> Result<Self, StartError> {
        let stop_signal = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .map_err(|error| StartError::Eventfd(error.into()))?;
        let foreign = Foreign::new().map_err(StartError::Eventfd)?;
        let shared = Arc::new(Shared {
            timer: CachePadded::default(),
            taps: Arc::default(),
            foreign,
            stopping: AtomicBool::new(false),
            stop_signal,
        });
        let mut workers = Self { clock: config.clock, handles: Vec::with_capacity(queues.len()), merging, shared };
        for (index, queue) in queues.into_iter().enumerate() {
            let handle = workers.start_one(index, queue, Arc::clone(&engine), config)?;
            workers.handles.push(handle);
        }
        Ok(workers)
    }

    fn start_one<Q: Queue, E: Engine>(
        &self,
        index: usize,
        queue: Q,
        engine: Arc<E>,
        config: &DataplaneConfig,
    ) -> Result<Handle, StartError> {
        let state = State::new();
        let counters = Arc::clone(&state.counters);
        let io = Arc::new(CachePadded::new(IoCounters::default()));
        io.heartbeat.set(config.clock.now().as_millis());
        let events = Events::new(config.event_capacity);
        let worker = Worker {
            index,
            port: Port::new(queue, Arc::clone(&io)),
            engine,
            state,
            events: events.clone(),
            clock: config.clock,
            shared: Arc::clone(&self.shared),
            outbox: Outbox::new(self.merging),
            batches: 0,
            busy_poll: BusyPoll::new(config.busy_poll),
        };
        let (on_failure, on_panic) = (Arc::clone(&config.on_failure), Arc::clone(&config.on_panic));
        let thread = thread::Builder::new()
            .name(format!("nat64-{index}"))
            .spawn(move || {
                give_up_capabilities();
                supervise(worker, &*on_failure, &*on_panic);
            })
            .map_err(|source| StartError::Thread { worker: index, source })?;
        Ok(Handle { counters, io, events, thread: Some(thread) })
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.shared.stop();
        for thread in self.handles.iter_mut().filter_map(|worker| worker.thread.take()) {
            // A worker's panic has been reported; there is nothing to add.
            let _ = thread.join();
        }
    }
}

/// A worker reads what strangers send, and needs nothing but its queue.
fn give_up_capabilities() {
    let none = CapabilitySet::empty();
    if let Err(error) = set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none }) {
        tracing::warn!(%error, "cannot give up a worker's capabilities");
    }
}
