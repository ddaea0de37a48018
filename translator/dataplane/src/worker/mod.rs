//! A worker: one thread that carries the packets of one queue through the translator.

mod busy_poll;
mod engine;

use std::fmt;
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nat64_core::{HEADROOM, Offload, PacketBuf, Timestamp, Verdict, Worker as State};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::clock::Clock;
use crate::dataplane::Shared;
use crate::events::Events;
use crate::outbox::Outbox;
use crate::port::{Port, Read};
use crate::queue::Queue;
use crate::tap::{Outcome, Tap};
use crate::timer;

pub(crate) use busy_poll::BusyPoll;
pub(crate) use engine::{Engine, Step};

/// Packets between two readings of the clock, at most.
const BATCH: usize = 64;
/// Of so many batches, the time of one is taken.
pub(crate) const SAMPLED: u32 = 16;
/// How long an idle worker sleeps; the first one wakes for the timers instead.
const IDLE: Duration = Duration::from_secs(1);

/// Why a worker stopped.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// The queue cannot be read any more.
    #[error("cannot read from the TUN device: {0}")]
    Read(io::Error),
    /// The queue cannot be written any more.
    #[error("cannot write to the TUN device: {0}")]
    Write(io::Error),
    /// The queue cannot be waited for.
    #[error("cannot wait for the TUN device: {0}")]
    Wait(io::Error),
    /// The device was removed.
    #[error("the TUN device was removed")]
    DeviceGone,
    /// The code is wrong.
    #[error("panic: {0}")]
    Panic(String),
}

/// A worker that stopped without being told to. Its queue is closed, so that the kernel spreads the flows over the rest.
#[derive(Debug, thiserror::Error)]
#[error("worker {worker}: {error}")]
pub struct WorkerFailure {
    /// The worker's number, from 0.
    pub worker: usize,
    /// What happened.
    pub error: WorkerError,
}

/// What became of a batch.
struct Carried {
    /// Whether there were packets.
    any: bool,
    /// Whether none is left.
    drained: bool,
}

/// What one thread owns.
pub(crate) struct Worker<Q, E> {
    pub(crate) index: usize,
    pub(crate) port: Port<Q>,
    pub(crate) engine: Arc<E>,
    pub(crate) state: State,
    pub(crate) events: Events,
    pub(crate) clock: Clock,
    pub(crate) shared: Arc<Shared>,
    pub(crate) outbox: Outbox,
    /// Batches that were begun.
    pub(crate) batches: u32,
    pub(crate) busy_poll: BusyPoll,
}

impl<Q: Queue, E: Engine> Worker<Q, E> {
    /// Works until told to stop.
    pub(crate) fn run(&mut self) -> Result<(), WorkerError> {
        let thread = rustix::thread::gettid().as_raw_nonzero();
        self.port.counters.thread.set(u64::try_from(thread.get()).unwrap_or_default());
        while !self.shared.is_stopping() {
            let now = self.clock.now();
            self.port.counters.heartbeat.set(now.as_millis());
            let Carried { any, drained } = self.carry_batch(now)?;
            let more_due = self.run_timers(now)? | self.write_foreign()?;
            self.hand_over_events();
            if drained && !more_due && !self.busy_poll.goes_on(any) {
                self.wait()?;
            }
        }
        Ok(())
    }

    /// Makes the worker fit to go on after a panic: packets that were to be written are lost.
    pub(crate) fn forget_packets(&mut self) {
        self.state.spill.drain(|_, _| {});
        self.outbox = Outbox::new(self.outbox.merging);
    }

    /// Carries the packets that wait, but no more than a batch.
    fn carry_batch(&mut self, now: Timestamp) -> Result<Carried, WorkerError> {
        let taps = self.shared.taps.current();
        let mut batch = self.engine.batch(now, &mut self.state);
        let mut carried = Carried { any: false, drained: false };
        self.batches = self.batches.wrapping_add(1);
        let mut begun = None;
        for _ in 0..BATCH {
            match self.port.read(&mut self.outbox.room()).map_err(read_error)? {
                Read::Packet(len, offload) => {
                    carried.any = true;
                    if self.batches.is_multiple_of(SAMPLED) && begun.is_none() {
                        begun = Some(Instant::now());
                    }
                    let (port, outbox) = (&mut self.port, &mut self.outbox);
                    match &taps {
                        None => carry(&mut batch, port, outbox, len, offload),
                        Some(taps) => carry_tapped(&mut batch, (port, outbox), (len, offload), (self.index, taps)),
                    }
                    .map_err(write_error)?;
                }
                Read::Unusable => {}
                Read::Empty => {
                    carried.drained = true;
                    break;
                }
            }
        }
        self.outbox.end_batch(&mut self.port).map_err(write_error)?;
        if let Some(begun) = begun {
            self.port.counters.latency.add(begun.elapsed());
        }
        Ok(carried)
    }

    /// Lets timers run if it is this worker's turn. Returns whether more is due at once.
    fn run_timers(&mut self, now: Timestamp) -> Result<bool, WorkerError> {
        let (engine, state) = (&self.engine, &mut self.state);
        let more = self.shared.timer.run(now, || engine.expire(now, state));
        write_spill(&mut self.port, state).map_err(write_error)?;
        Ok(more)
    }

