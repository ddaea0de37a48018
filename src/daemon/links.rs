//! DNS64's clients on this host's own links, followed as links come and go.

use std::time::Duration;

use ipnet::IpNet;
use tracing::{info, warn};

use crate::net::Links;

/// The least time between two looks at the links, so that a host with many short-lived ones is not kept busy.
const PAUSE: Duration = Duration::from_secs(1);

/// Keeps hosts on this host's links among the clients.
pub(super) struct Follower {
    /// The links.
    pub(super) links: Links,
    /// Their prefixes when last looked.
    pub(super) prefixes: Vec<IpNet>,
    /// What is configured, without them.
    pub(super) config: dns64::Config,
    /// The server's policy.
    pub(super) policy: dns64::PolicyHandle,
}

impl Follower {
    /// Follows for as long as it is polled.
    pub(super) async fn run(mut self) {
        announce(&self.prefixes);
        while self.links.changed().await {
            match self.links.prefixes().await {
                Ok(prefixes) if prefixes != self.prefixes => {
                    announce(&prefixes);
                    self.policy.replace(with_clients(&self.config, &prefixes).policy());
                    self.prefixes = prefixes;
                }
                Ok(_) => {}
                Err(error) => warn!(%error, "cannot follow the links of this host; DNS clients stay as they are"),
            }
            tokio::time::sleep(PAUSE).await;
        }
        warn!("the kernel tells no more of this host's links; DNS clients stay as they are");
    }
}

/// `config` with the hosts in these prefixes among the clients.
pub(super) fn with_clients(config: &dns64::Config, prefixes: &[IpNet]) -> dns64::Config {
    let clients = config.clients.iter().chain(prefixes).copied().collect();
    dns64::Config { clients, ..config.clone() }
}

fn announce(prefixes: &[IpNet]) {
    let prefixes: Vec<String> = prefixes.iter().map(ToString::to_string).collect();
    info!(prefixes = prefixes.join(" "), "DNS clients on links of this host");
}
