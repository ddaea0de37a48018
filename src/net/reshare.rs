//! Other parts of the host's own addresses for the translator, while the daemon runs.

use nat64_core::Policy;
use tracing::warn;

use super::plan::Change;
use super::rules::Share;
use super::share::{RESERVED, ShareError, parse_ports, ports_text, reserved_with};
use super::sysctl::SysctlError;
use super::{NetError, Network};
use crate::config::DeviceSettings;

impl Network {
    /// What has to be changed for the shares of `policy` that are not there yet.
    pub(super) async fn plan_more_shares(
        &self,
        device: &DeviceSettings,
        policy: &Policy,
    ) -> Result<Vec<Change>, NetError> {
        let mut changes = self.host.plan_shares(&device.name, policy, &self.shares()).await?;
        changes.retain(|change| !self.record.changes.contains(change));
        Ok(changes)
    }

    /// Takes back the shares that `policy` has not, and gives their ports to programs again.
    pub(super) async fn take_shares_back(&mut self, index: u32, policy: &Policy) {
        let wanted = match self.host.shares(policy).await {
            Ok(wanted) => wanted,
            Err(error) => {
                warn!(%error, "the translator keeps ports of this host that it needs no more");
                return;
            }
        };
        let before = self.shares();
        if before.iter().all(|share| wanted.contains(share)) {
            return;
        }
        self.forget(|change| matches!(change, Change::Share(share) if !wanted.contains(share))).await;
        for share in &self.shares() {
            // Shares of one address have the rule for ICMP in common, which may be gone now.
            if let Err(error) = self.host.apply_share(&Change::Share(share.clone()), index).await {
                warn!(%error, "a part of the shared address may be lost");
            }
        }
        if let Err(error) = self.release_ports(&wanted) {
            warn!(%error, "ports of this host stay reserved until the translator stops");
        }
        self.write_record();
    }

    pub(super) fn refuse_shares_without_routes(device: &DeviceSettings, policy: &Policy) -> Result<(), NetError> {
        match policy.shared.first() {
            Some(address) if !device.routes => Err(ShareError::WithoutRoutes(*address).into()),
            _ => Ok(()),
        }
    }

    /// The shares there are.
    fn shares(&self) -> Vec<Share> {
        let share = |change: &Change| if let Change::Share(share) = change { Some(share.clone()) } else { None };
        self.record.changes.iter().filter_map(share).collect()
    }

    /// Reserves no ports but those of `shares`, and what was reserved before the translator came.
    fn release_ports(&mut self, shares: &[Share]) -> Result<(), SysctlError> {
        let reservation = |change: &Change| matches!(change, Change::Sysctl { key, .. } if key == RESERVED);
        // Each reserved more ports than the one before.
        let mut made = self.record.changes.iter().filter_map(|change| {
            if let Change::Sysctl { key, from, to } = change { (key == RESERVED).then_some((from, to)) } else { None }
        });
        let Some(first) = made.next() else { return Ok(()) };
        let (from, last) = (first.0.clone(), made.next_back().unwrap_or(first).1.clone());
        if self.host.sysctls.read(RESERVED)?.as_deref() != Some(&last) {
            // Somebody else has a say in it by now.
            return Ok(());
        }
        let to = ports_text(&reserved_with(parse_ports(&from), shares));
        if to != last {
            self.host.sysctls.write(RESERVED, &to)?;
        }
        let place = self.record.changes.iter().position(reservation).unwrap_or_default();
        self.record.changes.retain(|change| !reservation(change));
        if to != from {
            self.record.changes.insert(place, Change::Sysctl { key: RESERVED.to_owned(), from, to });
        }
        Ok(())
    }
}