    /// Writes packets that the daemon has made, some of them. Returns whether there are more.
    fn write_foreign(&mut self) -> Result<bool, WorkerError> {
        let (foreign, port) = (&self.shared.foreign, &mut self.port);
        if foreign.is_empty() {
            return Ok(false);
        }
        for _ in 0..BATCH {
            let Some(written) = foreign.next(|packet| port.write_copy(packet, Offload::default())) else { break };
            written.map_err(write_error)?;
        }
        Ok(!foreign.is_empty())
    }

    fn hand_over_events(&mut self) {
        let counters = &self.port.counters;
        let lost = self.events.push_all(self.state.events.drain());
        counters.ring_lost.add(lost);
        counters.buffer_lost.set(self.state.events.lost());
        counters.spill_lost.set(self.state.spill.lost());
    }

    /// Sleeps until a packet, the order to stop, or the next thing to do.
    fn wait(&self) -> Result<(), WorkerError> {
        let is_first = self.index == 0;
        let timeout = if is_first { timer::INTERVAL } else { IDLE };
        let timeout = Timespec::try_from(timeout).ok();
        let stop: BorrowedFd<'_> = self.shared.stop_signal();
        let mut fds = [
            PollFd::new(&self.port.queue, PollFlags::IN),
            PollFd::from_borrowed_fd(stop, PollFlags::IN),
            PollFd::from_borrowed_fd(self.shared.foreign.signal(), PollFlags::IN),
        ];
        let waited_for = if is_first { &mut fds[..] } else { &mut fds[..2] };
        match poll(waited_for, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(WorkerError::Wait(error.into())),
        }
        if is_first && fds[2].revents().contains(PollFlags::IN) {
            self.shared.foreign.hush();
        }
        let gone = PollFlags::ERR | PollFlags::HUP | PollFlags::NVAL;
        let queue = fds[0].revents();
        if queue.intersects(gone) && !queue.contains(PollFlags::IN) {
            return Err(WorkerError::DeviceGone);
        }
        Ok(())
    }
}

impl<Q, E> fmt::Debug for Worker<Q, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker").field("index", &self.index).finish_non_exhaustive()
    }
}

/// Translates the packet that has been read to [`Outbox::room`], and sends it and what comes of it on its way.
#[inline]
fn carry<Q: Queue>(
    batch: &mut impl Step,
    port: &mut Port<Q>,
    outbox: &mut Outbox,
    len: usize,
    offload: Offload,
) -> Result<(), Errno> {
    let mut packet = PacketBuf::new(outbox.buffer(), HEADROOM, len, offload);
    let verdict = batch.translate(&mut packet);
    let (at, offload) = ((packet.start(), packet.start() + packet.len()), packet.offload);
    send(batch, (port, outbox), verdict, (at, offload))
}

/// As [`carry`], with somebody looking.
#[cold]
fn carry_tapped<Q: Queue>(
    batch: &mut impl Step,
    (port, outbox): (&mut Port<Q>, &mut Outbox),
    (len, offload): (usize, Offload),
    (worker, taps): (usize, &[Arc<Tap>]),
) -> Result<(), Errno> {
    let mut kept = [0; Tap::MOST_BYTES];
    let room = outbox.room();
    let before = &room.packet()[..len.min(Tap::MOST_BYTES)];
    let kept = &mut kept[..before.len()];
    kept.copy_from_slice(before);
    let mut packet = PacketBuf::new(outbox.buffer(), HEADROOM, len, offload);
    let verdict = batch.translate(&mut packet);
    let (at, offload) = ((packet.start(), packet.start() + packet.len()), packet.offload);
    let after = if is_written(verdict) { packet.bytes() } else { &[] };
    let beside = batch.worker().spill.len();
    let outcome = Outcome { worker, verdict, before: kept, before_len: len, after, beside };
    taps.iter().for_each(|tap| tap.offer(&outcome));
    send(batch, (port, outbox), verdict, (at, offload))
}

const fn is_written(verdict: Verdict) -> bool {
    matches!(verdict, Verdict::Translated(_) | Verdict::Hairpinned | Verdict::Refused(_))
}

/// Sends what has become of a packet on its way: what is at `at` in the buffer, and what is beside it.
#[inline]
fn send<Q: Queue>(
    batch: &mut impl Step,
    (port, outbox): (&mut Port<Q>, &mut Outbox),
    verdict: Verdict,
    (at, offload): ((usize, usize), Offload),
) -> Result<(), Errno> {
    if is_written(verdict) {
        outbox.push(port, at, offload)?;
    }
    if batch.worker().spill.is_empty() {
        return Ok(());
    }
    outbox.flush(port)?;
    write_spill(port, batch.worker())
}

fn write_spill<Q: Queue>(port: &mut Port<Q>, state: &mut State) -> Result<(), Errno> {
    let mut outcome = Ok(());
    state.spill.drain(|packet, offload| {
        if outcome.is_ok() {
            outcome = port.write_copy(packet, offload);
        }
    });
    outcome
}

fn read_error(error: Errno) -> WorkerError {
    WorkerError::Read(error.into())
}

fn write_error(error: Errno) -> WorkerError {
    WorkerError::Write(error.into())
}
