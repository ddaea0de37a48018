//! Sharing an address of this host: whether its ports are free, and what has to be changed.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Write as _};
use std::net::{IpAddr, Ipv4Addr};
use std::process::{Command, Stdio};

use nat64_core::Policy;
use tracing::{info, warn};

use super::netlink::Netlink;
use super::other_nat;
use super::plan::{self, Change};
use super::rules::Share;
use super::sysctl::SysctlError;
use super::{Host, NetError, cannot};

/// Ports that the kernel gives to no program that takes any.
pub(super) const RESERVED: &str = "net/ipv4/ip_local_reserved_ports";

/// Why an address cannot be shared.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ShareError {
    /// A program has a port.
    #[error(
        "port {port} of {address} is in the pool, but a program on this host uses it ({protocol} {local}); see \
         `ss -{flag}anp sport = :{port}`, and stop it or give the pool other ports"
    )]
    PortInUse {
        /// The shared address.
        address: Ipv4Addr,
        /// The port.
        port: u16,
        /// The protocol.
        protocol: &'static str,
        /// How `ss` selects it.
        flag: char,
        /// The address that the socket is bound to.
        local: IpAddr,
    },
    /// Replies would be dropped.
    #[error(
        "the address {0} is this host's own, and net.ipv4.conf.all.rp_filter is 1 (strict), which drops what the translator \
         sends from it; set it to 2 (loose) or 0"
    )]
    StrictReversePath(Ipv4Addr),
    /// The routing must be ours.
    #[error("the address {0} is this host's own, which can only be shared with device.routes = true")]
    WithoutRoutes(Ipv4Addr),
}

impl Host {
    /// What has to be changed so that the translator gets its part of the host's addresses, of which it has `held` already.
    pub(super) async fn plan_shares(
        &self,
        device: &str,
        policy: &Policy,
        held: &[Share],
    ) -> Result<Vec<Change>, NetError> {
        let shares = self.shares(policy).await?;
        let Some(first) = shares.first() else { return Ok(Vec::new()) };
        if self.sysctls.read("net/ipv4/conf/all/rp_filter")?.as_deref() == Some("1") {
            return Err(ShareError::StrictReversePath(first.address).into());
        }
        let new = shares.iter().filter(|share| !held.contains(share));
        new.clone().try_for_each(refuse_used)?;
        if new.count() > 0 {
            tell_of_other_nats();
        }
        let mut changes: Vec<Change> = self.reserve(&shares)?.into_iter().collect();
        changes.push(Change::Defragment { table: format!("{device}_defragment") });
        if self.netlink.asks_local_table_first().await.map_err(cannot("list the routing rules"))? {
            changes.push(Change::LocalTable);
        }
        changes.extend(shares.into_iter().map(Change::Share));
        Ok(changes)
    }

    /// The translator's part of the host's addresses by `policy`.
    pub(super) async fn shares(&self, policy: &Policy) -> Result<Vec<Share>, NetError> {
        if policy.shared.is_empty() {
            return Ok(Vec::new());
        }
        let own = self.addresses().await?;
        let shared = policy.pool.iter().filter(|range| plan::is_shared(policy, range));
        let share = |range: &nat64_core::policy::PoolRange| {
            let has_it = own.iter().find(|own| own.address == IpAddr::V4(range.first))?;
            let (first, last) = (range.first_port, range.last_port);
            Some(Share { address: range.first, interface: has_it.interface.clone(), first, last })
        };
        Ok(shared.filter_map(share).collect())
    }

    /// Keeps the kernel from giving our ports to programs that take any.
    fn reserve(&self, shares: &[Share]) -> Result<Option<Change>, SysctlError> {
        let Some(from) = self.sysctls.read(RESERVED)? else { return Ok(None) };
        let to = ports_text(&reserved_with(parse_ports(&from), shares));
        Ok((to != from).then(|| Change::Sysctl { key: RESERVED.to_owned(), from, to }))
    }

    /// Makes a change of those that [`Self::plan_shares`] plans beside sysctls.
    pub(super) async fn apply_share(&self, change: &Change, index: u32) -> Result<(), NetError> {
        match change {
            Change::LocalTable => {
                let moved = self.netlink.move_local_table().await;
                moved.map_err(cannot("move the routing rule of the local table behind those of the translator"))
            }
            Change::Share(share) => {
                let added = self.netlink.add_share(share, index).await;
                added.map_err(cannot(format!("route ports of {} to the device", share.address)))?;
                info!(address = %share.address, interface = share.interface, first = share.first, last = share.last,
                    "sharing an address with this host");
                Ok(())
            }
            Change::Defragment { table } => {
                if let Err(error) = nft(&defragmenting(table)) {
                    warn!(%error, "fragments to the shared address cannot be translated: is nftables installed?");
                }
                Ok(())
            }
            Change::Sysctl { .. } | Change::Keep { .. } | Change::Proxy { .. } => Ok(()),
        }
    }

    /// Takes such changes back.
    pub(super) async fn undo_shares(netlink: &Netlink, changes: &[Change]) {
        for change in changes.iter().rev() {
            let undone = match change {
                Change::Share(share) => netlink.remove_share(share).await,
                Change::LocalTable => netlink.put_local_table_back().await,
                Change::Defragment { table } => {
                    if let Err(error) = nft(&format!("add table ip {table}\ndelete table ip {table}\n")) {
                        warn!(%error, table, "cannot remove a table of nftables");
                    }
                    Ok(())
                }
                Change::Sysctl { .. } | Change::Keep { .. } | Change::Proxy { .. } => Ok(()),
            };
            if let Err(error) = undone {
                warn!(%error, "cannot take a routing rule back; see ip rule");
            }
        }
    }
}

