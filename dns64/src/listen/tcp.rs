//! The TCP front.

use std::io;
use std::sync::Arc;

use tokio::net::TcpListener;

use super::accept::{Serving, accept};
use super::{Bounds, stream};
use crate::error::Protocol;
use crate::service::Service;
use crate::stats::Stats;

/// One listening socket.
#[derive(Debug)]
pub(crate) struct TcpFront {
    listener: TcpListener,
}

impl TcpFront {
    pub(crate) fn new(listener: std::net::TcpListener) -> io::Result<Self> {
        Ok(Self { listener: TcpListener::from_std(listener)? })
    }

    /// Takes connections for as long as it is polled.
    pub(crate) async fn run(self, service: Arc<Service>, bounds: Bounds, stats: Arc<Stats>) {
        let serving = Serving { service, bounds, protocol: Protocol::Tcp };
        accept(self.listener, serving, stats, |connection, client, serving| async move {
            connection.set_nodelay(true)?;
            let listener = connection.local_addr()?;
            stream::serve(connection, client, listener, &serving).await
        })
        .await;
    }
}
