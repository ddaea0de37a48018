//! A socket to one upstream that several questions share.
//!
//! Questions of one moment go out together, and those of one length, as A and AAAA of a name are, as one datagram for the
//! kernel. What tells answers apart is the ID; each has to answer its question too.

use std::io;
use std::mem;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsRawFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use nix::errno::Errno;
use nix::sys::socket::{self, MsgFlags};
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::sync::oneshot;
use tokio::task::{self, AbortHandle};

use super::exchange::Failure;
use crate::segments::{self, Segments};
use crate::stats::Stats;
use crate::wire::{HEADER_LEN, Malformed, Question, Reply};

/// Datagrams that answer nothing, after which questions give up: somebody is guessing IDs.
const MOST_STRAYS: u32 = 100;

/// Room for an answer over UDP in bytes; an upstream that sends more than any limit of ours is asked again over TCP.
const DATAGRAM: usize = 4096;

/// A connected socket and the task that reads it, which ends with this.
#[derive(Debug)]
pub(super) struct Line {
    shared: Arc<Shared>,
    reader: AbortHandle,
}

#[derive(Debug)]
struct Shared {
    /// Connected: the kernel drops datagrams from anybody else.
    socket: UdpSocket,
    segments: Segments,
    state: Mutex<State>,
    stats: Arc<Stats>,
}

#[derive(Debug, Default)]
struct State {
    waiting: HashMap<u16, Waiter, RandomState>,
    /// Queries to be sent with the next flush.
    queued: Vec<Vec<u8>>,
    /// IDs of questions that gave up: their answers may still come, and are no strays.
    late: Vec<u16>,
    strays: u32,
}

/// A question under way.
#[derive(Debug)]
struct Waiter {
    question: Question,
    /// The name as it was sent, if the answer must repeat it letter by letter.
    spelling: Option<Box<[u8]>>,
    answer: oneshot::Sender<Result<Reply, Failure>>,
}

/// A question's place among those that wait, free again when dropped.
struct Place<'a> {
    shared: &'a Shared,
    id: u16,
}

