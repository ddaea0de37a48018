//! Which entries of a listing are wanted. The command line's options and the query of the API are the same.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

use clap::Args;
use ipnet::IpNet;
use nat64_core::{MappingInfo, Protocol, SessionInfo, Timestamp};
use schemars::JsonSchema;
use serde::Deserialize;

use super::client::with_query;
use crate::config::Transport;

/// What an entry must be like. What is not given matches everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Filter {
    /// Only what has this address, or one of this range, at any end: 2001:db8::1, 198.51.100.0/24
    #[arg(long, value_name = "ADDRESS", value_parser = range)]
    #[serde(deserialize_with = "range_in_text")]
    #[schemars(with = "Option<String>")]
    pub(crate) address: Option<IpNet>,
    /// Only what has this port, or ICMP identifier, at any end
    #[arg(long, value_name = "PORT")]
    pub(crate) port: Option<u16>,
    /// Only what has this host inside, with or without a port: 2001:db8::1, 2001:db8::/64, [2001:db8::1]:5555
    #[allow(rustdoc::broken_intra_doc_links)] // the brackets are an address's, and the help shows them as they stand
    #[arg(long, value_name = "END")]
    #[schemars(with = "Option<String>")]
    pub(crate) internal: Option<End>,
    /// Only what has this pool address, with or without a port: 192.0.2.1, 192.0.2.1:40123
    #[arg(long, value_name = "END")]
    #[schemars(with = "Option<String>")]
    pub(crate) external: Option<End>,
    /// Only sessions with this host outside, with or without a port: 198.51.100.7, 198.51.100.7:443
    #[arg(long, value_name = "END")]
    #[schemars(with = "Option<String>")]
    pub(crate) remote: Option<End>,
    /// Only this protocol
    #[arg(long, value_name = "PROTOCOL")]
    pub(crate) protocol: Option<Transport>,
    /// Only sessions in this state, such as ESTABLISHED
    #[arg(long, value_name = "STATE", value_parser = state)]
    #[serde(deserialize_with = "state_in_text")]
    pub(crate) state: Option<String>,
    /// Only what was made this many seconds ago, or earlier
    #[arg(long, value_name = "SECONDS")]
    pub(crate) min_age: Option<u64>,
}

/// One end of a session: an address or a range, and perhaps a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct End {
    range: IpNet,
    port: Option<u16>,
}

impl End {
    /// All ports of a range of addresses.
    pub(crate) const fn range(range: IpNet) -> Self {
        Self { range, port: None }
    }

    fn is(&self, address: impl Into<IpAddr>, port: u16) -> bool {
        self.range.contains(&address.into()) && self.port.is_none_or(|wanted| wanted == port)
    }
}

impl From<SocketAddr> for End {
    fn from(end: SocketAddr) -> Self {
        Self { range: end.ip().into(), port: Some(end.port()) }
    }
}

impl FromStr for End {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Ok(end) = text.parse::<SocketAddr>() {
            return Ok(end.into());
        }
        range(text).map(Self::range).map_err(|error| format!("{error}, or with a port 192.0.2.1:80, [2001:db8::1]:80"))
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) => SocketAddr::new(self.range.addr(), port).fmt(f),
            None => self.range.fmt(f),
        }
    }
}

impl<'de> Deserialize<'de> for End {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl Filter {
    /// Whether a session is wanted.
    pub(crate) fn takes_session(&self, session: &SessionInfo, now: Timestamp) -> bool {
        let addresses =
            [session.internal.0.into(), session.external.0.into(), session.remote.0.into(), session.remote6.into()];
        self.takes_protocol(session.protocol)
            && self.takes_age(session.created, now)
            && self.takes_addresses(&addresses)
            && self.takes_ports(&[session.internal.1, session.external.1, session.remote.1])
            && self.internal.is_none_or(|end| end.is(session.internal.0, session.internal.1))
            && self.external.is_none_or(|end| end.is(session.external.0, session.external.1))
            && self.remote.is_none_or(|end| end.is(session.remote.0, session.remote.1))
            && self.state.as_ref().is_none_or(|state| state.eq_ignore_ascii_case(session.state))
    }

    /// Whether a mapping is wanted.
    pub(crate) fn takes_mapping(&self, mapping: &MappingInfo, now: Timestamp) -> bool {
        self.takes_protocol(mapping.protocol)
            && self.takes_age(mapping.created, now)
            && self.takes_addresses(&[mapping.internal.0.into(), mapping.external.0.into()])
            && self.takes_ports(&[mapping.internal.1, mapping.external.1])
            && self.internal.is_none_or(|end| end.is(mapping.internal.0, mapping.internal.1))
            && self.external.is_none_or(|end| end.is(mapping.external.0, mapping.external.1))
            && self.remote.is_none()
            && self.state.is_none()
    }

    /// The query that asks for the same, empty or with its question mark.
    pub(crate) fn query(&self) -> String {
        with_query(
            "",
            &[
                ("address", self.address.map(|range| range.to_string())),
                ("port", self.port.map(|port| port.to_string())),
                ("internal", self.internal.map(|end| end.to_string())),
                ("external", self.external.map(|end| end.to_string())),
                ("remote", self.remote.map(|end| end.to_string())),
                ("protocol", self.protocol.map(|transport| Protocol::from(transport).name().to_owned())),
                ("state", self.state.clone()),
                ("min-age", self.min_age.map(|age| age.to_string())),
            ],
        )
    }

