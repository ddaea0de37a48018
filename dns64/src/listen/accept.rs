//! Taking connections: how many, and from whom.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::{TcpListener, TcpStream};
use tracing::{debug, warn};

use super::{Bounds, PAUSE};
use crate::error::Protocol;
use crate::service::Service;
use crate::stats::Stats;

/// What a connection is served with.
#[derive(Clone)]
pub(super) struct Serving {
    pub(super) service: Arc<Service>,
    pub(super) bounds: Bounds,
    /// What connections carry.
    pub(super) protocol: Protocol,
}

/// Serves each client's connection that there is a place for in a task of its own, for as long as it is polled.
pub(super) async fn accept<F>(
    listener: TcpListener,
    serving: Serving,
    stats: Arc<Stats>,
    serve: impl Fn(TcpStream, SocketAddr, Serving) -> F,
) where
    F: Future<Output = io::Result<()>> + Send + 'static,
{
    loop {
        let (stream, client) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                warn!(%error, "cannot accept connections");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        // A refusal would have to wait for a query, or for a handshake, in a place that clients want.
        if !serving.service.permits(client.ip()) {
            stats.clients_refused.increment();
            continue;
        }
        let Some(place) = serving.bounds.connections.admit(client.ip()) else {
            stats.tcp_refused.increment();
            continue;
        };
        let work = serve(stream, client, serving.clone());
        tokio::spawn(async move {
            if let Err(error) = work.await {
                debug!(%client, %error, "connection ended");
            }
            drop(place);
        });
    }
}
