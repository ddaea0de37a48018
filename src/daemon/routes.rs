//! Says when packets do not find their way to the translator any more, because somebody removed a route or the device is down.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use nat64_core::{Policy, Translator};
use tracing::{info, warn};

use crate::net::{NetError, Watch};

/// How often routes are looked at.
const PERIOD: Duration = Duration::from_secs(1);
/// Prefixes and pool ranges that are looked at, at the most.
const MOST: usize = 64;
/// A reload changes the policy and the routes one after the other: what is seen so often in a row is no passing state.
const TOLD_AT: u32 = 2;

/// Looks after the routes of the translator.
pub(super) struct Routes {
    /// Device and routes.
    pub(super) watch: Watch,
    /// Whose policy is in force.
    pub(super) translator: Arc<Translator>,
}

impl Routes {
    /// Follows for as long as it is polled.
    pub(super) async fn run(mut self) {
        let mut missing: BTreeMap<IpNet, u32> = BTreeMap::new();
        loop {
            let nets = routed(&self.translator.policy());
            missing.retain(|net, _| nets.contains(net));
            for net in nets {
                let Ok(obstacle) = self.obstacle(net).await else { continue };
                let times = missing.entry(net).or_default();
                match obstacle {
                    Some(reason) => {
                        *times = times.saturating_add(1);
                        if *times == TOLD_AT {
                            warn!(%net, reason, "packets do not come to the translator");
                        }
                    }
                    None => {
                        if std::mem::take(times) >= TOLD_AT {
                            info!(%net, "packets come to the translator again");
                        }
                    }
                }
            }
            tokio::time::sleep(PERIOD).await;
        }
    }

    async fn obstacle(&mut self, net: IpNet) -> Result<Option<&'static str>, NetError> {
        match net.network() {
            IpAddr::V4(address) if self.translator.policy().shared.contains(&address) => {
                self.watch.obstacle_to_shared(address).await
            }
            IpAddr::V4(_) | IpAddr::V6(_) => self.watch.obstacle(net).await,
        }
    }
}

/// What comes to the device: the prefixes, and of each range of the pool the first address.
fn routed(policy: &Policy) -> Vec<IpNet> {
    let pool = policy.pool.iter().map(|range| IpNet::from(IpAddr::V4(range.first)));
    policy.prefixes.iter().map(|prefix| IpNet::V6(prefix.net())).chain(pool).take(MOST).collect()
}
