//! `[dns64]`: every key with its type, range and default, and what they come to.

mod check;
mod rules;
#[cfg(test)]
mod tests;
mod tls;
mod upstream;
mod value;

use std::net::{Ipv6Addr, SocketAddr};
use std::path::Path;

use dns64::{PtrMode, UpstreamOrder};
use pref64::{Pref64, WellKnownPolicy};
use serde::{Deserialize, Serialize};

use super::place::Located;
use super::scalar::{Lifetime, Number};
use super::value::{Endpoint, Ipv4Range, Ipv6Range, Many};
pub(crate) use check::{all_upstreams, check, upstream_loop};
use rules::{Domain, Group, Range, Route};
use tls::{FilePath, TlsSection};
pub(crate) use upstream::Upstream;
use value::{Clients, DomainName, ServerName, WhenUnavailable};

/// Up to a week.
type Week = Lifetime<0, 604_800_000>;

/// `[dns64]`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case", expecting = "a table")]
pub(crate) struct Dns64Section {
    pub(crate) enabled: Option<Located<bool>>,
    pub(crate) listen: Many<Endpoint>,
    pub(crate) clients: Many<Clients>,
    pub(crate) upstreams: Many<Upstream>,
    upstream_order: UpstreamOrder,
    routes: Vec<Located<Route>>,
    exclude_aaaa: Many<Ipv6Range>,
    exclude_a: Many<Ipv4Range>,
    ranges: Vec<Located<Range>>,
    groups: Vec<Located<Group>>,
    domains: Vec<Located<Domain>>,
    when_unavailable: WhenUnavailable,
    ipv4only_ttl: Week,
    ptr: PtrMode,
    timeout: Lifetime<10, 60_000>,
    attempts: Number<1, 16>,
    deadline: Lifetime<10, 300_000>,
    cache_entries: Number<0, 50_000_000>,
    cache_bytes: Number<0, { 1 << 40 }>,
    max_ttl: Week,
    max_negative_ttl: Week,
    max_stale: Week,
    failure_ttl: Lifetime<0, 300_000>,
    prefetch: bool,
    cookies: bool,
    nsid: ServerName,
    edns_payload: Number<512, 4096>,
    rate_limit: Number<0, 1_000_000>,
    max_in_flight: Number<1, 1_000_000>,
    in_flight_per_client: Number<1, 1_000_000>,
    udp_sockets: Number<0, 256>,
    tcp_connections: Number<1, 1_000_000>,
    connections_per_client: Number<1, 1_000_000>,
    tcp_idle: Lifetime<100, 3_600_000>,
    random_case: bool,
    dnssec: bool,
    trust_anchors: Located<FilePath>,
    dnssec_unsigned: Many<DomainName>,
    tls: TlsSection,
}

impl Default for Dns64Section {
    fn default() -> Self {
        let crate_default = dns64::Config::new(Vec::new(), Vec::new());
        Self {
            enabled: None,
            listen: Many::default([Endpoint(SocketAddr::from((Ipv6Addr::UNSPECIFIED, 53)))]),
            clients: Many::default([Clients::Auto]),
            upstreams: Many::default([]),
            upstream_order: crate_default.upstream_order,
            routes: Vec::new(),
            exclude_aaaa: Many::default([Ipv6Range(dns64::DEFAULT_EXCLUSION)]),
            exclude_a: Many::default([]),
            ranges: Vec::new(),
            groups: Vec::new(),
            domains: Vec::new(),
            when_unavailable: WhenUnavailable::default(),
            ipv4only_ttl: Lifetime::new(crate_default.ipv4only_ttl),
            ptr: crate_default.ptr,
            timeout: Lifetime::new(crate_default.timeout),
            attempts: Number::new(crate_default.attempts.into()),
            deadline: Lifetime::new(crate_default.deadline),
            cache_entries: Number::new(crate_default.cache_entries as u64),
            cache_bytes: Number::new(crate_default.cache_bytes as u64),
            max_ttl: Lifetime::new(crate_default.max_ttl),
            max_negative_ttl: Lifetime::new(crate_default.max_negative_ttl),
            max_stale: Lifetime::new(crate_default.max_stale),
            failure_ttl: Lifetime::new(crate_default.failure_ttl),
            prefetch: crate_default.prefetch,
            cookies: crate_default.cookies,
            nsid: ServerName::default(),
            edns_payload: Number::new(crate_default.edns_payload.into()),
            rate_limit: Number::new(crate_default.rate_limit.into()),
            max_in_flight: Number::new(crate_default.max_in_flight as u64),
            in_flight_per_client: Number::new(crate_default.in_flight_per_client as u64),
            udp_sockets: Number::new(crate_default.udp_sockets.into()),
            tcp_connections: Number::new(crate_default.tcp_connections as u64),
            connections_per_client: Number::new(crate_default.connections_per_client as u64),
            tcp_idle: Lifetime::new(crate_default.tcp_idle),
            random_case: crate_default.random_case,
            dnssec: crate_default.dnssec,
            trust_anchors: Located::default(FilePath::default()),
            dnssec_unsigned: Many::default([]),
            tls: TlsSection::default(),
        }
    }
}

