//! The rules between values. Rules of single values are in their types.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::Ipv4Net;
use nat64_core::Policy;
use nat64_core::policy::PoolRange;
use pref64::special;

use super::file::{File, Mapping, PortAssignment, TranslatorSection};
use super::place::{Located, Problem};
use super::session_log;
use super::value::{AddressRange, Auto, PoolEntry};

/// Static mappings at the most.
const MOST_STATIC: usize = 65_536;

/// Checks `file` and writes the switches of both halves, and timers that follow from others, into it.
///
/// # Errors
/// The first rule that is broken.
pub(crate) fn check(file: &mut File) -> Result<(), Problem> {
    let translator = switch(&file.translator.enabled, !file.translator.pool4.is_empty());
    let dns64_on = switch(&file.dns64.enabled, !file.dns64.upstreams.is_empty());
    if !translator.value && !dns64_on.value {
        return Err(Problem::general(
            "nothing to do: translator and DNS64 are both off; set translator.pool4 (or give --pool4) to switch the \
             translator on, dns64.upstreams (or --dns-upstream) for DNS64",
        ));
    }
    prefixes(file)?;
    session_log::check(&file.log.sessions, dns64_on.value)?;
    if translator.value {
        pool(&translator, &file.translator)?;
        assignment(&file.translator)?;
        rules(&file.translator)?;
        sources(&file.translator)?;
        router_sources(&file.translator)?;
        tos(&file.translator)?;
    }
    if dns64_on.value {
        super::dns64::check(&dns64_on, &file.dns64)?;
    }
    if translator.value && dns64_on.value {
        upstreams_outside_pool(file)?;
    }
    let timers = &mut file.translator.timers;
    timers.tcp_opening = timers.tcp_opening.or(Some(timers.tcp_transitory));
    timers.tcp_closing = timers.tcp_closing.or(Some(timers.tcp_transitory));
    file.translator.enabled = Some(translator);
    file.dns64.enabled = Some(dns64_on);
    Ok(())
}

fn switch(written: &Option<Located<bool>>, otherwise: bool) -> Located<bool> {
    written.clone().unwrap_or_else(|| Located::default(otherwise))
}

fn prefixes(file: &File) -> Result<(), Problem> {
    if file.pref64.is_empty() {
        return Err(Problem::general(
            "pref64 is an empty list; give at least one prefix, for example \"64:ff9b::/96\"",
        ));
    }
    for (index, one) in file.pref64.0.iter().enumerate() {
        for other in &file.pref64.0[..index] {
            let (new, old) = (one.value.0.net(), other.value.0.net());
            if new.contains(&old) || old.contains(&new) {
                let message =
                    format!("the prefixes `{new}` and `{old}` overlap; each address may be under one prefix only");
                return Err(one.problem(message).also(other, "the other prefix is here"));
            }
        }
    }
    Ok(())
}

fn pool(switch: &Located<bool>, section: &TranslatorSection) -> Result<(), Problem> {
    if section.pool4.is_empty() {
        return Err(switch.problem(
            "the translator is on but translator.pool4 is empty; give the IPv4 addresses that it owns, for example \
             pool4 = [\"192.0.2.1\"], or switch it off",
        ));
    }
    let mut addresses: u64 = 0;
    for (index, entry) in section.pool4.0.iter().enumerate() {
        let range = pool_range(&entry.value, section);
        if let Some((address, what)) = unusable(&range) {
            return Err(entry.problem(format!(
                "the pool address {address} is {what}; allowed are unicast addresses outside of 0.0.0.0/8, 127.0.0.0/8, \
                 169.254.0.0/16, 224.0.0.0/4 and 240.0.0.0/4"
            )));
        }
        let overlapping =
            section.pool4.0[..index].iter().find(|other| range.overlaps(&pool_range(&other.value, section)));
        if let Some(other) = overlapping {
            let (new, old) = (entry.value.addresses, other.value.addresses);
            let message = format!(
                "the pool entries `{new}` and `{old}` overlap; an address may be in two entries only with different ports"
            );
            return Err(entry.problem(message).also(other, "the other entry is here"));
        }
        addresses += range.addresses();
        if addresses > Policy::MAX_POOL_ADDRESSES {
            return Err(entry.problem(format!(
                "with this entry the pool has {addresses} addresses; allowed are {} in all",
                Policy::MAX_POOL_ADDRESSES
            )));
        }
    }
    Ok(())
}

fn assignment(section: &TranslatorSection) -> Result<(), Problem> {
    let assignment = &section.port_assignment;
    let size = &section.port_blocks.size;
    if !size.value.to::<u64>().is_power_of_two() {
        return Err(size.problem("the size of port blocks is a power of two from 16 to 16384, for example 512"));
    }
    if assignment.value == PortAssignment::Single {
        return Ok(());
    }
    if section.mapping == Mapping::AddressAndPortDependent {
        return Err(assignment.problem(
            "address-and-port-dependent mapping shares ports between subscribers, so ports can only be assigned \
             \"single\"",
        ));
    }
    if assignment.value == PortAssignment::Deterministic && section.deterministic_sources.0.len() != 1 {
        return Err(assignment.problem(
            "deterministic ports need the prefix that subscribers are numbered in; give exactly one \
             deterministic-sources, for example \"2001:db8:1::/48\"",
        ));
    }
    Ok(())
}

