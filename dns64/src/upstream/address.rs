//! Where an upstream is, and how it is asked.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use rustls::pki_types::ServerName;

/// The path of queries over HTTPS where none is given.
const DEFAULT_PATH: &str = "/dns-query";

/// A recursive resolver to forward queries to.
///
/// Written as an address, with a port if it is not the usual one: `192.0.2.53`, `[2001:db8::53]:5353`; never by datagram as
/// `tcp://192.0.2.53`, over TLS as
/// `tls://192.0.2.53#dns.example`, over HTTPS as `https://192.0.2.53/dns-query#dns.example`, where the name after `#` is
/// the one that the resolver's certificate is for. Without it the certificate must be for the address.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Upstream {
    /// The address and port.
    pub address: SocketAddr,
    /// How it is asked.
    pub transport: Transport,
}

/// How an upstream is asked.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// Over UDP, and over TCP what does not fit.
    Plain,
    /// Over TCP alone (RFC 7766).
    Tcp,
    /// Over TLS (RFC 7858).
    Tls {
        /// Whom its certificate must be for, if not for the address.
        name: Option<String>,
    },
    /// Over HTTPS (RFC 8484).
    Https {
        /// Whom its certificate must be for, if not for the address.
        name: Option<String>,
        /// The path of the URI.
        path: String,
    },
}

impl Transport {
    /// The port where it usually is spoken.
    const fn port(&self) -> u16 {
        match self {
            Self::Plain | Self::Tcp => 53,
            Self::Tls { .. } => 853,
            Self::Https { .. } => 443,
        }
    }
}

impl Upstream {
    /// Whether it is asked over TLS or HTTPS.
    #[must_use]
    pub const fn is_encrypted(&self) -> bool {
        matches!(self.transport, Transport::Tls { .. } | Transport::Https { .. })
    }

    /// Whether queries can be sent there at all: to a unicast address and a port.
    #[must_use]
    pub fn can_be_asked(&self) -> bool {
        let ip = self.address.ip();
        self.address.port() != 0 && !ip.is_multicast() && !ip.is_unspecified()
    }
}

impl From<SocketAddr> for Upstream {
    fn from(address: SocketAddr) -> Self {
        Self { address, transport: Transport::Plain }
    }
}

/// What is wrong with an upstream as it was written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no upstream; write 192.0.2.53, [2001:db8::53]:5353, tcp://192.0.2.53, tls://192.0.2.53#dns.example or \
     https://192.0.2.53/dns-query#dns.example"
)]
pub struct BadUpstream(String);

impl FromStr for Upstream {
    type Err = BadUpstream;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse(text).ok_or_else(|| BadUpstream(text.to_owned()))
    }
}

fn parse(text: &str) -> Option<Upstream> {
    let Some((scheme, rest)) = text.split_once("://") else {
        return Some(Upstream { address: address(text, &Transport::Plain)?, transport: Transport::Plain });
    };
    let (rest, name) = match rest.split_once('#') {
        Some((rest, name)) => (rest, Some(checked_name(name)?)),
        None => (rest, None),
    };
    let (place, transport) = match scheme {
        "tcp" if name.is_none() => (rest, Transport::Tcp),
        "tls" => (rest, Transport::Tls { name }),
        "https" => {
            let (place, path) = match rest.find('/') {
                Some(at) => rest.split_at(at),
                None => (rest, DEFAULT_PATH),
            };
            (place, Transport::Https { name, path: Some(path).filter(|path| is_path(path))?.to_owned() })
        }
        _ => return None,
    };
    Some(Upstream { address: address(place, &transport)?, transport })
}

fn address(text: &str, transport: &Transport) -> Option<SocketAddr> {
    if let Ok(socket) = text.parse() {
        return Some(socket);
    }
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    bare.parse().ok().map(|ip: IpAddr| SocketAddr::new(ip, transport.port()))
}

fn checked_name(name: &str) -> Option<String> {
    ServerName::try_from(name).ok().map(|_| name.to_owned())
}

/// Whether this can be the path of queries over HTTPS: from its first slash on, without query and fragment.
pub(crate) fn is_path(path: &str) -> bool {
    path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic() && !b"?#".contains(&byte))
}

impl fmt::Display for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, address) =
            (|name: &Option<String>| name.as_ref().map_or(String::new(), |name| format!("#{name}")), self.address);
        match &self.transport {
            Transport::Plain => address.fmt(f),
            Transport::Tcp => write!(f, "tcp://{address}"),
            Transport::Tls { name: of } => write!(f, "tls://{address}{}", name(of)),
            Transport::Https { name: of, path } => write!(f, "https://{address}{path}{}", name(of)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upstream_reads_as_it_is_written_with_the_port_of_its_transport() {
        for (text, shown) in [
            ("192.0.2.53", "192.0.2.53:53"),
            ("[2001:db8::53]:5353", "[2001:db8::53]:5353"),
            ("2001:db8::53", "[2001:db8::53]:53"),
            ("tcp://192.0.2.53", "tcp://192.0.2.53:53"),
            ("tls://192.0.2.53", "tls://192.0.2.53:853"),
            ("tls://[2001:db8::53]#dns.example", "tls://[2001:db8::53]:853#dns.example"),
            ("https://192.0.2.53:8443/q#dns.example", "https://192.0.2.53:8443/q#dns.example"),
            ("https://2001:db8::53", "https://[2001:db8::53]:443/dns-query"),
        ] {
            let upstream: Upstream = text.parse().unwrap();
            assert_eq!(upstream.to_string(), shown);
            assert_eq!(upstream.to_string().parse(), Ok(upstream));
        }
    }

    #[test]
    fn what_is_no_upstream_is_said_with_what_is() {
        for text in [
            "",
            "dns.example",
            "tcp://192.0.2.53#dns.example",
            "tls://dns.example",
            "tls://192.0.2.53#",
            "tls://192.0.2.53#a b",
            "tls://192.0.2.53/path",
            "quic://192.0.2.53",
            "https://192.0.2.53/a b",
            "https://192.0.2.53/dns-query?x#dns.example",
            "192.0.2.53#dns.example",
        ] {
            assert!(text.parse::<Upstream>().unwrap_err().to_string().starts_with(&format!("`{text}` is no upstream")));
        }
    }
}
