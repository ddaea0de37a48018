//! The UDP front: a thread for each socket reads queries in batches and answers at once what is ready to be sent; the
//! other queries become tasks. Answers leave from the address that was asked.

mod inbox;
mod late;
mod outbox;
mod socket;
#[cfg(test)]
mod tests;

use std::io;
use std::net::SocketAddr;
use std::num::NonZero;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use nix::errno::Errno;
use rustix::thread::set_current_timer_slack;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tracing::{debug, warn};

use self::inbox::Inbox;
use self::late::Late;
use self::outbox::Outbox;
use self::socket::{Path, Socket};
use super::{Bounds, PAUSE};
use crate::crew::Crew;
use crate::error::Protocol;
use crate::limiter::Verdict;
use crate::policy::Origin;
use crate::segments;
use crate::service::Service;
use crate::shares::Share;
use crate::stats::Stats;
use crate::wire::{Limit, Query, truncate};

/// Datagrams that one system call moves, at most.
const BATCH: usize = segments::MOST;

/// So many queries at once are a sign of many more: the thread then lets others gather for [`NAP`] before it reads again, as
/// network cards do with interrupts. What it has read is answered before that.
const CROWD: usize = 4;

/// How long queries may gather, which is the delay that a crowd sees at most.
const NAP: Duration = Duration::from_micros(50);

/// How much later than due the thread may be woken from one, in nanoseconds; the default would double it.
const SLACK: u64 = 5000;

/// What comes next for a query.
enum Step {
    /// Its answer is there.
    Send,
    /// It takes time, which it has its client's room for.
    Work(Share),
    /// Nothing.
    Ignore,
}

/// A thread that answers the queries of one socket, until this is dropped.
#[derive(Debug)]
pub(crate) struct UdpFront {
    socket: Arc<Socket>,
    thread: Option<JoinHandle<()>>,
    /// Fails when the thread is over.
    over: oneshot::Receiver<()>,
}

/// What the thread and its tasks work with.
struct Worker {
    socket: Arc<Socket>,
    late: Late,
    crew: Crew<Job>,
    service: Arc<Service>,
    bounds: Bounds,
    stats: Arc<Stats>,
}

/// A query that takes time.
struct Job {
    datagram: Vec<u8>,
    path: Path,
    origin: Origin,
    worker: Arc<Worker>,
    permit: OwnedSemaphorePermit,
    share: Share,
}

impl Job {
    async fn run(self) {
        let Self { datagram, path, origin, worker, permit, share } = self;
        // It was read before; what cannot be read does not come here.
        if let Ok(query) = Query::parse(&datagram) {
            let answer = worker.service.answer(&query, Limit::Datagram, origin).await;
            worker
                .late
                .send(answer, path, &worker.socket, |answer, path, error| worker.retry(answer, path, error))
                .await;
        }
        drop((permit, share));
    }
}

impl UdpFront {
    /// Starts to answer; queries that take time become tasks of the runtime that this is called on.
    pub(crate) fn start(
        socket: std::net::UdpSocket,
        service: Arc<Service>,
        bounds: Bounds,
        stats: Arc<Stats>,
    ) -> io::Result<Self> {
        let socket = Arc::new(Socket::new(socket)?);
        let (late, crew) = (Late::default(), Crew::default());
        let worker = Arc::new(Worker { socket: Arc::clone(&socket), late, crew, service, bounds, stats });
        let (guard, over) = oneshot::channel();
        let runtime = Handle::current();
        let thread = thread::Builder::new().name("dns64-udp".to_owned()).spawn(move || {
            let _dropped_at_the_end: oneshot::Sender<()> = guard;
            let _context = runtime.enter();
            worker.run();
        })?;
        Ok(Self { socket, thread: Some(thread), over })
    }

    /// Waits for the thread to end, which it does by a panic only; that goes on here.
    pub(crate) async fn run(mut self) {
        let _over = (&mut self.over).await;
        if let Some(Err(panic)) = self.thread.take().map(JoinHandle::join) {
            panic::resume_unwind(panic);
        }
    }
}

impl Drop for UdpFront {
    fn drop(&mut self) {
        self.socket.stop();
        if let Some(thread) = self.thread.take() {
            // It waits for nothing but the socket. A panic was told already.
            let _told = thread.join();
        }
    }
}

