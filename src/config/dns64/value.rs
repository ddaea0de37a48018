//! Values of single keys.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use dns64::WhenUnusable;
use ipnet::IpNet;
use serde::de::value::SeqAccessDeserializer;
use serde::de::{self, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::config::value::{Prefix, as_text};

/// A range of addresses of either version, or one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ClientRange(pub(crate) IpNet);

impl FromStr for ClientRange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let net = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from)).map_err(|_| {
            format!("`{text}` is no range of addresses; write it as address/length, for example 2001:db8::/32")
        })?;
        if net.addr() == net.network() {
            Ok(Self(net))
        } else {
            Err(format!("`{text}` has bits set after its length; the range is `{}`", net.trunc()))
        }
    }
}

impl fmt::Display for ClientRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Who is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Clients {
    /// This host, private addresses, and whoever is on a link of this host.
    Auto,
    /// These addresses.
    Range(ClientRange),
}

impl Clients {
    /// The addresses that are known beforehand.
    pub(crate) fn nets(&self) -> &[IpNet] {
        match self {
            Self::Auto => &dns64::DEFAULT_CLIENTS,
            Self::Range(range) => std::slice::from_ref(&range.0),
        }
    }
}

impl FromStr for Clients {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "auto" { Ok(Self::Auto) } else { text.parse().map(Self::Range) }
    }
}

impl fmt::Display for Clients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Range(range) => range.fmt(f),
        }
    }
}

/// The name of a domain, in lower case and without its last dot; the root is a dot.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct DomainName(String);

impl FromStr for DomainName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if !dns64::is_domain_name(text) {
            return Err(format!(
                "`{text}` is no domain name; write it as labels with dots, for example corp.example, or . for all names"
            ));
        }
        let plain = text.strip_suffix('.').filter(|plain| !plain.is_empty()).unwrap_or(text);
        Ok(Self(plain.to_ascii_lowercase()))
    }
}

impl fmt::Display for DomainName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A text that answers can carry: up to 64 bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ServerName(pub(crate) String);

impl FromStr for ServerName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() > 64 {
            return Err(format!("the name has {} bytes; allowed are 64 at most", text.len()));
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for ServerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

as_text! {
    ClientRange: "a range of addresses such as \"2001:db8::/32\"";
    Clients: "\"auto\" or a range of addresses such as \"2001:db8::/32\"";
    DomainName: "a domain name such as \"corp.example\"";
    ServerName: "a text of up to 64 bytes";
}

/// What clients are told when no translator is there for an address.
#[derive(Clone, Debug, Default)]
pub(crate) enum WhenUnavailable {
    /// That there is no AAAA record.
    #[default]
    NoAaaa,
    /// That the server failed.
    Servfail,
    /// Addresses under other prefixes.
    Prefixes(Vec<Prefix>),
}

impl WhenUnavailable {
    /// The value as the server takes it.
    pub(crate) fn to_config(&self) -> WhenUnusable {
        match self {
            Self::NoAaaa => WhenUnusable::NoAaaa,
            Self::Servfail => WhenUnusable::ServerFailure,
            Self::Prefixes(prefixes) => WhenUnusable::Prefixes(prefixes.iter().map(|prefix| prefix.0).collect()),
        }
    }
}

impl<'de> Deserialize<'de> for WhenUnavailable {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ChoiceOrPrefixes;

        impl<'de> Visitor<'de> for ChoiceOrPrefixes {
            type Value = WhenUnavailable;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("\"no-aaaa\", \"servfail\", or a list of prefixes")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
                match text {
                    "no-aaaa" => Ok(WhenUnavailable::NoAaaa),
                    "servfail" => Ok(WhenUnavailable::Servfail),
                    _ => Err(E::custom(format_args!(
                        "unknown value `{text}`; allowed are \"no-aaaa\", \"servfail\", or a list of prefixes such as \
                         [\"2001:db8:64::/96\"]"
                    ))),
                }
            }

            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Self::Value, A::Error> {
                let prefixes = Vec::<Prefix>::deserialize(SeqAccessDeserializer::new(list))?;
                if prefixes.is_empty() {
                    return Err(de::Error::custom("the list is empty; give a prefix, or \"no-aaaa\" or \"servfail\""));
                }
                Ok(WhenUnavailable::Prefixes(prefixes))
            }
        }

        deserializer.deserialize_any(ChoiceOrPrefixes)
    }
}

impl Serialize for WhenUnavailable {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::NoAaaa => serializer.serialize_str("no-aaaa"),
            Self::Servfail => serializer.serialize_str("servfail"),
            Self::Prefixes(prefixes) => prefixes.serialize(serializer),
        }
    }
}
