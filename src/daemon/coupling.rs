//! DNS64 follows the translator: nothing is synthesised under a prefix whose translator takes no new sessions.

use std::sync::Arc;
use std::time::Duration;

use dns64::PrefixState;
use ipnet::IpNet;
use nat64_core::policy::MappingBehavior;
use nat64_core::{Protocol, Usage};
use pref64::Pref64;
use tracing::warn;

use crate::control::health::PrefixHealth;
use crate::control::server::View;
use crate::net::Watch;

/// How often the pool and the routes are looked at. Changes of the device are told at once.
const PERIOD: Duration = Duration::from_secs(1);

/// Of so many parts, one must be free for a pool that was full to count as usable again: it would come and go otherwise.
const FREE_AGAIN: u64 = 20;

/// Looks after the prefixes of the translator.
pub(super) struct Coupling {
    /// The device.
    pub(super) watch: Watch,
    /// The daemon, for the state of the pool.
    pub(super) view: Arc<View>,
    /// Who is told.
    pub(super) health: Arc<PrefixHealth>,
    /// The translator's prefixes.
    pub(super) prefixes: Vec<Pref64>,
}

impl Coupling {
    /// Follows for as long as it is polled.
    pub(super) async fn run(mut self) {
        let mut is_full = false;
        loop {
            is_full = self.is_pool_full(is_full);
            for index in 0..self.prefixes.len() {
                let prefix = self.prefixes[index];
                match self.watch.obstacle(IpNet::V6(prefix.net())).await {
                    Ok(Some(reason)) => self.health.found(prefix, PrefixState::Down, Some(reason)),
                    Ok(None) if is_full => {
                        self.health.found(prefix, PrefixState::Draining, Some("the pool or a table is full"));
                    }
                    Ok(None) => self.health.found(prefix, PrefixState::Up, None),
                    Err(error) => warn!(%error, "cannot see whether the translator is there for DNS64"),
                }
            }
            tokio::select! {
                () = self.watch.changed() => {}
                () = tokio::time::sleep(PERIOD) => {}
            }
        }
    }

    fn is_pool_full(&self, was_full: bool) -> bool {
        let Some(translator) = &self.view.translator else { return false };
        let policy = translator.translator.policy();
        let limits = &policy.limits;
        // Where a port serves many destinations, a pool has no end that the number of ports tells.
        let counts_ports = policy.mapping == MappingBehavior::EndpointIndependent;
        is_full(
            &translator.translator.usage(),
            (limits.sessions.into(), limits.mappings.into()),
            counts_ports,
            was_full,
        )
    }
}

/// Whether hosts can open no new sessions over TCP or UDP. ICMP does without.
fn is_full(usage: &Usage, (sessions, mappings): (u64, u64), counts_ports: bool, was_full: bool) -> bool {
    let is_over = |used: u64, most: u64| if was_full { used + most / FREE_AGAIN > most } else { used >= most };
    let sum = |counts: &[u32]| counts.iter().map(|&count| u64::from(count)).sum::<u64>();
    let ports = Protocol::ALL.iter().zip(usage.pool_ports_taken).filter(|(protocol, _)| **protocol != Protocol::Icmp);
    is_over(sum(&usage.sessions), sessions)
        || is_over(sum(&usage.mappings), mappings)
        || counts_ports && ports.map(|(_, taken)| taken).any(|taken| is_over(taken, usage.pool_ports))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage(sessions: u32, tcp_ports: u64) -> Usage {
        let ports = Protocol::ALL.map(|protocol| if protocol == Protocol::Tcp { tcp_ports } else { 0 });
        Usage {
            mappings: [0; 3],
            sessions: [sessions, 0, 0],
            tcp_states: [("", 0); 7],
            pool_addresses: 1,
            pool_ports: 1000,
            pool_ports_taken: ports,
            pool_blocks: None,
        }
    }

    #[test]
    fn a_pool_or_table_is_full_at_its_end_and_usable_again_with_some_room() {
        let full = |usage, was_full| is_full(&usage, (500, 500), true, was_full);
        assert!(!full(usage(499, 999), false));
        assert!(full(usage(500, 0), false) && full(usage(0, 1000), false));
        assert!(full(usage(0, 951), true) && !full(usage(0, 950), true));
        assert!(full(usage(476, 0), true) && !full(usage(475, 0), true));
        assert!(!is_full(&usage(0, 1000), (500, 500), false, false), "ports that many destinations share");
    }
}
