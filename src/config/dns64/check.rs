//! The rules between values of `[dns64]`.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use super::value::DomainName;
use super::{Dns64Section, Group, Upstream};
use crate::config::place::{Located, Problem};
use crate::config::value::{Endpoint, Many, Prefix};

/// Groups of clients at the most: each is looked at for every query.
const MOST_GROUPS: usize = 1000;

/// Checks the section of a server that is on, by this switch.
///
/// # Errors
/// The first rule that is broken.
pub(crate) fn check(switch: &Located<bool>, section: &Dns64Section) -> Result<(), Problem> {
    listeners(section)?;
    super::tls::check(section)?;
    trust_anchors(section)?;
    clients(section)?;
    upstreams(switch, section)?;
    ranges(section)?;
    groups(section)?;
    each_domain_once("treated", section.domains.iter().map(|entry| &entry.value.domain))?;
    each_domain_once("routed", section.routes.iter().map(|entry| &entry.value.domain))
}

fn clients(section: &Dns64Section) -> Result<(), Problem> {
    if section.clients.is_empty() {
        return Err(Problem::general(
            "dns64.clients is an empty list, so that nobody is answered; give the ranges of your clients, or \"auto\" for \
             this host, private addresses and the links of this host",
        ));
    }
    Ok(())
}

/// A file that is named is looked at, whether validation is on or not.
fn trust_anchors(section: &Dns64Section) -> Result<(), Problem> {
    let Some(file) = section.trust_anchors.value.path() else { return Ok(()) };
    dns64::check_trust_anchors(Some(file)).map_err(|error| section.trust_anchors.problem(error.to_string()))
}

fn listeners(section: &Dns64Section) -> Result<(), Problem> {
    if section.listen.is_empty() {
        return Err(Problem::general(
            "dns64.listen is an empty list; give at least one address, for example \"[::]:53\"",
        ));
    }
    for (index, one) in section.listen.0.iter().enumerate() {
        if one.value.0.ip().is_multicast() {
            return Err(one.problem(format!("`{}` is multicast; listen on a unicast address or on [::]", one.value)));
        }
        if let Some(other) = section.listen.0[..index].iter().find(|other| other.value == one.value) {
            let message = format!("`{}` is listed twice; once is enough", one.value);
            return Err(one.problem(message).also(other, "the other one is here"));
        }
    }
    Ok(())
}

fn upstreams(switch: &Located<bool>, section: &Dns64Section) -> Result<(), Problem> {
    if section.upstreams.is_empty() {
        return Err(switch.problem(
            "DNS64 is on but dns64.upstreams is empty; give the address of at least one recursive resolver, for example \
             upstreams = [\"192.0.2.53\"], or switch it off",
        ));
    }
    if let Some(route) = section.routes.iter().find(|route| route.value.upstreams.is_empty()) {
        return Err(route.problem("the route has no upstream; give the address of at least one resolver"));
    }
    for upstream in all_upstreams(section) {
        if !upstream.value.0.can_be_asked() {
            let message = format!(
                "`{}` cannot be asked; allowed is a unicast address with a port from 1 to 65535",
                upstream.value
            );
            return Err(upstream.problem(message));
        }
    }
    upstream_loop(section, &[]).map_or(Ok(()), Err)
}

/// The general upstreams and those of routes.
pub(crate) fn all_upstreams(section: &Dns64Section) -> impl Iterator<Item = &Located<Upstream>> {
    section.upstreams.0.iter().chain(section.routes.iter().flat_map(|route| &route.value.upstreams.0))
}

/// The first upstream that is this server itself, on a host that has the addresses `host`.
pub(crate) fn upstream_loop(section: &Dns64Section, host: &[IpAddr]) -> Option<Problem> {
    let upstreams: Vec<SocketAddr> = all_upstreams(section).map(|upstream| upstream.value.0.address).collect();
    let listeners = super::tls::all_listeners(section);
    let listen: Vec<SocketAddr> = listeners.iter().map(|listen| listen.value).collect();
    let (upstream, listen) = dns64::find_upstream_loop(&upstreams, &listen, host)?;
    let message = format!(
        "the upstream `{upstream}` is this server itself, which listens on `{listen}`; give a resolver elsewhere, or \
         listen on other addresses"
    );
    let upstream = all_upstreams(section).find(|located| located.value.0.address == upstream)?;
    let listen = listeners.iter().find(|located| located.value == listen)?;
    Some(upstream.problem(message).also(listen, "it listens here"))
}

