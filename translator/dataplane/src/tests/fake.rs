//! A queue over a pair of datagram sockets, whose other end the test holds, and an engine that does as it is told.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nat64_core::{Direction, Offload, PacketBuf, Timestamp, Verdict, Worker};
use rustix::io::Result;

use crate::device::{Framing, TunQueue};
use crate::queue::{Frame, Queue};
use crate::vnet_hdr;
use crate::worker::{Engine, Step};

/// Whatever a test waits for happens within this.
pub(crate) const SOON: Duration = Duration::from_secs(10);

/// Waits for a condition that nothing signals.
pub(crate) fn eventually(what: &str, condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < SOON, "{what} in time");
        thread::sleep(Duration::from_millis(1));
    }
}

type OnRead = Box<dyn FnMut() -> Result<()> + Send>;
type OnWrite = Box<dyn FnMut(&[u8], Offload) -> Result<()> + Send>;

/// A queue that a test looks into, and makes fail.
pub(crate) struct Watched<Q> {
    queue: Q,
    on_read: OnRead,
    on_write: OnWrite,
    waits: Arc<AtomicUsize>,
}

impl<Q: Queue> Watched<Q> {
    pub(crate) fn new(queue: Q) -> Self {
        Self { queue, on_read: Box::new(|| Ok(())), on_write: Box::new(|_, _| Ok(())), waits: Arc::default() }
    }

    /// How often the queue was waited for.
    pub(crate) fn waits(&self) -> Arc<AtomicUsize> {
        Arc::clone(&self.waits)
    }

    /// Asks `check` before each read.
    pub(crate) fn before_reads(mut self, check: impl FnMut() -> Result<()> + Send + 'static) -> Self {
        self.on_read = Box::new(check);
        self
    }

    /// Asks `check` before each write.
    pub(crate) fn before_writes(mut self, check: impl FnMut(&[u8], Offload) -> Result<()> + Send + 'static) -> Self {
        self.on_write = Box::new(check);
        self
    }
}

impl<Q: AsFd> AsFd for Watched<Q> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // A worker uses the descriptor itself to wait only.
        self.waits.fetch_add(1, Ordering::Relaxed);
        self.queue.as_fd()
    }
}

impl<Q: Queue> Queue for Watched<Q> {
    fn read(&mut self, frame: &mut Frame<'_>) -> Result<(usize, Offload)> {
        (self.on_read)()?;
        self.queue.read(frame)
    }

    fn write(&mut self, frame: &mut Frame<'_>, offload: Offload) -> Result<()> {
        (self.on_write)(frame.packet(), offload)?;
        self.queue.write(frame, offload)
    }
}

/// The kernel's end of a queue.
pub(crate) struct Kernel(UnixDatagram);

impl Kernel {
    /// A queue, and its other end.
    pub(crate) fn with_queue() -> (Self, Watched<TunQueue>) {
        let (ours, theirs) = UnixDatagram::pair().unwrap();
        theirs.set_nonblocking(true).unwrap();
        ours.set_read_timeout(Some(SOON)).unwrap();
        (Self(ours), Watched::new(TunQueue::new(OwnedFd::from(theirs), Framing::VnetHeader)))
    }

    pub(crate) fn send(&self, packet: &[u8], offload: Offload) {
        let header = vnet_hdr::emit(packet, offload).unwrap();
        self.0.send(&[&header, packet].concat()).unwrap();
    }

    pub(crate) fn receive(&self) -> (Vec<u8>, Offload) {
        let mut bytes = vec![0; 70_000];
        let len = self.0.recv(&mut bytes).unwrap();
        let (header, packet) = bytes[..len].split_first_chunk().unwrap();
        (packet.to_vec(), vnet_hdr::parse(header, packet).unwrap())
    }

    /// Whether the other end is closed.
    pub(crate) fn is_alone(&self) -> bool {
        self.0.send(&[]).is_err()
    }
}

type OnTranslate = Box<dyn Fn(&mut PacketBuf<'_>, &mut Worker) -> Verdict + Send + Sync>;
type OnExpire = Box<dyn Fn(Timestamp, &mut Worker) -> bool + Send + Sync>;

/// An engine that does what a test tells it, by default pass all packets on.
pub(crate) struct Told {
    on_translate: OnTranslate,
    on_expire: OnExpire,
}

impl Told {
    pub(crate) fn translating(
        translate: impl Fn(&mut PacketBuf<'_>, &mut Worker) -> Verdict + Send + Sync + 'static,
    ) -> Self {
        Self { on_translate: Box::new(translate), on_expire: Box::new(|_, _| false) }
    }

    pub(crate) fn passing() -> Self {
        Self::translating(|_, _| Verdict::Translated(Direction::SixToFour))
    }

    pub(crate) fn expiring(mut self, expire: impl Fn(Timestamp, &mut Worker) -> bool + Send + Sync + 'static) -> Self {
        self.on_expire = Box::new(expire);
        self
    }
}

/// A batch of [`Told`].
pub(crate) struct ToldStep<'t>(&'t Told, &'t mut Worker);

impl Engine for Told {
    type Step<'t> = ToldStep<'t>;

    fn batch<'t>(&'t self, _: Timestamp, worker: &'t mut Worker) -> ToldStep<'t> {
        ToldStep(self, worker)
    }

    fn expire(&self, now: Timestamp, worker: &mut Worker) -> bool {
        (self.on_expire)(now, worker)
    }
}

impl Step for ToldStep<'_> {
    fn translate(&mut self, packet: &mut PacketBuf<'_>) -> Verdict {
        (self.0.on_translate)(packet, self.1)
    }

    fn worker(&mut self) -> &mut Worker {
        self.1
    }
}
