//! The UDP front: batches in, a task for each query, answers from the address that was asked.

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use quinn_udp::{RecvMeta, Transmit, UdpSocketState};
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tracing::{debug, warn};

use super::{Bounds, PAUSE};
use crate::policy::Origin;
use crate::service::Service;
use crate::stats::Stats;
use crate::wire::{Limit, truncate};

/// Buffers that one system call may fill.
const BATCH: usize = 8;

/// Size of each in bytes: the kernel may put several datagrams of one client into one.
const BUFFER: usize = 65536;

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
                    this.dispatch(datagram, path, &service, &bounds, &stats);
                }
            }
        }
    }

    async fn receive(&self, buffers: &mut [u8], metas: &mut [RecvMeta; BATCH]) -> io::Result<usize> {
        let mut slices: Vec<IoSliceMut<'_>> = buffers.chunks_mut(BUFFER).map(IoSliceMut::new).collect();
        self.socket.async_io(Interest::READABLE, || self.state.recv((&self.socket).into(), &mut slices, metas)).await
    }

    /// Answers in a task of its own, or drops the query if there are too many.
    fn dispatch(self: &Arc<Self>, datagram: &[u8], path: Path, service: &Arc<Service>, bounds: &Bounds, stats: &Stats) {
        let Ok(permit) = Arc::clone(&bounds.queries).try_acquire_owned() else {
            stats.dropped_overload.increment();
            return;
        };
        let (this, service, query) = (Arc::clone(self), Arc::clone(service), datagram.to_vec());
        tokio::spawn(async move {
            if let Some(answer) = service.answer(&query, Limit::Datagram, this.origin(path)).await {
                this.send(&answer, path).await;
            }
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
        let transmit =
            Transmit { destination: path.client, ecn: None, contents, segment_size: None, src_ip: path.local };
        self.socket.async_io(Interest::WRITABLE, || self.state.try_send((&self.socket).into(), &transmit)).await
    }
}