fn ranges(section: &Dns64Section) -> Result<(), Problem> {
    for (index, entry) in section.ranges.iter().enumerate() {
        let range = entry.value.range;
        if entry.value.pref64.is_empty() {
            return Err(entry.problem(format!("the range {range} has no prefix; give one, or list it in exclude-a")));
        }
        if let Some(other) = section.ranges[..index].iter().find(|other| other.value.range == range) {
            return Err(entry.problem(format!("the range {range} is listed twice")).also(other, "the other is here"));
        }
    }
    Ok(())
}

fn groups(section: &Dns64Section) -> Result<(), Problem> {
    if let Some(beyond) = section.groups.get(MOST_GROUPS) {
        return Err(beyond.problem(format!("this is one group too many; allowed are {MOST_GROUPS}")));
    }
    for (index, entry) in section.groups.iter().enumerate() {
        let group = &entry.value;
        group_alone(section, entry)?;
        for other in &section.groups[..index] {
            if other.value.name == group.name {
                let message = format!("two groups are called `{}`; give each a name of its own", group.name);
                return Err(entry.problem(message).also(other, "the other is here"));
            }
            if let Some(client) = same_clients(group, &other.value) {
                let message =
                    format!("{client} are in the group `{}` already, by the same listeners", other.value.name);
                return Err(entry.problem(message).also(other, "that group is here"));
            }
        }
    }
    Ok(())
}

fn group_alone(section: &Dns64Section, entry: &Located<Group>) -> Result<(), Problem> {
    let group = &entry.value;
    if group.name.is_empty() || group.name == "everybody" {
        return Err(entry.problem("the group needs a name of its own; allowed is any text but `everybody`"));
    }
    if group.clients.is_empty() && group.listen.is_empty() {
        return Err(entry.problem(format!(
            "nobody is in the group `{}`; give clients, or the listeners that its clients ask, or both",
            group.name
        )));
    }
    if group.pref64.as_ref().is_some_and(Many::<Prefix>::is_empty) {
        return Err(entry.problem("pref64 is an empty list; give a prefix, or synthesise = false"));
    }
    let is_asked = |listen: &Endpoint| {
        let mut own = section.listen.values().map(|own| own.0).chain(section.tls.listeners());
        own.any(|own| own.port() == listen.0.port() && (own.ip().is_unspecified() || own.ip() == listen.0.ip()))
    };
    match group.listen.0.iter().find(|listen| !is_asked(&listen.value)) {
        Some(listen) => Err(listen
            .problem(format!("`{}` is no listener; allowed are those of dns64.listen and dns64.tls", listen.value))),
        None => Ok(()),
    }
}

/// Clients that are in both groups with the same right.
fn same_clients(one: &Group, other: &Group) -> Option<String> {
    let listen = |group: &Group| group.listen.values().map(|endpoint| endpoint.0).collect::<Vec<_>>();
    if listen(one) != listen(other) {
        return None;
    }
    if one.clients.is_empty() && other.clients.is_empty() {
        return Some("these clients".to_owned());
    }
    one.clients.values().find(|client| other.clients.values().any(|own| own == *client)).map(ToString::to_string)
}

fn each_domain_once<'a>(how: &str, entries: impl Iterator<Item = &'a Many<DomainName>>) -> Result<(), Problem> {
    let mut seen: HashMap<&DomainName, &Located<DomainName>> = HashMap::new();
    for domain in entries.flat_map(|domains| &domains.0) {
        if let Some(other) = seen.insert(&domain.value, domain) {
            let message = format!("the domain `{}` is {how} twice; once is allowed", domain.value);
            return Err(domain.problem(message).also(other, "the other one is here"));
        }
    }
    Ok(())
}
