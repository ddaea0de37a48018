//! The UDP front: batches in, what is ready to be sent out at once, a task for each other query, answers from the address
//! that was asked.

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use quinn_udp::{RecvMeta, Transmit, UdpSocketState};
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tracing::{debug, warn};

use super::{Bounds, PAUSE};
use crate::limiter::Verdict;
use crate::policy::Origin;
use crate::service::Service;
use crate::stats::Stats;
use crate::wire::{Limit, Query, truncate};

/// Buffers that one system call may fill.
const BATCH: usize = 32;

/// Size of each in bytes: the kernel may put several datagrams of one client into one.
const BUFFER: usize = 65536;

/// Room for an answer in bytes, so that none allocates.
const ROOM: usize = 2048;

/// What comes next for a query.
enum Step {
    /// Its answer is there.
    Send,
    /// It takes time.
    Work,
    /// Nothing.
    Ignore,
}

/// One socket.
#[derive(Debug)]
pub(crate) struct UdpFront {
    socket: UdpSocket,
    state: UdpSocketState,
    /// What the socket is bound to.
    address: SocketAddr,
}

/// Where a query came from, and the address of ours that it went to.
#[derive(Clone, Copy, Debug)]
struct Path {
    client: SocketAddr,
    local: Option<IpAddr>,
}

impl UdpFront {
    pub(crate) fn new(socket: std::net::UdpSocket) -> io::Result<Self> {
        let state = UdpSocketState::new((&socket).into())?;
        let address = socket.local_addr()?;
        Ok(Self { socket: UdpSocket::from_std(socket)?, state, address })
    }

    /// Takes queries for as long as it is polled.
    pub(crate) async fn run(self, service: Arc<Service>, bounds: Bounds, stats: Arc<Stats>) {
        let this = Arc::new(self);
        let mut buffers = vec![0; BATCH * BUFFER];
        let mut out = Vec::with_capacity(ROOM);
        loop {
            let mut metas = [RecvMeta::default(); BATCH];
            let count = match this.receive(&mut buffers, &mut metas).await {
                Ok(count) => count,
                Err(error) => {
                    warn!(%error, "cannot receive queries");
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            };
            for (meta, buffer) in metas.iter().zip(buffers.chunks(BUFFER)).take(count) {
                let path = Path { client: meta.addr, local: meta.dst_ip };
                for datagram in buffer[..meta.len].chunks(meta.stride.max(1)) {
                    match this.at_once(datagram, path, &service, &mut out) {
                        Step::Send => this.send_now(&out, path, &bounds, &stats),
                        Step::Work => this.dispatch(datagram, path, &service, &bounds, &stats),
                        Step::Ignore => {}
                    }
                }
            }
        }
    }

    /// What can be done with a query without waiting; an answer is put into `out`.
    fn at_once(&self, datagram: &[u8], path: Path, service: &Service, out: &mut Vec<u8>) -> Step {
        let mut answer = |bytes: Vec<u8>| {
            *out = bytes;
            Step::Send
        };
        let origin = self.origin(path);
        let query = match Query::parse(datagram) {
            Ok(query) if service.permits(origin.client) => query,
            Ok(query) => return service.refusal(&query, Limit::Datagram, origin).map_or(Step::Ignore, answer),
            Err(fault) => return service.fault(fault, Limit::Datagram, origin).map_or(Step::Ignore, answer),
        };
        match service.judge(&query, origin) {
            Verdict::Drop => Step::Ignore,
            Verdict::Truncate => answer(service.come_over_tcp(&query, origin)),
            Verdict::Send if service.ready(&query, origin, Limit::Datagram, out) => Step::Send,
            Verdict::Send => Step::Work,
        }
    }

    async fn receive(&self, buffers: &mut [u8], metas: &mut [RecvMeta; BATCH]) -> io::Result<usize> {
        let mut slices: Vec<IoSliceMut<'_>> = buffers.chunks_mut(BUFFER).map(IoSliceMut::new).collect();
        self.socket.async_io(Interest::READABLE, || self.state.recv((&self.socket).into(), &mut slices, metas)).await
    }

    /// Answers in a task of its own, or drops the query if there are too many.
    fn dispatch(self: &Arc<Self>, datagram: &[u8], path: Path, service: &Arc<Service>, bounds: &Bounds, stats: &Stats) {
        let datagram = datagram.to_vec();
        let origin = self.origin(path);
        let work = Arc::clone(service);
        self.spawn(bounds, stats, |this| async move {
            // It was read before; what cannot be read does not come here.
            let Ok(query) = Query::parse(&datagram) else { return };
            let answer = work.answer(&query, Limit::Datagram, origin).await;
            this.send(&answer, path).await;
        });
    }

    /// Sends without waiting, and leaves waiting to a task if the socket has no room.
    fn send_now(self: &Arc<Self>, answer: &[u8], path: Path, bounds: &Bounds, stats: &Stats) {
        // The socket does not block; whether it is ready is seen by trying.
        if self.state.try_send((&self.socket).into(), &transmit(answer, path)).is_err() {
            let answer = answer.to_vec();
            self.spawn(bounds, stats, |this| async move { this.send(&answer, path).await });
        }
    }

    /// Runs a task of this socket, if there are not too many.
    fn spawn<F>(self: &Arc<Self>, bounds: &Bounds, stats: &Stats, work: impl FnOnce(Arc<Self>) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let Ok(permit) = Arc::clone(&bounds.queries).try_acquire_owned() else {
            stats.dropped_overload.increment();
            return;
        };
        let work = work(Arc::clone(self));
        tokio::spawn(async move {
            work.await;
            drop(permit);
        });
    }

    fn origin(&self, path: Path) -> Origin {
        let asked = path.local.unwrap_or_else(|| self.address.ip());
        Origin { client: path.client.ip(), listener: SocketAddr::new(asked, self.address.port()) }
    }

    async fn send(&self, answer: &[u8], path: Path) {
        let result = match self.try_send(answer, path).await {
            // A link with a small MTU: fragments are not sent, so the client must come over TCP.
            Err(error) if quinn_udp::is_msg_size_err(&error) => self.try_send(&truncate(answer), path).await,
            result => result,
        };
        if let Err(error) = result {
            debug!(client = %path.client, %error, "cannot send answer");
        }
    }

    async fn try_send(&self, contents: &[u8], path: Path) -> io::Result<()> {
        let transmit = transmit(contents, path);
        self.socket.async_io(Interest::WRITABLE, || self.state.try_send((&self.socket).into(), &transmit)).await
    }
}

const fn transmit(contents: &[u8], path: Path) -> Transmit<'_> {
    Transmit { destination: path.client, ecn: None, contents, segment_size: None, src_ip: path.local }
}