/// Rules that match nothing, but need whole packets to do so: the kernel puts fragments together for `tproxy`.
fn defragmenting(table: &str) -> String {
    format!(
        "add table ip {table}\n\
         add chain ip {table} prerouting {{ type filter hook prerouting priority -300; }}\n\
         flush chain ip {table} prerouting\n\
         add rule ip {table} prerouting ip daddr 0.0.0.0 meta l4proto udp tproxy to :1\n"
    )
}

fn nft(script: &str) -> io::Result<()> {
    let mut command = Command::new("nft");
    let mut child = command.args(["-f", "-"]).stdin(Stdio::piped()).stdout(Stdio::null()).spawn()?;
    if let Some(mut input) = child.stdin.take() {
        input.write_all(script.as_bytes())?;
    }
    let status = child.wait()?;
    if status.success() { Ok(()) } else { Err(io::Error::other(format!("nft ended with {status}"))) }
}

/// Says that the kernel translates addresses, too. It gives nobody the port of anybody else, but what the translator has given
/// out may leave as another port, which the log of sessions then does not know.
fn tell_of_other_nats() {
    for chain in other_nat::chains() {
        warn!(
            chain,
            "the kernel may translate source addresses on this host, too; where its rules match what the translator \
            sends, ports may differ from those in the log of sessions: let them pass by the shared address (ip saddr != ...)"
        );
    }
}

/// Refuses a share that a socket of this host is in.
fn refuse_used(share: &Share) -> Result<(), ShareError> {
    for (table, protocol, flag) in
        [("tcp", "TCP", 't'), ("tcp6", "TCP", 't'), ("udp", "UDP", 'u'), ("udp6", "UDP", 'u')]
    {
        let text = fs::read_to_string(format!("/proc/thread-self/net/{table}")).unwrap_or_default();
        let used = text.lines().skip(1).filter_map(bound).find(|(local, port)| {
            let serves = local.is_unspecified() || local.to_canonical() == IpAddr::V4(share.address);
            serves && (share.first..=share.last).contains(port)
        });
        if let Some((local, port)) = used {
            return Err(ShareError::PortInUse { address: share.address, port, protocol, flag, local });
        }
    }
    Ok(())
}

/// What a line of a table of sockets in `/proc/net` is bound to.
fn bound(line: &str) -> Option<(IpAddr, u16)> {
    /// A connection that is over and rests.
    const TIME_WAIT: &str = "06";
    let mut fields = line.split_whitespace();
    let (address, port) = fields.nth(1)?.split_once(':')?;
    if fields.nth(1) == Some(TIME_WAIT) {
        return None;
    }
    let port = u16::from_str_radix(port, 16).ok()?;
    // Words of 32 bits in the order of the machine.
    let word = |at: usize| u32::from_str_radix(address.get(at..at + 8)?, 16).ok().map(u32::to_ne_bytes);
    let address = if address.len() == 8 {
        IpAddr::from(word(0)?)
    } else {
        let words = [word(0)?, word(8)?, word(16)?, word(24)?].concat();
        IpAddr::from(*words.first_chunk::<16>()?)
    };
    Some((address, port))
}

/// `ports` and those of `shares`.
pub(super) fn reserved_with(mut ports: BTreeSet<u16>, shares: &[Share]) -> BTreeSet<u16> {
    shares.iter().for_each(|share| ports.extend(share.first..=share.last));
    ports
}

/// The ports of a list as the kernel has it.
pub(super) fn parse_ports(text: &str) -> BTreeSet<u16> {
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(first.trim().parse::<u16>().ok()?..=last.trim().parse::<u16>().ok()?)
    };
    text.split(',').filter_map(range).flatten().collect()
}

/// The ports as the kernel prints them, so that what it has can be compared.
pub(super) fn ports_text(ports: &BTreeSet<u16>) -> String {
    let mut ranges: Vec<(u16, u16)> = Vec::new();
    for port in ports {
        match ranges.last_mut() {
            Some((_, last)) if last.checked_add(1) == Some(*port) => *last = *port,
            _ => ranges.push((*port, *port)),
        }
    }
    let text = |(first, last): &(u16, u16)| {
        if first == last { first.to_string() } else { format!("{first}-{last}") }
    };
    ranges.iter().map(text).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_merged_as_the_kernel_prints_them() {
        let mut ports = parse_ports("8080,9148,30000-30002");
        ports.extend(9149..=9150);
        assert_eq!(ports_text(&ports), "8080,9148-9150,30000-30002");
        assert_eq!(ports_text(&parse_ports("")), "");
    }

    #[test]
    fn a_line_of_the_socket_table_says_what_is_bound() {
        let line = "   0: 0100007F:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1";
        assert_eq!(bound(line), Some(("127.0.0.1".parse().unwrap(), 22)));
        let line = "   1: 0100007F:0016 0100007F:0017 06 00000000:00000000 03:00000E6C 00000000     0        0 0 3";
        assert_eq!(bound(line), None, "what is over keeps no port from anybody");
        let line = "   0: 0000000000000000FFFF00000A0200C0:4E20 00000000000000000000000000000000:0000 07";
        let (address, port) = bound(line).unwrap();
        assert_eq!((address.to_canonical(), port), ("192.0.2.10".parse().unwrap(), 20_000));
    }
}