impl Line {
    /// Opens a socket with a random port and starts to read it.
    ///
    /// # Errors
    /// There is none, here or on the way to the upstream.
    pub(super) fn open(upstream: SocketAddr, stats: Arc<Stats>) -> Result<Self, Unavailable> {
        let any: SocketAddr = match upstream {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let socket = std::net::UdpSocket::bind(any).map_err(Unavailable::Here)?;
        socket.connect(upstream).map_err(Unavailable::There)?;
        socket.set_nonblocking(true).map_err(Unavailable::Here)?;
        let socket = UdpSocket::from_std(socket).map_err(Unavailable::Here)?;
        let segments = Segments::of(&socket);
        let shared = Arc::new(Shared { socket, segments, state: Mutex::default(), stats });
        let reader = tokio::spawn(read(Arc::clone(&shared))).abort_handle();
        Ok(Self { shared, reader })
    }

    /// The whole answer to a query, whose ID is chosen here; with `is_exact` the name's spelling must come back.
    pub(super) async fn ask(&self, query: Vec<u8>, question: &Question, is_exact: bool) -> Result<Reply, Failure> {
        let shared = &*self.shared;
        let (id, answer) = shared.enqueue(query, question, is_exact);
        let _place = Place { shared, id };
        // What others ask at this moment goes with it.
        task::yield_now().await;
        shared.flush();
        answer.await.unwrap_or(Err(Failure::Unreachable))
    }

    /// Whether there are questions that wait to be sent.
    pub(super) fn has_queued(&self) -> bool {
        !self.shared.state().queued.is_empty()
    }

    /// Whether no more questions should be asked here.
    pub(super) fn is_spent(&self) -> bool {
        self.shared.state().strays >= MOST_STRAYS
    }

    #[cfg(test)]
    pub(super) fn local_addr(&self) -> SocketAddr {
        self.shared.socket.local_addr().unwrap()
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a question in.
    fn enqueue(
        &self,
        mut query: Vec<u8>,
        question: &Question,
        is_exact: bool,
    ) -> (u16, oneshot::Receiver<Result<Reply, Failure>>) {
        let name = HEADER_LEN..HEADER_LEN + question.name_bytes().len();
        let spelling = if is_exact { query.get(name).map(Box::from) } else { None };
        let (sender, receiver) = oneshot::channel();
        let waiter = Waiter { question: question.clone(), spelling, answer: sender };
        let mut state = self.state();
        // A socket serves far fewer questions than there are IDs.
        let mut id: u16 = rand::random();
        while state.waiting.contains_key(&id) {
            id = rand::random();
        }
        query[..2].copy_from_slice(&id.to_be_bytes());
        state.waiting.insert(id, waiter);
        state.queued.push(query);
        (id, receiver)
    }

    /// Sends what waits to be sent.
    fn flush(&self) {
        let mut queued = mem::take(&mut self.state().queued);
        queued.sort_by_key(Vec::len);
        let groups = queued.chunk_by(|one, other| one.len() == other.len());
        for group in groups.flat_map(|group| group.chunks(segments::MOST)) {
            let datagrams = group.iter().map(Vec::as_slice);
            match self.segments.send(&self.socket, datagrams, group[0].len(), None, None) {
                Ok(()) => {}
                Err(Errno::ECONNREFUSED | Errno::EHOSTUNREACH | Errno::ENETUNREACH) => self.fail(Failure::Unreachable),
                Err(_) => group.iter().for_each(|query| self.send(query)),
            }
            self.stats.upstream_udp.add(group.len() as u64);
        }
    }

    fn send(&self, query: &[u8]) {
        // The socket itself is asked: the runtime says of a new one that it would block until it has looked at it once.
        match socket::send(self.socket.as_raw_fd(), query, MsgFlags::MSG_DONTWAIT) {
            // Without room it is lost, as on the way; it is asked again.
            Ok(_) | Err(Errno::EAGAIN) => {}
            Err(_) => self.fail(Failure::Unreachable),
        }
    }

    /// Ends all questions.
    fn fail(&self, failure: Failure) {
        let waiting = mem::take(&mut self.state().waiting);
        for waiter in waiting.into_values() {
            // Whoever does not wait any more needs no answer.
            let _gone = waiter.answer.send(Err(failure));
        }
    }

    /// Whether the upstream's host, or one on the way, said that nobody is there.
    fn has_error(&self) -> bool {
        let error = || match self.socket.take_error() {
            Ok(None) => Err(io::ErrorKind::WouldBlock.into()),
            Ok(Some(error)) | Err(error) => Err::<(), _>(error),
        };
        // It counts as over when there is none to take.
        self.socket.try_io(Interest::ERROR, error).is_err_and(|error| error.kind() != io::ErrorKind::WouldBlock)
    }

    /// Gives an answer to who asked for it.
    fn arrived(&self, datagram: &[u8]) {
        let mut state = self.state();
        let id = datagram.first_chunk().map(|id| u16::from_be_bytes(*id));
        let Some((id, waiter)) = id.and_then(|id| Some((id, state.waiting.get(&id)?))) else {
            return self.stray(state, id);
        };
        let answer = match Reply::parse(datagram.to_vec(), id, &waiter.question) {
            Ok(_) if !waiter.is_spelled(datagram) => Err(Failure::OtherCase),
            Ok(reply) => Ok(reply),
            Err(Malformed::Unreadable) => Err(Failure::Unreadable),
            Err(Malformed::Mismatch) => return self.stray(state, None),
        };
        if let Some(waiter) = state.waiting.remove(&id) {
            let _gone = waiter.answer.send(answer);
        }
    }

    /// Counts a datagram that answers nothing.
    fn stray(&self, mut state: MutexGuard<'_, State>, id: Option<u16>) {
        if let Some(place) = state.late.iter().position(|&late| Some(late) == id) {
            state.late.swap_remove(place);
            return;
        }
        state.strays = state.strays.saturating_add(1);
        let is_attack = state.strays >= MOST_STRAYS;
        drop(state);
        self.stats.upstream_mismatched.increment();
        if is_attack {
            self.fail(Failure::Unreadable);
        }
    }
}

impl Waiter {
    fn is_spelled(&self, answer: &[u8]) -> bool {
        self.spelling.as_ref().is_none_or(|name| answer.get(HEADER_LEN..HEADER_LEN + name.len()) == Some(&**name))
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        if state.waiting.remove(&self.id).is_some() {
            state.late.push(self.id);
        }
    }
}

/// Why there is no socket.
#[derive(Debug)]
pub(super) enum Unavailable {
    /// None could be opened, which says nothing about the upstream.
    Here(io::Error),
    /// There is no way to the upstream.
    There(io::Error),
}

/// Reads answers for as long as it is polled.
async fn read(shared: Arc<Shared>) {
    let mut buffer = vec![0; DATAGRAM];
    while let Ok(ready) = shared.socket.ready(Interest::READABLE | Interest::ERROR).await {
        if ready.is_error() && shared.has_error() {
            shared.fail(Failure::Unreachable);
        }
        // Others want to run too, however much comes.
        for _ in 0..segments::MOST {
            match shared.socket.try_recv(&mut buffer) {
                Ok(length) => shared.arrived(&buffer[..length]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => shared.fail(Failure::Unreachable),
            }
        }
    }
}

#[cfg(test)]
mod tests;
