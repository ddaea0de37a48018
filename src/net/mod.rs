//! The host's network around the device: what is set up at start, and taken back at the end.
//!
//! [`plan`] works out what to change, [`undo`] keeps the record of it, [`netlink`] and [`sysctl`] talk to the kernel.

mod links;
mod mtus;
mod netlink;
mod news;
mod other_nat;
mod own;
mod plan;
mod reshare;
mod rules;
mod share;
mod source;
mod sysctl;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod thread;
mod undo;
mod update;
mod watch;

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

use ipnet::IpNet;
use nat64_core::Policy;
use rustix::io::Errno;
use tracing::{info, warn};

use crate::config::{DeviceSettings, HostAddress};
pub(crate) use links::Links;
pub(crate) use mtus::MtuWatch;
use netlink::{Address, Link, Netlink, NetlinkError};
pub(crate) use own::{OwnWatch, own_address};
use plan::Change;
use share::ShareError;
use sysctl::{SysctlError, Sysctls};
use undo::{Record, RecordError};
pub(crate) use watch::Watch;

/// Packets that the kernel may queue for each queue of the device.
const QUEUE_LEN: u32 = 1000;

/// Why the network could not be set up. Nothing is left of the attempt.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NetError {
    /// No connection to the kernel.
    #[error("cannot open a netlink socket: {0}")]
    Socket(#[source] io::Error),
    /// A request failed.
    #[error("cannot {action}: {source}")]
    Netlink {
        /// What was tried.
        action: String,
        /// The answer.
        source: NetlinkError,
    },
    /// Someone else has a route that we need.
    #[error(
        "there is a route to {net} already, {through}: another NAT64 may be at work; remove that route, use another prefix or \
         pool, or set device.routes = false to do the routing yourself"
    )]
    RouteTaken {
        /// The destination.
        net: IpNet,
        /// Where it leads.
        through: String,
    },
    /// An address of this host cannot be shared.
    #[error(transparent)]
    Share(#[from] ShareError),
    /// A sysctl cannot be set.
    #[error(transparent)]
    Sysctl(#[from] SysctlError),
    /// The record cannot be kept.
    #[error(transparent)]
    Record(#[from] RecordError),
}

fn cannot(action: impl Into<String>) -> impl FnOnce(NetlinkError) -> NetError {
    let action = action.into();
    move |source| NetError::Netlink { action, source }
}

/// The host, as far as its network is concerned.
#[derive(Debug)]
pub(crate) struct Host {
    netlink: Netlink,
    sysctls: Sysctls,
}

/// What is set up, and how to take it back.
#[derive(Debug)]
#[must_use = "what was set up has to be taken back"]
pub(crate) struct Network {
    host: Host,
    record: Record,
    directory: PathBuf,
}

/// Addresses for ICMP errors, where they were found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sources {
    /// Towards IPv6.
    pub(crate) source6: Option<Ipv6Addr>,
    /// Towards IPv4.
    pub(crate) source4: Option<Ipv4Addr>,
}

impl Host {
    /// Connects to the kernel, on the current runtime.
    pub(crate) fn open() -> Result<Self, NetError> {
        Ok(Self { netlink: Netlink::open().map_err(NetError::Socket)?, sysctls: Sysctls::of_kernel() })
    }

    /// The host's addresses with their interfaces.
    pub(crate) async fn addresses(&self) -> Result<Vec<HostAddress>, NetError> {
        let links = self.links().await?;
        let addresses = self.netlink.addresses().await.map_err(cannot("list the addresses of this host"))?;
        let interface = |own: &Address| links.iter().find(|link| link.index == own.index).map(|link| link.name.clone());
        Ok(addresses
            .iter()
            .map(|own| HostAddress { address: own.address, interface: interface(own).unwrap_or_default() })
            .collect())
    }

    /// Takes back what daemons that were killed have left, and forgets what no longer exists. To be called by who holds
    /// `device`.
    pub(crate) async fn clean_up(&self, directory: &Path, device: &str) -> Result<(), NetError> {
        let links = self.links().await?;
        for record in Record::read_all(directory)? {
            let is_dead = record.device == device || !links.iter().any(|link| link.name == record.device);
            match (record.is_of_here(), is_dead) {
                (true, true) => {
                    warn!(device = record.device, "an earlier daemon was killed; taking its changes back");
                    record.undo(&self.netlink, &self.sysctls).await;
                    record.remove(directory);
                }
                // Of an earlier boot or another namespace, whose device of this name is not ours to judge.
                (false, _) if record.device == device => record.remove(directory),
                _ => {}
            }
        }
        Ok(())
    }

    /// Brings the device up and, if so configured, routes prefixes and pool to it.
    ///
    /// # Errors
    /// What failed; everything done before is taken back.
    pub(crate) async fn set_up(
        self,
        device: &DeviceSettings,
        index: u32,
        policy: &Policy,
        directory: &Path,
    ) -> Result<Network, NetError> {
        Network::refuse_shares_without_routes(device, policy)?;
        let changes = if device.routes { self.plan(device, index, policy).await? } else { Vec::new() };
        let record = Record::new(&device.name, changes);
        if !record.changes.is_empty() {
            record.write(directory)?;
        }
        let network = Network { host: self, record, directory: directory.to_owned() };
        match network.apply(device, index, policy).await {
            Ok(()) => Ok(network),
            Err(error) => {
                network.take_back().await;
                Err(error)
            }
        }
    }

    async fn links(&self) -> Result<Vec<Link>, NetError> {
        self.netlink.links().await.map_err(cannot("list the interfaces"))
    }

    /// The changes that outlive the device.
    async fn plan(&self, device: &DeviceSettings, index: u32, policy: &Policy) -> Result<Vec<Change>, NetError> {
        for net in plan::destinations(policy) {
            self.refuse_taken(net, index).await?;
        }
        let mut changes = plan::forwarding(&self.sysctls)?;
        // The device inherits accept_ra, but nobody advertises on it, and it goes away.
        let of_device = format!("net/ipv6/conf/{}/", device.name);
        changes.retain(|change| !matches!(change, Change::Sysctl { key, .. } if key.starts_with(&of_device)));
        if device.proxy_arp {
            self.plan_proxies(index, policy, &mut changes).await?;
        }
        changes.extend(self.plan_shares(&device.name, policy, &[]).await?);
        Ok(changes)
    }

    async fn refuse_taken(&self, net: IpNet, index: u32) -> Result<(), NetError> {
        let route =
            self.netlink.route_to(net.network()).await.map_err(cannot(format!("look up the route to {net}")))?;
        match route {
            Some(route) if route.net == net && route.output != Some(index) => {
                let links = self.links().await?;
                let name = links.iter().find(|link| Some(link.index) == route.output).map(|link| link.name.as_str());
                Err(NetError::RouteTaken { net, through: format!("through {}", name.unwrap_or("several interfaces")) })
            }
            _ => Ok(()),
        }
    }

    async fn plan_proxies(&self, index: u32, policy: &Policy, changes: &mut Vec<Change>) -> Result<(), NetError> {
        let links = self.links().await?;
        let addresses = self.netlink.addresses().await.map_err(cannot("list the addresses of this host"))?;
        let existing = self.netlink.proxies().await.map_err(cannot("list the proxy ARP entries"))?;
        let routed: Vec<_> = policy.pool.iter().filter(|range| !plan::is_shared(policy, range)).copied().collect();
        let found = plan::proxies(&routed, &addresses, &links, index);
        for address in &found.unusable {
            warn!(%address, "this pool address is a connected subnet's first or last and can receive nothing; remove it");
        }
        let mut interfaces: Vec<&str> = Vec::new();
        for (link, address) in found.wanted.iter().filter(|(link, address)| !existing.contains(&(link.index, *address)))
        {
            if !interfaces.contains(&link.name.as_str()) {
                interfaces.push(&link.name);
                self.plan_prompt_answers(&link.name, changes)?;
            }
            changes.push(Change::Proxy { address: *address, interface: link.name.clone() });
        }
        Ok(())
    }

    /// Without this, the kernel waits up to 0.8 s before it answers for others, in case they answer themselves.
    fn plan_prompt_answers(&self, interface: &str, changes: &mut Vec<Change>) -> Result<(), NetError> {
        let key = format!("net/ipv4/neigh/{interface}/proxy_delay");
        if let Some(from) = self.sysctls.read(&key)?.filter(|delay| delay != "0") {
            changes.push(Change::Sysctl { key, from, to: "0".to_owned() });
        }
        Ok(())
    }
}

impl Network {
    /// Addresses of this host that ICMP errors can come from.
    pub(crate) async fn sources(&self, device: &str, index: u32) -> Result<Sources, NetError> {
        let addresses = self.host.netlink.addresses().await.map_err(cannot("list the addresses of this host"))?;
        let source4 = if self.accepts_local_source(device)? { source::source4(&addresses, index) } else { None };
        Ok(Sources { source6: source::source6(&addresses, index), source4 })
    }

    /// Whether the kernel takes packets with a source that is its own from the device.
    fn accepts_local_source(&self, device: &str) -> Result<bool, NetError> {
        // The kernel takes the larger of the interface's value and that of all.
        let value = |key: &str| -> Result<u8, NetError> {
            let of = |interface: &str| self.host.sysctls.read(&format!("net/ipv4/conf/{interface}/{key}"));
            let largest = [of("all")?, of(device)?].into_iter().flatten().filter_map(|text| text.parse().ok()).max();
            Ok(largest.unwrap_or(0))
        };
        let (accepts, reverse_path) = (value("accept_local")? == 1, value("rp_filter")?);
        if reverse_path == 1 {
            warn!(
                "net.ipv4.conf.all.rp_filter is 1 (strict), which drops what this host sends through the device in its own \
                 name; ICMP errors towards IPv4 come from a pool address instead. 0 or 2 would avoid that"
            );
        }
        Ok(accepts && reverse_path != 1)
    }

    /// Undoes everything but what goes with the device itself: its routes, addresses and sysctls.
    pub(crate) async fn take_back(&self) {
        self.record.undo(&self.host.netlink, &self.host.sysctls).await;
        self.record.remove(&self.directory);
    }

    async fn apply(&self, device: &DeviceSettings, index: u32, policy: &Policy) -> Result<(), NetError> {
        self.apply_changes(&self.record.changes).await?;
        self.configure_device(device);
        let up = self.host.netlink.bring_up(index, device.mtu, QUEUE_LEN).await;
        up.map_err(cannot(format!("bring the device {} up", device.name)))?;
        info!(device = device.name, mtu = device.mtu, "device is up");
        // These lead to the device, which has to be up.
        for change in &self.record.changes {
            self.host.apply_share(change, index).await?;
        }
        if device.routes {
            for net in plan::destinations(policy) {
                self.add_route(net, &device.name, index).await?;
            }
        }
        Ok(())
    }

    async fn apply_changes(&self, changes: &[Change]) -> Result<(), NetError> {
        let links = self.host.links().await?;
        for change in changes {
            match change {
                Change::Sysctl { key, from, to } => {
                    self.host.sysctls.write(key, to)?;
                    info!(sysctl = sysctl::name(key), from, to, "sysctl set");
                }
                Change::Keep { .. } | Change::LocalTable | Change::Share(_) | Change::Defragment { .. } => {}
                Change::Proxy { address, interface } => {
                    let Some(link) = links.iter().find(|link| link.name == *interface) else { continue };
                    let added = self.host.netlink.add_proxy(link.index, *address).await;
                    added.map_err(cannot(format!("answer ARP for {address} on {interface}")))?;
                    info!(%address, interface, "answering ARP for a pool address");
                }
            }
        }
        Ok(())
    }

    /// Sysctls of the device, which go with it. A read-only `/proc/sys` costs comfort, not the function.
    fn configure_device(&self, device: &DeviceSettings) {
        let name = &device.name;
        let always = [
            // No link-local address and no router solicitations: nobody on the other side speaks IPv6 neighbour discovery.
            (format!("net/ipv6/conf/{name}/addr_gen_mode"), "1"),
            (format!("net/ipv6/conf/{name}/router_solicitations"), "0"),
            (format!("net/ipv6/conf/{name}/accept_ra"), "0"),
        ];
        let forwarding = [
            (format!("net/ipv6/conf/{name}/forwarding"), "1"),
            (format!("net/ipv4/conf/{name}/forwarding"), "1"),
            // The translator's own ICMP errors come out of the device with an address of this host as source.
            (format!("net/ipv4/conf/{name}/accept_local"), "1"),
            (format!("net/ipv4/conf/{name}/rp_filter"), "0"),
        ];
        let forwarding = if device.routes { &forwarding[..] } else { &[] };
        for (key, value) in always.iter().chain(forwarding) {
            if let Err(error) = self.host.sysctls.ensure(key, value) {
                warn!(%error, "going on without");
            }
        }
    }

    /// Whether the route to `net` leads to the device.
    async fn leads_to(&self, net: IpNet, index: u32) -> bool {
        let route = self.host.netlink.route_to(net.network()).await.ok().flatten();
        route.is_some_and(|route| route.net == net && route.output == Some(index))
    }

    async fn add_route(&self, net: IpNet, device: &str, index: u32) -> Result<(), NetError> {
        match self.host.netlink.add_route(net, index).await {
            Ok(()) => {
                info!(to = %net, device, "route added");
                Ok(())
            }
            // The device was kept over a restart, with its routes.
            Err(error) if error.is(Errno::EXIST) && self.leads_to(net, index).await => Ok(()),
            Err(error) if error.is(Errno::EXIST) => {
                Err(NetError::RouteTaken { net, through: "which ip route show table main lists".to_owned() })
            }
            Err(source) => Err(NetError::Netlink { action: format!("route {net} to {device}"), source }),
        }
    }
}
