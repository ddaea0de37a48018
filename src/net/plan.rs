//! What has to be changed on this host, worked out before anything is.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net, Ipv4Subnets};
use nat64_core::Policy;
use nat64_core::policy::PoolRange;
use serde::{Deserialize, Serialize};

use super::netlink::{Address, Link};
use super::rules::Share;
use super::sysctl::{SysctlError, Sysctls};

/// A change that outlives the device, and therefore has to be undone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub(crate) enum Change {
    /// A sysctl is set.
    Sysctl {
        /// Its path under `/proc/sys`.
        key: String,
        /// What it was.
        from: String,
        /// What it becomes.
        to: String,
    },
    /// A sysctl that undoing a later change of the list resets, because the kernel couples them. Not changed itself.
    Keep {
        /// Its path under `/proc/sys`.
        key: String,
        /// What it was.
        value: String,
    },
    /// The rule of the local table is moved behind ours.
    LocalTable,
    /// A part of an address of this host is routed to the device.
    Share(Share),
    /// The kernel puts fragments together before it routes them, so that each is routed by its ports.
    Defragment {
        /// The table of nftables that makes it do so.
        table: String,
    },
    /// An interface answers ARP for a pool address.
    Proxy {
        /// The pool address.
        address: Ipv4Addr,
        /// The interface.
        interface: String,
    },
}

/// The destinations that are routed to the device: prefixes, and the pool in as few ranges as possible.
pub(crate) fn destinations(policy: &Policy) -> Vec<IpNet> {
    let prefixes = policy.prefixes.iter().map(|prefix| IpNet::V6(prefix.net()));
    let is_routed = |range: &&PoolRange| !is_shared(policy, range);
    let routed: Vec<PoolRange> = policy.pool.iter().filter(is_routed).copied().collect();
    prefixes.chain(pool_nets(&routed).into_iter().map(IpNet::V4)).collect()
}

/// Whether the host has an address of the range itself; then the range is of that one address.
pub(crate) fn is_shared(policy: &Policy, range: &PoolRange) -> bool {
    policy.shared.iter().any(|address| (range.first..=range.last).contains(address))
}

/// The addresses of the pool as the fewest CIDRs.
fn pool_nets(pool: &[PoolRange]) -> Vec<Ipv4Net> {
    let nets: Vec<Ipv4Net> = pool.iter().flat_map(|range| Ipv4Subnets::new(range.first, range.last, 0)).collect();
    Ipv4Net::aggregate(&nets)
}

/// The sysctls that make this host a router of both IP versions, in the order to set them.
///
/// Turning IPv6 forwarding on makes the kernel ignore router advertisements, and forget the default route that it has
/// from one, except where `accept_ra` is 2.
pub(crate) fn forwarding(sysctls: &Sysctls) -> Result<Vec<Change>, SysctlError> {
    let mut changes = Vec::new();
    if is_off(sysctls, "net/ipv6/conf/all/forwarding")? {
        for interface in sysctls.entries("net/ipv6/conf") {
            let key = format!("net/ipv6/conf/{interface}/accept_ra");
            let hears_routers = !["all", "default", "lo"].contains(&interface.as_str());
            if hears_routers && sysctls.read(&key)?.as_deref() == Some("1") {
                changes.push(Change::Sysctl { key, from: "1".to_owned(), to: "2".to_owned() });
            }
        }
        keep_forwarding(sysctls, "ipv6", &mut changes)?;
        changes.push(switch_on("net/ipv6/conf/all/forwarding"));
    }
    if is_off(sysctls, "net/ipv4/ip_forward")? {
        keep_forwarding(sysctls, "ipv4", &mut changes)?;
        // The kernel turns it over with forwarding.
        keep(sysctls, "net/ipv4/conf/all/accept_redirects".to_owned(), &mut changes)?;
        changes.push(switch_on("net/ipv4/ip_forward"));
    }
    Ok(changes)
}

fn is_off(sysctls: &Sysctls, key: &str) -> Result<bool, SysctlError> {
    Ok(sysctls.read(key)?.as_deref() == Some("0"))
}

fn switch_on(key: &str) -> Change {
    Change::Sysctl { key: key.to_owned(), from: "0".to_owned(), to: "1".to_owned() }
}

/// Interfaces that forward although the host as a whole does not.
fn keep_forwarding(sysctls: &Sysctls, family: &str, changes: &mut Vec<Change>) -> Result<(), SysctlError> {
    for interface in sysctls.entries(&format!("net/{family}/conf")) {
        let key = format!("net/{family}/conf/{interface}/forwarding");
        if interface != "all" && sysctls.read(&key)?.as_deref() == Some("1") {
            keep(sysctls, key, changes)?;
        }
    }
    Ok(())
}

fn keep(sysctls: &Sysctls, key: String, changes: &mut Vec<Change>) -> Result<(), SysctlError> {
    if let Some(value) = sysctls.read(&key)? {
        changes.push(Change::Keep { key, value });
    }
    Ok(())
}

/// Pool addresses inside subnets that this host is connected to: who answers ARP for them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Proxies {
    /// Addresses, and the interface that is to answer.
    pub(crate) wanted: Vec<(Link, Ipv4Addr)>,
    /// Pool addresses that cannot be used: they name a whole subnet.
    pub(crate) unusable: Vec<Ipv4Addr>,
}

/// Finds the pool addresses that neighbours look for by ARP.
pub(crate) fn proxies(pool: &[PoolRange], addresses: &[Address], links: &[Link], device: u32) -> Proxies {
    let mut found = Proxies::default();
    let mut seen = BTreeSet::new();
    let nets = pool_nets(pool);
    for own in addresses.iter().filter(|own| own.index != device) {
        let Some(link) = links.iter().find(|link| link.index == own.index && link.uses_arp) else { continue };
        let Some(subnet) = subnet(own) else { continue };
        for address in nets.iter().flat_map(|net| intersection(*net, subnet)) {
            let names_subnet = subnet.prefix_len() < 31 && [subnet.network(), subnet.broadcast()].contains(&address);
            if !seen.insert((own.index, address)) {
                continue;
            }
            if names_subnet { found.unusable.push(address) } else { found.wanted.push((link.clone(), address)) }
        }
    }
    found
}

fn subnet(own: &Address) -> Option<Ipv4Net> {
    let IpAddr::V4(address) = own.address else { return None };
    let net = Ipv4Net::new(address, own.prefix_len).ok()?.trunc();
    (net.prefix_len() < 32).then_some(net)
}

/// The addresses that both nets have.
fn intersection(one: Ipv4Net, other: Ipv4Net) -> impl Iterator<Item = Ipv4Addr> {
    let first = one.network().max(other.network()).to_bits();
    let last = one.broadcast().min(other.broadcast()).to_bits();
    (first..=last).map(Ipv4Addr::from_bits)
}

#[cfg(test)]
mod tests;