impl Worker {
    fn run(self: &Arc<Self>) {
        let mut inbox = Inbox::new();
        let mut outbox = Outbox::new(&self.socket);
        if let Err(error) = set_current_timer_slack(NonZero::new(SLACK)) {
            debug!(%error, "cannot make naps exact");
        }
        loop {
            let received = inbox.receive(&self.socket);
            if self.socket.is_stopped() {
                return;
            }
            match received {
                Ok(count) => {
                    self.serve(&inbox, &mut outbox);
                    if (CROWD..BATCH).contains(&count) {
                        thread::sleep(NAP);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    warn!(%error, "cannot receive queries");
                    thread::sleep(PAUSE);
                }
            }
        }
    }

    fn serve(self: &Arc<Self>, inbox: &Inbox, outbox: &mut Outbox) {
        for (datagram, path) in inbox.datagrams() {
            // A query that the code is not up to costs its sender the answer, and nobody else anything: what was begun in the
            // outbox is begun anew.
            let step = panic::catch_unwind(AssertUnwindSafe(|| self.at_once(datagram, path, outbox.next())));
            match step.unwrap_or(Step::Ignore) {
                Step::Send => outbox.push(path),
                Step::Work(share) => self.dispatch(datagram, path, share),
                Step::Ignore => {}
            }
        }
        outbox.flush(&self.socket, |answer, path, error| self.retry(answer, path, error));
    }

    /// What can be done with a query without waiting; an answer is put into `out`.
    fn at_once(&self, datagram: &[u8], path: Path, out: &mut Vec<u8>) -> Step {
        #[cfg(test)]
        assert_ne!(datagram, tests::POISON, "a query for the test of panics");
        let service = &*self.service;
        let answer = |bytes: Vec<u8>| {
            *out = bytes;
            Step::Send
        };
        let origin = self.origin(path);
        let query = match Query::parse(datagram) {
            Ok(query) if service.permits(origin.client) => query,
            Ok(query) => return service.refusal(&query, Limit::Datagram, origin).map_or(Step::Ignore, answer),
            Err(fault) => return service.fault(fault, origin).map_or(Step::Ignore, answer),
        };
        let verdict = service.judge(&query, origin);
        if verdict == Verdict::Send && service.ready(&query, origin, Limit::Datagram, out) {
            return Step::Send;
        }
        let mut answer = |bytes: Vec<u8>| {
            *out = bytes;
            Step::Send
        };
        match verdict {
            Verdict::Drop => Step::Ignore,
            Verdict::Truncate => answer(service.come_over_tcp(&query, origin)),
            Verdict::Send => match service.share(origin) {
                Some(share) => Step::Work(share),
                None => answer(service.over_share(&query, Limit::Datagram, origin)),
            },
        }
    }

    /// Answers a query in a task, if there are not too many.
    fn dispatch(self: &Arc<Self>, datagram: &[u8], path: Path, share: Share) {
        let Ok(permit) = Arc::clone(&self.bounds.queries).try_acquire_owned() else {
            self.stats.dropped_overload.increment();
            return;
        };
        let (datagram, origin, worker) = (datagram.to_vec(), self.origin(path), Arc::clone(self));
        self.crew.give(Job { datagram, path, origin, worker, permit, share }, Job::run);
    }

    /// What is done about an answer that could not be sent.
    fn retry(&self, answer: &[u8], path: Path, error: Errno) {
        // A link with a small MTU: fragments are not sent, so the client must come over TCP.
        let result = if error == Errno::EMSGSIZE { self.socket.send(&truncate(answer), path) } else { Err(error) };
        match result {
            Ok(()) => {}
            // The interface is congested. Whoever waits for it would hold up everybody; clients ask again.
            Err(Errno::EAGAIN | Errno::ENOBUFS) => self.stats.dropped_overload.increment(),
            Err(error) => debug!(client = %path.client, %error, "cannot send answer"),
        }
    }

    fn origin(&self, path: Path) -> Origin {
        let address = self.socket.address();
        let asked = path.local.unwrap_or_else(|| address.ip());
        Origin { client: path.client.ip(), listener: SocketAddr::new(asked, address.port()), protocol: Protocol::Udp }
    }
}