    fn takes_protocol(&self, protocol: Protocol) -> bool {
        self.protocol.is_none_or(|wanted| Protocol::from(wanted) == protocol)
    }

    fn takes_age(&self, created: Timestamp, now: Timestamp) -> bool {
        self.min_age.is_none_or(|age| now.since(created) >= Duration::from_secs(age))
    }

    fn takes_addresses(&self, addresses: &[IpAddr]) -> bool {
        self.address.is_none_or(|range| addresses.iter().any(|address| range.contains(address)))
    }

    fn takes_ports(&self, ports: &[u16]) -> bool {
        self.port.is_none_or(|port| ports.contains(&port))
    }
}

/// An address, or a range by prefix.
pub(super) fn range(text: &str) -> Result<IpNet, String> {
    let address = || text.parse::<IpAddr>().map(IpNet::from);
    text.parse::<IpNet>().or_else(|_| address()).map_err(|_| {
        format!("`{text}` is no address or range; write 2001:db8::1, 2001:db8::/64, 192.0.2.1 or 198.51.100.0/24")
    })
}

/// A state of sessions, in capitals or not.
fn state(text: &str) -> Result<String, String> {
    if SessionInfo::states().any(|state| state.eq_ignore_ascii_case(text)) {
        return Ok(text.to_owned());
    }
    let states: Vec<&str> = SessionInfo::states().collect();
    Err(format!("`{text}` is no state; there are {}", states.join(", ")))
}

fn state_in_text<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    text.map(|text| state(&text).map_err(serde::de::Error::custom)).transpose()
}

pub(super) fn range_in_text<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<IpNet>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    text.map(|text| range(&text).map_err(serde::de::Error::custom)).transpose()
}

#[cfg(test)]
mod tests {
    use nat64_core::event::Traffic;

    use super::*;

    fn session() -> SessionInfo {
        SessionInfo {
            protocol: Protocol::Tcp,
            internal: ("2001:db8::1".parse().unwrap(), 5555),
            external: ("192.0.2.1".parse().unwrap(), 40_123),
            remote: ("198.51.100.7".parse().unwrap(), 443),
            remote6: "64:ff9b::c633:6407".parse().unwrap(),
            state: "ESTABLISHED",
            expires_in: Duration::from_secs(60),
            created: Timestamp::ZERO,
            outbound: Traffic::default(),
            inbound: Traffic::default(),
        }
    }

    fn filter(query: &str) -> Filter {
        let uri = format!("http://localhost/{query}").parse().unwrap();
        axum::extract::Query::<Filter>::try_from_uri(&uri).unwrap().0
    }

    #[test]
    fn whatever_end_has_the_address_or_port_counts() {
        let now = Timestamp::from_millis(90_000);
        for (query, taken) in [
            ("", true),
            ("?address=2001:db8::/64", true),
            ("?address=198.51.100.7", true),
            ("?address=64:ff9b::/96", true),
            ("?address=203.0.113.0/24", false),
            ("?port=40123", true),
            ("?port=443&protocol=tcp", true),
            ("?protocol=udp", false),
            ("?state=established", true),
            ("?state=V4_INIT", false),
            ("?internal=%5B2001:db8::1%5D:5555&external=192.0.2.1:40123&remote=198.51.100.7:443", true),
            ("?internal=2001:db8::/64&remote=198.51.100.0/24", true),
            ("?internal=198.51.100.7", false),
            ("?external=192.0.2.1:443", false),
            ("?remote=198.51.100.7:40123", false),
            ("?min-age=90", true),
            ("?min-age=91", false),
        ] {
            assert_eq!(filter(query).takes_session(&session(), now), taken, "{query}");
        }
    }

    #[test]
    fn a_filter_goes_over_the_wire_as_it_is() {
        let all = Filter {
            address: Some("2001:db8::/64".parse().unwrap()),
            port: Some(80),
            internal: Some("[2001:db8::1]:5555".parse().unwrap()),
            external: Some("192.0.2.0/28".parse().unwrap()),
            remote: Some("198.51.100.7:443".parse().unwrap()),
            protocol: Some(Transport::Icmp),
            state: Some("V6_FIN_RCV".to_owned()),
            min_age: Some(60),
        };

        assert_eq!(filter(&all.query()), all);
        assert_eq!(filter(&Filter::default().query()), Filter::default());
    }

    #[test]
    fn a_query_with_something_unknown_is_refused() {
        for query in [
            "?colour=red",
            "?remote=198.51.100.7:",
            "?internal=x",
            "?address=example.net",
            "?port=70000",
            "?protocol=sctp",
            "?state=OPEN",
        ] {
            let uri = format!("http://localhost/{query}").parse().unwrap();
            assert!(axum::extract::Query::<Filter>::try_from_uri(&uri).is_err(), "{query}");
        }
    }
}
