//! `[dns64]`: every key with its type, range and default, and what they come to.

mod check;
mod tls;
mod value;

use std::net::{Ipv6Addr, SocketAddr};

use pref64::{Pref64, WellKnownPolicy};
use serde::{Deserialize, Serialize};

use super::place::Located;
use super::scalar::{Lifetime, Number};
use super::value::{Endpoint, Ipv6Range, Many};
pub(crate) use check::{check, upstream_loop};
use tls::TlsSection;
use value::Clients;

/// `[dns64]`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case", expecting = "a table")]
pub(crate) struct Dns64Section {
    pub(crate) enabled: Option<Located<bool>>,
    pub(crate) listen: Many<Endpoint>,
    pub(crate) clients: Many<Clients>,
    pub(crate) upstreams: Many<Endpoint>,
    timeout: Lifetime<10, 60_000>,
    attempts: Number<1, 16>,
    deadline: Lifetime<10, 300_000>,
    exclude_aaaa: Many<Ipv6Range>,
    cache_entries: Number<0, 50_000_000>,
    cache_bytes: Number<0, { 1 << 40 }>,
    max_ttl: Lifetime<0, 604_800_000>,
    max_negative_ttl: Lifetime<0, 604_800_000>,
    max_in_flight: Number<1, 1_000_000>,
    tcp_connections: Number<1, 1_000_000>,
    tcp_idle: Lifetime<100, 3_600_000>,
    connections_per_client: Number<1, 1_000_000>,
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
            timeout: Lifetime::new(crate_default.timeout),
            attempts: Number::new(crate_default.attempts.into()),
            deadline: Lifetime::new(crate_default.deadline),
            exclude_aaaa: Many::default([Ipv6Range(dns64::DEFAULT_EXCLUSION)]),
            cache_entries: Number::new(crate_default.cache_entries as u64),
            cache_bytes: Number::new(crate_default.cache_bytes as u64),
            max_ttl: Lifetime::new(crate_default.max_ttl),
            max_negative_ttl: Lifetime::new(crate_default.max_negative_ttl),
            max_in_flight: Number::new(crate_default.max_in_flight as u64),
            tcp_connections: Number::new(crate_default.tcp_connections as u64),
            tcp_idle: Lifetime::new(crate_default.tcp_idle),
            connections_per_client: Number::new(crate_default.connections_per_client as u64),
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
        let mut config = dns64::Config {
            listen: self.listen.values().map(|endpoint| endpoint.0).collect(),
            clients: self.clients.values().flat_map(Clients::nets).copied().collect(),
            well_known,
            exclude_aaaa: self.exclude_aaaa.values().map(|range| range.0).collect(),
            timeout: self.timeout.value(),
            attempts: self.attempts.to(),
            deadline: self.deadline.value(),
            cache_entries: self.cache_entries.to(),
            cache_bytes: self.cache_bytes.to(),
            max_ttl: self.max_ttl.value(),
            max_negative_ttl: self.max_negative_ttl.value(),
            max_in_flight: self.max_in_flight.to(),
            tcp_connections: self.tcp_connections.to(),
            tcp_idle: self.tcp_idle.value(),
            connections_per_client: self.connections_per_client.to(),
            ..dns64::Config::new(self.upstreams.values().map(|endpoint| endpoint.0).collect(), prefixes)
        };
        self.tls.apply(&mut config);
        config
    }
}
