//! The DNS over TLS front (RFC 7858).

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::accept::{Serving, accept};
use super::{Bounds, stream};
use crate::error::Protocol;
use crate::service::Service;
use crate::stats::Stats;

/// One listening socket.
pub(crate) struct TlsFront {
    listener: TcpListener,
    acceptor: TlsAcceptor,
}

impl TlsFront {
    pub(crate) fn new(listener: std::net::TcpListener, config: Arc<ServerConfig>) -> io::Result<Self> {
        Ok(Self { listener: TcpListener::from_std(listener)?, acceptor: config.into() })
    }

    /// Takes connections for as long as it is polled.
    pub(crate) async fn run(self, service: Arc<Service>, bounds: Bounds, stats: Arc<Stats>) {
        let (serving, acceptor) = (Serving { service, bounds, protocol: Protocol::Tls }, self.acceptor);
        accept(self.listener, serving, stats, |connection, client, serving| {
            serve(connection, client, acceptor.clone(), serving)
        })
        .await;
    }
}

async fn serve(connection: TcpStream, client: SocketAddr, acceptor: TlsAcceptor, serving: Serving) -> io::Result<()> {
    let (listener, idle) = (connection.local_addr()?, serving.bounds.idle);
    let secured = Shared(Arc::new(Mutex::new(handshake(connection, &acceptor, idle).await?)));
    let served = stream::serve(secured.clone(), client, listener, &serving).await;
    // RFC 7858 §3.4 wants the end said, so that the client can tell it from an attack.
    let _said = timeout(idle, secured.clone().shutdown()).await;
    served
}

/// Secures a connection, which may take no longer than a client may say nothing.
pub(super) async fn handshake(
    connection: TcpStream,
    acceptor: &TlsAcceptor,
    idle: Duration,
) -> io::Result<TlsStream<TcpStream>> {
    connection.set_nodelay(true)?;
    timeout(idle, acceptor.accept(connection)).await?
}

/// A stream that is closed in an orderly way after whoever reads and writes it has dropped it.
#[derive(Clone)]
struct Shared(Arc<Mutex<TlsStream<TcpStream>>>);

impl Shared {
    /// Only one task polls the stream at any time, so the lock is free.
    fn stream(&self) -> MutexGuard<'_, TlsStream<TcpStream>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AsyncRead for Shared {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.stream()).poll_read(context, into)
    }
}

impl AsyncWrite for Shared {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.stream()).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.stream()).poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream().is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.stream()).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.stream()).poll_shutdown(context)
    }
}
