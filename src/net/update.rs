//! Following a policy that changes: what it adds comes before it, what it drops goes after it.

use std::net::Ipv4Addr;

use ipnet::IpNet;
use nat64_core::Policy;
use tracing::{info, warn};

use super::plan::{self, Change};
use super::undo::Record;
use super::{NetError, Network};
use crate::config::DeviceSettings;

impl Network {
    /// Routes to the device what `new` has and `old` has not, and answers ARP for it.
    ///
    /// # Errors
    /// What failed; everything done before is taken back.
    pub(crate) async fn extend(
        &mut self,
        device: &DeviceSettings,
        index: u32,
        (old, new): (&Policy, &Policy),
    ) -> Result<(), NetError> {
        Self::refuse_shares_without_routes(device, new)?;
        if !device.routes {
            return Ok(());
        }
        let mut changes = self.plan_more_shares(device, new).await?;
        let routes = missing(new, old);
        for net in &routes {
            self.host.refuse_taken(*net, index).await?;
        }
        if device.proxy_arp {
            self.host.plan_proxies(index, new, &mut changes).await?;
        }
        self.record.changes.extend(changes.iter().cloned());
        if !changes.is_empty() {
            self.record.write(&self.directory)?;
        }
        let mut added = Vec::new();
        let done = async {
            self.apply_changes(&changes).await?;
            for change in &changes {
                self.host.apply_share(change, index).await?;
            }
            for net in routes {
                self.add_route(net, &device.name, index).await?;
                added.push(net);
            }
            Ok(())
        };
        if let Err(error) = done.await {
            self.remove_routes(&added, &device.name, index).await;
            self.forget(|change| changes.contains(change)).await;
            return Err(error);
        }
        Ok(())
    }

    /// Takes back what `old` had and `new` has not.
    pub(crate) async fn retract(&mut self, device: &DeviceSettings, index: u32, (old, new): (&Policy, &Policy)) {
        if !device.routes {
            return;
        }
        self.remove_routes(&missing(old, new), &device.name, index).await;
        let is_in_pool = |address: &Ipv4Addr| new.pool.iter().any(|range| (range.first..=range.last).contains(address));
        self.forget(|change| matches!(change, Change::Proxy { address, .. } if !is_in_pool(address))).await;
        self.take_shares_back(index, new).await;
    }

    async fn remove_routes(&self, nets: &[IpNet], device: &str, index: u32) {
        for net in nets {
            match self.host.netlink.remove_route(*net, index).await {
                Ok(()) => info!(to = %net, device, "route removed"),
                Err(error) => warn!(to = %net, device, %error, "cannot remove a route"),
            }
        }
    }

    /// Takes some changes back.
    pub(super) async fn forget(&mut self, is_meant: impl Fn(&Change) -> bool) {
        let (gone, kept) = std::mem::take(&mut self.record.changes).into_iter().partition(|change| is_meant(change));
        self.record.changes = kept;
        let gone = Record::new(&self.record.device, gone);
        if gone.changes.is_empty() {
            return;
        }
        gone.undo(&self.host.netlink, &self.host.sysctls).await;
        self.write_record();
    }

    pub(super) fn write_record(&self) {
        if let Err(error) = self.record.write(&self.directory) {
            warn!(%error, "the record of changes has some that are taken back already");
        }
    }
}

/// The destinations that one policy has and the other has not.
fn missing(has: &Policy, has_not: &Policy) -> Vec<IpNet> {
    let others = plan::destinations(has_not);
    plan::destinations(has).into_iter().filter(|net| !others.contains(net)).collect()
}
