//! The fronts: sockets that take queries and send answers.

mod accept;
mod bind;
mod certificate;
mod connections;
mod https;
mod stream;
mod tcp;
mod tls;
mod udp;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use crate::config::Config;
pub(crate) use bind::{Listener, Listeners, StreamListener, bind, bind_streams};
pub(crate) use certificate::{Certificate, check as check_certificate};
use connections::Connections;
pub(crate) use https::HttpsFront;
pub(crate) use tcp::TcpFront;
pub(crate) use tls::TlsFront;
pub(crate) use udp::UdpFront;

/// What clients may take of us, shared by all fronts.
#[derive(Clone, Debug)]
pub(crate) struct Bounds {
    /// A permit for every query under work.
    queries: Arc<Semaphore>,
    /// A place for every connection, whatever it carries.
    connections: Arc<Connections>,
    /// How long a connection may say nothing.
    idle: Duration,
}

impl Bounds {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            queries: Arc::new(Semaphore::new(config.max_in_flight)),
            connections: Arc::new(Connections::new(config.tcp_connections, config.connections_per_client)),
            idle: config.tcp_idle,
        }
    }
}

/// How long a front waits after an error of its socket that is not a client's doing, such as a lack of memory or files.
const PAUSE: Duration = Duration::from_millis(50);