impl Dns64Section {
    /// Whether hosts on this host's own links are clients.
    pub(crate) fn serves_links(&self) -> bool {
        self.clients.values().any(|clients| *clients == Clients::Auto)
    }

    /// What the server is told. Hosts on this host's own links are not among its clients yet.
    pub(crate) fn to_config(&self, prefixes: Vec<Pref64>, well_known: WellKnownPolicy) -> dns64::Config {
        let policy = self.to_policy(dns64::Config {
            well_known,
            ..dns64::Config::new(self.upstreams.values().map(|upstream| upstream.0.clone()).collect(), prefixes)
        });
        let mut config = dns64::Config {
            listen: self.listen.values().map(|endpoint| endpoint.0).collect(),
            upstream_order: self.upstream_order,
            routes: self.routes.iter().flat_map(|route| route.value.to_config()).collect(),
            timeout: self.timeout.value(),
            attempts: self.attempts.to(),
            deadline: self.deadline.value(),
            cache_entries: self.cache_entries.to(),
            cache_bytes: self.cache_bytes.to(),
            max_ttl: self.max_ttl.value(),
            max_negative_ttl: self.max_negative_ttl.value(),
            max_stale: self.max_stale.value(),
            failure_ttl: self.failure_ttl.value(),
            prefetch: self.prefetch,
            cookies: self.cookies,
            nsid: Some(self.nsid.0.clone()).filter(|name| !name.is_empty()),
            edns_payload: self.edns_payload.to(),
            rate_limit: self.rate_limit.to(),
            max_in_flight: self.max_in_flight.to(),
            in_flight_per_client: self.in_flight_per_client.to(),
            udp_sockets: self.udp_sockets.to(),
            tcp_connections: self.tcp_connections.to(),
            connections_per_client: self.connections_per_client.to(),
            tcp_idle: self.tcp_idle.value(),
            random_case: self.random_case,
            dnssec: self.dnssec,
            trust_anchors: self.trust_anchors.value.path().map(Path::to_owned),
            dnssec_unsigned: self.dnssec_unsigned.values().map(ToString::to_string).collect(),
            ..policy
        };
        self.tls.apply(&mut config);
        config
    }

    /// `config` with what decides on what clients are told.
    fn to_policy(&self, config: dns64::Config) -> dns64::Config {
        dns64::Config {
            clients: self.clients.values().flat_map(Clients::nets).copied().collect(),
            exclude_aaaa: self.exclude_aaaa.values().map(|range| range.0).collect(),
            exclude_a: self.exclude_a.values().map(|range| range.0).collect(),
            range_prefixes: self.ranges.iter().map(|range| range.value.to_config()).collect(),
            groups: self.groups.iter().map(|group| group.value.to_config()).collect(),
            domains: self.domains.iter().flat_map(|domain| domain.value.to_config()).collect(),
            when_unusable: self.when_unavailable.to_config(),
            ipv4only_ttl: self.ipv4only_ttl.value(),
            ptr: self.ptr,
            ..config
        }
    }
}
