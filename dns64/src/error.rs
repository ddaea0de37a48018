//! Why a server cannot start or go on.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

/// The transport of a listening socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// Datagrams.
    Udp,
    /// Connections.
    Tcp,
    /// Encrypted connections (RFC 7858).
    Tls,
    /// HTTP over encrypted connections (RFC 8484).
    Https,
}

impl Protocol {
    /// Whether what is said cannot be read on the way.
    pub(crate) const fn is_encrypted(self) -> bool {
        matches!(self, Self::Tls | Self::Https)
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Udp => "UDP",
            Self::Tcp => "TCP",
            Self::Tls => "TLS",
            Self::Https => "HTTPS",
        })
    }
}

/// Why a server cannot start or go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No listen address is configured.
    #[error("no address to listen on; give at least one, for example [::]:53")]
    NoListen,
    /// No upstream is configured.
    #[error("no upstream to forward to; give the address and port of at least one recursive resolver")]
    NoUpstream,
    /// An upstream cannot be the destination of a query.
    #[error("`{0}` cannot be asked; an upstream is a unicast address with a port from 1 to 65535")]
    BadUpstream(SocketAddr),
    /// A domain is not a name.
    #[error("`{0}` is not a domain name; write it as labels with dots, for example corp.example, or . for all names")]
    BadDomain(String),
    /// A record type is unknown.
    #[error("`{0}` is no record type; write a name such as AAAA, or a number such as TYPE65")]
    BadType(String),
    /// A route has an empty list of upstreams.
    #[error("the route for `{0}` has no upstream; give the address and port of at least one resolver")]
    NoRouteUpstream(String),
    /// An IPv4 range has an empty list of prefixes.
    #[error("range {0} has no prefix; give at least one, or list the range among those never synthesised")]
    NoRangePrefix(ipnet::Ipv4Net),
    /// Encrypted queries are to be taken without a certificate to show.
    #[error("queries over TLS or HTTPS need a certificate; give the files of a certificate and of its key")]
    NoCertificate,
    /// The path of DNS over HTTPS cannot be one.
    #[error("`{0}` is not a path; write it from its first slash on, without `?` and `#`, for example /dns-query")]
    BadPath(String),
    /// A file of the certificate cannot be used.
    #[error("{}: {reason}", path.display())]
    Certificate {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The file of trust anchors cannot be used.
    #[error("{}: {reason}", path.display())]
    TrustAnchors {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A number is outside what is allowed.
    #[error("{name} is {value}; allowed are {least} to {most} {unit}")]
    OutOfRange {
        /// The key.
        name: &'static str,
        /// What was given.
        value: u128,
        /// The smallest allowed value.
        least: u128,
        /// The largest allowed value.
        most: u128,
        /// What is counted.
        unit: &'static str,
    },
    /// An upstream is one of our own listening addresses.
    #[error("upstream {upstream} is this server itself, which listens on {listen}; give a resolver elsewhere")]
    UpstreamLoop {
        /// The upstream.
        upstream: SocketAddr,
        /// The listen address that receives what is sent to it.
        listen: SocketAddr,
    },
    /// A listening socket could not be opened.
    #[error("cannot listen on {address} ({protocol}): {source}; {}", hint(source, *address))]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The transport.
        protocol: Protocol,
        /// What the system said.
        source: io::Error,
    },
}

/// The likely way out of a failed bind.
fn hint(error: &io::Error, address: SocketAddr) -> String {
    let port = address.port();
    let is = |kind| error.kind() == kind;
    if is(io::ErrorKind::AddrInUse) {
        format!(
            "another program holds port {port}, often systemd-resolved, dnsmasq, named or unbound \
             (`ss -lpn sport = :{port}` shows which); stop it or listen on a specific address it does not use"
        )
    } else if is(io::ErrorKind::PermissionDenied) {
        format!("port {port} needs root or CAP_NET_BIND_SERVICE; allowed without are ports from 1024 on")
    } else if is(io::ErrorKind::AddrNotAvailable) {
        "this host has no such address; use one that `ip address` shows, [::] or 0.0.0.0".to_owned()
    } else if address.is_ipv6() {
        "if this host has no IPv6, listen on 0.0.0.0".to_owned()
    } else {
        "use an address of this host and a free port".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listen_error(kind: io::ErrorKind) -> String {
        let address = "[::]:53".parse().unwrap();
        Error::Listen { address, protocol: Protocol::Udp, source: kind.into() }.to_string()
    }

    #[test]
    fn a_port_in_use_names_who_usually_holds_it() {
        let text = listen_error(io::ErrorKind::AddrInUse);
        assert!(text.contains("[::]:53 (UDP)") && text.contains("systemd-resolved"), "{text}");
    }

    #[test]
    fn a_forbidden_port_names_the_capability() {
        assert!(listen_error(io::ErrorKind::PermissionDenied).contains("CAP_NET_BIND_SERVICE"));
    }
}
