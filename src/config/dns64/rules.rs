//! Lists of rules: `dns64.groups`, `dns64.domains`, `dns64.ranges` and `dns64.routes`.

use dns64::Treatment;
use serde::{Deserialize, Serialize};

use super::Upstream;
use super::value::{ClientRange, DomainName};
use crate::config::value::{Endpoint, Ipv4Range, Ipv6Range, Many, Prefix};

/// An entry of `dns64.groups`: clients that are told something else than the others. What is not given is as for everybody.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(
    deny_unknown_fields,
    rename_all = "kebab-case",
    expecting = "a table such as { name = \"phones\", clients = \"2001:db8:5::/48\", synthesise = false }"
)]
pub(crate) struct Group {
    pub(super) name: String,
    #[serde(default = "none", skip_serializing_if = "Many::is_empty")]
    pub(super) clients: Many<ClientRange>,
    #[serde(default = "none", skip_serializing_if = "Many::is_empty")]
    pub(super) listen: Many<Endpoint>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) synthesise: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) pref64: Option<Many<Prefix>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) exclude_aaaa: Option<Many<Ipv6Range>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) exclude_a: Option<Many<Ipv4Range>>,
}

/// An entry of `dns64.domains`: names that are treated otherwise than RFC 6147 has it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(
    deny_unknown_fields,
    rename_all = "kebab-case",
    expecting = "a table such as { domain = \"corp.example\", treatment = \"never\" }"
)]
pub(crate) struct Domain {
    pub(super) domain: Many<DomainName>,
    treatment: Treatment,
}

/// An entry of `dns64.ranges`: IPv4 addresses that have prefixes of their own.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(
    deny_unknown_fields,
    rename_all = "kebab-case",
    expecting = "a table such as { range = \"10.0.0.0/8\", pref64 = \"2001:db8:a::/96\" }"
)]
pub(crate) struct Range {
    pub(super) range: Ipv4Range,
    pub(super) pref64: Many<Prefix>,
}

/// An entry of `dns64.routes`: names that are asked of upstreams of their own.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(
    deny_unknown_fields,
    rename_all = "kebab-case",
    expecting = "a table such as { domain = \"cluster.local\", upstreams = \"10.96.0.10\" }"
)]
pub(crate) struct Route {
    pub(super) domain: Many<DomainName>,
    pub(super) upstreams: Many<Upstream>,
}

fn none<T>() -> Many<T> {
    Many::default([])
}

impl Group {
    /// The entry as the server takes it.
    pub(super) fn to_config(&self) -> dns64::Group {
        dns64::Group {
            name: self.name.clone(),
            clients: self.clients.values().map(|range| range.0).collect(),
            listen: self.listen.values().map(|endpoint| endpoint.0).collect(),
            synthesise: self.synthesise,
            prefixes: self.pref64.as_ref().map(|prefixes| prefixes.values().map(|prefix| prefix.0).collect()),
            exclude_aaaa: self.exclude_aaaa.as_ref().map(|ranges| ranges.values().map(|range| range.0).collect()),
            exclude_a: self.exclude_a.as_ref().map(|ranges| ranges.values().map(|range| range.0).collect()),
        }
    }
}

impl Domain {
    /// The entry as the server takes it.
    pub(super) fn to_config(&self) -> impl Iterator<Item = dns64::Domain> {
        self.domain.values().map(|domain| dns64::Domain { domain: domain.to_string(), treatment: self.treatment })
    }
}

impl Range {
    /// The entry as the server takes it.
    pub(super) fn to_config(&self) -> dns64::RangePrefixes {
        let prefixes = self.pref64.values().map(|prefix| prefix.0).collect();
        dns64::RangePrefixes { range: self.range.0, prefixes }
    }
}

impl Route {
    /// The entry as the server takes it.
    pub(super) fn to_config(&self) -> impl Iterator<Item = dns64::Route> {
        let upstreams: Vec<_> = self.upstreams.values().map(|upstream| upstream.0.clone()).collect();
        self.domain
            .values()
            .map(move |domain| dns64::Route { domain: domain.to_string(), upstreams: upstreams.clone() })
    }
}
