//! Lists of rules: `translator.exclude` and `translator.static`.

use std::net::{Ipv4Addr, Ipv6Addr};

use clap::ValueEnum;
use nat64_core::Protocol;
use nat64_core::policy::{Exclusion, StaticMapping};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::value::{Ipv4Range, Ipv6Range, PortRange};

/// An entry of `translator.exclude`: traffic that is not translated. What is not given matches everything.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case", expecting = "a table such as { ports = \"25-25\" }")]
pub(crate) struct Exclude {
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<Ipv6Range>,
    #[serde(skip_serializing_if = "Option::is_none")]
    destination: Option<Ipv4Range>,
    #[serde(skip_serializing_if = "Option::is_none")]
    protocol: Option<Transport>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ports: Option<PortRange>,
    silent: bool,
}

/// An entry of `translator.static`: mappings that always exist.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(
    deny_unknown_fields,
    rename_all = "kebab-case",
    expecting = "a table such as { protocol = \"tcp\", internal = \"2001:db8::1\", external = \"192.0.2.1\", ports = \"443\" }"
)]
pub(crate) struct Static {
    protocol: Transport,
    internal: Ipv6Addr,
    external: Ipv4Addr,
    ports: PortRange,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    internal_ports: Option<PortRange>,
}

/// A transport with mappings, in files, on the command line and in queries of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Transport {
    Tcp,
    Udp,
    Icmp,
}

impl From<Transport> for Protocol {
    fn from(transport: Transport) -> Self {
        match transport {
            Transport::Tcp => Self::Tcp,
            Transport::Udp => Self::Udp,
            Transport::Icmp => Self::Icmp,
        }
    }
}

impl Exclude {
    /// What is wrong with the entry, if anything is.
    pub(crate) fn problem(&self) -> Option<String> {
        let icmp = self.protocol == Some(Transport::Icmp);
        (icmp && self.ports.is_some()).then(|| "ICMP has no ports; leave `ports` away, or name TCP or UDP".to_owned())
    }

    /// The entry as the translator takes it.
    pub(crate) fn to_policy(&self) -> Exclusion {
        Exclusion {
            source: self.source.map(|range| range.0),
            destination: self.destination.map(|range| range.0),
            protocol: self.protocol.map(Protocol::from),
            ports: self.ports.map(|ports| (ports.first, ports.last)),
            silent: self.silent,
        }
    }
}

impl Static {
    /// What is wrong with the entry, if anything is.
    pub(crate) fn problem(&self) -> Option<String> {
        let internal = self.internal_ports.unwrap_or(self.ports);
        let width = |ports: PortRange| ports.last - ports.first;
        (width(internal) != width(self.ports)).then(|| {
            format!("`ports` {} and `internal-ports` {internal} differ in size; give as many of each", self.ports)
        })
    }

    /// The mappings as the translator takes them.
    pub(crate) fn to_policy(&self) -> impl Iterator<Item = StaticMapping> + '_ {
        let internal = self.internal_ports.unwrap_or(self.ports);
        (self.ports.first..=self.ports.last).zip(internal.first..=internal.last).map(|(external, internal)| {
            StaticMapping {
                protocol: self.protocol.into(),
                internal: (self.internal, internal),
                external: (self.external, external),
            }
        })
    }

    /// The pool address and the ports on it.
    pub(crate) const fn external(&self) -> (Ipv4Addr, PortRange) {
        (self.external, self.ports)
    }
}