fn rules(section: &TranslatorSection) -> Result<(), Problem> {
    for entry in &section.exclude {
        if let Some(problem) = entry.value.problem() {
            return Err(entry.problem(problem));
        }
    }
    let pool: Vec<PoolRange> = section.pool4.values().map(|entry| pool_range(entry, section)).collect();
    let mut mappings = 0;
    for entry in &section.statics {
        if let Some(problem) = entry.value.problem() {
            return Err(entry.problem(problem));
        }
        let (address, ports) = entry.value.external();
        let outside = (ports.first..=ports.last).find(|port| !pool.iter().any(|range| range.has_port(address, *port)));
        if let Some(port) = outside {
            return Err(entry.problem(format!(
                "the static mapping's {address}:{port} is not in the pool; allowed are addresses and ports of \
                 translator.pool4"
            )));
        }
        mappings += entry.value.to_policy().count();
        if mappings > MOST_STATIC {
            return Err(entry.problem(format!("there are more than {MOST_STATIC} static mappings with this entry")));
        }
    }
    Ok(())
}

/// The entry as the translator takes it.
pub(crate) fn pool_range(entry: &PoolEntry, section: &TranslatorSection) -> PoolRange {
    let ports = entry.ports.unwrap_or(section.ports.value);
    PoolRange {
        first: entry.addresses.first,
        last: entry.addresses.last,
        first_port: ports.first,
        last_port: ports.last,
    }
}

/// An address of the range that no packet can be sent from, and what it is.
fn unusable(range: &PoolRange) -> Option<(Ipv4Addr, &'static str)> {
    const UNUSABLE: [(Ipv4Net, &str); 5] = [
        (Ipv4Net::new_assert(Ipv4Addr::new(0, 0, 0, 0), 8), "of this network (0.0.0.0/8)"),
        (Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8), "a loopback address"),
        (Ipv4Net::new_assert(Ipv4Addr::new(169, 254, 0, 0), 16), "a link-local address"),
        (Ipv4Net::new_assert(Ipv4Addr::new(224, 0, 0, 0), 4), "a multicast address"),
        (Ipv4Net::new_assert(Ipv4Addr::new(240, 0, 0, 0), 4), "a reserved address"),
    ];
    UNUSABLE
        .into_iter()
        .filter(|(net, _)| range.first <= net.broadcast() && net.network() <= range.last)
        .map(|(net, what)| (range.first.max(net.network()), what))
        .next()
}

/// Sources of errors from IPv6 routers at the most; RFC 6791 §3.2 speaks of a small pool.
const MOST_ROUTER_SOURCES: u64 = 64;

fn router_sources(section: &TranslatorSection) -> Result<(), Problem> {
    let mut addresses = 0;
    for entry in &section.icmp_errors.router_sources.0 {
        let AddressRange { first, last } = entry.value;
        addresses += u64::from(last.to_bits() - first.to_bits()) + 1;
        if addresses > MOST_ROUTER_SOURCES {
            return Err(entry.problem(format!(
                "with this entry there are {addresses} sources for errors of routers; allowed are {MOST_ROUTER_SOURCES}"
            )));
        }
        if let Some(source) = entry.value.addresses().find(|source| !special::is_routable_unicast(*source)) {
            return Err(entry.problem(format!("{source} cannot be a source; allowed are unicast addresses")));
        }
    }
    Ok(())
}

fn tos(section: &TranslatorSection) -> Result<(), Problem> {
    let header = &section.header;
    if header.copy_traffic_class && header.tos.value.to::<u8>() != 0 {
        return Err(header.tos.problem(
            "tos is for packets whose traffic class is not copied; set copy-traffic-class = false as well, or leave tos out",
        ));
    }
    Ok(())
}

fn sources(section: &TranslatorSection) -> Result<(), Problem> {
    let errors = &section.icmp_errors;
    if let Auto::Fixed(source) = errors.source4.value
        && !special::is_routable_unicast(source)
    {
        return Err(errors
            .source4
            .problem(format!("{source} cannot be a source; allowed is a unicast address or \"auto\"")));
    }
    if let Auto::Fixed(source) = errors.source6.value
        && (source.is_multicast() || source.is_loopback() || source.is_unspecified() || source.is_unicast_link_local())
    {
        let message = format!("{source} cannot be a source; allowed is a routable unicast address or \"auto\"");
        return Err(errors.source6.problem(message));
    }
    Ok(())
}

/// An upstream in the pool would be asked through the translator, which has no mapping for it.
fn upstreams_outside_pool(file: &File) -> Result<(), Problem> {
    for upstream in super::dns64::all_upstreams(&file.dns64) {
        let IpAddr::V4(address) = upstream.value.0.address.ip().to_canonical() else { continue };
        let entry = file.translator.pool4.0.iter().find(|entry| {
            let range = entry.value.addresses;
            (range.first..=range.last).contains(&address)
        });
        if let Some(entry) = entry {
            let message =
                format!("the upstream {address} is in the translator's pool, so that queries would come back to us");
            return Err(upstream.problem(message).also(entry, "it is in this pool entry"));
        }
    }
    Ok(())
}
