//! The fronts: sockets that take queries and send answers.

mod bind;
mod tcp;
mod udp;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use crate::config::Config;
pub(crate) use bind::{Listener, Listeners, bind};
pub(crate) use tcp::TcpFront;
pub(crate) use udp::UdpFront;

/// What clients may take of us, shared by all fronts.
#[derive(Clone, Debug)]
pub(crate) struct Bounds {
    /// A permit for every query under work.
    queries: Arc<Semaphore>,
    /// A permit for every TCP connection.
    connections: Arc<Semaphore>,
    /// How long a connection may say nothing.
    idle: Duration,
}

impl Bounds {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            queries: Arc::new(Semaphore::new(config.max_in_flight)),
            connections: Arc::new(Semaphore::new(config.tcp_connections)),
            idle: config.tcp_idle,
        }
    }
}

/// How long a front waits after an error of its socket that is not a client's doing, such as a lack of memory or files.
const PAUSE: Duration = Duration::from_millis(50);
